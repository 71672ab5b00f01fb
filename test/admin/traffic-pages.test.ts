import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterConfigJson, routeConfigJson, routesJson } from '../../src/admin/policy-pages.ts';
import { tableOf } from '../policy/policy-harness.ts';

/** A route's action as `/routes` shows it, with these keys beside cluster and timeout. */
const shown = (keys: string, beside = ''): Record<string, unknown> => {
  const text = `routes:
  - name: r
    match: { prefix: /acme. }
    route: { cluster: c, timeout: 5s, ${keys} }
${beside === '' ? '' : `    ${beside}\n`}clusters: { c: { endpoints: ["10.0.0.1:1"] }, d: { endpoints: ["10.0.0.2:1"] } }
`;
  const [route] = routesJson(tableOf(text)).outbound;
  const { name, match, cluster, timeout, location, ...rest } = (route ?? {}) as Record<string, unknown>;
  assert.deepEqual([name, match, cluster, timeout, location !== undefined], ['r', { prefix: '/acme.' }, 'c', '5s', true]);
  return rest;
};

const percent = (value: number) => ({ value });

test('a route that does nothing further shows nothing further', () => {
  assert.deepEqual(shown('idempotent: true'), { idempotent: true });
});

for (const [what, keys, expected] of [
  [
    'hedges',
    'idempotent: true, hedge_policy: { max_attempts: 3, hedging_delay: 50ms, non_fatal_status_codes: [UNAVAILABLE] }',
    {
      idempotent: true,
      hedge_policy: {
        initial_requests: 1,
        hedge_on_per_try_timeout: false,
        max_attempts: 3,
        hedging_delay: '50ms',
        non_fatal_status_codes: ['UNAVAILABLE'],
      },
    },
  ],
  [
    'rate limits',
    'local_rate_limit: { stat_prefix: s, token_bucket: { max_tokens: 10, fill_interval: 1s }, rate_limits: [{ actions: [{ request_headers: { header_name: x-api-key, descriptor_key: x-api-key } }] }], descriptors: [{ entries: [{ key: x-api-key, value: hunter2 }], token_bucket: { max_tokens: 5, fill_interval: 1s } }] }',
    {
      local_rate_limit: {
        stat_prefix: 's',
        token_bucket: { max_tokens: 10, tokens_per_fill: 1, fill_interval: '1s' },
        filter_enabled: { default_value: percent(100) },
        filter_enforced: { default_value: percent(100) },
        rate_limits: [{ actions: [{ request_headers: { header_name: 'x-api-key', descriptor_key: 'x-api-key', skip_if_absent: false } }] }],
        descriptors: [
          {
            entries: [{ key: 'x-api-key', value: '[redacted]' }],
            token_bucket: { max_tokens: 5, tokens_per_fill: 1, fill_interval: '1s' },
          },
        ],
        max_dynamic_descriptors: 10_000,
        always_consume_default_token_bucket: true,
      },
    },
  ],
  [
    'faults',
    'fault: { delay: { fixed_delay: 2s, percentage: 0.5 }, abort: { grpc_status: 14 }, response_rate_limit: { header_limit: {} }, max_active_faults: 5 }',
    {
      fault: {
        delay: { fixed_delay: '2s', percentage: percent(0.5) },
        abort: { grpc_status: 14, percentage: percent(100) },
        response_rate_limit: { header_limit: {}, percentage: percent(100) },
        max_active_faults: 5,
      },
    },
  ],
  [
    'mirrors',
    'request_mirror_policies: [{ cluster: d, runtime_fraction: { default_value: { numerator: 5 } } }]',
    { request_mirror_policies: [{ cluster: 'd', runtime_fraction: { default_value: percent(5) } }] },
  ],
  ['priorities', 'priority: HIGH', { priority: 'HIGH' }],
  ['rewrites', 'prefix_rewrite: /acme2.', { path_rewrite: '/acme2.' }],
  ['subsets', 'metadata_match: { version: v2, stage: prod }', { metadata_match: { stage: 'prod', version: 'v2' } }],
  [
    'stickiness',
    'hash_policy: [{ header: { header_name: x-user }, terminal: true }, { cookie: { name: s, ttl: 60s } }]',
    { hash_policy: [{ header: { header_name: 'x-user' }, terminal: true }, { cookie: { name: 's' } }] },
  ],
] as const) {
  test(`/routes shows ${what} as they are in force`, () => {
    assert.deepEqual(shown(keys), expected);
  });
}

