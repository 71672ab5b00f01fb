import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, tableOf } from './policy-harness.ts';

/** One route to one cluster; keys of the route's action from line 3 on, of the cluster in line 5. */
const file = (action: string, cluster = '', top = ''): string => `routes:
  - match: { prefix: / }
    route: { ${action} }
clusters:
  c: { endpoints: ["10.0.0.1:1", "10.0.0.2:1"]${cluster === '' ? '' : `, ${cluster}`} }
${top}`;

// What an operator writes that contradicts itself: each with its place and what to write instead.
for (const [what, text, problem] of [
  [
    'an attempt may take longer than the call',
    file('cluster: c, timeout: 1s, retry_policy: { retry_on: reset, per_try_timeout: 2s }, idempotent: true'),
    'p.yaml:3:72: warning: routes[0].route.retry_policy.per_try_timeout: is longer than the timeout of the route, and never passes; write a shorter per_try_timeout',
  ],
  [
    'the same by a retry policy that is inherited',
    file('cluster: c, timeout: 1s, idempotent: true', '', 'retry_policy: { retry_on: refused-stream, per_try_timeout: 2s }'),
    'p.yaml:3:26: warning: routes[0].route.timeout: is shorter than per_try_timeout of the retry_policy that it inherits, which never passes; write a retry_policy on the route, or a longer timeout',
  ],
  [
    'answers are slow only when their time is over',
    file('cluster: c, timeout: 1s', 'circuit_breakers: { slow_call_duration: 2s }'),
    'p.yaml:3:26: warning: routes[0].route.timeout: is 1s, and slow_call_duration of cluster "c" 2s: its calls end before they are slow; write a shorter slow_call_duration, or a longer timeout',
  ],
  [
    'the same for one of several clusters',
    file('weighted_clusters: [{ name: c, weight: 1 }], timeout: 1s', 'circuit_breakers: { slow_call_duration: 1s }'),
    'p.yaml:3:59: warning: routes[0].route.timeout: is 1s, and slow_call_duration of cluster "c" 1s: its calls end before they are slow; write a shorter slow_call_duration, or a longer timeout',
  ],
  [
    'calls may wait longer than they last',
    file('cluster: c, timeout: 1s', 'circuit_breakers: { thresholds: [{ max_pending_duration: 1s }] }'),
    'p.yaml:3:26: warning: routes[0].route.timeout: is 1s, and max_pending_duration of cluster "c" 1s: its calls end before they have waited for so long; write a shorter max_pending_duration, or a longer timeout',
  ],
  [
    'retries of what must not be done twice',
    file('cluster: c, timeout: 1s, idempotent: false, retry_policy: { retry_on: "unavailable,refused-stream" }'),
    undefined,
  ],
  [
    'retries without a budget',
    file(
      'cluster: c, timeout: 1s, idempotent: true, retry_policy: { retry_on: reset }',
      'circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: 0, min_retry_concurrency: 0 } }] }',
    ),
    'p.yaml:3:83: warning: routes[0].route.retry_policy.retry_on: retries nothing: the retry budget of cluster "c" lets none through; write a budget_percent or min_retry_concurrency above 0, or remove retry_policy',
  ],
  [
    'hedging of what may be done once only',
    file('cluster: c, timeout: 1s, hedge_policy: { max_attempts: 2, hedging_delay: 10ms }'),
    'p.yaml:3:53: routes[0].route.hedge_policy: sends a call several times, and the route does not say that its calls may be processed twice; write idempotent: true on the route, or remove hedge_policy',
  ],
  [
    'weights of nothing',
    file('weighted_clusters: [{ name: c, weight: 0 }], timeout: 1s'),
    'p.yaml:3:14: routes[0].route.weighted_clusters: all weights are 0: no cluster would be called; write a weight above 0',
  ],
  [
    'the ejection of everybody',
    file('cluster: c, timeout: 1s', 'outlier_detection: { max_ejection_percent: 100 }'),
    'p.yaml:5:70: warning: clusters.c.outlier_detection.max_ejection_percent: ejects all endpoints at once where all fail, which is no fault of one; write 50 or less; above that calls go to all of them anyway (healthy_panic_threshold)',
  ],
] as const) {
  test(`told: ${what}`, () => {
    const problems = problemsOf(text);
    if (problem !== undefined) assert.deepEqual(problems, [problem]);
    else {
      assert.equal(problems.length, 1);
      assert.match(problems[0] ?? '', /^p\.yaml:3:\d+: warning: routes\[0\]\.route\.retry_policy\.retry_on: .*; (write|remove)/);
    }
  });
}

test('max_retries beside a budget is not looked at, so that 0 is no contradiction', () => {
  const thresholds = 'circuit_breakers: { thresholds: [{ max_retries: 0, retry_budget: { budget_percent: 20 } }] }';
  const action = 'cluster: c, timeout: 1s, idempotent: true, retry_policy: { retry_on: reset }';
  assert.deepEqual(problemsOf(file(action, thresholds)), []);
  const alone = 'circuit_breakers: { thresholds: [{ max_retries: 0 }] }';
  assert.match(
    problemsOf(file(action, alone)).join(),
    /retries nothing: max_retries of cluster "c" lets none through; write a larger max_retries/,
  );
});

test('times that leave room are no contradiction', () => {
  assert.deepEqual(
    problemsOf(
      file(
        'cluster: c, timeout: 1s, idempotent: true',
        'circuit_breakers: { slow_call_duration: 900ms, thresholds: [{ max_pending_duration: 100ms }] }',
        'retry_policy: { retry_on: refused-stream, per_try_timeout: 1s }',
      ),
    ),
    [],
  );
  // Without a timeout anything has room.
  assert.deepEqual(tableOf(file('cluster: c, timeout: 0s', 'circuit_breakers: { slow_call_duration: 1h }')).warnings, []);
});
