import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../src/policy/index.ts';
import { problemsOf, tableOf } from './policy-harness.ts';

/** A file with one route around further keys of its action, on the line 4 from column 14. */
const withAction = (keys: string): string =>
  `routes:\n  - match: { prefix: / }\n    route:\n      { cluster: c, timeout: 1s, ${keys} }\nclusters: { c: { endpoints: ["h:1"] }, d: { endpoints: ["h:2"] } }\n`;

/** A file with one route and further keys beside its action, from line 4 and column 5. */
const withKeys = (keys: string): string =>
  `routes:\n  - match: { prefix: /a. }\n    route: { cluster: c, timeout: 1s }\n    ${keys}\nclusters: { c: { endpoints: ["h:1"] } }\n`;

const routeOf = (text: string): Route => tableOf(text).outbound.routes[0] ?? assert.fail();

test('limits of size and of time mean what they say', () => {
  const { maxBytes, maxStreamDurationMs, idleTimeoutMs } = routeOf(
    withAction('idle_timeout: 5m, max_request_bytes: 10, max_response_bytes: 20, max_stream_duration: 1h'),
  );
  assert.deepEqual([maxBytes, maxStreamDurationMs, idleTimeoutMs], [{ request: 10, response: 20 }, 3_600_000, 300_000]);
  assert.deepEqual(routeOf(withAction('max_response_bytes: 20')).maxBytes, { request: 0, response: 20 });
  assert.equal(routeOf(withAction('idle_timeout: 1s')).maxBytes, undefined);
});

test("Envoy's max_stream_duration is a group, and may stand as it is", () => {
  assert.equal(routeOf(withAction('max_stream_duration: { max_stream_duration: 30s }')).maxStreamDurationMs, 30_000);
  assert.equal(routeOf(withAction('max_stream_duration: 0s')).maxStreamDurationMs, 0);
});

for (const [what, keys, line] of [
  [
    'a size of nothing',
    'max_request_bytes: 0',
    'p.yaml:4:53: routes[0].route.max_request_bytes: is the number 0; write a whole number of at least 1',
  ],
  [
    'a size with a unit',
    'max_response_bytes: 4MiB',
    'p.yaml:4:54: routes[0].route.max_response_bytes: is "4MiB"; write a whole number of at least 1',
  ],
  [
    'a duration without a unit',
    'max_stream_duration: 5',
    'p.yaml:4:55: routes[0].route.max_stream_duration: is the number 5, without a unit; write 5s or 5ms',
  ],
  [
    "a bound of the caller's timeout",
    'max_stream_duration: { max_stream_duration: 5s, grpc_timeout_header_max: 0s }',
    "p.yaml:4:82: routes[0].route.max_stream_duration.grpc_timeout_header_max: is not accepted; remove it: the caller's grpc-timeout always counts",
  ],
  [
    'a timeout that never passes',
    'max_stream_duration: 1s',
    'p.yaml:4:21: warning: routes[0].route.timeout: never passes: max_stream_duration is not longer; write a shorter timeout, or remove it',
  ],
] as const) {
  test(`refused or warned about: ${what}`, () => {
    assert.deepEqual(problemsOf(withAction(keys)), [line]);
  });
}

test('header changes mean what they say', () => {
  const { traffic } = routeOf(
    withKeys(
      'request_headers_to_add: [{ header: { key: X-A, value: "a%%%REQ(X-B?x-c):9%" }, append: true }, { header: { key: x-d, value: "" }, keep_empty_value: true, append_action: ADD_IF_ABSENT }]\n    request_headers_to_remove: [X-E]',
    ),
  );
  assert.deepEqual(traffic?.requestHeaders, {
    remove: ['x-e'],
    add: [
      {
        name: 'x-a',
        value: [
          { kind: 'text', text: 'a%' },
          { kind: 'request_header', name: 'x-b', otherwise: 'x-c', longest: 9 },
        ],
        action: 'APPEND_IF_EXISTS_OR_ADD',
        keepEmpty: false,
      },
      { name: 'x-d', value: [], action: 'ADD_IF_ABSENT', keepEmpty: true },
    ],
  });
  assert.equal(traffic?.responseHeaders, undefined);
});

const adding = (key: string, value = 'v'): string => `response_headers_to_add: [{ header: { key: "${key}", value: "${value}" } }]`;

