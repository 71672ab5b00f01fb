/**
 * Upper bounds of the duration buckets in seconds, from half a millisecond (a call between neighbours) to a minute (beyond
 * which lie streams, whose length says nothing about the service).
 */
export const durationBucketsSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

const bucketsMs = Float64Array.from(durationBucketsSeconds, (seconds) => seconds * 1_000);
const bucketCount = bucketsMs.length;

const bucketOf = (durationMs: number): number => {
  let bucket = 0;
  while (bucket < bucketCount && durationMs > (bucketsMs[bucket] as number)) bucket++;
  return bucket;
};

/** gRPC's own statuses, 0 (OK) to 16 (UNAUTHENTICATED). Anything else is counted as 2 (UNKNOWN). */
export const statusCount = 17;
const unknownStatus = 2;

/** One call that stands for those of its bucket: which trace shows what took so long. */
export interface Exemplar {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  readonly durationMs: number;
  /** Wall clock: when the call ended. */
  readonly atMs: number;
}

/** Counts and durations of one method of one service in one direction. */
export class MethodMetrics {
  readonly service: string;
  readonly method: string;
  /** Calls by gRPC status. */
  readonly statuses = new Float64Array(statusCount);
  /** Calls by duration; not cumulative; the last one is what took longer than the last bound. */
  readonly buckets = new Float64Array(bucketCount + 1);
  /** Milliseconds of all calls together. */
  totalMs = 0;
  /** Wall clock: since when it is counted; 0: nobody knows. */
  readonly createdAtMs: number;
  /** The last call of each bucket that was traced, by the bucket's place; `undefined`: none was. */
  exemplars: (Exemplar | undefined)[] | undefined = undefined;

  constructor(service: string, method: string, createdAtMs = 0) {
    this.service = service;
    this.method = method;
    this.createdAtMs = createdAtMs;
  }

  /** One call has ended with `grpcStatus` after `durationMs`. Allocates nothing. */
  record(grpcStatus: number, durationMs: number): void {
    const status = grpcStatus >= 0 && grpcStatus < statusCount ? grpcStatus | 0 : unknownStatus;
    this.statuses[status] = (this.statuses[status] as number) + 1;
    const bucket = bucketOf(durationMs);
    this.buckets[bucket] = (this.buckets[bucket] as number) + 1;
    this.totalMs += durationMs;
  }

  /** A call that is being recorded, too, has been traced: it takes the place of the one before it in its bucket. */
  keepExemplar(exemplar: Exemplar): void {
    this.exemplars ??= new Array(bucketCount + 1).fill(undefined);
    this.exemplars[bucketOf(exemplar.durationMs)] = exemplar;
  }

  /** Calls that have ended. */
  get count(): number {
    let sum = 0;
    for (const calls of this.statuses) sum += calls;
    return sum;
  }

  /**
   * Estimates the duration in milliseconds below which the share `q` (0 to 1) of the calls lies, taking durations as spread
   * evenly within a bucket, as PromQL's `histogram_quantile` does. Beyond the last bound it is the last bound; without
   * calls it is 0.
   */
  quantileMs(q: number): number {
    const rank = Math.min(Math.max(q, 0), 1) * this.count;
    let below = 0;
    for (let i = 0; i < bucketCount; i++) {
      const inside = this.buckets[i] as number;
      if (inside > 0 && below + inside >= rank) {
        const from = i === 0 ? 0 : (bucketsMs[i - 1] as number);
        return from + ((bucketsMs[i] as number) - from) * (Math.max(rank - below, 0) / inside);
      }
      below += inside;
    }
    return below === this.count ? 0 : (bucketsMs[bucketCount - 1] as number);
  }
}
