import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AttemptOutcome,
  ConcurrencyLimits,
  defaultThresholds,
  type HedgeCircumstances,
  HedgeMachine,
  type HedgePolicyOptions,
  parseRetryOn,
  RetryBudget,
  RetryMachine,
  type RetryPolicyOptions,
  statusBits,
} from '../../src/resilience/index.ts';

const unavailable: AttemptOutcome = { kind: 'grpc', status: 14 };
const retryOn = (words: string): RetryPolicyOptions => ({
  conditions: parseRetryOn(words).conditions,
  numRetries: 3,
  perTryTimeoutMs: 0,
  baseIntervalMs: 100,
  maxIntervalMs: 1_000,
  retriableStatusCodes: [],
  maxElapsedMs: 2_000,
});

const given = (written: Partial<HedgePolicyOptions>, retry?: RetryPolicyOptions, chance = 0.5) => {
  const budget = new RetryBudget();
  const limits = new ConcurrencyLimits({ ...defaultThresholds, maxRetries: 100 });
  const context = { budget, limits, random: () => chance };
  const machine = new RetryMachine(retry, true, context);
  const policy: HedgePolicyOptions = {
    initialRequests: 1,
    additionalRequestChance: 0,
    maxAttempts: 3,
    hedgingDelayMs: 50,
    nonFatalStatuses: undefined,
    onPerTryTimeout: false,
    ...written,
  };
  const hedge = new HedgeMachine(policy, retry, machine, context);
  const begins = (now: Partial<HedgeCircumstances> = {}): boolean =>
    hedge.tryBegin({ nowMs: 0, startMs: 0, dueMs: Number.POSITIVE_INFINITY, committed: false, breakerOpen: false, ...now });
  return { hedge, machine, budget, limits, begins };
};

test('attempts begin up to max_attempts, the first one included, and each counts as a retry', () => {
  const { begins, budget, hedge, limits, machine } = given({});
  assert.deepEqual([begins(), begins(), begins()], [true, true, false]);
  assert.equal(machine.previousAttempts, 2);
  assert.deepEqual([budget.retrying, limits.retries.active], [2, 2]);
  hedge.attemptEnded();
  assert.deepEqual([budget.retrying, limits.retries.active], [1, 1]);
  hedge.finish();
  hedge.finish();
  assert.deepEqual([budget.retrying, limits.retries.active], [0, 0]);
});

test('the end of the first attempt, which holds no room, takes none from the others', () => {
  const { budget, hedge } = given({});
  hedge.attemptEnded();
  hedge.attemptEnded();
  assert.equal(budget.retrying, 0);
});

test('no attempt begins where the call is committed, the breaker open, the time over or the budget used up', () => {
  const { begins, budget, limits } = given({ maxAttempts: 5 }, retryOn('unavailable'));
  assert.equal(begins({ committed: true }), false);
  assert.equal(begins({ breakerOpen: true }), false);
  assert.equal(begins({ nowMs: 10, dueMs: 10 }), false);
  assert.equal(begins({ nowMs: 2_000 }), false, 'max_elapsed');
  for (let i = 0; i < 3; i++) assert.equal(budget.tryAcquire(), true);
  assert.equal(begins(), false);
  assert.equal(limits.retries.active, 0, 'what was taken for it went back');
  budget.release();
  assert.equal(begins(), true);
});

test('initial_requests, the chance of one more, and a delay of nothing say what begins at once', () => {
  assert.equal(given({}).hedge.atOnce(), 0);
  assert.equal(given({ initialRequests: 2 }).hedge.atOnce(), 1);
  assert.equal(given({ hedgingDelayMs: 0 }).hedge.atOnce(), 2);
  assert.equal(given({ additionalRequestChance: 0.6 }).hedge.atOnce(), 1);
  assert.equal(given({ additionalRequestChance: 0.5 }).hedge.atOnce(), 0);
  assert.equal(given({ initialRequests: 2, maxAttempts: 2, additionalRequestChance: 1 }).hedge.atOnce(), 1);
});

test('a status that is not fatal lets the next attempt begin at once, any other ends the call', () => {
  const { hedge, begins } = given({ nonFatalStatuses: statusBits([14]) });
  assert.deepEqual(hedge.onFailure(unavailable, 14, true, undefined), { kind: 'hedge', delayMs: 0 });
  assert.deepEqual(hedge.onFailure({ kind: 'grpc', status: 5 }, 5, true, undefined), { kind: 'fatal' });
  assert.deepEqual(hedge.onFailure({ kind: 'refused_here' }, 14, true, undefined), { kind: 'fatal' });
  begins();
  begins();
  assert.deepEqual(hedge.onFailure(unavailable, 14, true, undefined), { kind: 'wait' });
});

test('what was provably never processed is never fatal; without a list the retry policy says what is not', () => {
  const { hedge } = given({ nonFatalStatuses: 0 });
  assert.deepEqual(hedge.onFailure({ kind: 'connect_failure' }, 14, true, undefined), { kind: 'hedge', delayMs: 0 });
  const byPolicy = given({}, retryOn('unavailable')).hedge;
  assert.equal(byPolicy.onFailure(unavailable, 14, true, undefined).kind, 'hedge');
  assert.equal(byPolicy.onFailure({ kind: 'grpc', status: 13 }, 13, true, undefined).kind, 'fatal');
  assert.equal(given({}).hedge.onFailure(unavailable, 14, true, undefined).kind, 'fatal');
});

test('pushback delays the next attempt, or forbids all', () => {
  const { hedge } = given({ nonFatalStatuses: statusBits([14]) });
  assert.deepEqual(hedge.onFailure(unavailable, 14, true, '700'), { kind: 'hedge', delayMs: 700 });
  assert.deepEqual(hedge.onFailure(unavailable, 14, true, '-1'), { kind: 'wait' });
  assert.equal(hedge.mayGoOn, false);
  const never = given({ nonFatalStatuses: statusBits([14]) });
  assert.deepEqual(never.hedge.onFailure(unavailable, 14, true, 'soon'), { kind: 'wait' });
  assert.equal(never.begins(), false);
});
