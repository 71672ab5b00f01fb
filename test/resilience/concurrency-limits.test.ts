import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConcurrencyLimit, ConcurrencyLimits, defaultThresholds } from '../../src/resilience/index.ts';

test('where nobody wrote thresholds, Envoy’s are in force and a retry budget stands for its three retries', () => {
  const limits = new ConcurrencyLimits();
  assert.deepEqual(
    [limits.connections.max, limits.pending.max, limits.requests.max, limits.retries.max],
    [1_024, 1_024, 1_024, Number.POSITIVE_INFINITY],
  );
});

test('a threshold lets in as many as it says, counts the others, and says when it is open', () => {
  const limit = new ConcurrencyLimit(2);
  assert.deepEqual([limit.tryEnter(), limit.tryEnter(), limit.tryEnter()], [true, true, false]);
  assert.deepEqual([limit.active, limit.remaining, limit.open, limit.overflowTotal], [2, 0, true, 1]);
  limit.leave();
  assert.deepEqual([limit.active, limit.remaining, limit.open], [1, 1, false]);
});

test('a threshold of zero lets nothing in', () => {
  const limit = new ConcurrencyLimit(0);
  assert.deepEqual([limit.open, limit.tryEnter(), limit.overflowTotal], [true, false, 1]);
});

test('active calls and waiting ones overflow apart', () => {
  const limits = new ConcurrencyLimits({ ...defaultThresholds, maxRequests: 0, maxPendingRequests: 0 });
  limits.requests.tryEnter();
  limits.requests.tryEnter();
  limits.pending.tryEnter();
  assert.deepEqual([limits.requests.overflowTotal, limits.pending.overflowTotal], [2, 1]);
});

test('a reload changes the thresholds and keeps what is counted', () => {
  const limits = new ConcurrencyLimits({ ...defaultThresholds, maxRequests: 5 });
  for (let i = 0; i < 6; i++) limits.requests.tryEnter();
  limits.update({ ...defaultThresholds, maxRequests: 3, trackRemaining: true });
  assert.deepEqual(
    [limits.requests.active, limits.requests.remaining, limits.requests.open, limits.requests.overflowTotal],
    [5, 0, true, 1],
  );
  assert.equal(limits.trackRemaining, true);
  for (let i = 0; i < 3; i++) limits.requests.leave();
  assert.equal(limits.requests.tryEnter(), true);
});

test('whatever happens, nothing enters beyond the threshold of the moment', () => {
  const step = fc.oneof(fc.constant('enter' as const), fc.constant('leave' as const), fc.nat(10));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const limit = new ConcurrencyLimit(5);
      let active = 0;
      for (const s of steps) {
        if (typeof s === 'number') limit.max = s;
        else if (s === 'leave' && active > 0) {
          limit.leave();
          active--;
        } else if (s === 'enter') {
          const room = active < limit.max;
          assert.equal(limit.tryEnter(), room);
          if (room) active++;
        }
        assert.equal(limit.active, active);
        assert.equal(limit.open, active >= limit.max);
      }
    }),
  );
});
