import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf } from './policy-harness.ts';

/** What is said, without the place. */
const said = (text: string): readonly string[] => problemsOf(text).map((line) => line.replace(/^p\.yaml:\d+:\d+: warning: /, ''));

/** One route to a cluster `c` of ten endpoints; `cluster` has further keys of it. */
const withAction = (action: string, cluster = ''): string => `routes:
  - match: { prefix: / }
    route: { ${action.includes('timeout: ') && /(^|, )timeout: /.test(action) ? '' : 'timeout: 5s, '}${/(^|, )(weighted_clusters|cluster): /.test(action) ? '' : 'cluster: c, '}${action} }
clusters:
  c: { endpoints: ["10.0.0.1:1", "10.0.0.2:1"]${cluster === '' ? '' : `, ${cluster}`} }
  d: { endpoints: ["10.0.0.3:1"] }
`;

const cases: readonly (readonly [what: string, text: string, warnings: readonly string[], right: string])[] = [
  [
    'HTTP statuses that no condition asks for',
    withAction('retry_policy: { retry_on: connect-failure, retriable_status_codes: [503] }'),
    [
      'routes[0].route.retry_policy.retriable_status_codes: has no effect: retry_on does not say retriable-status-codes; add retriable-status-codes to retry_on, or remove it',
    ],
    withAction('idempotent: true, retry_policy: { retry_on: retriable-status-codes, retriable_status_codes: [503] }'),
  ],
  [
    'headers that no condition asks for',
    withAction('retry_policy: { retry_on: connect-failure, retriable_headers: [{ name: x }] }'),
    [
      'routes[0].route.retry_policy.retriable_headers: has no effect: retry_on does not say retriable-headers; add retriable-headers to retry_on, or remove it',
    ],
    withAction('idempotent: true, retry_policy: { retry_on: retriable-headers, retriable_headers: [{ name: x }] }'),
  ],
  [
    'a back-off for answers that are never tried again',
    withAction(
      'retry_policy: { retry_on: "connect-failure,reset-before-request", rate_limited_retry_back_off: { reset_headers: [{ name: retry-after }] } }',
    ),
    [
      'routes[0].route.retry_policy.rate_limited_retry_back_off: has no effect: retry_on does not say resource-exhausted or envoy-ratelimited; add resource-exhausted or envoy-ratelimited to retry_on, or remove it',
    ],
    withAction(
      'idempotent: true, retry_policy: { retry_on: unavailable, rate_limited_retry_back_off: { reset_headers: [{ name: retry-after }] } }',
    ),
  ],
  [
    'a time limit of attempts after which nothing is tried again',
    withAction('idempotent: true, retry_policy: { retry_on: unavailable, per_try_timeout: 1s }'),
    [
      'routes[0].route.retry_policy.per_try_timeout: ends the call: no condition of retry_on tries again what took too long; add deadline-exceeded or reset to retry_on, or write timeout in its place',
    ],
    withAction(
      'idempotent: true, retry_policy: { retry_on: unavailable, per_try_timeout: 1s }, hedge_policy: { hedge_on_per_try_timeout: true }',
    ),
  ],
  [
    'a time limit of attempts that is inherited and longer than that of the call',
    `retry_policy: { retry_on: connect-failure, per_try_timeout: 9s, retry_back_off: { base_interval: 1s } }\n${withAction('idle_timeout: 1s')}`,
    [
      'routes[0].route.timeout: is shorter than per_try_timeout of the retry_policy that it inherits, which never passes; write a retry_policy on the route, or a longer timeout',
    ],
    `retry_policy: { retry_on: connect-failure, per_try_timeout: 1s }\n${withAction('idle_timeout: 1s')}`,
  ],
  [
    'retries of which nothing is kept',
    withAction('idempotent: true, per_request_buffer_limit_bytes: 0, retry_policy: { retry_on: unavailable }'),
    [
      'routes[0].route.retry_policy: retries nothing that was sent: per_request_buffer_limit_bytes is 0; write a larger per_request_buffer_limit_bytes, or only conditions such as connect-failure',
    ],
    withAction('per_request_buffer_limit_bytes: 0, retry_policy: { retry_on: connect-failure }'),
  ],
  [
    'silence that the timeout does not wait for',
    withAction('timeout: 5s, idle_timeout: 5s'),
    ['routes[0].route.idle_timeout: never passes: timeout is not longer; write a shorter idle_timeout, or remove it'],
    withAction('timeout: 5s, idle_timeout: 4s'),
  ],
  [
    'silence that the stream does not live for',
    withAction('timeout: 0s, max_stream_duration: 1m, idle_timeout: 5m'),
    ['routes[0].route.idle_timeout: never passes: max_stream_duration is not longer; write a shorter idle_timeout, or remove it'],
    withAction('timeout: 0s, max_stream_duration: 5m, idle_timeout: 1m'),
  ],
  [
    'a second attempt after the end',
    withAction('timeout: 1s, idempotent: true, hedge_policy: { max_attempts: 2, hedging_delay: 1s }'),
    ['routes[0].route.hedge_policy.hedging_delay: never passes: the timeout of the route is not longer; write a shorter hedging_delay'],
    withAction('timeout: 0s, idempotent: true, hedge_policy: { max_attempts: 2, hedging_delay: 1s }'),
  ],
  [
    'a fault for a cluster that is not called',
    withAction('fault: { abort: { grpc_status: 14 }, upstream_cluster: d }'),
    ['routes[0].route.fault.upstream_cluster: injects nothing: the route calls "c"; remove it, or name a cluster of the route'],
    withAction(
      'weighted_clusters: [{ name: c, weight: 1 }, { name: d, weight: 1 }], fault: { abort: { grpc_status: 14 }, upstream_cluster: d }',
    ),
  ],
  [
    'what inbound calls have no choice about',
    'inbound: { routes: [{ match: { prefix: / }, route: { timeout: 1s, hash_policy: [{ header: { header_name: x } }], metadata_match: { v: 1 } } }] }',
    [
      'inbound.routes[0].route.hash_policy: has no effect: inbound calls go to the local service; write it on routes of the callers',
      'inbound.routes[0].route.metadata_match: has no effect: inbound calls go to the local service; write it on routes of the callers',
    ],
    'inbound: { routes: [{ match: { prefix: / }, route: { timeout: 1s } }] }',
  ],
  [
    'a hash that no cluster of several looks at',
    withAction('weighted_clusters: [{ name: c, weight: 1 }, { name: d, weight: 1 }], hash_policy: [{ header: { header_name: x } }]'),
    [
      'routes[0].route: hash_policy has no effect: cluster "c" has lb_policy: round_robin; write lb_policy: ring_hash or maglev, or remove hash_policy',
    ],
    withAction(
      'weighted_clusters: { use_hash_policy: true, clusters: [{ name: c, weight: 1 }, { name: d, weight: 1 }] }, hash_policy: [{ header: { header_name: x } }]',
    ),
  ],
  [
    'a cluster that balances by a hash that no route gives',
    withAction('idle_timeout: 1s', 'lb_policy: maglev'),
    [
      'routes[0].route: cluster "c" has lb_policy: maglev, and no route that calls it has a hash_policy: its calls stick to nothing; write hash_policy: [{ header: { header_name: ... } }], or another lb_policy',
    ],
    withAction('hash_policy: [{ header: { header_name: x } }]', 'lb_policy: maglev'),
  ],
  [
    'a subset by keys that nobody forms subsets by',
    withAction('metadata_match: { stage: prod, version: v2 }', 'lb_subset_config: { subset_selectors: [{ keys: [version] }] }'),
    [
      'routes[0].route: metadata_match finds no subset: no subset_selectors of cluster "c" have the keys stage, version; add { keys: [stage, version] } to them, or ask for others',
    ],
    withAction('metadata_match: { version: v2, stage: prod }', 'lb_subset_config: { subset_selectors: [{ keys: [version, stage] }] }'),
  ],
  [
    'what only descriptors need',
    withAction('local_rate_limit: { token_bucket: { max_tokens: 1, fill_interval: 1s }, max_dynamic_descriptors: 5 }'),
    ['routes[0].route.local_rate_limit.max_dynamic_descriptors: has no effect: there are no descriptors; write descriptors, or remove it'],
    withAction(
      'local_rate_limit: { token_bucket: { max_tokens: 1, fill_interval: 1s }, max_dynamic_descriptors: 5, rate_limits: [{ actions: [{ remote_address: {} }] }], descriptors: [{ entries: [{ key: remote_address }], token_bucket: { max_tokens: 1, fill_interval: 1s } }] }',
    ),
  ],
  [
    'a measurement that is never made',
    withAction(
      'adaptive_concurrency: { gradient_controller_config: { concurrency_limit_params: { concurrency_update_interval: 1s }, min_rtt_calc_params: { fixed_value: 9ms, jitter: 3 } } }',
    ),
    [
      'routes[0].route.adaptive_concurrency.gradient_controller_config.min_rtt_calc_params.jitter: has no effect beside fixed_value: nothing is measured; remove it, or write interval',
    ],
    withAction(
      'adaptive_concurrency: { gradient_controller_config: { concurrency_limit_params: { concurrency_update_interval: 1s }, min_rtt_calc_params: { interval: 9s, jitter: 3 } } }',
    ),
  ],
  [
    'answers of DNS that are never asked for',
    withAction('idle_timeout: 1s', 'keep_last: 1h'),
    ['clusters.c.keep_last: has no effect: no endpoint is a name; remove it'],
    withAction('idle_timeout: 1s', 'type: STRICT_DNS, keep_last: 1h'),
  ],
  [
    'weights of localities that nobody looks at',
    `clusters: { c: { load_assignment: { endpoints: [{ load_balancing_weight: 3, lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 1 } } } }] }] } } }`,
    [
      'clusters.c.load_assignment.endpoints[0].load_balancing_weight: has no effect without locality_weighted_lb_config; write common_lb_config: { locality_weighted_lb_config: {} } on the cluster, or remove it',
    ],
    `clusters: { c: { common_lb_config: { locality_weighted_lb_config: {} }, load_assignment: { endpoints: [{ load_balancing_weight: 3, lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 1 } } } }] }] } } }`,
  ],
];

for (const [what, wrong, warnings, right] of cases) {
  test(`warned about: ${what}`, () => {
    assert.deepEqual(said(wrong), warnings);
    assert.deepEqual(said(right), []);
  });
}
