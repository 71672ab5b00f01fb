import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterPolicy, emptyPolicyTable } from '../../src/policy/index.ts';
import { defaultLoadBalancer, RetryOn } from '../../src/resilience/index.ts';
import { clusterWith, problemsOf, tableOf } from './policy-harness.ts';

test('a route means what it says', () => {
  const { outbound } = tableOf(`
routes:
  - name: learner-profile
    match: { prefix: /learner.LearnerService/GetProfile }
    route:
      cluster: learner-svc
      timeout: 10s
      idle_timeout: 5m
      retry_policy:
        retry_on: "unavailable,reset,connect-failure,refused-stream"
        num_retries: 3
        per_try_timeout: 5s
        retry_back_off: { base_interval: 0.1s, max_interval: 1s }
      idempotent: true
`);
  const [route] = outbound.routes;
  assert.deepEqual(route, {
    name: 'learner-profile',
    id: 'outbound/learner-profile',
    direction: 'outbound',
    location: { file: 'p.yaml', line: 3, column: 5 },
    match: { kind: 'prefix', prefix: '/learner.LearnerService/GetProfile' },
    headers: [],
    matchedShare: 1,
    cluster: 'learner-svc',
    timeoutMs: 10_000,
    idleTimeoutMs: 300_000,
    maxStreamDurationMs: 0,
    maxBytes: undefined,
    retry: {
      conditions: RetryOn.UNAVAILABLE | RetryOn.RESET | RetryOn.CONNECT_FAILURE | RetryOn.REFUSED_STREAM,
      numRetries: 3,
      perTryTimeoutMs: 5_000,
      baseIntervalMs: 100,
      maxIntervalMs: 1_000,
      retriableStatusCodes: [],
    },
    hedge: undefined,
    idempotent: true,
    bufferLimitBytes: 65_536,
    retryHeadersHoldMs: 10,
    hashPolicies: [],
    metadataMatch: undefined,
    traffic: undefined,
    tracing: undefined,
  });
});

test('a cluster means what it says', () => {
  const cluster = tableOf(`
clusters:
  learner-svc:
    endpoints: ["10.0.0.4:50051", { address: "[2001:db8::4]:50051", weight: 3 }]
    lb_policy: least_request
    connect_timeout: 2s
    circuit_breakers:
      consecutive_failures: 7
      recovery_timeout: 30s
      scope: endpoint
      thresholds:
        - { max_connections: 1000, max_pending_requests: 100, max_requests: 1000, max_retries: 10,
            retry_budget: { budget_percent: { value: 25.0 }, min_retry_concurrency: 4 }, track_remaining: true }
    tls: { match_subject_alt_names: [learner-svc, { exact: "spiffe://mesh.local/service/x" }], sni: y,
           verify_certificate_hash: ["AB:${'00:'.repeat(30)}ff"] }
    service_name: learner
    keepalive: { interval: 30s, timeout: 3s }
    http2_protocol_options: { max_concurrent_streams: 100 }
`).clusters.get('learner-svc');
  assert.deepEqual(cluster, {
    name: 'learner-svc',
    serviceName: 'learner',
    location: { file: 'p.yaml', line: 3, column: 3 },
    endpoints: {
      kind: 'static',
      endpoints: [
        { host: '10.0.0.4', port: 50_051, weight: 1 },
        { host: '2001:db8::4', port: 50_051, weight: 3 },
      ],
    },
    loadBalancer: { ...defaultLoadBalancer, policy: 'least_request' },
    outlierDetection: undefined,
    highThresholds: undefined,
    maxConnectionsPerEndpoint: Number.POSITIVE_INFINITY,
    adaptiveConcurrency: undefined,
    healthCheck: undefined,
    connectTimeoutMs: 2_000,
    breaker: { consecutiveFailures: 7, recoveryTimeoutMs: 30_000, scope: 'endpoint' },
    thresholds: {
      maxConnections: 1_000,
      maxPendingRequests: 100,
      maxRequests: 1_000,
      maxRetries: 10,
      retryBudget: { percent: 25, minConcurrency: 4 },
      trackRemaining: true,
    },
    tls: {
      mode: 'mutual',
      sni: 'y',
      matchSubjectAltNames: ['learner-svc', 'spiffe://mesh.local/service/x'],
      verifyCertificateSpki: [],
      verifyCertificateHash: [`ab${'00'.repeat(30)}ff`],
    },
    keepaliveIntervalMs: 30_000,
    keepaliveTimeoutMs: 3_000,
    maxConcurrentStreams: 100,
    maxConnectionAgeMs: 0,
  });
});

