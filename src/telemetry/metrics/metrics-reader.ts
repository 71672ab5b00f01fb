import { type CallMetrics, directions } from '../call-metrics.ts';
import type { Exemplar, MethodMetrics } from '../method-metrics.ts';
import type { Stat, StatRegistry } from '../stats.ts';
import { metricHelp } from './metric-help.ts';
import { type MetricName, MetricNames, type MetricUnit } from './metric-names.ts';

type Labels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly labels: Labels;
  value: number;
}

/** Counters or gauges of one name. */
export interface MetricFamily {
  /** Without the `_total` that samples of counters have at the end. */
  readonly name: string;
  readonly kind: Stat['kind'];
  readonly unit: MetricUnit;
  readonly help: string;
  readonly samples: MetricSample[];
}

/** The calls of one method of one service, of both directions together. */
export interface CallSeries {
  readonly service: string;
  readonly method: string;
  /** Calls by gRPC status. */
  readonly statuses: Float64Array;
  /** Calls by duration, not cumulative, as `MethodMetrics.buckets`. */
  readonly buckets: Float64Array;
  readonly totalMs: number;
  /** Wall clock: since when it is counted; 0: nobody knows. */
  readonly createdAtMs: number;
  /** One for each bucket at most, by its place. */
  readonly exemplars: readonly (Exemplar | undefined)[] | undefined;
}

/** All numbers at one moment. */
export interface MetricsSnapshot {
  readonly calls: readonly CallSeries[];
  readonly families: readonly MetricFamily[];
}

export interface MetricsInputs {
  readonly stats: StatRegistry;
  readonly calls: CallMetrics;
  /** Names of the clusters there are, which tell where the name ends in `cluster.<name>.<stat>`. */
  clusterNames(): Iterable<string>;
  /** Seconds until the certificates expire; negative afterwards. */
  certificates(): Iterable<{ readonly service: string; readonly secondsLeft: number }>;
  /** What is running: the labels of `outrider_build_info`. */
  readonly build?: Labels;
}

/** Stats that are given their names in one turn of the event loop. */
const statsPerTurn = 1_000;
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Reads the numbers of all calls in one turn, so that they belong together, and stats in as many as those take that there are. */
export class MetricsReader {
  readonly #inputs: MetricsInputs;
  readonly #names = new MetricNames();

  constructor(inputs: MetricsInputs) {
    this.#inputs = inputs;
  }

  async read(): Promise<MetricsSnapshot> {
    const calls = this.#calls();
    const own = [...this.#ownFamilies()];
    const stats = await this.#inputs.stats.collectInTurns();
    return { calls, families: [...own, ...(await this.#statFamilies(stats))] };
  }

  /** A service may be called from both sides (a sidecar that calls its own service): its numbers are then one series. */
  #calls(): readonly CallSeries[] {
    const byService = new Map<string, Map<string, SameMethod>>();
    for (const direction of directions) {
      for (const metrics of this.#inputs.calls.methods(direction)) {
        let methods = byService.get(metrics.service);
        if (methods === undefined) {
          methods = new Map();
          byService.set(metrics.service, methods);
        }
        const same = methods.get(metrics.method);
        if (same === undefined) methods.set(metrics.method, [metrics]);
        else same.push(metrics);
      }
    }
    const series: CallSeries[] = [];
    for (const methods of byService.values()) for (const same of methods.values()) series.push(seriesOf(same));
    return series;
  }

  *#ownFamilies(): Iterable<MetricFamily> {
    const { build } = this.#inputs;
    const certificates = Array.from(this.#inputs.certificates(), ({ service, secondsLeft }) => ({
      labels: { service },
      value: secondsLeft,
    }));
    if (certificates.length > 0) {
      const help = "Seconds until the service's certificate expires; negative afterwards.";
      yield { name: 'mtls_certificate_expiry_seconds', kind: 'gauge', unit: 'seconds', help, samples: certificates };
    }
    if (build !== undefined) {
      const help = 'Always 1; the labels say what is running.';
      yield { name: 'outrider_build_info', kind: 'gauge', unit: '', help, samples: [{ labels: build, value: 1 }] };
    }
  }

  async #statFamilies(stats: readonly Stat[]): Promise<Iterable<MetricFamily>> {
    const families = new Map<string, FamilyInTheMaking>();
    const clusters = new Set(this.#inputs.clusterNames());
    for (const [i, stat] of stats.entries()) {
      if (i % statsPerTurn === statsPerTurn - 1) await nextTurn();
      if (!Number.isFinite(stat.value)) continue;
      for (const name of this.#names.of(stat, clusters)) {
        let family = families.get(name.family);
        if (family === undefined) {
          family = new FamilyInTheMaking(name, stat.kind);
          families.set(name.family, family);
        }
        family.add(name.labels, stat.value * name.scale);
      }
    }
    return families.values();
  }
}

class FamilyInTheMaking implements MetricFamily {
  readonly name: string;
  readonly kind: Stat['kind'];
  readonly unit: MetricUnit;
  readonly help: string;
  readonly samples: MetricSample[] = [];
  readonly #byLabels = new Map<string, MetricSample>();

  constructor({ family, unit, scope, rest }: MetricName, kind: Stat['kind']) {
    this.name = family;
    this.kind = kind;
    this.unit = unit;
    this.help = metricHelp(family, scope + rest);
  }

  /** Two stats may share a name once it is written as Prometheus wants it, and a scrape that has a sample twice is refused as a whole. */
  add(labels: Labels, value: number): void {
    let key = '';
    for (const name in labels) key += `${labels[name]}\n`;
    const known = this.#byLabels.get(key);
    if (known !== undefined) {
      known.value += value;
      return;
    }
    const sample = { labels, value };
    this.#byLabels.set(key, sample);
    this.samples.push(sample);
  }
}

type SameMethod = [MethodMetrics, ...MethodMetrics[]];

const seriesOf = ([first, ...others]: SameMethod): CallSeries => {
  const { service, method, createdAtMs } = first;
  const statuses = first.statuses.slice();
  const buckets = first.buckets.slice();
  let { totalMs } = first;
  let exemplars = first.exemplars?.slice();
  for (const other of others) {
    other.statuses.forEach((calls, status) => {
      statuses[status] = (statuses[status] as number) + calls;
    });
    other.buckets.forEach((calls, bucket) => {
      buckets[bucket] = (buckets[bucket] as number) + calls;
    });
    totalMs += other.totalMs;
    const [mine, theirs] = [exemplars, other.exemplars];
    exemplars = mine === undefined ? theirs?.slice() : mine.map((exemplar, bucket) => exemplar ?? theirs?.[bucket]);
  }
  return { service, method, statuses, buckets, totalMs, createdAtMs, exemplars };
};
