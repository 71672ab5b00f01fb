import { type Fate, fates } from '../core/index.ts';
import type { Direction } from '../policy/index.ts';
import { durationBucketsSeconds, MethodMetrics } from './method-metrics.ts';
import type { StatSink, StatSource } from './stats.ts';

export const directions: readonly Direction[] = ['inbound', 'outbound'];

export interface CallMetricsOptions {
  /** Methods told apart in each direction, at most. */
  readonly methodsAtMost?: number;
  /** Bytes that the methods of one direction may take in a scrape, those left out that somebody has written into a policy. */
  readonly scrapeBytesAtMost?: number;
  /** Wall clock, for since when something is counted. */
  readonly wallNow?: () => number;
}

/** The method and the service under which everything beyond the bounds is counted. */
export const overflowLabel = 'other';
const longestLabel = 256;
const overflowServicesAtMost = 32;

/** Lines of one method in a scrape: its buckets, `+Inf`, `_sum`, `_count`, and six statuses, which is more than a method has on most days. */
const linesPerMethod = durationBucketsSeconds.length + 3 + 6;
/** Characters of a line beside the two labels' values. */
const bytesPerLine = 80;

const scrapeBytesOf = (service: string, method: string): number => linesPerMethod * (bytesPerLine + service.length + method.length);

/** Whoever writes so many routes wants to see them: 1,000 with six statuses each are 3 MB. */
const configuredScrapeBytesAtMost = 8 * 2 ** 20;

class DirectionMetrics {
  readonly byService = new Map<string, Map<string, MethodMetrics>>();
  readonly fates = Object.fromEntries(fates.map((fate) => [fate, 0])) as Record<Fate, number>;
  methods = 0;
  overflowServices = 0;
  scrapeBytes = 0;
}

/**
 * How calls went, by direction, service and method. Labels come from the network, and every new one costs memory and two
 * dozen lines in each scrape, so what lies beyond the bounds is counted together as the method `other`: a peer that makes
 * up a million paths must not take down the monitoring.
 */
export class CallMetrics implements StatSource {
  readonly #methodsAtMost: number;
  readonly #scrapeBytesAtMost: number;
  readonly #wallNow: () => number;
  readonly #directions: Readonly<Record<Direction, DirectionMetrics>> = {
    inbound: new DirectionMetrics(),
    outbound: new DirectionMetrics(),
  };

  constructor({ methodsAtMost = 2_000, scrapeBytesAtMost = 384 * 1_024, wallNow = () => 0 }: CallMetricsOptions = {}) {
    this.#wallNow = wallNow;
    this.#methodsAtMost = methodsAtMost;
    this.#scrapeBytesAtMost = scrapeBytesAtMost;
  }

  /**
   * The metrics of one method; the same object for the same three words, so keep it and not the words. Hand in a method
   * only where it is known or configured, else `other`. Beyond the bounds the answer is the service's method `other`.
   *
   * @param configured a policy has a route with that label: there are as many as somebody has written.
   */
  method(direction: Direction, service: string, method: string, configured = false): MethodMetrics {
    const metrics = this.#directions[direction];
    const known = metrics.byService.get(service)?.get(method);
    if (known !== undefined) return known;
    const bytes = scrapeBytesOf(service, method);
    const fits =
      method.length <= longestLabel &&
      service.length <= longestLabel &&
      metrics.methods < this.#methodsAtMost &&
      metrics.scrapeBytes + bytes <= (configured ? configuredScrapeBytesAtMost : this.#scrapeBytesAtMost);
    if (fits && method !== overflowLabel) {
      metrics.methods++;
      metrics.scrapeBytes += bytes;
      return this.#create(metrics, service, method);
    }
    return this.#overflow(metrics, service);
  }

  /** One call has ended with `fate`: called exactly once per call, so that the sum of fates is the number of calls. */
  fate(direction: Direction, fate: Fate): void {
    this.#directions[direction].fates[fate]++;
  }

  /** Calls of one direction that ended with `fate`. */
  fateCount(direction: Direction, fate: Fate): number {
    return this.#directions[direction].fates[fate];
  }

  /** Every method of one direction that was asked for so far. */
  *methods(direction: Direction): IterableIterator<MethodMetrics> {
    for (const methods of this.#directions[direction].byService.values()) yield* methods.values();
  }

  /** `fates.<direction>.<fate>`, every fate, also those that nobody met yet. */
  collectStats(sink: StatSink): void {
    for (const direction of directions) {
      for (const fate of fates) sink.counter(`fates.${direction}.${fate}`, this.#directions[direction].fates[fate]);
    }
  }

  #overflow(metrics: DirectionMetrics, service: string): MethodMetrics {
    const known = metrics.byService.get(service)?.get(overflowLabel);
    if (known !== undefined) return known;
    const ownRow = service !== overflowLabel && service.length <= longestLabel && metrics.overflowServices < overflowServicesAtMost;
    if (!ownRow) {
      return metrics.byService.get(overflowLabel)?.get(overflowLabel) ?? this.#create(metrics, overflowLabel, overflowLabel);
    }
    metrics.overflowServices++;
    return this.#create(metrics, service, overflowLabel);
  }

  #create(metrics: DirectionMetrics, service: string, method: string): MethodMetrics {
    const created = new MethodMetrics(service, method, this.#wallNow());
    const methods = metrics.byService.get(service) ?? new Map<string, MethodMetrics>();
    metrics.byService.set(service, methods.set(method, created));
    return created;
  }
}