for (const [what, keys, line] of [
  [
    'a pseudo-header',
    adding(':path'),
    'p.yaml:4:48: routes[0].response_headers_to_add[0].header.key: :path is a pseudo-header, which says where the call goes; remove it',
  ],
  [
    'what belongs to gRPC',
    'request_headers_to_remove: [grpc-timeout]',
    'p.yaml:4:33: routes[0].request_headers_to_remove[0]: grpc-timeout belongs to gRPC; remove it',
  ],
  [
    'what belongs to the connection',
    'request_headers_to_remove: [TE]',
    'p.yaml:4:33: routes[0].request_headers_to_remove[0]: te belongs to the connection, or to gRPC; remove it',
  ],
  [
    'a forged identity',
    adding('x-forwarded-client-cert'),
    'p.yaml:4:48: routes[0].response_headers_to_add[0].header.key: x-forwarded-client-cert is written by the sidecar alone; remove it',
  ],
  [
    'an unknown operator',
    adding('x', '%REQ_X(y)%'),
    'p.yaml:4:60: routes[0].response_headers_to_add[0].header.value: %REQ_X(y)% is no operator here; write one of %REQ(name)%, %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%, %DOWNSTREAM_PEER_URI_SAN%, %UPSTREAM_CLUSTER%, %ROUTE_NAME%, or %% for a per cent sign',
  ],
  [
    'a single per cent sign',
    adding('x', '5 %'),
    'p.yaml:4:60: routes[0].response_headers_to_add[0].header.value: has a single per cent sign; write %% for a per cent sign',
  ],
  [
    'a binary header in plain text',
    adding('x-bin', 'ä!'),
    'p.yaml:4:64: routes[0].response_headers_to_add[0].header.value: is not base64, which the value of a -bin header must be; encode it, or choose another name',
  ],
  [
    'a value over two lines',
    adding('x', 'a\\nb'),
    'p.yaml:4:60: routes[0].response_headers_to_add[0].header.value: is "a\\nb"; write text without line breaks',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.deepEqual(problemsOf(withKeys(keys)), [line]);
  });
}

test('rewrites mean what they say', () => {
  const rewritten = (match: string, keys: string, path: string) =>
    routeOf(withAction(keys).replace('{ prefix: / }', match)).traffic?.pathRewrite?.rewrite(path);
  assert.equal(rewritten('{ prefix: /a. }', 'prefix_rewrite: /b.v2.', '/a.C/D'), '/b.v2.C/D');
  assert.equal(rewritten('{ path: /a.C/D }', 'prefix_rewrite: /b.C/E', '/a.C/D'), '/b.C/E');
  const regex = String.raw`regex_rewrite: { pattern: { regex: '(\w+)\.(\w+)' }, substitution: '$1\2\\\1' }`;
  assert.equal(rewritten('{ prefix: / }', regex, '/a.C/D'), String.raw`/$1C\a/D`);
});

for (const [what, keys, line] of [
  [
    'both rewrites',
    'prefix_rewrite: /b, regex_rewrite: { pattern: { regex: x }, substitution: y }',
    'p.yaml:4:54: routes[0].route.regex_rewrite: is written beside prefix_rewrite; keep one of them',
  ],
  [
    'a prefix without a slash',
    'prefix_rewrite: b',
    'p.yaml:4:50: routes[0].route.prefix_rewrite: "b" does not begin with a slash; write "/b"',
  ],
  [
    'a group that there is not',
    String.raw`regex_rewrite: { pattern: { regex: "x" }, substitution: '\1' }`,
    'p.yaml:4:90: routes[0].route.regex_rewrite.substitution: names group 1, and the pattern has 0; put the group into parentheses',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.deepEqual(problemsOf(withAction(keys)), [line]);
  });
}

test('a rewrite of a whole path must be one', () => {
  assert.deepEqual(problemsOf(withAction('prefix_rewrite: /b/').replace('{ prefix: / }', '{ path: /a.B/C }')), [
    'p.yaml:4:50: routes[0].route.prefix_rewrite: "/b/" takes the place of the whole path, and is none; write /package.Service/Method',
  ]);
});

