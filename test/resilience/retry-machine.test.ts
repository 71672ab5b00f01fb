import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type AttemptOutcome,
  ConcurrencyLimits,
  defaultThresholds,
  parseRetryOn,
  RetryBudget,
  type RetryCircumstances,
  RetryMachine,
  type RetryPolicyOptions,
  type ThresholdOptions,
} from '../../src/resilience/index.ts';

const unavailable: AttemptOutcome = { kind: 'grpc', status: 14 };
const notFound: AttemptOutcome = { kind: 'grpc', status: 5 };
const refused: AttemptOutcome = { kind: 'reset', code: 7, unprocessed: false, requestSent: true };
const neverSent: AttemptOutcome = { kind: 'reset', code: 0, unprocessed: false, requestSent: false };
const unseen: AttemptOutcome = { kind: 'grpc', status: 14, unprocessed: true };
const lost: AttemptOutcome = { kind: 'reset', code: 2, unprocessed: false, requestSent: true };
const connectFailure: AttemptOutcome = { kind: 'connect_failure' };

const policy = (retryOn: string, numRetries = 3): RetryPolicyOptions => ({
  conditions: parseRetryOn(retryOn).conditions,
  numRetries,
  perTryTimeoutMs: 0,
  baseIntervalMs: 100,
  maxIntervalMs: 1_000,
  retriableStatusCodes: [],
});

interface Given {
  readonly retryOn?: string;
  readonly numRetries?: number;
  readonly idempotent?: boolean;
  readonly maxElapsedMs?: number;
  readonly thresholds?: Partial<ThresholdOptions>;
}

const given = ({ retryOn, numRetries, idempotent, maxElapsedMs, thresholds }: Given = {}) => {
  const budget = new RetryBudget();
  const limits = new ConcurrencyLimits({ ...defaultThresholds, ...thresholds });
  const elapsed = maxElapsedMs === undefined ? {} : { maxElapsedMs };
  const machine = new RetryMachine(retryOn === undefined ? undefined : { ...policy(retryOn, numRetries), ...elapsed }, idempotent, {
    budget,
    limits,
    random: () => 0.5,
  });
  const after = (outcome: AttemptOutcome, now: Partial<RetryCircumstances> = {}): string => {
    const decision = machine.decide(outcome, {
      nowMs: 0,
      dueMs: Number.POSITIVE_INFINITY,
      committed: false,
      untriedEndpoints: 0,
      breakerOpen: false,
      ...now,
    });
    return decision.kind === 'retry' ? `${decision.via} in ${decision.delayMs}` : decision.why;
  };
  return { machine, budget, limits, after };
};

test('a policy retries as often as it says, with growing waits, and counts the attempts', () => {
  const { machine, after } = given({ retryOn: 'unavailable' });
  assert.equal(machine.previousAttempts, 0);
  assert.equal(after(unavailable), 'policy in 50');
  assert.equal(machine.previousAttempts, 1);
  assert.equal(after(unavailable), 'policy in 100');
  assert.equal(after(unavailable), 'policy in 200');
  assert.equal(machine.previousAttempts, 3);
  assert.equal(after(unavailable), 'retries_exhausted');
});

test('what the policy does not name is not retried', () => {
  assert.equal(given({ retryOn: 'unavailable' }).after(notFound), 'not_retriable');
  assert.equal(given({ retryOn: 'unavailable' }).after(lost), 'not_retriable');
});

test('without a policy a refused stream is tried again once, at once, and free of charge', () => {
  const { after, budget, machine } = given();
  assert.equal(after(refused), 'transparent in 0');
  assert.deepEqual([budget.retrying, machine.previousAttempts], [0, 0]);
  assert.equal(after(refused), 'not_retriable');
  assert.equal(given().after(lost), 'not_retriable');
  assert.equal(given().after(unavailable), 'not_retriable');
});

test('a call that connections leave out after they have served others goes on to the next one, thirty times and once more', () => {
  const { after, budget, machine } = given();
  const leftOut: AttemptOutcome = { kind: 'reset', code: 7, unprocessed: true, servedOthers: true, requestSent: true };
  for (let i = 0; i < 31; i++) assert.equal(after(leftOut), 'transparent in 0');
  assert.deepEqual([budget.retrying, machine.previousAttempts], [0, 0]);
  assert.equal(after(leftOut), 'not_retriable');
});