test('header changes are shown, and no secret in them', () => {
  const beside =
    'request_headers_to_add: [{ header: { key: authorization, value: "Bearer hunter2" } }, { header: { key: x-from, value: "%REQ(x-a?x-b)% 100%%" }, append_action: ADD_IF_ABSENT }], response_headers_to_remove: [server]';
  const [first, second] = beside.split(', response');
  assert.deepEqual(shown('idempotent: true', `${first}\n    response${second}`), {
    idempotent: true,
    request_headers_to_add: [
      { header: { key: 'authorization', value: '[redacted]' }, append_action: 'APPEND_IF_EXISTS_OR_ADD' },
      { header: { key: 'x-from', value: '%REQ(x-a?x-b)% 100%%' }, append_action: 'ADD_IF_ABSENT' },
    ],
    response_headers_to_remove: ['server'],
  });
});

test('/config_dump shows weighted clusters with what is theirs, limits of both priorities, ages and adaptive limits', () => {
  const table = tableOf(`routes:
  - match: { prefix: / }
    route:
      timeout: 1s
      weighted_clusters:
        header_name: x-share
        clusters:
          - { name: c, weight: 9 }
          - { name: d, weight: 1, metadata_match: { version: v2 }, response_headers_to_add: [{ header: { key: x-token, value: secret } }] }
clusters:
  c:
    endpoints: ["10.0.0.1:1"]
    max_connection_age: 30m
    adaptive_concurrency:
      gradient_controller_config:
        concurrency_limit_params: { concurrency_update_interval: 0.1s }
        min_rtt_calc_params: { interval: 60s }
    circuit_breakers: { thresholds: [{ max_requests: 7, max_pending_duration: 250ms }, { priority: HIGH, max_requests: 3 }] }
  d: { endpoints: ["10.0.0.2:1"], lb_subset_config: { subset_selectors: [{ keys: [version] }] } }
max_connection_age: 1h
max_connection_age_grace: 5m
`);
  const [host] = routeConfigJson('outbound', table.outbound).virtual_hosts;
  const action = (host?.routes[0]?.route ?? {}) as Record<string, unknown>;
  assert.deepEqual(action['weighted_clusters'], {
    clusters: [
      { name: 'c', weight: 9 },
      {
        name: 'd',
        weight: 1,
        metadata_match: { version: 'v2' },
        response_headers_to_add: [{ header: { key: 'x-token', value: '[redacted]' }, append_action: 'APPEND_IF_EXISTS_OR_ADD' }],
      },
    ],
    header_name: 'x-share',
  });
  const policy = table.clusters.get('c');
  assert.ok(policy);
  const cluster = clusterConfigJson(policy);
  assert.deepEqual(
    cluster.circuit_breakers.thresholds.map((each) => [each.priority, each.max_requests]),
    [
      ['DEFAULT', 7],
      ['HIGH', 3],
    ],
  );
  assert.match(JSON.stringify(cluster), /"max_pending_duration":"0\.250?s".*"adaptive_concurrency":.*"max_connection_age":"1800s"/);
  const { outbound_connections: outbound } = routesJson(table) as unknown as Record<string, unknown>;
  assert.deepEqual(outbound, { max_connection_age: '1h', max_connection_age_grace: '5m' });
});

test('/routes shows which calls have a line in which log', () => {
  const table = tableOf(
    'access_log: { sample: 1%, always_on_failure: false }\ninbound: { access_log: [{ name: envoy.access_loggers.stderr }] }\n',
  );
  const shown = JSON.parse(JSON.stringify(routesJson(table)));
  assert.deepEqual(
    [shown.outbound_access_log, shown.inbound_access_log],
    [
      [
        {
          path: 'ACCESS_LOG, else stdout',
          filter: { kind: 'or', filters: [{ kind: 'random', share: 0.01 }] },
          format: 'default',
          location: { file: 'p.yaml', line: 1, column: 13 },
        },
      ],
      [{ path: 'stderr', filter: 'every call', format: 'default', location: { file: 'p.yaml', line: 2, column: 25 } }],
    ],
  );
  assert.ok(!('outbound_access_log' in routesJson(tableOf('routes: []\n'))));
});