/** A file with one route whose action has these keys and no cluster, from line 4 and column 9. */
const withoutCluster = (keys: string): string => withAction(keys).replace('cluster: c, ', '');

test('weights mean what they say, as a list and as the group of Envoy', () => {
  const { cluster, traffic } = routeOf(
    withoutCluster(
      'weighted_clusters: { total_weight: 10, header_name: X-N, clusters: [{ name: c, weight: 9, metadata_match: { v: 2 }, request_headers_to_remove: [a] }, { name: d, weight: 1 }] }',
    ),
  );
  assert.equal(cluster, 'c');
  assert.deepEqual(traffic?.weightedClusters, {
    clusters: [
      { name: 'c', weight: 9, metadataMatch: 'v\u00002', requestHeaders: { add: [], remove: ['a'] }, responseHeaders: undefined },
      { name: 'd', weight: 1, metadataMatch: undefined, requestHeaders: undefined, responseHeaders: undefined },
    ],
    by: { header: 'x-n' },
  });
  const list = routeOf(withoutCluster('weighted_clusters: [{ name: c, weight: 1 }]')).traffic?.weightedClusters;
  assert.deepEqual([list?.by, list?.clusters.length], ['chance', 1]);
});

for (const [what, text, line] of [
  [
    'weights that sum to 0',
    withoutCluster('weighted_clusters: [{ name: c, weight: 0 }, { name: d, weight: 0 }]'),
    'p.yaml:4:22: routes[0].route.weighted_clusters: all weights are 0: no cluster would be called; write a weight above 0',
  ],
  [
    'weights that sum to something else',
    withoutCluster('weighted_clusters: { total_weight: 100, clusters: [{ name: c, weight: 90 }] }'),
    'p.yaml:4:57: routes[0].route.weighted_clusters.total_weight: is 100, and the weights are 90 together; correct the weights, or remove it',
  ],
  [
    'one cluster and several',
    withAction('weighted_clusters: [{ name: c, weight: 1 }]'),
    'p.yaml:4:34: routes[0].route.weighted_clusters: is written beside cluster; keep one of them',
  ],
  [
    'no cluster at all',
    withoutCluster('retry_headers_hold: 1ms'),
    'p.yaml:4:7: routes[0].route: cluster is missing; add "cluster:" with a name of visible characters without blanks',
  ],
  [
    'a cluster twice',
    withoutCluster('weighted_clusters: [{ name: c, weight: 1 }, { name: c, weight: 1 }]'),
    'p.yaml:4:74: routes[0].route.weighted_clusters[1].name: cluster "c" is named twice; add up its weights',
  ],
  [
    'a hash that nothing gives',
    withoutCluster('weighted_clusters: { use_hash_policy: true, clusters: [{ name: c, weight: 1 }] }'),
    'p.yaml:4:60: routes[0].route.weighted_clusters.use_hash_policy: needs a hash_policy, and the route has none; write hash_policy beside weighted_clusters',
  ],
  [
    'a cluster without a weight',
    withoutCluster('weighted_clusters: [{ name: c }]'),
    'p.yaml:4:42: routes[0].route.weighted_clusters[0]: weight is missing; add "weight:" with a whole number from 0 to 4294967295',
  ],
  [
    'a cluster that is not there',
    withoutCluster('weighted_clusters: [{ name: gone, weight: 1 }]'),
    'p.yaml:4:50: warning: routes[0].route.weighted_clusters[0].name: cluster "gone" is not defined: its calls end with no_cluster; define it under clusters:',
  ],
] as const) {
  test(`refused or warned about: ${what}`, () => {
    assert.deepEqual(problemsOf(text), [line]);
  });
}

test('mirrors mean what they say', () => {
  const { traffic } = routeOf(
    withAction(
      'request_mirror_policies: [{ cluster: d }, { cluster: d, runtime_fraction: { default_value: { numerator: 5 } }, disable_shadow_host_suffix_append: true }]',
    ),
  );
  assert.deepEqual(traffic?.mirrors, [
    { cluster: 'd', share: 1, suffix: '-shadow' },
    { cluster: 'd', share: 0.05, suffix: '' },
  ]);
});

