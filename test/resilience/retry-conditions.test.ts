import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type AttemptOutcome,
  isRetriable,
  parseRetryOn,
  provablyUnprocessed,
  RetryOn,
  type RetryPolicyOptions,
  retryOnWords,
} from '../../src/resilience/index.ts';

const policyOn = (text: string, retriableStatusCodes: readonly number[] = []): RetryPolicyOptions => ({
  conditions: parseRetryOn(text).conditions,
  numRetries: 1,
  perTryTimeoutMs: 0,
  baseIntervalMs: 25,
  maxIntervalMs: 250,
  retriableStatusCodes,
});

const outcomes = {
  grpcCancelled: { kind: 'grpc', status: 1 },
  grpcUnknown: { kind: 'grpc', status: 2 },
  grpcDeadline: { kind: 'grpc', status: 4 },
  grpcNotFound: { kind: 'grpc', status: 5 },
  grpcExhausted: { kind: 'grpc', status: 8 },
  grpcInternal: { kind: 'grpc', status: 13 },
  grpcUnavailable: { kind: 'grpc', status: 14 },
  http404: { kind: 'http', httpStatus: 404 },
  http409: { kind: 'http', httpStatus: 409 },
  http500: { kind: 'http', httpStatus: 500 },
  http502: { kind: 'http', httpStatus: 502 },
  http503: { kind: 'http', httpStatus: 503 },
  http504: { kind: 'http', httpStatus: 504 },
  http505: { kind: 'http', httpStatus: 505 },
  rateLimited: { kind: 'http', httpStatus: 503, rateLimited: true },
  header: { kind: 'http', httpStatus: 404, retriableHeader: true },
  resetAfter: { kind: 'reset', code: 2, unprocessed: false, requestSent: true },
  resetBefore: { kind: 'reset', code: 2, unprocessed: false, requestSent: false },
  refused: { kind: 'reset', code: 7, unprocessed: false, requestSent: true },
  goAway: { kind: 'reset', code: 0, unprocessed: true, requestSent: true },
  connect: { kind: 'connect_failure' },
  perTry: { kind: 'per_try_timeout', requestSent: true },
  perTryBefore: { kind: 'per_try_timeout', requestSent: false },
  refusedHere: { kind: 'refused_here' },
} satisfies Record<string, AttemptOutcome>;
type Name = keyof typeof outcomes;
const names = Object.keys(outcomes) as Name[];

const noAnswer: readonly Name[] = ['resetAfter', 'resetBefore', 'refused', 'goAway', 'connect', 'perTry', 'perTryBefore'];
const unprocessed: readonly Name[] = ['resetBefore', 'refused', 'goAway', 'connect', 'perTryBefore'];

/** What Envoy retries for each word; one more line for what is said of `deadline-exceeded` beside its definition. */
const table: Readonly<Record<string, readonly Name[]>> = {
  '5xx': ['http500', 'http502', 'http503', 'http504', 'http505', ...noAnswer],
  'gateway-error': ['http502', 'http503', 'http504', ...noAnswer],
  reset: noAnswer,
  'reset-before-request': ['resetBefore', 'connect', 'perTryBefore'],
  'connect-failure': ['connect'],
  'refused-stream': ['refused', 'goAway'],
  'retriable-4xx': ['http409'],
  'retriable-status-codes': ['http404'],
  'retriable-headers': ['header'],
  'envoy-ratelimited': ['rateLimited'],
  cancelled: ['grpcCancelled'],
  'deadline-exceeded': ['grpcDeadline', 'perTry', 'perTryBefore'],
  internal: ['grpcInternal'],
  'resource-exhausted': ['grpcExhausted'],
  unavailable: ['grpcUnavailable'],
};

const retried = (policy: RetryPolicyOptions | undefined, idempotent?: boolean): Set<Name> =>
  new Set(names.filter((name) => isRetriable(outcomes[name], policy, idempotent)));

test('each word retries what Envoy retries for it, and nothing else', () => {
  assert.deepEqual(Object.keys(table).sort(), Object.keys(retryOnWords).sort());
  for (const [word, expected] of Object.entries(table)) {
    const codes = word === 'retriable-status-codes' ? [404] : [];
    // The answer with a header carries status 404 as well.
    const also: readonly Name[] = word === 'retriable-status-codes' ? ['header'] : [];
    assert.deepEqual(retried(policyOn(word, codes)), new Set(names.filter((name) => expected.includes(name) || also.includes(name))), word);
  }
});

test('5xx does not see gRPC statuses, and unavailable does not see HTTP', () => {
  assert.equal(isRetriable(outcomes.grpcUnavailable, policyOn('5xx,gateway-error'), true), false);
  assert.equal(isRetriable(outcomes.http503, policyOn('unavailable'), true), false);
});

test('words add up, whatever their order', () => {
  const anyWords = fc.subarray(Object.keys(retryOnWords));
  fc.assert(
    fc.property(anyWords, (words) => {
      const union = new Set(words.flatMap((word) => [...retried(policyOn(word, [404]))]));
      assert.deepEqual(retried(policyOn([...words].reverse().join(' , '), [404])), new Set(names.filter((name) => union.has(name))));
    }),
  );
});

test('without a policy only what the server provably never processed is tried again', () => {
  assert.deepEqual(retried(undefined), new Set(unprocessed));
  assert.deepEqual(retried(undefined, true), new Set(unprocessed));
  for (const name of names) assert.equal(provablyUnprocessed(outcomes[name]), unprocessed.includes(name), name);
});

test('idempotent: false narrows any policy to what the server provably never processed', () => {
  const everything = policyOn(Object.keys(retryOnWords).join(','), [404]);
  assert.deepEqual(retried(everything, false), new Set(unprocessed));
  assert.deepEqual(retried(policyOn('unavailable,connect-failure'), false), new Set<Name>(['connect']));
});

test('what Outrider itself refused is never tried again', () => {
  assert.equal(isRetriable(outcomes.refusedHere, policyOn(Object.keys(retryOnWords).join(',')), true), false);
});

test('unknown words are handed back in their order, known ones count all the same', () => {
  const { conditions, unknown } = parseRetryOn('unavailable, conect-failure,,reset,5XX,toString');
  assert.equal(conditions, RetryOn.UNAVAILABLE | RetryOn.RESET);
  assert.deepEqual(unknown, ['conect-failure', '5XX', 'toString']);
  assert.deepEqual(parseRetryOn(''), { conditions: 0, unknown: [] });
});
