import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import type { Upstream } from '../mesh/upstream.ts';

/** One route to one cluster, written so that Envoy and Outrider read the same text. */
export interface ComparedCluster {
  /** Also the first part of the path that leads to it. */
  readonly name: string;
  /** Keys of the cluster. */
  readonly keys: string;
  /** Keys of the route's action. */
  readonly action?: string;
  readonly services: readonly Upstream[];
  readonly weights?: readonly number[];
}

const indented = (text: string, spaces: number): string => text.replaceAll('\n', `\n${' '.repeat(spaces)}`);

const clusterText = ({ name, keys, services, weights }: ComparedCluster, extra: string): string => `  - name: ${name}
    type: STATIC
    connect_timeout: 2s
    ${indented(keys, 4)}
    ${extra}
    load_assignment:
      cluster_name: ${name}
      endpoints:
      - lb_endpoints:
${services
  .map(
    ({ port }, i) =>
      `        - { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } }, load_balancing_weight: ${weights?.[i] ?? 1} }`,
  )
  .join('\n')}`;

const routesText = (clusters: readonly ComparedCluster[], spaces: number): string =>
  clusters
    .map(({ name, action = '' }) => `- { match: { prefix: "/${name}/" }, route: { cluster: ${name}, timeout: 10s, ${action} } }`)
    .join(`\n${' '.repeat(spaces)}`);

const typeUrl = (name: string): string => `"@type": type.googleapis.com/envoy.extensions.${name}`;
const http2Only = `typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { ${typeUrl('upstreams.http.v3.HttpProtocolOptions')}, explicit_http_config: { http2_protocol_options: {} } } }`;

/** The policies of a sidecar with these clusters. */
export const outriderPolicies = (clusters: readonly ComparedCluster[]): string =>
  `routes:\n${routesText(clusters, 0)}\nclusters:\n${clusters.map((cluster) => clusterText(cluster, 'tls: { mode: disable }')).join('\n')}\n`;

/**
 * Starts a real Envoy with these clusters; returns the port where it takes calls. It ends with the test.
 * @param managerKeys further keys of its connection manager.
 */
export const startEnvoy = async (t: TestContext, path: string, clusters: readonly ComparedCluster[], managerKeys = ''): Promise<number> => {
  const folder = temporaryFolder();
  const port = await freePort();
  const file = join(folder.path, 'envoy.yaml');
  writeFileSync(
    file,
    `static_resources:
  listeners:
  - name: out
    address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          ${typeUrl('filters.network.http_connection_manager.v3.HttpConnectionManager')}
          stat_prefix: out
          codec_type: HTTP2
          ${indented(managerKeys, 10)}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              ${routesText(clusters, 14)}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { ${typeUrl('filters.http.router.v3.Router')} }
  clusters:
${clusters.map((cluster) => clusterText(cluster, http2Only)).join('\n')}
`,
  );
  const program = spawnProgram(path, [
    '-c',
    file,
    '--concurrency',
    '1',
    '--use-dynamic-base-id',
    '--file-flush-interval-msec',
    '100',
    '-l',
    'error',
  ]);
  atEnd(t, async () => {
    await program[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  await untilAnswering(program, isListening(port));
  return port;
};
