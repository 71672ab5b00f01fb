import { createRequire } from 'node:module';
import { statusName } from '../grpc/index.ts';
import { type CallMetrics, directions } from './call-metrics.ts';
import { durationBucketsSeconds, type MethodMetrics } from './method-metrics.ts';
import { prometheusNames } from './prometheus-names.ts';
import type { StatRegistry } from './stats.ts';

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  value: number;
  /** The family's name with a suffix, for the parts of a histogram. */
  readonly metricName?: string;
}

/** What prom-client's registry wants of a metric: it asks each for its samples when it prints. */
interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: Sample[];
  get(): Promise<Family>;
}

interface PromRegistry {
  readonly contentType: string;
  registerMetric(family: Family): void;
  metrics(): Promise<string>;
}

export interface PrometheusInputs {
  readonly stats: StatRegistry;
  readonly calls: CallMetrics;
  /** Names of the clusters there are, which tell where the name ends in `cluster.<name>.<stat>`. */
  clusterNames(): Iterable<string>;
  /** Seconds until the certificates expire; negative afterwards. */
  certificates(): Iterable<{ readonly service: string; readonly secondsLeft: number }>;
}

export interface PrometheusText {
  readonly contentType: string;
  readonly body: string;
}

/** prom-client asks all families at once; each waits for its turn, so that calls in flight go on between two of them. */
class Turns {
  #last: Promise<void> = Promise.resolve();

  next(): Promise<void> {
    this.#last = this.#last.then(() => new Promise((resolve) => setImmediate(resolve)));
    return this.#last;
  }
}

type FamilyMaker = (name: string, type: Family['type'], help: string) => Family;

const familyMaker = (turns: Turns): FamilyMaker => {
  return (name, type, help) => {
    const self: Family = { name, help, type, values: [], get: () => turns.next().then(() => self) };
    return self;
  };
};

/**
 * The text that Prometheus scrapes, made by prom-client. It is bound here and not where calls are counted, because a
 * labelled `inc` of prom-client costs 0.2-0.3 us and an addition costs nothing.
 */
export class PrometheusExposition {
  readonly #inputs: PrometheusInputs;
  #underWay: Promise<PrometheusText> | undefined;

  constructor(inputs: PrometheusInputs) {
    this.#inputs = inputs;
  }

  /** Whoever asks while an answer is being made gets the same one. */
  scrape(): Promise<PrometheusText> {
    this.#underWay ??= this.#print().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  /** Reads all numbers in one turn, so that the samples of one scrape belong together; prints them in several. */
  async #print(): Promise<PrometheusText> {
    const registry = newRegistry();
    const family = familyMaker(new Turns());
    for (const each of [...this.#callFamilies(family), this.#certificateFamily(family), ...this.#statFamilies(family)]) {
      if (each.values.length > 0) registry.registerMetric(each);
    }
    return { contentType: registry.contentType, body: await registry.metrics() };
  }

  #callFamilies(family: FamilyMaker): readonly Family[] {
    const requests = family('grpc_requests_total', 'counter', 'Calls that have ended, by gRPC status.');
    const durations = family('grpc_request_duration_seconds', 'histogram', 'Seconds from the first byte of a call to its status.');
    // A service may be called from both sides (a sidecar that calls its own service): its numbers are then one series.
    const methods = new Map<string, MethodMetrics[]>();
    for (const direction of directions) {
      for (const metrics of this.#inputs.calls.methods(direction)) {
        const key = `${metrics.service}\n${metrics.method}`;
        const same = methods.get(key);
        if (same === undefined) methods.set(key, [metrics]);
        else same.push(metrics);
      }
    }
    for (const same of methods.values()) {
      addRequests(requests, same);
      addDurations(durations, same);
    }
    return [requests, durations];
  }

  #certificateFamily(family: FamilyMaker): Family {
    const expiry = family('mtls_certificate_expiry_seconds', 'gauge', 'Seconds until the certificate expires.');
    for (const { service, secondsLeft } of this.#inputs.certificates()) expiry.values.push({ labels: { service }, value: secondsLeft });
    return expiry;
  }

  #statFamilies(family: FamilyMaker): Iterable<Family> {
    const families = new Map<string, Family>();
    const samples = new Map<string, Sample>();
    const clusters = new Set(this.#inputs.clusterNames());
    for (const { name, kind, value } of this.#inputs.stats.collect()) {
      if (!Number.isFinite(value)) continue;
      for (const { family: familyName, labels } of prometheusNames(name, clusters)) {
        const own =
          families.get(familyName) ?? family(familyName, kind, `Stat ${name}${Object.keys(labels).length > 0 ? ' and its like' : ''}.`);
        families.set(familyName, own);
        // Two stats may share a name once it is sanitised, and Prometheus refuses a whole scrape that has a sample twice.
        const key = `${familyName}\n${Object.values(labels).join('\n')}`;
        const known = samples.get(key);
        if (known !== undefined) {
          known.value += value;
          continue;
        }
        const sample = { labels, value };
        samples.set(key, sample);
        own.values.push(sample);
      }
    }
    return families.values();
  }
}

const sum = (same: readonly MethodMetrics[], of: (metrics: MethodMetrics) => number): number =>
  same.reduce((total, metrics) => total + of(metrics), 0);

const labelsOf = ([first]: readonly MethodMetrics[]) => ({ service: first?.service ?? '', method: first?.method ?? '' });

const addRequests = ({ values }: Family, same: readonly MethodMetrics[]): void => {
  const labels = labelsOf(same);
  const statuses = same[0]?.statuses.length ?? 0;
  for (let status = 0; status < statuses; status++) {
    const value = sum(same, (metrics) => metrics.statuses[status] as number);
    if (value > 0) values.push({ labels: { ...labels, status: statusName(status) }, value });
  }
};

const addDurations = ({ name, values }: Family, same: readonly MethodMetrics[]): void => {
  const labels = labelsOf(same);
  let upTo = 0;
  for (let bucket = 0; bucket <= durationBucketsSeconds.length; bucket++) {
    upTo += sum(same, (metrics) => metrics.buckets[bucket] as number);
    const bound = durationBucketsSeconds[bucket];
    values.push({ metricName: `${name}_bucket`, labels: { le: bound === undefined ? '+Inf' : String(bound), ...labels }, value: upTo });
  }
  values.push({ metricName: `${name}_sum`, labels, value: sum(same, (metrics) => metrics.totalMs) / 1_000 });
  values.push({ metricName: `${name}_count`, labels, value: upTo });
};

/**
 * Loads the registry alone, at the first scrape: the whole of prom-client takes 50 ms and 17 MB, most of it for metrics of
 * its own that we have no use for, and would hold up the calls in flight.
 */
const newRegistry = (): PromRegistry => {
  const Registry = createRequire(import.meta.url)('prom-client/lib/registry.js') as new () => PromRegistry;
  return new Registry();
};
