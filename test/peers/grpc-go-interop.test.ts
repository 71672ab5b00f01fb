import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { goCases } from './interop/go-cases.ts';
import { peerProgram } from './peer-programs.ts';
import { initCertificates, type Mesh, type SidecarProcess, startMesh, startOnFreePort, startSidecar } from './sidecar-processes.ts';

checkLeaks();

const client = await peerProgram('grpc-interop-client');
const server = await peerProgram('grpc-interop-server');
const skip = client.skip || server.skip;

const soak = [
  '-soak_iterations=24',
  '-soak_num_threads=4',
  '-soak_per_iteration_max_acceptable_latency_ms=10000',
  '-soak_overall_timeout_seconds=20',
];

// The client's balancer that listens to load reports; in trailers, and in a stream of its own.
const orca = ['-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'];

/**
 * Every case of grpc-go's interop client that needs no credentials of a cloud; `pick_first_unary` wants a server that tells its name, which
 * grpc-go's interop server does not.
 */
const cases: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(goCases.map((name) => [name, []])),
  orca_per_rpc: orca,
  orca_oob: orca,
  rpc_soak: soak,
  channel_soak: soak,
};

/** Runs one case against an address; fails with what the client said. */
const runCase = async (name: string, address: string, more: readonly string[] = []): Promise<void> => {
  const [host = '', port = ''] = address.split(':');
  const args = [`-test_case=${name}`, `-server_host=${host}`, `-server_port=${port}`, ...(cases[name] ?? []), ...more];
  const { code, stderr } = await runProgram(client.path, args);
  assert.equal(code, 0, `${name}: ${stderr.slice(-2000)}`);
};

/** Whatever the cases did, each call ended in one fate, no request is left open, and the mesh itself failed none. */
const assertAllEnded = async (sidecar: SidecarProcess, direction: 'inbound' | 'outbound'): Promise<void> => {
  const stats = await sidecar.idleStats(direction);
  const fates = await sidecar.fates();
  const total = Object.values(fates).reduce((sum, count) => sum + count, 0);
  assert.equal(total, stats.get(`listener.${direction}.downstream_rq_total`), JSON.stringify(fates));
  assert.deepEqual(
    Object.keys(fates).filter((fate) => !/ (ok|app_error|cancelled|caller_deadline)$/.test(fate)),
    [],
    JSON.stringify(fates),
  );
};

const startServer = () => startOnFreePort(server.path, (port) => [`-port=${port}`]);

const routes = `  - name: all
    match: { prefix: / }
    route:
      cluster: interop-svc
      retry_policy: { retry_on: "unavailable,reset,connect-failure,refused-stream", num_retries: 2 }
`;

describe('grpc-go through two sidecars with mTLS between them', { skip }, () => {
  const owned = new AsyncDisposableStack();
  let mesh: Mesh;
  before(async () => {
    const interop = owned.use(await startServer());
    mesh = owned.use(await startMesh({ 'interop-svc': interop.port }, { routes }));
  });
  after(() => owned.disposeAsync());

  for (const name of Object.keys(cases)) test(name, () => runCase(name, mesh.entrance));

  test('a client that speaks TLS to the outbound listener gets through too', async () => {
    const tls = ['-use_tls', '-use_test_ca', `-ca_file=${mesh.identity('caller-svc').ca}`, '-server_host_override=localhost'];
    for (const name of ['large_unary', 'ping_pong', 'custom_metadata', 'cancel_after_first_response'])
      await runCase(name, mesh.entrance, tls);
    assert.ok((await mesh.caller.stat('listener.outbound.ssl.handshake')) >= 4);
  });

  test('a client with TLS but without a certificate does not reach the service past its sidecar', async () => {
    const callee = mesh.callee('interop-svc');
    const { code, stderr } = await runProgram(client.path, [
      ...['-test_case=empty_unary', '-server_host=127.0.0.1', `-server_port=${callee.inboundPort}`],
      ...['-use_tls', '-use_test_ca', `-ca_file=${mesh.identity('caller-svc').ca}`, '-server_host_override=localhost'],
    ]);
    assert.notEqual(code, 0);
    assert.match(stderr, /Unavailable/);
    assert.ok((await callee.stat('listener.inbound.ssl.fail_verify_no_cert')) > 0);
  });

  test('every call has ended in one fate, and none because of the mesh', async () => {
    await assertAllEnded(mesh.caller, 'outbound');
    await assertAllEnded(mesh.callee('interop-svc'), 'inbound');
  });

  test('both sidecars drain and end with 0', () => mesh.stop());
});

describe('grpc-go through one sidecar', { skip }, () => {
  const owned = new AsyncDisposableStack();
  let port: number;
  before(async () => {
    ({ port } = owned.use(await startServer()));
  });
  after(() => owned.disposeAsync());

  const runAll = async (address: string): Promise<void> => {
    // The load reports of a stream of their own come once a second, and have been seen above.
    for (const name of Object.keys(cases)) if (name !== 'orca_oob') await runCase(name, address);
  };

  test('outbound, to a service in plain text that the policy allows', async () => {
    using folder = temporaryFolder();
    const policyPath = join(folder.path, 'mesh.yaml');
    const cluster = `clusters:\n  interop-svc: { endpoints: ["127.0.0.1:${port}"], tls: { mode: disable } }\n`;
    writeFileSync(policyPath, `routes:\n${routes}${cluster}`);
    await using sidecar = await startSidecar({ name: 'caller-svc', environment: { INBOUND_TLS: 'off' }, policyPath });
    await runAll(`127.0.0.1:${sidecar.outboundPort}`);
    await assertAllEnded(sidecar, 'outbound');
    await sidecar.stop();
  });

  test('inbound, in plain text on a listener without TLS', async () => {
    await using sidecar = await startSidecar({ name: 'interop-svc', environment: { INBOUND_TLS: 'off' }, servicePort: port });
    await runAll(`127.0.0.1:${sidecar.inboundPort}`);
    await assertAllEnded(sidecar, 'inbound');
    await sidecar.stop();
  });

  test('inbound, in plain text on a listener that takes both, and counts it', async () => {
    using folder = temporaryFolder();
    const identity = (await initCertificates(folder.path, ['interop-svc']))('interop-svc');
    const environment = { INBOUND_TLS: 'permissive' };
    await using sidecar = await startSidecar({ name: 'interop-svc', identity, environment, servicePort: port });
    await runAll(`127.0.0.1:${sidecar.inboundPort}`);
    await assertAllEnded(sidecar, 'inbound');
    assert.ok((await sidecar.stat('listener.inbound.downstream_cx_plain_text')) >= Object.keys(cases).length - 1);
    await sidecar.stop();
  });
});
