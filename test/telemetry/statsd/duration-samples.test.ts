import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MethodMetrics } from '../../../src/telemetry/index.ts';
import { durationSamples } from '../../../src/telemetry/statsd/duration-samples.ts';

const bucketsOf = (samples: readonly { readonly durationMs: number; readonly calls: number }[]): number[] => {
  const metrics = new MethodMetrics('s', 'm');
  for (const { durationMs, calls } of samples) for (let i = 0; i < calls; i++) metrics.record(0, durationMs);
  return [...metrics.buckets];
};

test('the samples of a bucket lie in it, and all of them together took as long as the calls', () => {
  const durationMs = fc.oneof(
    fc.double({ min: 0.001, max: 60_000, noNaN: true }),
    fc.double({ min: 60_001, max: 500_000, noNaN: true }),
    fc.constantFrom(0.5, 1, 60_000),
  );
  fc.assert(
    fc.property(fc.array(durationMs, { minLength: 1, maxLength: 60 }), (durations) => {
      const metrics = new MethodMetrics('s', 'm');
      for (const each of durations) metrics.record(0, each);
      const samples = durationSamples(metrics.buckets, metrics.totalMs);
      assert.ok(samples.length <= 17);
      assert.deepEqual(bucketsOf(samples), [...metrics.buckets]);
      const totalMs = samples.reduce((sum, { calls, durationMs: each }) => sum + calls * each, 0);
      // A thousandth of a bucket's width is what keeps a sample off the bound that belongs to the bucket below.
      const sloppyMs = durations.reduce((sum, each) => sum + (each > 60_000 ? 60 : 0.002 * each + 0.002), 0);
      assert.ok(Math.abs(totalMs - metrics.totalMs) <= sloppyMs, `${totalMs} for ${metrics.totalMs}`);
    }),
  );
});

test('no calls are no samples', () => {
  assert.deepEqual(durationSamples(new Float64Array(17), 0), []);
});