test('a refused stream is transparent once even where the policy names it, and counted from then on', () => {
  const { after } = given({ retryOn: 'refused-stream', numRetries: 1 });
  assert.deepEqual([after(refused), after(refused), after(refused)], ['transparent in 0', 'policy in 50', 'retries_exhausted']);
});

test('what never left the proxy goes to another endpoint while there is one, then it is up to the policy', () => {
  const { after, budget } = given({ retryOn: 'connect-failure', numRetries: 1 });
  assert.equal(after(connectFailure, { untriedEndpoints: 2 }), 'repick in 0');
  assert.equal(after(connectFailure, { untriedEndpoints: 1 }), 'repick in 0');
  assert.equal(after(connectFailure, { untriedEndpoints: 0 }), 'policy in 50');
  assert.equal(budget.retrying, 0);
  assert.equal(after(connectFailure), 'retries_exhausted');
  assert.equal(given().after(connectFailure), 'not_retriable');
});

test('a connection that was lost before anything was sent costs other endpoints first, then the transparent retry', () => {
  const { after } = given();
  assert.equal(after(neverSent, { untriedEndpoints: 1 }), 'repick in 0');
  assert.equal(after(neverSent), 'transparent in 0');
  assert.equal(after(neverSent), 'not_retriable');
});

test('a pushback is obeyed to the millisecond, after it the waits start anew', () => {
  const { after } = given({ retryOn: 'unavailable', numRetries: 5 });
  after(unavailable);
  after(unavailable);
  assert.equal(after(unavailable, { pushback: '777' }), 'policy in 777');
  assert.equal(after(unavailable), 'policy in 50');
});

test('a server that does not want to be asked again is not', () => {
  for (const pushback of ['-1', 'never', '']) assert.equal(given({ retryOn: 'unavailable' }).after(unavailable, { pushback }), 'pushback');
});

test('a pushback does not make retriable what is not', () => {
  assert.equal(given({ retryOn: 'unavailable' }).after(notFound, { pushback: '5' }), 'not_retriable');
});

test('a call that is committed, out of time, or whose breaker is open ends here, whatever it would be worth', () => {
  for (const outcome of [unavailable, refused, connectFailure]) {
    const now = { untriedEndpoints: 5 };
    assert.equal(given({ retryOn: 'unavailable' }).after(outcome, { ...now, committed: true }), 'committed');
    assert.equal(given({ retryOn: 'unavailable' }).after(outcome, { ...now, breakerOpen: true }), 'circuit_open');
    assert.equal(given({ retryOn: 'unavailable' }).after(outcome, { ...now, nowMs: 10, dueMs: 10 }), 'deadline');
  }
});

test('a wait that would outlast the deadline is not begun, so that the server’s own answer is what the caller sees', () => {
  const { after, budget } = given({ retryOn: 'unavailable' });
  assert.equal(after(unavailable, { nowMs: 0, dueMs: 50 }), 'deadline');
  assert.equal(given({ retryOn: 'unavailable' }).after(unavailable, { dueMs: 500, pushback: '500' }), 'deadline');
  assert.equal(budget.retrying, 0);
});

test('when the budget is used up no retry starts, and the overflow is counted', () => {
  const { after, budget, limits } = given({ retryOn: 'unavailable' });
  while (budget.tryAcquire());
  assert.equal(after(unavailable), 'overflow');
  assert.deepEqual([limits.retries.overflowTotal, limits.retries.active], [1, 0]);
});

test('max_retries counts where nobody wrote a budget, and is not looked at where somebody did', () => {
  const { retryBudget, ...withoutBudget } = defaultThresholds;
  const strict = new ConcurrencyLimits({ ...withoutBudget, maxRetries: 0 });
  const loose = new ConcurrencyLimits({ ...withoutBudget, maxRetries: 0, ...(retryBudget === undefined ? {} : { retryBudget }) });
  const decide = (limits: ConcurrencyLimits) =>
    new RetryMachine(policy('unavailable'), undefined, { budget: new RetryBudget(), limits, random: () => 0 }).decide(unavailable, {
      nowMs: 0,
      dueMs: 1_000,
      committed: false,
      untriedEndpoints: 0,
      breakerOpen: false,
    });
  assert.deepEqual(decide(strict), { kind: 'give_up', why: 'overflow' });
  assert.equal(strict.retries.overflowTotal, 1);
  assert.equal(decide(loose).kind, 'retry');
});

