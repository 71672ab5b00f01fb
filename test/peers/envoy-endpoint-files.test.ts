/** Files of endpoints that a real Envoy reads, read by us. */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { createEndpointSource } from '../../src/discovery/index.ts';
import { compilePolicies } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort, untilAnswering } from '../harness/ports.ts';
import { spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const envoy = await peerProgram('envoy');
const assignment = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';
const lb = (host: string, port: number, more = {}) => ({
  endpoint: { address: { socket_address: { address: host, port_value: port } } },
  ...more,
});

const files: readonly (readonly [name: string, text: string, expected: string])[] = [
  [
    'eds.yaml',
    `version_info: "1"
resources:
  - "@type": ${assignment}
    cluster_name: shop
    endpoints:
      - locality: { region: eu, zone: a }
        lb_endpoints:
          - { endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 50051 } } }, load_balancing_weight: 3 }
          - { endpoint: { address: { socket_address: { address: "fd00::1", port_value: 50052 } } }, health_status: HEALTHY }
      - { priority: 1, lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.2, port_value: 50053 } } } }] }
`,
    '10.0.0.1:50051/3/0/eu/a [fd00::1]:50052/1/0/eu/a 10.0.0.2:50053/1/1/',
  ],
  [
    'eds.json',
    JSON.stringify({
      versionInfo: '1',
      resources: [
        {
          '@type': assignment,
          clusterName: 'shop',
          endpoints: [
            { lbEndpoints: [{ endpoint: { address: { socketAddress: { address: '10.0.0.3', portValue: 1 } } }, loadBalancingWeight: 2 }] },
            { lb_endpoints: [lb('10.0.0.4', 2)] },
          ],
        },
      ],
    }),
    '10.0.0.3:1/2/0/ 10.0.0.4:2/1/0/',
  ],
];

const sorted = (line: string): string => line.split(' ').toSorted().join(' ');

describe('files of endpoints', { skip: envoy.skip }, () => {
  for (const [name, text, expected] of files) {
    test(`${name} means to us what it means to Envoy, also when it is replaced`, async () => {
      using folder = temporaryFolder();
      const path = join(folder.path, name);
      writeFileSync(path, text);
      const admin = await freePort();
      const eds = `type: EDS\n    connect_timeout: 1s\n    eds_cluster_config: { service_name: shop, eds_config: { path_config_source: { path: ${path} } } }`;
      const bootstrap = join(folder.path, 'envoy.yaml');
      writeFileSync(
        bootstrap,
        `node: { id: a, cluster: a }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: ${admin} } } }
static_resources:
  clusters:
  - name: shop
    ${eds}
`,
      );
      await using program = spawnProgram(String(envoy.path), [
        '-c',
        bootstrap,
        '--log-level',
        'error',
        '--use-dynamic-base-id',
        '--concurrency',
        '1',
      ]);
      const { table } = compilePolicies([{ path: 'p.yaml', bytes: Buffer.from(`clusters:\n  shop:\n    ${eds}\n`) }]);
      const policy = table?.clusters.get('shop')?.endpoints;
      assert.ok(policy?.kind === 'file');
      const source = createEndpointSource(policy, { clock: new SystemClock(), log: silentLogger });
      const envoys = async (): Promise<string> => {
        const answer = await fetch(`http://127.0.0.1:${admin}/clusters?format=json`, { headers: { connection: 'close' } });
        const { cluster_statuses: [cluster] = [] } = (await answer.json()) as {
          cluster_statuses?: readonly { host_statuses?: readonly Host[] }[];
        };
        return (cluster?.host_statuses ?? [])
          .map(({ address: { socket_address: at }, weight = 1, priority = 0, locality = {} }) => {
            const host = at.address.includes(':') ? `[${at.address}]` : at.address;
            return `${host}:${at.port_value}/${weight}/${priority}/${[locality.region, locality.zone].filter(Boolean).join('/')}`;
          })
          .join(' ');
      };
      const ours = (): string =>
        source.value.endpoints
          .map(
            ({ host, port, weight, priority = 0, locality = '' }) =>
              `${host.includes(':') ? `[${host}]` : host}:${port}/${weight}/${priority}/${locality}`,
          )
          .join(' ');
      try {
        assert.equal(sorted(ours()), sorted(expected));
        await untilAnswering(program, async () => sorted(await envoys().catch(() => '')) === sorted(expected));
        const changed = text.replaceAll('10.0.0.', '10.7.0.');
        writeFileSync(`${path}.new`, changed);
        renameSync(`${path}.new`, path);
        const after = sorted(expected.replaceAll('10.0.0.', '10.7.0.'));
        await untilAnswering(program, async () => sorted(ours()) === after && sorted(await envoys()) === after);
      } finally {
        source.close();
      }
    });
  }
});

interface Host {
  readonly address: { readonly socket_address: { readonly address: string; readonly port_value: number } };
  readonly weight?: number;
  readonly priority?: number;
  readonly locality?: { readonly region?: string; readonly zone?: string };
}
