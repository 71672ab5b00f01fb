import { statusName } from '../../grpc/index.ts';
import { type CallMetrics, directions } from '../call-metrics.ts';
import type { MethodMetrics } from '../method-metrics.ts';
import type { Stat } from '../stats.ts';
import { durationSamples } from './duration-samples.ts';
import type { StatsdName, StatsdNames } from './statsd-names.ts';
import type { StatsdFormat } from './statsd-options.ts';

type Tags = StatsdName['tags'];

/** The client library, which puts lines into packets. */
export interface StatsdClient {
  increment(name: string, by: number, tags: Tags): void;
  gauge(name: string, value: number, tags: Tags): void;
  /** A whole line but for its tags. */
  send(message: string, tags: Tags): void;
}

interface SeenMethod {
  readonly statuses: Float64Array;
  readonly buckets: Float64Array;
  totalMs: number;
}

interface SeenStat {
  value: number;
  /** The look that saw it last. */
  look: number;
}

/** Looks between two of which a gauge that stays is told again: a receiver that was started anew would not know it. */
const looksPerGauge = 6;
/** Precise enough for a sum, and short. */
const digits = 6;

/**
 * Turns numbers into lines: of a counter what it has risen by since the last look, of a gauge what it is where that has changed, of calls one
 * timing for each bucket of durations, at a rate that stands for all calls of the bucket.
 */
export class StatsdLines {
  /** Lines so far. */
  count = 0;
  readonly #names: StatsdNames;
  readonly #format: StatsdFormat;
  readonly #stats = new Map<string, SeenStat>();
  readonly #methods = new WeakMap<MethodMetrics, SeenMethod>();
  #look = 0;

  constructor(names: StatsdNames, format: StatsdFormat) {
    this.#names = names;
    this.#format = format;
  }

  /** Lines of all stats, one after the other; `undefined` for those that there is nothing to say of. Begins a look. */
  *ofStats(stats: readonly Stat[], clusters: ReadonlySet<string>, client: StatsdClient): Generator<undefined> {
    this.#look++;
    const tellsAllGauges = this.#look % looksPerGauge === 1;
    for (const stat of stats) {
      if (!Number.isFinite(stat.value)) continue;
      const seen = this.#stats.get(stat.name);
      if (stat.kind === 'counter') this.#counter(stat, seen, clusters, client);
      else if (seen?.value !== stat.value || tellsAllGauges) this.#gauge(this.#names.ofStat(stat, clusters), stat.value, client);
      if (seen === undefined) this.#stats.set(stat.name, { value: stat.value, look: this.#look });
      else {
        seen.value = stat.value;
        seen.look = this.#look;
      }
      yield;
    }
    // What is gone and comes back begins at 0 again.
    for (const [name, { look }] of this.#stats) if (look !== this.#look) this.#stats.delete(name);
  }

  /** Lines of all methods, likewise. */
  *ofCalls(calls: CallMetrics, client: StatsdClient): Generator<undefined> {
    for (const direction of directions) {
      for (const metrics of calls.methods(direction)) {
        this.#method(metrics, (what) => this.#names.ofCalls(direction, metrics.service, metrics.method, what), client);
        yield;
      }
    }
  }

  #counter(stat: Stat, seen: SeenStat | undefined, clusters: ReadonlySet<string>, client: StatsdClient): void {
    const before = seen?.value ?? 0;
    // A counter that has fallen was made anew.
    const risen = stat.value >= before ? stat.value - before : stat.value;
    if (risen > 0) this.#add(this.#names.ofStat(stat, clusters), risen, client);
  }

  #add({ name, tags }: StatsdName, risen: number, client: StatsdClient): void {
    this.count++;
    client.increment(name, risen, tags);
  }

  #gauge({ name, tags }: StatsdName, value: number, client: StatsdClient): void {
    this.count++;
    // With a sign it would be added to what the receiver has.
    if (value < 0 && this.#format === 'statsd') client.gauge(name, 0, tags);
    client.gauge(name, value, tags);
  }

  #method(metrics: MethodMetrics, nameOf: (what: string) => StatsdName, client: StatsdClient): void {
    let seen = this.#methods.get(metrics);
    if (seen === undefined) {
      seen = { statuses: new Float64Array(metrics.statuses.length), buckets: new Float64Array(metrics.buckets.length), totalMs: 0 };
      this.#methods.set(metrics, seen);
    }
    let calls = 0;
    for (let status = 0; status < seen.statuses.length; status++) {
      const risen = (metrics.statuses[status] as number) - (seen.statuses[status] as number);
      if (risen === 0) continue;
      calls += risen;
      this.#add(nameOf(statusName(status)), risen, client);
    }
    if (calls === 0) return;
    const buckets = metrics.buckets.map((value, bucket) => value - ((seen as SeenMethod).buckets[bucket] as number));
    const { name, tags } = nameOf('duration');
    for (const { durationMs, calls: alike } of durationSamples(buckets, metrics.totalMs - seen.totalMs)) {
      this.count++;
      client.send(`${name}:${Number(durationMs.toPrecision(digits))}|ms${alike === 1 ? '' : `|@${rateOf(alike)}`}`, tags);
    }
    seen.statuses.set(metrics.statuses);
    seen.buckets.set(metrics.buckets);
    seen.totalMs = metrics.totalMs;
  }
}

/** Receivers cut off what 1 divided by the rate has behind the point: it must not be a little less than the number of calls. */
const rateOf = (calls: number): number => 1 / (calls * (1 + 1e-9));