test('whatever happens to a call, its retries are bounded and what they held is given back', () => {
  const anyOutcome = fc.constantFrom(unavailable, notFound, refused, neverSent, lost, connectFailure);
  fc.assert(
    fc.property(
      fc.array(fc.record({ outcome: anyOutcome, untriedEndpoints: fc.nat(2), pushback: fc.constantFrom(undefined, '5', '-1') }), {
        maxLength: 40,
      }),
      fc.option(fc.constantFrom('unavailable', 'reset,connect-failure', '5xx,unavailable'), { nil: undefined }),
      fc.option(fc.boolean(), { nil: undefined }),
      fc.nat(4),
      (steps, retryOn, idempotent, numRetries) => {
        const { machine, budget, limits } = given({
          numRetries,
          ...(retryOn === undefined ? {} : { retryOn }),
          ...(idempotent === undefined ? {} : { idempotent }),
        });
        let counted = 0;
        let transparent = 0;
        for (const { outcome, untriedEndpoints, pushback } of steps) {
          const decision = machine.decide(outcome, {
            nowMs: 0,
            dueMs: 1e9,
            committed: false,
            untriedEndpoints,
            breakerOpen: false,
            pushback,
          });
          assert.ok(budget.retrying <= 1 && limits.retries.active === budget.retrying);
          if (decision.kind === 'give_up') break;
          if (decision.via === 'policy') counted++;
          if (decision.via === 'transparent') transparent++;
          if (idempotent === false || retryOn === undefined) assert.notEqual(outcome, unavailable);
          assert.ok(counted <= (retryOn === undefined ? 0 : numRetries) && transparent <= 1);
          assert.equal(machine.previousAttempts, counted);
        }
        machine.finish();
        machine.finish();
        assert.deepEqual([budget.retrying, limits.retries.active], [0, 0]);
      },
    ),
  );
});

test('no attempt begins max_elapsed after the call, waits included, also none that is free', () => {
  const { after } = given({ retryOn: 'unavailable', maxElapsedMs: 1_000 });
  assert.equal(after(unavailable, { startMs: 5_000, nowMs: 5_940 }), 'policy in 50');
  assert.equal(after(unavailable, { startMs: 5_000, nowMs: 5_940 }), 'max_elapsed', 'the wait would be 100 ms');
  assert.equal(after(connectFailure, { startMs: 5_000, nowMs: 6_000, untriedEndpoints: 3 }), 'max_elapsed');
  assert.equal(after(connectFailure, { startMs: 5_000, nowMs: 5_999, untriedEndpoints: 3 }), 'repick in 0');
});

test('a wait that the rate limit names is waited for, and half as long again at most; pushback says more', () => {
  const { after } = given({ retryOn: 'envoy-ratelimited' });
  const limited: AttemptOutcome = { kind: 'grpc', status: 14, rateLimited: true };
  assert.equal(after(limited, { rateLimitedMs: 2_000 }), 'policy in 2500');
  assert.equal(after(limited, { rateLimitedMs: 2_000, pushback: '7' }), 'policy in 7');
  assert.equal(after(limited), 'policy in 50', 'and back-off begins at its base');
});

test('what a sidecar could not hand to its service goes elsewhere: once free, twice more from the budget, and never to the same place', () => {
  const { after, machine, budget } = given();
  assert.equal(after(unseen, { untriedEndpoints: 5 }), 'transparent in 0');
  assert.equal(budget.retrying, 0);
  assert.equal(after(unseen, { untriedEndpoints: 4 }), 'transparent in 0');
  assert.equal(budget.retrying, 1);
  assert.equal(after(unseen, { untriedEndpoints: 3 }), 'transparent in 0');
  assert.equal(after(unseen, { untriedEndpoints: 2 }), 'not_retriable');
  assert.equal(machine.previousAttempts, 0);
  machine.finish();
  assert.equal(budget.retrying, 0);
  assert.equal(given().after(unseen), 'not_retriable');
  assert.equal(given().after(unseen, { untriedEndpoints: 1, pushback: '-1' }), 'not_retriable');
  assert.equal(given().after(unseen, { untriedEndpoints: 1, breakerOpen: true }), 'circuit_open');
  assert.equal(given({ retryOn: 'unavailable', idempotent: false }).after(unseen), 'policy in 50');
});

test('of calls that go elsewhere a second time the budget lets through what it lets through of retries', () => {
  const { after, budget } = given();
  while (budget.tryAcquire()) {}
  assert.equal(after(unseen, { untriedEndpoints: 5 }), 'transparent in 0');
  assert.equal(after(unseen, { untriedEndpoints: 4 }), 'not_retriable');
  assert.equal(budget.retrying, budget.limit);
});
