import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../src/policy/index.ts';
import { statusBits } from '../../src/resilience/index.ts';
import { problemsOf, tableOf } from './policy-harness.ts';

/** A file with one route around further keys of its action, on line 5 from column 36. */
const withAction = (keys: string): string =>
  `routes:\n  - name: r\n    match: { prefix: / }\n    route:\n      { cluster: c, timeout: 2s, ${keys} }\nclusters: { c: { endpoints: ["h:1"] } }\n`;

const routeOf = (keys: string): Route => tableOf(withAction(keys)).outbound.routes[0] ?? assert.fail();

test('what a retry policy has beside the machine’s own options is read, and left out where it is not written', () => {
  const { retry } = routeOf(
    'idempotent: true, retry_policy: { retry_on: "unavailable,retriable-headers", per_try_idle_timeout: 500ms, max_elapsed: 1s, retriable_headers: [{ name: X-Retry, present_match: true }], retriable_request_headers: [{ name: x-safe, exact_match: "1" }], rate_limited_retry_back_off: { reset_headers: [{ name: Retry-After }, { name: x-reset, format: UNIX_TIMESTAMP }], max_interval: 9s }, retry_host_predicate: [{ name: envoy.retry_host_predicates.previous_hosts, typed_config: { "@type": type.googleapis.com/x } }], host_selection_retry_max_attempts: 5 }',
  );
  assert.deepEqual([retry?.perTryIdleTimeoutMs, retry?.maxElapsedMs], [500, 1_000]);
  assert.deepEqual([retry?.retriableHeaders?.[0]?.name, retry?.retriableHeaders?.[0]?.matches('')], ['x-retry', true]);
  assert.deepEqual([retry?.retriableRequestHeaders?.[0]?.matches('1'), retry?.retriableRequestHeaders?.[0]?.matches('2')], [true, false]);
  assert.deepEqual(retry?.rateLimitedBackOff, {
    resetHeaders: [
      { name: 'retry-after', unixTimestamp: false },
      { name: 'x-reset', unixTimestamp: true },
    ],
    maxIntervalMs: 9_000,
  });
  assert.deepEqual(Object.keys(routeOf('retry_policy: { retry_on: connect-failure }').retry ?? {}), [
    'conditions',
    'numRetries',
    'perTryTimeoutMs',
    'baseIntervalMs',
    'maxIntervalMs',
    'retriableStatusCodes',
  ]);
});

test('a hedge policy means what Envoy and gRPC mean', () => {
  assert.equal(routeOf('idempotent: true').hedge, undefined);
  assert.deepEqual(
    routeOf('idempotent: true, hedge_policy: { max_attempts: 4, hedging_delay: 50ms, non_fatal_status_codes: [UNAVAILABLE, internal] }')
      .hedge,
    {
      initialRequests: 1,
      additionalRequestChance: 0,
      maxAttempts: 4,
      hedgingDelayMs: 50,
      nonFatalStatuses: statusBits([14, 13]),
      onPerTryTimeout: false,
    },
  );
  const { hedge } = routeOf(
    'idempotent: true, retry_policy: { retry_on: unavailable, num_retries: 2, per_try_timeout: 1s }, hedge_policy: { hedge_on_per_try_timeout: true }',
  );
  assert.deepEqual([hedge?.maxAttempts, hedge?.hedgingDelayMs, hedge?.onPerTryTimeout], [3, Number.POSITIVE_INFINITY, true]);
  const chance = routeOf(
    'idempotent: true, hedge_policy: { initial_requests: 2, additional_request_chance: { numerator: 5, denominator: TEN_THOUSAND } }',
  );
  assert.deepEqual([chance.hedge?.initialRequests, chance.hedge?.additionalRequestChance, chance.hedge?.maxAttempts], [2, 0.0005, 3]);
  const percent = routeOf('idempotent: true, hedge_policy: { additional_request_chance: 5 }');
  assert.deepEqual([percent.hedge?.additionalRequestChance, percent.hedge?.maxAttempts], [0.05, 2]);
});