for (const [what, text, line] of [
  [
    'a mirror that is not there',
    withAction('request_mirror_policies: [{ cluster: gone }]'),
    'p.yaml:4:71: warning: routes[0].route.request_mirror_policies[0].cluster: cluster "gone" is not defined: its calls end with no_cluster; define it under clusters:',
  ],
  [
    'a mirror of nothing',
    withAction('request_mirror_policies: [{ cluster: d, runtime_fraction: { default_value: 0 } }]'),
    'p.yaml:4:74: warning: routes[0].route.request_mirror_policies[0].runtime_fraction: is 0: nothing is copied; write a share above 0, or remove the mirror',
  ],
  [
    'an inbound mirror',
    'inbound:\n  routes:\n    - match: { prefix: / }\n      route: { timeout: 1s, request_mirror_policies: [{ cluster: d }] }\n',
    'p.yaml:4:29: inbound.routes[0].route.request_mirror_policies: is not accepted; remove it: inbound calls go to the local service; write it on routes of the callers',
  ],
] as const) {
  test(`refused or warned about: ${what}`, () => {
    assert.deepEqual(problemsOf(text), [line]);
  });
}

test('a priority is DEFAULT or HIGH, and all of them HIGH is none', () => {
  assert.equal(routeOf(withAction('priority: HIGH')).traffic?.highPriority, true);
  assert.equal(routeOf(withAction('priority: DEFAULT')).traffic, undefined);
  assert.deepEqual(problemsOf(withAction('priority: LOW')), [
    'p.yaml:4:44: routes[0].route.priority: is "LOW"; write one of DEFAULT, HIGH',
  ]);
  const high = '{ cluster: c, timeout: 1s, priority: HIGH }';
  const text = `routes:\n  - { match: { path: /a.B/C }, route: ${high} }\n  - { match: { prefix: / }, route: ${high} }\nclusters: { c: { endpoints: ["h:1"] } }\n`;
  assert.deepEqual(problemsOf(text), [
    'p.yaml:2:39: warning: routes[0].route: all routes have priority: HIGH: none is shed before another; leave it out where calls can wait',
  ]);
});

test('limits of either priority stand side by side, each once', () => {
  const cluster = (keys: string): string => `clusters: { c: { endpoints: ["10.0.0.1:1"], circuit_breakers: { thresholds: [${keys}] } } }\n`;
  const policy = tableOf(cluster('{ priority: HIGH, max_requests: 7 }, { max_requests: 3, max_pending_duration: 250ms }')).clusters.get(
    'c',
  );
  assert.deepEqual(
    [policy?.thresholds.maxRequests, policy?.thresholds.maxPendingDurationMs, policy?.highThresholds?.maxRequests],
    [3, 250, 7],
  );
  assert.equal(tableOf(cluster('{ max_requests: 3 }')).clusters.get('c')?.highThresholds, undefined);
  assert.deepEqual(problemsOf(cluster('{ priority: HIGH }, { priority: HIGH }')), [
    'p.yaml:1:98: clusters.c.circuit_breakers.thresholds[1]: a second group of limits of the same priority; keep one of them, or write priority: HIGH in one',
  ]);
  assert.deepEqual(problemsOf(cluster('{ max_pending_duration: 0s }')), [
    'p.yaml:1:102: clusters.c.circuit_breakers.thresholds[0].max_pending_duration: is "0s"; write a duration such as 500ms, at least 1ms',
  ]);
});

test('a route of high priority whose cluster has limits for the others only', () => {
  const text = (thresholds: string): string => `routes:
  - match: { path: /a.B/C }
    route: { cluster: c, timeout: 1s, priority: HIGH }
  - match: { prefix: / }
    route: { cluster: c, timeout: 1s }
clusters: { c: { endpoints: ["10.0.0.1:1"]${thresholds} } }
`;
  assert.deepEqual(problemsOf(text('')), []);
  assert.deepEqual(problemsOf(text(', circuit_breakers: { thresholds: [{ max_requests: 3 }, { priority: HIGH }] }')), []);
  assert.deepEqual(problemsOf(text(', circuit_breakers: { thresholds: [{ max_requests: 3 }] }')), [
    `p.yaml:3:12: warning: routes[0].route: has priority: HIGH, and the thresholds of cluster "c" are those of priority DEFAULT: its calls have Envoy's own (max_requests: 1024 and so on); write a second group of thresholds with priority: HIGH on the cluster`,
  ]);
});