test('where nothing is written, there are a breaker of 5 failures and 60 s, and a retry budget of 20 % and at least 3', () => {
  for (const { breaker, thresholds, tls } of [
    emptyPolicyTable().defaultCluster,
    tableOf(clusterWith('{ endpoints: ["h:1"] }')).clusters.get('c') ?? assert.fail(),
  ]) {
    assert.deepEqual(breaker, { consecutiveFailures: 5, recoveryTimeoutMs: 60_000, scope: 'cluster' });
    assert.deepEqual(thresholds, {
      maxConnections: 1_024,
      maxPendingRequests: 1_024,
      maxRequests: 1_024,
      maxRetries: 3,
      retryBudget: { percent: 20, minConcurrency: 3 },
    });
    assert.equal(tls.mode, 'mutual');
  }
});

test('max_retries counts only without a retry budget', () => {
  const budget = (threshold: string) =>
    tableOf(clusterWith(`{ endpoints: ["h:1"], circuit_breakers: { thresholds: [${threshold}] } }`)).clusters.get('c')?.thresholds
      .retryBudget;
  assert.equal(budget('{ max_retries: 5 }'), undefined);
  assert.deepEqual(budget('{ max_connections: 5 }'), { percent: 20, minConcurrency: 3 });
  assert.deepEqual(budget('{ max_retries: 5, retry_budget: {} }'), { percent: 20, minConcurrency: 3 });
  assert.deepEqual(budget('{ retry_budget: { budget_percent: 12.5 } }'), { percent: 12.5, minConcurrency: 3 });
});

test('without policies nothing is retried but what was never processed, and nothing has a time limit', () => {
  const table = emptyPolicyTable();
  assert.equal(table.outbound.candidates('/a.B/C').length, 0);
  assert.deepEqual(
    [table.outbound.fallback.timeoutMs, table.outbound.fallback.retry, table.inbound.fallback.retry],
    [0, undefined, undefined],
  );
  assert.deepEqual([table.defaultAction, table.maxConcurrentStreams, table.files], [{ kind: 'error' }, 1_000, []]);
  const unwritten = clusterPolicy(table, 'auth-svc');
  assert.deepEqual([unwritten.name, unwritten.serviceName, unwritten.endpoints.kind], ['auth-svc', 'auth-svc', 'unwritten']);
});

test('names are resolved, addresses are not, unless the type says otherwise', () => {
  const kind = (keys: string) => tableOf(clusterWith(keys)).clusters.get('c')?.endpoints;
  assert.equal(kind('{ endpoints: ["10.0.0.1:1"] }')?.kind, 'static');
  assert.equal(kind('{ endpoints: ["10.0.0.1:1", "auth-svc:1"] }')?.kind, 'dns');
  assert.deepEqual(
    kind('{ type: LOGICAL_DNS, endpoints: ["auth-svc:1"], dns_refresh_rate: 30s, dns_lookup_family: V4_ONLY, keep_last: 1m }'),
    {
      kind: 'dns',
      names: [{ host: 'auth-svc', port: 1, weight: 1 }],
      family: 'v4',
      refreshMs: 30_000,
      allAddresses: false,
      keepLastMs: 60_000,
    },
  );
  assert.deepEqual(kind('{ dns: { names: ["auth-svc:1"], lookup_family: v6 } }'), {
    kind: 'dns',
    names: [{ host: 'auth-svc', port: 1, weight: 1 }],
    family: 'v6',
    refreshMs: 5_000,
    allAddresses: true,
    keepLastMs: 300_000,
  });
});

test('inbound routes lead to the local service', () => {
  const { inbound, outbound } = tableOf(
    'inbound: { routes: [{ match: { prefix: /a }, route: { timeout: 3s } }, { match: { prefix: / } }] }\n',
  );
  assert.deepEqual(
    inbound.routes.map(({ id, cluster, timeoutMs }) => [id, cluster, timeoutMs]),
    [
      ['inbound/prefix /a', '', 3_000],
      ['inbound/prefix /', '', 0],
    ],
  );
  assert.equal(outbound.routes.length, 0);
});