for (const [what, keys, expected] of [
  [
    'a per-try timeout above the route’s',
    'idempotent: true, retry_policy: { retry_on: reset, per_try_timeout: 3s }',
    'p.yaml:5:85: warning: routes[0].route.retry_policy.per_try_timeout: is longer than the timeout of the route, and never passes; write a shorter per_try_timeout',
  ],
  [
    'a silence above the route’s timeout',
    'idempotent: true, retry_policy: { retry_on: reset, per_try_idle_timeout: 3s }',
    'p.yaml:5:85: warning: routes[0].route.retry_policy.per_try_idle_timeout: is longer than the timeout of the route, and never passes; write a shorter per_try_idle_timeout',
  ],
  [
    'a limit of all attempts above the route’s timeout',
    'idempotent: true, retry_policy: { retry_on: reset, max_elapsed: 3s }',
    'p.yaml:5:85: warning: routes[0].route.retry_policy.max_elapsed: is longer than the timeout of the route, and never passes; write a shorter max_elapsed',
  ],
  [
    'retries after sending, and nothing said of idempotency',
    'retry_policy: { retry_on: unavailable }',
    'p.yaml:5:60: warning: routes[0].route.retry_policy.retry_on: retries calls that the service may have processed already, and idempotent is left out; write idempotent: true on the route if its calls may be processed twice, or idempotent: false',
  ],
  [
    'retries after sending that idempotent: false forbids',
    'idempotent: false, retry_policy: { retry_on: unavailable }',
    'p.yaml:5:79: warning: routes[0].route.retry_policy.retry_on: unavailable retries nothing beside idempotent: false; remove it, or write idempotent: true if its calls may be processed twice',
  ],
  [
    'retriable-headers without any',
    'idempotent: true, retry_policy: { retry_on: retriable-headers }',
    'p.yaml:5:78: warning: routes[0].route.retry_policy.retry_on: retriable-headers retries nothing: there are none; write retriable_headers: [{ name: x-retry }]',
  ],
  [
    'hedging of calls that may not be processed twice',
    'hedge_policy: { max_attempts: 2, hedging_delay: 1s }',
    'p.yaml:5:48: routes[0].route.hedge_policy: sends a call several times, and the route does not say that its calls may be processed twice; write idempotent: true on the route, or remove hedge_policy',
  ],
  [
    'hedging of nothing',
    'idempotent: true, hedge_policy: {}',
    'p.yaml:5:66: warning: routes[0].route.hedge_policy: hedges nothing; write max_attempts and hedging_delay, or hedge_on_per_try_timeout: true',
  ],
  [
    'hedging on a timeout that does not exist',
    'idempotent: true, hedge_policy: { hedge_on_per_try_timeout: true }',
    'p.yaml:5:68: warning: routes[0].route.hedge_policy.hedge_on_per_try_timeout: has no effect without a retry_policy that has per_try_timeout and num_retries; write them',
  ],
  [
    'fewer attempts than begin at once',
    'idempotent: true, hedge_policy: { initial_requests: 3, max_attempts: 2 }',
    'p.yaml:5:89: routes[0].route.hedge_policy.max_attempts: is less than initial_requests; write a larger max_attempts, or fewer initial_requests',
  ],
  [
    'a chance above always',
    'idempotent: true, hedge_policy: { additional_request_chance: { numerator: 101 } }',
    'p.yaml:5:68: routes[0].route.hedge_policy.additional_request_chance: is more than always; write a numerator up to the denominator',
  ],
  [
    'attempts that never begin',
    'idempotent: true, hedge_policy: { max_attempts: 3 }',
    'p.yaml:5:68: warning: routes[0].route.hedge_policy.max_attempts: has no effect: nothing says when attempts begin; write hedging_delay',
  ],
  [
    'another host predicate',
    'idempotent: true, retry_policy: { retry_on: reset, retry_host_predicate: [{ name: envoy.retry_host_predicates.omit_canary_hosts }] }',
    'p.yaml:5:116: routes[0].route.retry_policy.retry_host_predicate[0].name: is "envoy.retry_host_predicates.omit_canary_hosts"; did you mean envoy.retry_host_predicates.previous_hosts?',
  ],
] as const) {
  test(`${what} is told with place and remedy`, () => {
    assert.deepEqual(problemsOf(withAction(keys)), [expected]);
  });
}

test('retries that a budget of nothing never lets through are told', () => {
  const text = `routes:
  - name: r
    match: { prefix: / }
    route: { cluster: c, timeout: 2s, idempotent: true, retry_policy: { retry_on: unavailable } }
clusters:
  c:
    endpoints: ["h:1"]
    circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 0 } }] }
`;
  assert.deepEqual(problemsOf(text), [
    'p.yaml:4:83: warning: routes[0].route.retry_policy.retry_on: retries nothing: the retry budget of cluster "c" lets none through; write a budget_percent or min_retry_concurrency above 0, or remove retry_policy',
  ]);
  assert.deepEqual(problemsOf(text.replace('min_retry_concurrency: 0', 'min_retry_concurrency: 1')), []);
});
