/** Calls stick to the same endpoints as through Envoy: whoever moves from one to the other keeps his sessions and caches. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { Caller } from '../mesh/caller.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { answerOk, startUpstream, type Upstream } from '../mesh/upstream.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const envoy = await peerProgram('envoy');

/** What is written of the cluster, the same for both. */
const shapes = {
  '/ring/': 'lb_policy: RING_HASH',
  '/murmur/': 'lb_policy: RING_HASH\nring_hash_lb_config: { minimum_ring_size: 512, hash_function: MURMUR_HASH_2 }',
  '/maglev/': 'lb_policy: MAGLEV',
  '/small/': 'lb_policy: MAGLEV\nmaglev_lb_config: { table_size: 251 }',
} as const;
const weights = [1, 3, 2, 1, 5];
const hashPolicy = '[{ header: { header_name: x-user } }, { cookie: { name: session } }]';

const indented = (text: string, spaces: number): string => text.replaceAll('\n', `\n${' '.repeat(spaces)}`);
const clusterText = (name: string, shape: string, services: readonly Upstream[], extra: string): string => `  - name: ${name}
    type: STATIC
    connect_timeout: 2s
    ${indented(shape, 4)}
    ${extra}
    load_assignment:
      cluster_name: ${name}
      endpoints:
      - lb_endpoints:
${services
  .map(
    ({ port }, i) =>
      `        - { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } }, load_balancing_weight: ${weights[i]} }`,
  )
  .join('\n')}`;

const clustersText = (services: readonly Upstream[], extra: string): string =>
  Object.entries(shapes)
    .map(([path, shape]) => clusterText(path.replaceAll('/', ''), shape, services, extra))
    .join('\n');
const routesText = (spaces: number): string =>
  Object.keys(shapes)
    .map(
      (path) =>
        `- { match: { prefix: "${path}" }, route: { cluster: ${path.replaceAll('/', '')}, timeout: 10s, hash_policy: ${hashPolicy} } }`,
    )
    .join(`\n${' '.repeat(spaces)}`);

const startEnvoy = async (t: TestContext, services: readonly Upstream[]): Promise<number> => {
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
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: out
          codec_type: HTTP2
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              ${routesText(14)}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
${clustersText(services, 'typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { http2_protocol_options: {} } } }')}
`,
  );
  const program = spawnProgram(envoy.path, ['-c', file, '--concurrency', '1', '--use-dynamic-base-id', '-l', 'error']);
  atEnd(t, async () => {
    await program[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });
  await untilAnswering(program, isListening(port));
  return port;
};

test('by header and by cookie, on rings and tables, by weight: the same endpoint', { skip: envoy.skip }, async (t) => {
  const services: Upstream[] = [];
  for (let i = 0; i < weights.length; i++) services.push(await startUpstream(t, (call) => answerOk(call, String(i))));
  const theirs = new Caller(t, await startEnvoy(t, services));
  const policies = `routes:\n${routesText(0)}\nclusters:\n${clustersText(services, 'tls: { mode: disable }')}\n`;
  const outrider = await startSidecar(t, { policies });
  const ours = outrider.caller();
  for (const path of Object.keys(shapes)) {
    const seen = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const user: Record<string, string> = i % 3 === 2 ? {} : { 'x-user': `user-${i}-${'x'.repeat(i)}` };
      const cookie: Record<string, string> = i % 3 === 0 ? {} : { cookie: `theme=dark; session=s-${i}` };
      const options = { path: `${path}Echo`, headers: { ...user, ...cookie } };
      const [answer, wanted] = [await ours.call(options), await theirs.call(options)];
      assert.equal(answer.status, 0, answer.message);
      assert.deepEqual(answer.body, wanted.body, `${path} ${JSON.stringify(options.headers)}`);
      seen.add(answer.body.toString());
    }
    assert.ok(seen.size >= 4, `${path} went to ${seen.size} endpoints`);
  }
});
