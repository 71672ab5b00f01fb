import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attemptDueMs, callDueMs, deadlineReason, noDeadline, remainingMs } from '../../src/resilience/index.ts';

test('the smaller limit ends the call and is named, the caller on a tie', () => {
  assert.deepEqual([callDueMs(100, 50, 80), deadlineReason(50, 80)], [150, 'caller_deadline']);
  assert.deepEqual([callDueMs(100, 80, 50), deadlineReason(80, 50)], [150, 'route_timeout']);
  assert.deepEqual([callDueMs(100, 50, 50), deadlineReason(50, 50)], [150, 'caller_deadline']);
});

test('a route without timeout adds none, and a call without any limit has none', () => {
  assert.deepEqual([callDueMs(100, 50, 0), deadlineReason(50, 0)], [150, 'caller_deadline']);
  assert.deepEqual([callDueMs(100, noDeadline, 50), deadlineReason(noDeadline, 50)], [150, 'route_timeout']);
  assert.equal(callDueMs(100, noDeadline, 0), noDeadline);
});

test('over any number of attempts no attempt outlives the call, and what remains only shrinks', () => {
  const anyMs = fc.integer({ min: 1, max: 100_000 });
  fc.assert(
    fc.property(
      anyMs,
      anyMs,
      fc.integer({ min: 0, max: 10_000 }),
      fc.array(anyMs, { maxLength: 10 }),
      (callerMs, routeMs, perTryMs, spent) => {
        const dueMs = callDueMs(0, callerMs, routeMs);
        let nowMs = 0;
        let left = remainingMs(dueMs, nowMs);
        assert.equal(left, Math.min(callerMs, routeMs));
        for (const ms of spent) {
          assert.ok(attemptDueMs(nowMs, dueMs, perTryMs) <= dueMs);
          nowMs += ms;
          assert.ok(remainingMs(dueMs, nowMs) < left);
          left = remainingMs(dueMs, nowMs);
        }
      },
    ),
  );
});
