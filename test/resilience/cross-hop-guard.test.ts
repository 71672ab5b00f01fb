import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CrossHopGuard, exhaustsRetries } from '../../src/resilience/index.ts';

test('an inbound call whose outbound call failed after retries must not be tried again', () => {
  const guard = new CrossHopGuard();
  guard.outboundFailed('a', 120);
  assert.equal(guard.forbidsRetry('a', 100, 130), true);
  assert.equal(guard.forbidsRetry('b', 100, 130), false, 'another trace has nothing to do with it');
});

test('a failure from before the inbound call began is not its own', () => {
  const guard = new CrossHopGuard();
  guard.outboundFailed('a', 120);
  assert.equal(guard.forbidsRetry('a', 121, 130), false, 'this is the retry of somebody above, and may be retried for what fails in it');
  guard.outboundFailed('a', 125);
  assert.equal(guard.forbidsRetry('a', 121, 130), true);
});

test('failures are forgotten after their time', () => {
  const guard = new CrossHopGuard({ maxTraces: 10, rememberMs: 1_000 });
  guard.outboundFailed('a', 0);
  assert.equal(guard.forbidsRetry('a', 0, 1_000), true);
  assert.equal(guard.forbidsRetry('a', 0, 1_001), false);
  guard.outboundFailed('b', 1_001);
  assert.equal(guard.size, 1, 'what is too old makes room with the next failure');
});

test('the oldest failure makes room, and one that fails again is young', () => {
  const guard = new CrossHopGuard({ maxTraces: 2, rememberMs: 1_000 });
  guard.outboundFailed('a', 1);
  guard.outboundFailed('b', 2);
  guard.outboundFailed('a', 3);
  guard.outboundFailed('c', 4);
  assert.deepEqual(
    ['a', 'b', 'c'].map((trace) => guard.forbidsRetry(trace, 0, 5)),
    [true, false, true],
  );
});

test('whatever callers choose as trace ids, no more is remembered than may be', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), fc.nat(500)), { maxLength: 200 }), (failures) => {
      const guard = new CrossHopGuard({ maxTraces: 8, rememberMs: 2_000 });
      let nowMs = 0;
      for (const [traceId, afterMs] of failures) {
        nowMs += afterMs;
        guard.outboundFailed(traceId, nowMs);
        assert.ok(guard.size <= 8);
        assert.ok(guard.forbidsRetry(traceId, nowMs, nowMs));
      }
    }),
  );
});

test('a call tells those above where retries were spent on it, here or below, or where none is let through any more', () => {
  const told = (why: Parameters<typeof exhaustsRetries>[0], retries: number) => exhaustsRetries(why, retries);
  for (const why of ['not_retriable', 'committed', 'deadline'] as const) {
    assert.equal(told(why, 0), false, why);
    assert.equal(told(why, 1), true, why);
  }
  for (const why of ['pushback', 'overflow', 'circuit_open'] as const) assert.equal(told(why, 0), true, why);
});
