import { createRequire } from 'node:module';
import { callHeaders, durationLines, requestLines } from './call-lines.ts';
import type { ExpositionFormat } from './exposition-format.ts';
import { type CallSeries, type MetricFamily, type MetricsInputs, MetricsReader } from './metrics-reader.ts';

/** What prom-client's registry wants of a metric to print it. */
interface PrintedMetric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly values: MetricFamily['samples'];
  get(): Promise<PrintedMetric>;
}

interface PromRegistry {
  readonly contentType: string;
  getMetricsAsString(metric: PrintedMetric): Promise<string>;
}

export type PrometheusInputs = MetricsInputs;

export interface PrometheusText {
  readonly contentType: string;
  readonly body: Buffer;
}

/** Lines that are printed in one turn of the event loop, so that calls in flight go on after a millisecond or two. */
const linesPerTurn = 1_500;

/** The body in pieces, with a turn of the event loop whenever enough lines have been printed. */
class Pages {
  readonly #pages: Buffer[] = [];
  #text = '';
  #lines = 0;

  add(text: string, lines: number): void {
    this.#text += text;
    this.#lines += lines;
  }

  /** Settles when there is time for more; `undefined`: now. */
  turn(): Promise<void> | undefined {
    if (this.#lines < linesPerTurn) return undefined;
    this.#cut();
    return new Promise((resolve) => setImmediate(resolve));
  }

  end(): Buffer {
    this.#cut();
    return Buffer.concat(this.#pages);
  }

  #cut(): void {
    this.#pages.push(Buffer.from(this.#text));
    this.#text = '';
    this.#lines = 0;
  }
}

/**
 * The text that Prometheus scrapes. prom-client prints stats and gauges; the numbers of calls, which are most of the lines where there are many
 * routes, are printed here, in a fifth of the time. Both are bound here and not where calls are counted, because a labelled `inc` of prom-client
 * costs 0.2-0.3 us and an addition costs nothing.
 */
export class PrometheusExposition {
  readonly #reader: MetricsReader;
  readonly #underWay = new Map<ExpositionFormat, Promise<PrometheusText>>();

  constructor(inputs: PrometheusInputs) {
    this.#reader = new MetricsReader(inputs);
  }

  /** Whoever asks while an answer is being made gets the same one. */
  scrape(format: ExpositionFormat = 'text'): Promise<PrometheusText> {
    let answer = this.#underWay.get(format);
    if (answer === undefined) {
      answer = this.#print(format).finally(() => this.#underWay.delete(format));
      this.#underWay.set(format, answer);
    }
    return answer;
  }

  async #print(format: ExpositionFormat): Promise<PrometheusText> {
    const registry = newRegistry(format);
    const { calls, families } = await this.#reader.read();
    const pages = new Pages();
    await printCalls(pages, calls, format);
    for (const family of families) await printFamily(pages, registry, family, format);
    if (format === 'openmetrics') pages.add('# EOF\n', 1);
    return { contentType: registry.contentType, body: pages.end() };
  }
}

const printCalls = async (pages: Pages, calls: readonly CallSeries[], format: ExpositionFormat): Promise<void> => {
  if (calls.length === 0) return;
  const headers = callHeaders(format);
  pages.add(headers.requests, 2);
  for (const series of calls) {
    pages.add(requestLines(series), series.statuses.length / 4);
    await pages.turn();
  }
  pages.add(headers.durations, 2);
  for (const series of calls) {
    pages.add(durationLines(series, format), series.buckets.length / 4);
    await pages.turn();
  }
};

/** In slices, of which the first one keeps what prom-client puts before the samples. */
const printFamily = async (pages: Pages, registry: PromRegistry, family: MetricFamily, format: ExpositionFormat): Promise<void> => {
  const { help, kind, samples, unit } = family;
  // In OpenMetrics prom-client puts `_total` behind the name by itself.
  const name = kind === 'counter' && format === 'text' ? `${family.name}_total` : family.name;
  for (let start = 0; start < samples.length; start += linesPerTurn) {
    const values = start === 0 && samples.length <= linesPerTurn ? samples : samples.slice(start, start + linesPerTurn);
    const metric: PrintedMetric = { name, help, type: kind, values, get: () => Promise.resolve(metric) };
    const text = await registry.getMetricsAsString(metric);
    const headed = text.indexOf('\n', text.indexOf('\n') + 1) + 1;
    if (start > 0) pages.add(`${text.slice(headed)}\n`, values.length);
    else if (unit === '' || format === 'text') pages.add(`${text}\n`, values.length + 2);
    else pages.add(`${text.slice(0, headed)}# UNIT ${name} ${unit}\n${text.slice(headed)}\n`, values.length + 3);
    await pages.turn();
  }
};

interface RegistryClass {
  readonly PROMETHEUS_CONTENT_TYPE: string;
  readonly OPENMETRICS_CONTENT_TYPE: string;
  new (contentType: string): PromRegistry;
}

/**
 * Loads the registry alone, at the first scrape: the whole of prom-client takes 50 ms and 17 MB, most of it for metrics of
 * its own that we have no use for, and would hold up the calls in flight.
 */
const newRegistry = (format: ExpositionFormat): PromRegistry => {
  const Registry = createRequire(import.meta.url)('prom-client/lib/registry.js') as RegistryClass;
  return new Registry(format === 'text' ? Registry.PROMETHEUS_CONTENT_TYPE : Registry.OPENMETRICS_CONTENT_TYPE);
};
