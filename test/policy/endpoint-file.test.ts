import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readPlainEndpoints } from '../../src/policy/endpoint-file-fast.ts';
import { formatProblem, readEndpointFile } from '../../src/policy/index.ts';

const read = (text: string, clusterName = 'auth') => {
  const { endpoints, problems } = readEndpointFile({ path: 'e.yaml', bytes: Buffer.from(text) }, clusterName);
  // Metadata has no prototype, so that no key of somebody's can be one of an object's own.
  return { endpoints: JSON.parse(JSON.stringify(endpoints)), problems: problems.map(formatProblem) };
};

const assignment = `cluster_name: auth
endpoints:
  - locality: { region: eu, zone: a }
    priority: 0
    load_balancing_weight: 3
    lb_endpoints:
      - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 50051 } } }
        load_balancing_weight: 5
        health_status: HEALTHY
        metadata: { filter_metadata: { envoy.lb: { version: v2 } } }
      - endpoint: { address: { socket_address: { address: 10.0.0.2, port_value: 50051 } } }
        health_status: DRAINING
`;
const expected = [{ host: '10.0.0.1', port: 50_051, weight: 5, locality: 'eu/a', localityWeight: 3, metadata: { version: 'v2' } }];
const indented = (text: string, by: string): string => text.replaceAll(/^(?=.)/gm, by);

for (const [what, text] of [
  ['a bare ClusterLoadAssignment', assignment],
  ['one with its type', `"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n${assignment}`],
  [
    'a DiscoveryResponse of EDS',
    `version_info: "0"\nresources:\n  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n${indented(assignment, '    ')}`,
  ],
  [
    'a DiscoveryResponse of CDS',
    `resources:\n  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: auth\n    type: STATIC\n    connect_timeout: 1s\n    load_assignment:\n${indented(assignment, '      ')}`,
  ],
  ['a bare Cluster', `name: auth\nlb_policy: ROUND_ROBIN\nload_assignment:\n${indented(assignment, '  ')}`],
] as const) {
  test(`${what} means its endpoints`, () => {
    assert.deepEqual(read(text), { endpoints: expected, problems: [] });
  });
}

test('JSON in the spelling of protobuf means the same, and keys of metadata stay as they are', () => {
  const text = JSON.stringify({
    resources: [
      {
        '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
        clusterName: 'auth',
        endpoints: [
          {
            lbEndpoints: [
              {
                endpoint: { address: { socketAddress: { address: '10.0.0.1', portValue: 1 } } },
                metadata: { filterMetadata: { 'envoy.lb': { shardKey: 'x' } } },
              },
            ],
          },
        ],
      },
    ],
  });
  assert.deepEqual(read(text), { endpoints: [{ host: '10.0.0.1', port: 1, weight: 1, metadata: { shardKey: 'x' } }], problems: [] });
});

test('our own list has weights and places', () => {
  const text = 'endpoints:\n  - 10.0.0.1:1\n  - { address: "[fd00::1]:2", weight: 3, priority: 1, locality: eu/a, metadata: { v: 1 } }\n';
  assert.deepEqual(read(text).endpoints, [
    { host: '10.0.0.1', port: 1, weight: 1 },
    { host: 'fd00::1', port: 2, weight: 3, priority: 1, locality: 'eu/a', metadata: { v: '1' } },
  ]);
  assert.deepEqual(read('endpoints: []'), { endpoints: [], problems: [] });
});

test('plain endpoints are read the short way, and mean what the long way reads', () => {
  const lb = (address: string, more = {}) => ({ endpoint: { address: { socket_address: { address, port_value: 1 } } }, ...more });
  const files: readonly (readonly [unknown, unknown])[] = [
    [{ endpoints: ['10.0.0.1:1', '10.0.0.2:2'] }, { endpoints: ['10.0.0.1:1', { address: '10.0.0.2:2', weight: 1 }] }],
    [
      { cluster_name: 'auth', endpoints: [{ lb_endpoints: [lb('10.0.0.1'), lb('fd00::1', { load_balancing_weight: 3 })] }] },
      {
        cluster_name: 'auth',
        endpoints: [
          {
            priority: 0,
            lb_endpoints: [lb('10.0.0.1'), lb('fd00::1', { loadBalancingWeight: 3 }), lb('10.0.0.9', { health_status: 'TIMEOUT' })],
          },
        ],
      },
    ],
  ];
  for (const [plain, long] of files) {
    assert.notEqual(readPlainEndpoints(plain, 'auth'), undefined);
    assert.equal(readPlainEndpoints(long, 'auth'), undefined);
    assert.deepEqual(read(JSON.stringify(plain)), read(JSON.stringify(long)));
  }
  for (const wrong of [
    { endpoints: ['10.0.0.1:0'] },
    { endpoints: ['10.0.0.1:1', '10.0.0.1:1'] },
    { endpoints: ['name:1'] },
    { cluster_name: 'auth', endpoints: [{ lb_endpoints: [lb('10.0.0.1', { weight: 3 })] }] },
  ])
    assert.ok(read(JSON.stringify(wrong)).problems.length > 0, JSON.stringify(wrong));
});

for (const [what, text, problem] of [
  [
    'a name',
    'endpoints: ["auth:1"]',
    'e.yaml:1:13: endpoints[0]: "auth" is a name; write an address; names belong under dns of the cluster',
  ],
  [
    'an address twice',
    'endpoints:\n  - 10.0.0.1:1\n  - 10.0.0.1:1',
    'e.yaml:3:5: endpoints[1]: 10.0.0.1:1 is written twice (first in line 2); keep one of them; a weight says how much it gets',
  ],
  ['an unknown key', '{"endpoints": [], "cluster": 1}', 'e.yaml:1:19: cluster: unknown key; known here: endpoints'],
  [
    'JSON that is wrong, with its place',
    '{\n "resources": [\n  { "clusterName": "auth", "endpoints": [{ "lbEndpoints": 7 }] }\n ]\n}',
    'e.yaml:3:59: resources[0].endpoints[0].lb_endpoints: is the number 7; write a list, each a group with "endpoint:"',
  ],
  [
    'a response about others',
    'resources: [{ cluster_name: a }, { cluster_name: b }]',
    'e.yaml: has nothing about the cluster "auth"; it lists a, b; correct cluster_name, or write service_name in the policy',
  ],
  [
    'a resource of another kind',
    'resources: [{ "@type": type.googleapis.com/envoy.config.listener.v3.Listener, name: auth }]',
    'e.yaml:1:15: resources[0].@type: "envoy.config.listener.v3.Listener" holds no endpoints; write envoy.config.endpoint.v3.ClusterLoadAssignment or envoy.config.cluster.v3.Cluster',
  ],
  ['half a file', '{"endpoints": ["10.0.0.1:1"', undefined],
] as const) {
  test(`refused: ${what}`, () => {
    const { problems } = read(text);
    assert.ok(problems.length > 0);
    if (problem !== undefined) assert.deepEqual(problems, [problem]);
    assert.match(problems[0] ?? '', /^e\.yaml/);
  });
}

test('an empty file is an error: it is about to be written', () => {
  assert.ok(read('').problems.some((problem) => problem.includes('is empty')));
});
