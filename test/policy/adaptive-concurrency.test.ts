import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, tableOf } from './policy-harness.ts';

/** A file with one route around its adaptive limit, from line 3 and column 36. */
const withLimit = (keys: string, limits = 'concurrency_update_interval: 0.1s'): string =>
  `routes:\n  - match: { prefix: / }\n    route: { adaptive_concurrency: { gradient_controller_config: { concurrency_limit_params: { ${limits} }, min_rtt_calc_params: { ${keys} } } }, cluster: c, timeout: 1s }\nclusters: { c: { endpoints: ["h:1"] } }\n`;
const limitOf = (text: string) => tableOf(text).outbound.routes[0]?.traffic?.adaptiveConcurrency;

test("Envoy's controller means what it says, with Envoy's defaults", () => {
  assert.deepEqual(limitOf(withLimit('interval: 60s')), {
    percentile: 0.5,
    maxLimit: 1_000,
    updateIntervalMs: 100,
    minRtt: { intervalMs: 60_000, fixedMs: 0, requestCount: 50, jitter: 0.15, minConcurrency: 3, buffer: 0.25 },
  });
  assert.deepEqual(
    limitOf(
      withLimit(
        'fixed_value: 20ms, request_count: 9, jitter: { value: 10 }, min_concurrency: 7, buffer: 5',
        'concurrency_update_interval: 1s, max_concurrency_limit: 70',
      ),
    )?.minRtt,
    { intervalMs: 0, fixedMs: 20, requestCount: 9, jitter: 0.1, minConcurrency: 7, buffer: 0.05 },
  );
  const text = withLimit('interval: 60s');
  assert.equal(limitOf(text.replace('{ gradient', '{ enabled: { default_value: false }, gradient')), undefined);
});

for (const [what, text, end] of [
  ['no way to know the best', withLimit('buffer: 5'), 'min_rtt_calc_params: has neither interval nor fixed_value; add interval: 60s'],
  [
    'two ways to know it',
    withLimit('interval: 60s, fixed_value: 20ms'),
    'min_rtt_calc_params.fixed_value: is written beside interval; keep one of them',
  ],
  [
    'a least limit above the greatest',
    withLimit('interval: 60s, min_concurrency: 9', 'concurrency_update_interval: 1s, max_concurrency_limit: 8'),
    'min_rtt_calc_params.min_concurrency: 9 is more than max_concurrency_limit (8); write a smaller one',
  ],
  [
    'no time between changes',
    withLimit('interval: 60s', ''),
    'concurrency_limit_params: concurrency_update_interval is missing; add "concurrency_update_interval:" with a duration such as 0.1s, at least 1ms',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    const [line, ...others] = problemsOf(text);
    assert.equal(line?.replace(/^p\.yaml:3:\d+: routes\[0\]\.route\.adaptive_concurrency\.gradient_controller_config\./, ''), end);
    assert.deepEqual(others, []);
  });
}
