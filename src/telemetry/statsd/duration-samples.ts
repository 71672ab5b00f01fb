import { durationBucketsSeconds } from '../method-metrics.ts';

/** So many calls are told to have taken so long. */
export interface DurationSample {
  readonly durationMs: number;
  readonly calls: number;
}

const highs = durationBucketsSeconds.map((seconds) => seconds * 1_000);
const lowOf = (bucket: number): number => (bucket === 0 ? 0 : (highs[bucket - 1] as number));
const longestBoundMs = highs.at(-1) as number;
/** A duration on the lower bound would belong to the bucket below. */
const leastShare = 0.001;

/**
 * One duration for each bucket that has calls, so that their counts and their sum are what was measured: all lie at the same share of the way
 * through their buckets. However many calls there were, a method needs no more than seventeen.
 */
export const durationSamples = (buckets: ArrayLike<number>, totalMs: number): readonly DurationSample[] => {
  let restMs = totalMs;
  let widthMs = 0;
  for (let bucket = 0; bucket < highs.length; bucket++) {
    const calls = buckets[bucket] as number;
    restMs -= calls * lowOf(bucket);
    widthMs += calls * ((highs[bucket] as number) - lowOf(bucket));
  }
  const beyond = buckets[highs.length] as number;
  restMs -= beyond * longestBoundMs;
  // Beyond the last bound there is no width: whatever the others leave in the middle of their buckets is theirs.
  const wanted = beyond > 0 ? Math.min(restMs, widthMs / 2) : restMs;
  const share = widthMs > 0 ? Math.min(Math.max(wanted / widthMs, leastShare), 1) : 0;
  const samples: DurationSample[] = [];
  for (let bucket = 0; bucket < highs.length; bucket++) {
    const calls = buckets[bucket] as number;
    const low = lowOf(bucket);
    if (calls > 0) samples.push({ durationMs: low + share * ((highs[bucket] as number) - low), calls });
  }
  if (beyond > 0) {
    const overMs = Math.max((restMs - share * widthMs) / beyond, leastShare * longestBoundMs);
    samples.push({ durationMs: longestBoundMs + overMs, calls: beyond });
  }
  return samples;
};