test('at the top of a file, retry_policy and circuit_breakers hold for whoever writes none', () => {
  const table = tableOf(
    'retry_policy: { retry_on: unavailable, num_retries: 5 }\ncircuit_breakers: { consecutive_failures: 9 }\n',
    `routes:
  - { name: inherits, match: { path: /a }, route: { cluster: own } }
  - { name: own, match: { path: /b }, route: { cluster: own, retry_policy: { retry_on: reset } } }
inbound: { routes: [{ name: in, match: { prefix: / } }] }
clusters: { inherits: { endpoints: ["h:1"] }, own: { endpoints: ["h:1"], circuit_breakers: { scope: method } } }
`,
  );
  assert.deepEqual(
    [...table.outbound.routes, table.outbound.fallback, ...table.inbound.routes, table.inbound.fallback].map(
      ({ retry }) => retry?.numRetries,
    ),
    [5, 1, 5, undefined, undefined],
  );
  assert.deepEqual(
    [table.clusters.get('inherits'), table.clusters.get('own'), table.defaultCluster].map(
      (cluster) => cluster?.breaker.consecutiveFailures,
    ),
    [9, 5, 9],
  );
});

test('files are merged in their order', () => {
  const route = (name: string) => `routes: [{ name: ${name}, match: { prefix: / }, route: { cluster: c } }]\n`;
  const table = tableOf(
    `${route('first')}clusters: { c: { endpoints: ["h:1"] } }\n`,
    `${route('second')}clusters: { d: { endpoints: ["h:1"] } }\n`,
  );
  assert.deepEqual(
    table.outbound.routes.map(({ name }) => name),
    ['first', 'second'],
  );
  assert.deepEqual([...table.clusters.keys()], ['c', 'd']);
});

test('the version is that of the contents', () => {
  assert.equal(tableOf('routes: []\n').version, tableOf('routes: []\n').version);
  assert.notEqual(tableOf('routes: []\n').version, tableOf('routes: [] \n').version);
});

for (const [what, text, lines] of [
  [
    'no timeout is told once in a file',
    'routes: [{ match: { path: /a }, route: { cluster: c } }, { match: { path: /b }, route: { cluster: c } }, { match: { path: /c }, route: { cluster: c, timeout: 0s } }]\nclusters: { c: { endpoints: ["h:1"] } }\n',
    [
      "p.yaml:1:40: warning: routes[0].route: no timeout (and 1 more in this file): calls have no time limit but the caller's; write timeout: 15s for Envoy's default, or timeout: 0s to say that none is meant",
    ],
  ],
  [
    '5xx and a left-out idempotent are told',
    'routes:\n  - match: { path: /a }\n    route: { cluster: c, timeout: 1s, retry_policy: { retry_on: 5xx, per_try_timeout: 2s } }\nclusters: { c: { endpoints: ["h:1"] } }\n',
    [
      'p.yaml:3:65: warning: routes[0].route.retry_policy.retry_on: 5xx does not see gRPC statuses; add those that are meant: unavailable, internal, resource-exhausted, deadline-exceeded, cancelled',
      'p.yaml:3:65: warning: routes[0].route.retry_policy.retry_on: retries calls that the service may have processed already, and idempotent is left out; write idempotent: true on the route if its calls may be processed twice, or idempotent: false',
      'p.yaml:3:70: warning: routes[0].route.retry_policy.per_try_timeout: is longer than the timeout of the route, and never passes; write a shorter per_try_timeout',
    ],
  ],
  [
    'what provably was never processed may be retried without a word about idempotency',
    'routes:\n  - match: { path: /a }\n    route: { cluster: c, timeout: 1s, retry_policy: { retry_on: "connect-failure,refused-stream" } }\nclusters: { c: { endpoints: ["h:1"] } }\n',
    [],
  ],
  [
    'a cluster that nobody defines is told',
    'routes: [{ match: { path: /a }, route: { cluster: nobody, timeout: 1s } }]\ndefault: { action: use_cluster, use_cluster: none }\n',
    [
      'p.yaml:1:42: warning: routes[0].route.cluster: cluster "nobody" is not defined: its calls end with no_cluster; define it under clusters:',
      'p.yaml:2:33: warning: default.use_cluster: cluster "none" is not defined: its calls end with no_cluster; define it under clusters:',
    ],
  ],
  [
    'a path without its slash is told',
    'inbound: { routes: [{ match: { prefix: acme. }, route: { timeout: 1s } }] }\n',
    ['p.yaml:1:32: warning: inbound.routes[0].match.prefix: "acme." never matches: every path begins with a slash; write "/acme."'],
  ],
] as const) {
  test(`warning: ${what}`, () => {
    assert.deepEqual(problemsOf(text), lines);
  });
}

