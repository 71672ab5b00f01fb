import { type CallMetrics, type Direction, durationBucketsSeconds, type MethodMetrics } from '../../telemetry/index.ts';
import type { CallFigures } from './model.ts';

/** Numbers of one reading: calls, those that ended OK, those that the caller cancelled, and the duration buckets. */
export const bucketCount = durationBucketsSeconds.length + 1;
export const readingWidth = 3 + bucketCount;

const okStatus = 0;
const cancelledStatus = 1;

/** Adds what `metrics` has counted since the start to `into`, from `at` on. */
export const addReading = (metrics: MethodMetrics, into: Float64Array, at = 0): void => {
  const { statuses, buckets } = metrics;
  into[at] = (into[at] as number) + metrics.count;
  into[at + 1] = (into[at + 1] as number) + (statuses[okStatus] as number);
  into[at + 2] = (into[at + 2] as number) + (statuses[cancelledStatus] as number);
  for (let i = 0; i < bucketCount; i++) into[at + 3 + i] = (into[at + 3 + i] as number) + (buckets[i] as number);
};

/** Everything of one direction since the start, also calls that found no route. */
export const readDirection = (calls: CallMetrics, direction: Direction): Float64Array => {
  const reading = new Float64Array(readingWidth);
  for (const metrics of calls.methods(direction)) addReading(metrics, reading);
  return reading;
};

const boundMs = (bucket: number): number => (durationBucketsSeconds[Math.min(bucket, bucketCount - 2)] as number) * 1_000;

/** As `histogram_quantile` of PromQL: spread evenly within a bucket; beyond the last bound it is the last bound. */
const quantileMs = (later: Float64Array, earlier: Float64Array, earlierAt: number, calls: number, q: number): number => {
  const rank = q * calls;
  let below = 0;
  for (let i = 0; i < bucketCount; i++) {
    const inside = (later[3 + i] as number) - (earlier[earlierAt + 3 + i] as number);
    if (inside > 0 && below + inside >= rank) {
      if (i === bucketCount - 1) break;
      const from = i === 0 ? 0 : boundMs(i - 1);
      return from + (boundMs(i) - from) * (Math.max(rank - below, 0) / inside);
    }
    below += inside;
  }
  return boundMs(bucketCount - 1);
};

const threeDigits = (ms: number): number => Number(ms.toPrecision(3));

/** @param earlierAt where the earlier reading begins in its array. */
export const figuresBetween = (later: Float64Array, earlier: Float64Array, earlierAt = 0): CallFigures => {
  const since = (i: number): number => (later[i] as number) - (earlier[earlierAt + i] as number);
  const calls = since(0);
  const quantile = (q: number): number | null => (calls <= 0 ? null : threeDigits(quantileMs(later, earlier, earlierAt, calls, q)));
  return { calls, ok: since(1), cancelled: since(2), p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) };
};
