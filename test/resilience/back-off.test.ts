import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BackOff, parsePushback } from '../../src/resilience/index.ts';

test('the n-th wait is random below base times 2^(n-1), and never above the longest', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 10_000, noNaN: true }),
      fc.double({ min: 0.1, max: 60_000, noNaN: true }),
      fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 60 }),
      (baseIntervalMs, maxIntervalMs, draws) => {
        let draw = 0;
        const backOff = new BackOff({ baseIntervalMs, maxIntervalMs }, () => draws[draw++] as number);
        draws.forEach((random, i) => {
          const boundMs = Math.min(maxIntervalMs, baseIntervalMs * 2 ** i);
          const waitMs = backOff.nextMs();
          assert.ok(waitMs >= 0 && waitMs < boundMs);
          assert.ok(Math.abs(waitMs - random * boundMs) <= 1e-9 * boundMs);
        });
      },
    ),
  );
});

test('after a reset the waits start at the base again', () => {
  const backOff = new BackOff({ baseIntervalMs: 100, maxIntervalMs: 1_000 }, () => 0.5);
  const waits = [backOff.nextMs(), backOff.nextMs(), backOff.nextMs()];
  backOff.reset();
  waits.push(backOff.nextMs());
  assert.deepEqual(waits, [50, 100, 200, 50]);
});

test('a pushback is a whole number of milliseconds, and anything else means no retry', () => {
  for (const [text, ms] of [
    ['0', 0],
    ['250', 250],
    ['3600000', 3_600_000],
  ] as const)
    assert.equal(parsePushback(text), ms);
  for (const text of ['', '-1', '-0', '1.5', '+5', ' 5', '5ms', 'no', '1e3', '99999999999', 'NaN'])
    assert.equal(parsePushback(text), -1, text);
});