for (const [earlier, later, shadowed] of [
  ['{ prefix: /a }', '{ prefix: /ab }', true],
  ['{ prefix: /a }', '{ path: /abc }', true],
  ['{ prefix: /ab }', '{ prefix: /a }', false],
  ['{ path: /a }', '{ path: /a }', true],
  ['{ path: /a }', '{ prefix: /a }', false],
  ['{ safe_regex: "/a.*" }', '{ path: /abc }', true],
  ['{ safe_regex: "/a.*" }', '{ safe_regex: "/a.*" }', true],
  ['{ safe_regex: "/a.*" }', '{ safe_regex: "/b.*" }', false],
  ['{ safe_regex: ".*" }', '{ prefix: /a }', true],
  ['{ prefix: /acme. }', '{ safe_regex: "/acme\\\\.Billing/.*" }', true],
  ['{ prefix: /acme.B }', '{ safe_regex: "/acme\\\\.[AB].*" }', false],
  ['{ prefix: /ab }', '{ safe_regex: "/ab*" }', false],
  ['{ prefix: /ab }', '{ safe_regex: "/abc|/d" }', false],
  ['{ prefix: /a, headers: [{ name: x }] }', '{ prefix: /a }', false],
  ['{ prefix: /a, runtime_fraction: { default_value: 5 } }', '{ prefix: /ab }', false],
  ['{ prefix: /a }', '{ prefix: /ab, runtime_fraction: { default_value: 5 } }', true],
  ['{ prefix: /a, headers: [{ name: x }] }', '{ prefix: /a, headers: [{ name: y }] }', false],
  ['{ prefix: /a, headers: [{ name: x }] }', '{ prefix: /a, headers: [{ name: y }, { name: X, present_match: true }] }', true],
] as const) {
  test(`${later} after ${earlier} ${shadowed ? 'never matches, and is told' : 'may match'}`, () => {
    const text = `routes:\n  - { name: first, match: ${earlier}, route: { cluster: c, timeout: 1s } }\n  - { match: ${later}, route: { cluster: c, timeout: 1s } }\nclusters: { c: { endpoints: ["h:1"] } }\n`;
    const lines = shadowed
      ? [
          'p.yaml:3:14: warning: routes[1].match: never matches: "first" in p.yaml:2 takes all its calls; move this route above it, or remove it',
        ]
      : [];
    assert.deepEqual(problemsOf(text), lines);
  });
}

test('a breaker means what it says: share of failures, slow answers, statuses, probes', () => {
  const breakerOf = (text: string) =>
    tableOf(clusterWith(`{ endpoints: ["h:1"], circuit_breakers: { ${text} } }`)).clusters.get('c')?.breaker ?? assert.fail();
  assert.deepEqual(
    breakerOf(
      'consecutive_failures: 9, failure_rate: { percent: 12.5, window: 1m, minimum_requests: 50 }, slow_call_duration: 800ms, failure_statuses: [UNAVAILABLE, INTERNAL, deadline-exceeded], success_threshold: 3, scope: method',
    ),
    {
      consecutiveFailures: 9,
      recoveryTimeoutMs: 60_000,
      successThreshold: 3,
      failureRate: { percent: 12.5, windowMs: 60_000, minimumRequests: 50 },
      slowCallDurationMs: 800,
      failureStatuses: (1 << 14) | (1 << 13) | (1 << 4),
      scope: 'method',
    },
  );
  const { consecutiveFailures, failureRate } = breakerOf('failure_rate: { percent: 50 }');
  assert.deepEqual([consecutiveFailures, failureRate], [Number.POSITIVE_INFINITY, { percent: 50, windowMs: 10_000, minimumRequests: 20 }]);
});
