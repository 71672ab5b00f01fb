/** What a policy file says about balancing and outlier detection, right and wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterPolicy, Route } from '../../src/policy/index.ts';
import { defaultLoadBalancer, defaultOutlier, subsetKey } from '../../src/resilience/index.ts';
import { clusterWith, problemsOf, tableOf } from './policy-harness.ts';

const clusterOf = (keys: string): ClusterPolicy => tableOf(clusterWith(keys)).clusters.get('c') as ClusterPolicy;
const oneEndpoint = 'endpoints: ["10.0.0.1:1"]';
const routeOf = (keys: string): Route =>
  tableOf(`routes: [{ match: { prefix: / }, route: { cluster: c, timeout: 1s, ${keys} } }]\n${clusterWith(`{ ${oneEndpoint} }`)}`).outbound
    .routes[0] as Route;

test('what nobody wrote is Envoy’s default', () => {
  const { loadBalancer, outlierDetection } = clusterOf(`{ ${oneEndpoint} }`);
  assert.deepEqual(loadBalancer, defaultLoadBalancer);
  assert.equal(outlierDetection, undefined);
  assert.deepEqual(clusterOf('{ endpoints: ["h:1"], outlier_detection: {} }').outlierDetection, defaultOutlier);
});

test('every policy has its options, under Envoy’s names', () => {
  const { loadBalancer: least } = clusterOf(
    `{ ${oneEndpoint}, lb_policy: LEAST_REQUEST, least_request_lb_config: { choice_count: 4, active_request_bias: { default_value: 0.5 }, slow_start_config: { slow_start_window: 30s, aggression: { default_value: 2.0 }, min_weight_percent: { value: 5 } } } }`,
  );
  assert.deepEqual(
    [least.policy, least.leastRequest, least.slowStart],
    ['least_request', { choiceCount: 4, activeRequestBias: 0.5 }, { windowMs: 30_000, aggression: 2, minWeightPercent: 5 }],
  );
  const { loadBalancer: ring } = clusterOf(
    `{ ${oneEndpoint}, lb_policy: RING_HASH, ring_hash_lb_config: { minimum_ring_size: 2048, maximum_ring_size: 4096, hash_function: MURMUR_HASH_2 } }`,
  );
  assert.deepEqual(
    [ring.policy, ring.ringHash],
    ['ring_hash', { minimumRingSize: 2_048, maximumRingSize: 4_096, hashFunction: 'murmur_hash_2' }],
  );
  assert.equal(
    clusterOf(`{ ${oneEndpoint}, lb_policy: maglev, maglev_lb_config: { table_size: 251 } }`).loadBalancer.maglev.tableSize,
    251,
  );
  assert.deepEqual(
    clusterOf(`{ ${oneEndpoint}, lb_policy: peak_ewma, peak_ewma_lb_config: { decay_time: 5s, default_rtt: 10ms } }`).loadBalancer.peakEwma,
    { decayTimeMs: 5_000, defaultRttMs: 10 },
  );
  assert.deepEqual(
    clusterOf(
      `{ ${oneEndpoint}, lb_policy: client_side_weighted_round_robin, client_side_weighted_round_robin_lb_config: { blackout_period: 0s, weight_expiration_period: 60s, error_utilization_penalty: 2, metric_names_for_computing_utilization: [named_metrics.queue] } }`,
    ).loadBalancer.reportedLoad,
    {
      blackoutPeriodMs: 0,
      weightExpirationPeriodMs: 60_000,
      weightUpdatePeriodMs: 1_000,
      errorUtilizationPenalty: 2,
      metricNames: ['named_metrics.queue'],
    },
  );
});

test('hash_balance_factor belongs to consistent hashes', () => {
  const bound = 'common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 125 } }';
  assert.equal(clusterOf(`{ ${oneEndpoint}, lb_policy: maglev, ${bound} }`).loadBalancer.hashBalanceFactor, 125);
  assert.deepEqual(problemsOf(clusterWith(`{ ${oneEndpoint}, ${bound} }`)), [
    'p.yaml:2:55: warning: clusters.c.common_lb_config.consistent_hashing_lb_config: has no effect with lb_policy: round_robin; remove it, or write lb_policy: ring_hash or maglev',
  ]);
});

test('endpoints have a priority, a place and metadata, in the short form and in Envoy’s', () => {
  const wanted = [
    { host: '10.0.0.1', port: 1, weight: 2, locality: 'eu/a/x', metadata: { version: 'v1', canary: 'true', build: '7' } },
    { host: '10.0.0.2', port: 1, weight: 1, priority: 1, locality: 'us' },
  ];
  const short = clusterOf(`
    endpoints:
      - { address: "10.0.0.1:1", weight: 2, locality: eu/a/x, metadata: { version: v1, canary: true, build: 7 } }
      - { address: "10.0.0.2:1", priority: 1, locality: { region: us } }
`);
  assert.deepEqual(structuredClone(short.endpoints), { kind: 'static', endpoints: structuredClone(wanted) });
  const { endpoints, loadBalancer } = clusterOf(`
    common_lb_config: { locality_weighted_lb_config: {}, healthy_panic_threshold: { value: 30 } }
    load_assignment:
      cluster_name: c
      policy: { overprovisioning_factor: 150, weighted_priority_health: true }
      endpoints:
        - locality: { region: eu, zone: a, sub_zone: x }
          load_balancing_weight: 3
          lb_endpoints:
            - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 1 } } }
              load_balancing_weight: 200
              metadata: { filter_metadata: { envoy.lb: { version: v1, canary: true, build: 7 } } }
        - locality: { region: us }
          priority: 1
          lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.2, port_value: 1 } } } }]
`);
  assert.deepEqual(structuredClone(endpoints), {
    kind: 'static',
    endpoints: structuredClone([{ ...wanted[0], weight: 200, localityWeight: 3 }, wanted[1]]),
  });
  const { localityWeighted, overprovisioningFactor, panicThreshold, weightedPriorityHealth } = loadBalancer;
  assert.deepEqual([localityWeighted, overprovisioningFactor, panicThreshold, weightedPriorityHealth], [true, 150, 30, true]);
});

test('subsets are read, and a route asks for one', () => {
  const { loadBalancer } = clusterOf(
    `{ ${oneEndpoint}, lb_subset_config: { fallback_policy: DEFAULT_SUBSET, default_subset: { version: v1 }, subset_selectors: [{ keys: [version] }, { keys: [version, stage], fallback_policy: ANY_ENDPOINT }] } }`,
  );
  assert.deepEqual(structuredClone(loadBalancer.subsets), {
    selectors: [
      { keys: ['version'], fallback: undefined },
      { keys: ['stage', 'version'], fallback: 'any_endpoint' },
    ],
    fallback: 'default_subset',
    defaultSubset: { version: 'v1' },
  });
  const wanted = subsetKey({ version: 'v2', stage: 'prod' });
  assert.equal(routeOf('metadata_match: { stage: prod, version: v2 }').metadataMatch, wanted);
  assert.equal(routeOf('metadata_match: { filter_metadata: { envoy.lb: { version: v2, stage: prod } } }').metadataMatch, wanted);
  assert.equal(routeOf('idempotent: true').metadataMatch, undefined);
});

test('hash policies are read in their order', () => {
  assert.deepEqual(
    routeOf(
      'hash_policy: [{ header: { header_name: X-User }, terminal: true }, { cookie: { name: s, ttl: 90s, path: /x, attributes: [{ name: SameSite, value: Strict }, { name: Secure }] } }, { cookie: { name: t, ttl: 0s } }, { cookie: { name: u } }, { connection_properties: { source_ip: true } }]',
    ).hashPolicies,
    [
      { kind: 'header', name: 'x-user', terminal: true },
      { kind: 'cookie', name: 's', making: 'Max-Age=90; Path=/x; SameSite=Strict; Secure; HttpOnly', terminal: false },
      { kind: 'cookie', name: 't', making: 'HttpOnly', terminal: false },
      { kind: 'cookie', name: 'u', making: undefined, terminal: false },
      { kind: 'source_ip', terminal: false },
    ],
  );
});

test('outlier detection is Envoy’s, field by field', () => {
  const { outlierDetection } = clusterOf(`
    endpoints: ["h:1"]
    outlier_detection:
      consecutive_5xx: 1
      consecutive_gateway_failure: 2
      consecutive_local_origin_failure: 3
      interval: 4s
      base_ejection_time: 5s
      max_ejection_time: 6s
      max_ejection_time_jitter: 7s
      max_ejection_percent: 8
      always_eject_one_host: true
      split_external_local_origin_errors: true
      success_rate_minimum_hosts: 9
      success_rate_request_volume: 10
      success_rate_stdev_factor: 11
      failure_percentage_threshold: 12
      failure_percentage_minimum_hosts: 13
      failure_percentage_request_volume: 14
      enforcing_consecutive_5xx: 15
      enforcing_consecutive_gateway_failure: 16
      enforcing_consecutive_local_origin_failure: 17
      enforcing_success_rate: 18
      enforcing_local_origin_success_rate: 19
      enforcing_failure_percentage: 20
      enforcing_failure_percentage_local_origin: 21
`);
  assert.deepEqual(outlierDetection, {
    consecutive5xx: 1,
    consecutiveGatewayFailure: 2,
    consecutiveLocalOriginFailure: 3,
    intervalMs: 4_000,
    baseEjectionTimeMs: 5_000,
    maxEjectionTimeMs: 6_000,
    maxEjectionTimeJitterMs: 7_000,
    maxEjectionPercent: 8,
    alwaysEjectOneHost: true,
    splitExternalLocalOriginErrors: true,
    successfulActiveHealthCheckUnejectHost: true,
    successRateMinimumHosts: 9,
    successRateRequestVolume: 10,
    successRateStdevFactor: 11,
    failurePercentageThreshold: 12,
    failurePercentageMinimumHosts: 13,
    failurePercentageRequestVolume: 14,
    enforcing: {
      consecutive_5xx: 15,
      consecutive_gateway_failure: 16,
      consecutive_local_origin_failure: 17,
      success_rate: 18,
      local_origin_success_rate: 19,
      failure_percentage: 20,
      local_origin_failure_percentage: 21,
    },
  });
});

const route = (keys: string): string =>
  `routes: [{ match: { prefix: / }, route: { cluster: c, timeout: 1s, ${keys} } }]\n${clusterWith(`{ ${oneEndpoint} }`)}`;

const wrong: readonly (readonly [name: string, text: string, line: string])[] = [
  [
    'a table size that is no prime number',
    clusterWith(`{ ${oneEndpoint}, lb_policy: maglev, maglev_lb_config: { table_size: 65536 } }`),
    'p.yaml:2:86: clusters.c.maglev_lb_config.table_size: 65536 is no prime number; write 65537',
  ],
  [
    'a ring that must be larger than it may be',
    clusterWith(`{ ${oneEndpoint}, lb_policy: ring_hash, ring_hash_lb_config: { minimum_ring_size: 100, maximum_ring_size: 50 } }`),
    'p.yaml:2:123: clusters.c.ring_hash_lb_config.maximum_ring_size: is less than minimum_ring_size; write a larger one, or leave it out',
  ],
  [
    'options of another policy',
    clusterWith(`{ ${oneEndpoint}, maglev_lb_config: { table_size: 251 } }`),
    'p.yaml:2:35: warning: clusters.c.maglev_lb_config: has no effect with lb_policy: round_robin; remove it, or write lb_policy: maglev',
  ],
  [
    'priorities with a gap',
    clusterWith('{ endpoints: ["10.0.0.1:1", { address: "10.0.0.2:1", priority: 2 }] }'),
    'p.yaml:2:69: clusters.c.endpoints[1].priority: priority 2 without priority 1; number the priorities 0, 1, 2 without gaps',
  ],
  [
    'a weight of 0',
    clusterWith('{ endpoints: [{ address: "10.0.0.1:1", weight: 0 }] }'),
    'p.yaml:2:53: clusters.c.endpoints[0].weight: is the number 0; write a whole number from 1 to 4294967295',
  ],
  [
    'metadata that is none',
    clusterWith('{ endpoints: [{ address: "10.0.0.1:1", metadata: { tags: [a, { b: c }] } }] }'),
    'p.yaml:2:67: clusters.c.endpoints[0].metadata.tags[1]: is a group of keys; write text, a number, or true or false',
  ],
  [
    'a default subset of lists',
    clusterWith(
      '{ endpoints: ["10.0.0.1:1"], lb_subset_config: { fallback_policy: default_subset, default_subset: { v: [a] }, subset_selectors: [{ keys: [v] }] } }',
    ),
    'p.yaml:2:109: clusters.c.lb_subset_config.default_subset.v: is a list; write text, a number, or true or false',
  ],
  [
    'a fallback list that is none',
    'routes:\n  - { match: { prefix: / }, route: { cluster: c, timeout: 1s, metadata_match: { v: a, fallback_list: [b] } } }\nclusters: { c: { endpoints: ["10.0.0.1:1"] } }\n',
    'p.yaml:2:103: routes[0].route.metadata_match.fallback_list[0]: is "b"; write a group such as { version: v2 }',
  ],
  [
    'metadata of another filter',
    clusterWith('{ endpoints: [{ address: "10.0.0.1:1", metadata: { filter_metadata: { envoy.filters.http.rbac: { a: b } } } }] }'),
    'p.yaml:2:76: warning: clusters.c.endpoints[0].metadata.filter_metadata.envoy.filters.http.rbac: has no effect; write envoy.lb, which balancing looks at',
  ],
  [
    'an aggression of 0',
    clusterWith(`{ ${oneEndpoint}, round_robin_lb_config: { slow_start_config: { slow_start_window: 1s, aggression: 0 } } }`),
    'p.yaml:2:116: clusters.c.round_robin_lb_config.slow_start_config.aggression: is 0; write a number above 0; 1 warms up evenly',
  ],
  [
    'two selectors of the same keys',
    clusterWith(`{ ${oneEndpoint}, lb_subset_config: { subset_selectors: [{ keys: [a, b] }, { keys: [b, a] }] } }`),
    'p.yaml:2:92: clusters.c.lb_subset_config.subset_selectors[1]: has the same keys as an earlier selector; keep one of them',
  ],
  [
    'a default subset that nothing falls back to',
    clusterWith(`{ ${oneEndpoint}, lb_subset_config: { default_subset: { a: b }, subset_selectors: [{ keys: [a] }] } }`),
    'p.yaml:2:71: warning: clusters.c.lb_subset_config.default_subset: has no effect: no fallback_policy says default_subset; write fallback_policy: default_subset',
  ],
  [
    'an ejection of all',
    clusterWith('{ endpoints: ["h:1"], outlier_detection: { max_ejection_percent: 100 } }'),
    'p.yaml:2:49: warning: clusters.c.outlier_detection.max_ejection_percent: ejects all endpoints at once where all fail, which is no fault of one; write 50 or less; above that calls go to all of them anyway (healthy_panic_threshold)',
  ],
  [
    'an ejection of nobody',
    clusterWith('{ endpoints: ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"], outlier_detection: { consecutive_5xx: 5 } }'),
    'p.yaml:2:82: warning: clusters.c.outlier_detection: ejects nobody: one of 3 endpoints is more than 10 % of them; write always_eject_one_host: true, or max_ejection_percent: 34',
  ],
  [
    'a longest ejection below the first one',
    clusterWith('{ endpoints: ["h:1"], outlier_detection: { base_ejection_time: 30s, max_ejection_time: 10s } }'),
    'p.yaml:2:93: clusters.c.outlier_detection.max_ejection_time: is shorter than base_ejection_time; write a longer max_ejection_time, or leave it out',
  ],
  [
    'local-origin numbers that are not looked at',
    clusterWith('{ endpoints: ["h:1"], outlier_detection: { consecutive_local_origin_failure: 3 } }'),
    'p.yaml:2:49: warning: clusters.c.outlier_detection.consecutive_local_origin_failure: has no effect; write split_external_local_origin_errors: true beside it, or remove it',
  ],
  [
    'an interval of nothing',
    clusterWith('{ endpoints: ["h:1"], outlier_detection: { interval: 0s } }'),
    'p.yaml:2:59: clusters.c.outlier_detection.interval: is "0s"; write a duration such as 10s, at least 1ms',
  ],
  [
    'a hash that the cluster does not look at',
    route('hash_policy: [{ header: { header_name: a } }]'),
    'p.yaml:1:41: warning: routes[0].route: hash_policy has no effect: cluster "c" has lb_policy: round_robin; write lb_policy: ring_hash or maglev, or remove hash_policy',
  ],
  [
    'a subset that the cluster does not know',
    route('metadata_match: { a: b }'),
    'p.yaml:1:41: warning: routes[0].route: metadata_match has no effect: cluster "c" has no lb_subset_config; write lb_subset_config: { subset_selectors: [{ keys: [...] }] }, or remove metadata_match',
  ],
  [
    'calls that no subset serves',
    `routes: [{ match: { prefix: / }, route: { cluster: c, timeout: 1s } }]\n${clusterWith(`{ ${oneEndpoint}, lb_subset_config: { subset_selectors: [{ keys: [a] }] } }`)}`,
    'p.yaml:1:41: warning: routes[0].route: asks for no subset, and cluster "c" has fallback_policy: no_fallback: its calls end with no_endpoint; write metadata_match, or fallback_policy: any_endpoint on the cluster',
  ],
  [
    'a hash of nothing',
    route('hash_policy: [{ terminal: true }]'),
    'p.yaml:1:82: routes[0].route.hash_policy[0]: has no header, cookie or connection_properties; add one of them',
  ],
  [
    'two hashes in one',
    route('hash_policy: [{ header: { header_name: a }, cookie: { name: b } }]'),
    'p.yaml:1:82: routes[0].route.hash_policy[0]: has header and cookie; write one list item for each',
  ],
  [
    'a cookie that could not be sent',
    route('hash_policy: [{ cookie: { name: "a b" } }]'),
    'p.yaml:1:100: routes[0].route.hash_policy[0].cookie.name: is "a b"; write the name of a cookie',
  ],
];

for (const [name, text, line] of wrong) {
  test(`${name} is told with its place`, () => {
    const problems = problemsOf(text);
    assert.ok(problems.includes(line), `${problems.join('\n')}\n-- does not say --\n${line}`);
  });
}

test('zones and subsets by Envoy’s names', () => {
  const zoneAware = (keys: string, more = ''): string =>
    clusterWith(`{ endpoints: ["10.0.0.1:1"], common_lb_config: { zone_aware_lb_config: ${keys}${more} } }`);
  const of = (text: string) => tableOf(text).clusters.get('c')?.loadBalancer;
  assert.deepEqual(of(zoneAware('{}'))?.zoneAware, { share: 1, minClusterSize: 6, forceLocalMinSize: undefined });
  assert.deepEqual(of(zoneAware('{ routing_enabled: { value: 50 }, min_cluster_size: 3, force_local_zone: { min_size: 2 } }'))?.zoneAware, {
    share: 0.5,
    minClusterSize: 3,
    forceLocalMinSize: 2,
  });
  assert.deepEqual(problemsOf(zoneAware('{}', ', locality_weighted_lb_config: {}')), [
    'p.yaml:2:77: clusters.c.common_lb_config.zone_aware_lb_config: is written beside locality_weighted_lb_config; keep one of them',
  ]);
  assert.deepEqual(
    problemsOf(clusterWith('{ endpoints: ["10.0.0.1:1"], lb_policy: maglev, common_lb_config: { zone_aware_lb_config: {} } }')),
    [
      'p.yaml:2:96: warning: clusters.c.common_lb_config.zone_aware_lb_config: has no effect with lb_policy: maglev; remove it, or write lb_policy: least_request',
    ],
  );

  const subset = (selector: string, more = ''): string =>
    clusterWith(
      `{ endpoints: ["10.0.0.1:1"], lb_subset_config: { fallback_policy: any_endpoint, subset_selectors: [${selector}]${more} } }`,
    );
  const subsets = of(
    subset(
      '{ keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [stage] }',
      ', panic_mode_any: true, scale_locality_weight: true',
    ),
  )?.subsets;
  assert.deepEqual(subsets?.selectors, [{ keys: ['stage', 'version'], fallback: 'keys_subset', fallbackKeys: ['stage'] }]);
  assert.deepEqual([subsets?.panicModeAny, subsets?.scaleLocalityWeight], [true, true]);
  const more = of(
    subset(
      '{ keys: [stage], single_host_per_subset: true }',
      ', list_as_any: true, allow_redundant_keys: true, metadata_fallback_policy: FALLBACK_LIST',
    ),
  )?.subsets;
  assert.deepEqual(more, {
    selectors: [{ keys: ['stage'], fallback: undefined, singleHost: true }],
    fallback: 'any_endpoint',
    defaultSubset: {},
    listAsAny: true,
    allowRedundantKeys: true,
    metadataFallback: true,
  });
  assert.deepEqual(of(zoneAware('{ fail_traffic_on_panic: true, locality_basis: HEALTHY_HOSTS_WEIGHT }'))?.zoneAware, {
    share: 1,
    minClusterSize: 6,
    forceLocalMinSize: undefined,
    byWeight: true,
    failTrafficOnPanic: true,
  });
  for (const [selector, problem] of [
    [
      '{ keys: [a, b], fallback_policy: keys_subset }',
      'fallback_policy: keys_subset needs fallback_keys_subset; add "fallback_keys_subset:" with some of the keys',
    ],
    [
      '{ keys: [a, b], fallback_keys_subset: [a] }',
      'fallback_keys_subset: has no effect without fallback_policy: keys_subset; write fallback_policy: keys_subset, or remove it',
    ],
    [
      '{ keys: [a], fallback_policy: keys_subset, fallback_keys_subset: [z] }',
      'fallback_keys_subset: z is none of the keys; write some of the keys of this selector',
    ],
    [
      '{ keys: [a], fallback_policy: keys_subset, fallback_keys_subset: [a] }',
      'fallback_keys_subset: has all of the keys; write fewer of them',
    ],
  ] as const) {
    const [only, ...others] = problemsOf(subset(selector));
    assert.deepEqual(others, []);
    assert.equal(only?.replace(/^p.yaml:2:\d+: /, ''), `clusters.c.lb_subset_config.subset_selectors[0].${problem}`);
  }
});
