import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConcurrencyLimits, defaultThresholds, RetryBudget, RetryMachine, RetryThrottle, statusBits } from '../../src/resilience/index.ts';

test('retries are allowed while more than half of the tokens are left', () => {
  const throttle = new RetryThrottle({ maxTokens: 4, tokenRatio: 0.5 });
  assert.equal(throttle.allows, true);
  throttle.failed();
  assert.equal(throttle.allows, true);
  throttle.failed();
  assert.equal(throttle.allows, false, 'exactly half is not more');
  throttle.succeeded();
  assert.deepEqual([throttle.tokens, throttle.allows], [2.5, true]);
  for (let i = 0; i < 100; i++) throttle.succeeded();
  assert.equal(throttle.tokens, 4);
  for (let i = 0; i < 100; i++) throttle.failed();
  assert.equal(throttle.tokens, 0);
});

test('gRPC’s statuses are retried by number, its back-off grows by its multiplier, and its tokens end it', () => {
  const throttle = new RetryThrottle({ maxTokens: 8, tokenRatio: 0.1 });
  const context = { budget: new RetryBudget(), limits: new ConcurrencyLimits(defaultThresholds), random: () => 0.5, throttle };
  const policy = {
    conditions: 0,
    numRetries: 10,
    perTryTimeoutMs: 0,
    baseIntervalMs: 100,
    maxIntervalMs: 2_000,
    multiplier: 4,
    retriableStatusCodes: [],
    retriableGrpcStatuses: statusBits([10]),
  };
  const machine = new RetryMachine(policy, undefined, context);
  const after = (status: number): string => {
    const now = { nowMs: 0, dueMs: Number.POSITIVE_INFINITY, committed: false, untriedEndpoints: 0, breakerOpen: false };
    const decision = machine.decide({ kind: 'grpc', status }, now);
    return decision.kind === 'retry' ? `${decision.delayMs}` : decision.why;
  };
  assert.deepEqual([after(10), after(10), after(10), after(10)], ['50', '200', '800', 'throttled']);
  assert.equal(after(5), 'not_retriable');
  assert.equal(throttle.tokens, 4, 'what would not be tried again takes none');
});
