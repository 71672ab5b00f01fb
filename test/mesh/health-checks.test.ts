/** Health checks through whole sidecars, of servers of grpc-js and grpc-go in processes that are killed, stopped and started again. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { clusterRows } from '../../src/cli/admin-tables.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type Program, spawnProgram } from '../harness/program.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { type HealthServer, startHealthServer } from '../upstream/health-server.ts';
import { atEnd } from './at-end.ts';
import { echoPolicies, startMesh, startSidecar, type TestSidecar } from './mesh.ts';
import { closedPort, until } from './upstream.ts';

checkLeaks();

const goServer = await peerProgram('grpc-interop-server');
const script = join(import.meta.dirname, '../peers/health/grpc-js-server.ts');

const spawnServer = async (
  t: TestContext,
  port = 0,
): Promise<{ readonly program: Program; readonly address: string; readonly port: number }> => {
  const program = spawnProgram(process.execPath, [script, String(port)]);
  atEnd(t, () => program[Symbol.asyncDispose]());
  const [said] = await program.waitFor(/^\d+$/m);
  return { program, address: `127.0.0.1:${said}`, port: Number(said) };
};

interface HostStatus {
  readonly address: { readonly socket_address: { readonly port_value: number } };
  readonly health_status: Readonly<Record<string, unknown>>;
  readonly health_check?: { readonly state: string; readonly why: string; readonly method: string };
}

const hostOf = async (outrider: TestSidecar, port: number): Promise<HostStatus> => {
  const { text } = await outrider.admin('GET', '/clusters?format=json');
  const { cluster_statuses: clusters } = JSON.parse(text) as { cluster_statuses: { name: string; host_statuses: HostStatus[] }[] };
  const hosts = clusters.filter(({ name }) => name !== 'local_service').flatMap(({ host_statuses: statuses }) => statuses);
  return hosts.find(({ address }) => address.socket_address.port_value === port) as HostStatus;
};

const healthy = (outrider: TestSidecar, port: number): boolean | undefined => {
  const [cluster] = outrider.sidecar.proxy.clusters;
  const endpoint = cluster?.endpoints.find(({ address }) => address.port === port);
  return endpoint?.checker?.health.checked === true ? endpoint.healthy : undefined;
};

const quick =
  'interval: 100ms, timeout: 300ms, unhealthy_threshold: 2, no_traffic_interval: 100ms, unhealthy_interval: 100ms, initial_jitter: 10ms';

/** Process ids of those that answered. */
const answering = async (outrider: TestSidecar, calls = 20): Promise<ReadonlySet<number>> => {
  const client = outrider.caller();
  const pids = new Set<number>();
  for (let i = 0; i < calls; i++) {
    const { body, message, status } = await client.call({ path: '/acme.Echo/Say' });
    assert.equal(status, 0, message);
    pids.add(Number(body.toString('latin1', 5)));
  }
  return pids;
};

test('a server that is killed gets no call after the threshold, and calls again when it is back', async (t) => {
  const [first, second] = [await spawnServer(t), await spawnServer(t)];
  const outrider = await startSidecar(t, {
    policies: echoPolicies({ endpoints: [first.address, second.address], cluster: `health_checks: [{ grpc_health_check: {}, ${quick} }]` }),
  });
  await until(() => healthy(outrider, first.port) === true && healthy(outrider, second.port) === true, 'both');
  assert.deepEqual(await answering(outrider), new Set([first.program.pid, second.program.pid]));
  assert.equal((await hostOf(outrider, first.port)).health_check?.method, 'grpc watch');
  await first.program.stop('SIGKILL');
  await until(() => healthy(outrider, first.port) === false, 'its death');
  assert.deepEqual(await answering(outrider), new Set([second.program.pid]));
  const host = await hostOf(outrider, first.port);
  assert.equal(host.health_status['failed_active_health_check'], true);
  assert.equal(host.health_check?.state, 'unhealthy');
  assert.match(host.health_check?.why ?? '', /connection refused \(ECONNREFUSED\)/);
  assert.match((await outrider.admin('GET', '/clusters')).text, new RegExp(`${first.address}::health_flags::/failed_active_hc\n`));
  assert.ok(
    outrider.log.some(
      ({ msg, event, endpoint }) => msg === 'endpoint is not healthy' && event === 'eject_unhealthy' && endpoint === first.address,
    ),
  );
  const back = await spawnServer(t, first.port);
  await until(() => healthy(outrider, first.port) === true, 'its return');
  assert.deepEqual(await answering(outrider), new Set([back.program.pid, second.program.pid]));
  assert.equal(outrider.stat('cluster.echo.health_check.healthy'), 2);
  assert.equal(outrider.stat('cluster.echo.membership_healthy'), 2);
  assert.ok(outrider.stat('cluster.echo.health_check.passive_failure') >= 1);
});

test('the first call of all finds the endpoints checked already', async (t) => {
  const [well, ill] = [await startHealthServer(t), await startHealthServer(t)];
  ill.status = 'NOT_SERVING';
  const cluster = 'health_checks: [{ grpc_health_check: {}, interval: 10m }]';
  const endpoints = [ill, well].map(({ port }) => `127.0.0.1:${port}`);
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints, cluster }) });
  const client = outrider.caller();
  for (let i = 0; i < 10; i++) assert.equal((await client.call()).status, 0);
  assert.deepEqual([well.calls, ill.calls], [10, 0]);
});

test('a server that says NOT_SERVING is told of by its Watch, long before the interval', async (t) => {
  const [first, second] = [await spawnServer(t), await spawnServer(t)];
  const cluster =
    'health_checks: [{ grpc_health_check: { service_name: acme.Echo }, interval: 10m, timeout: 1s, no_traffic_interval: 10m }]';
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [first.address, second.address], cluster }) });
  await until(() => healthy(outrider, first.port) === true && healthy(outrider, second.port) === true, 'both');
  process.kill(first.program.pid, 'SIGUSR2');
  await until(() => healthy(outrider, first.port) === false, 'NOT_SERVING');
  assert.deepEqual(await answering(outrider), new Set([second.program.pid]));
  assert.equal((await hostOf(outrider, first.port)).health_check?.why, 'answers NOT_SERVING for "acme.Echo"');
  const { text } = await outrider.admin('GET', '/clusters?format=json');
  const rows = clusterRows(JSON.parse(text)).filter((row) => row.includes(first.address));
  assert.equal(rows[0]?.[4], 'unhealthy: answers NOT_SERVING for "acme.Echo"', 'outrider clusters');
  process.kill(first.program.pid, 'SIGUSR2');
  await until(() => healthy(outrider, first.port) === true, 'SERVING');
  assert.deepEqual(await answering(outrider), new Set([first.program.pid, second.program.pid]));
  assert.equal(outrider.stat('cluster.echo.health_check.attempt'), 2);
});

test('a server that is stopped, and so takes connections and answers nothing, times out', async (t) => {
  const [first, second] = [await spawnServer(t), await spawnServer(t)];
  const cluster = `health_checks: [{ grpc_health_check: { watch: false }, ${quick} }]`;
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [first.address, second.address], cluster }) });
  await until(() => healthy(outrider, first.port) === true && healthy(outrider, second.port) === true, 'both');
  process.kill(first.program.pid, 'SIGSTOP');
  try {
    await until(() => healthy(outrider, first.port) === false, 'its silence');
    assert.deepEqual(await answering(outrider), new Set([second.program.pid]));
    assert.equal((await hostOf(outrider, first.port)).health_status['active_hc_timeout'], true);
  } finally {
    process.kill(first.program.pid, 'SIGCONT');
  }
  await until(() => healthy(outrider, first.port) === true, 'its return');
});

test('a server of grpc-go without the health service says so, and tcp_health_check does for it', { skip: goServer.skip }, async (t) => {
  const port = await closedPort();
  const server = spawnProgram(goServer.path, [`-port=${port}`]);
  atEnd(t, () => server[Symbol.asyncDispose]());
  const address = `127.0.0.1:${port}`;
  for (const [check, expected, why] of [
    ['tcp_health_check: {}', true, /^takes connections$/],
    ['grpc_health_check: {}', false, /^answers UNIMPLEMENTED/],
  ] as const) {
    const cluster = `health_checks: [{ ${check}, ${quick} }]`;
    const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [address], cluster }) });
    await until(() => healthy(outrider, port) === expected, String(expected));
    assert.match((await hostOf(outrider, port)).health_check?.why ?? '', why);
  }
});

const throughMesh = async (t: TestContext, service: HealthServer) =>
  startMesh(t, {
    services: { echo: service.port },
    policies: ({ echo }) => `clusters:\n  echo: { endpoints: ["${echo}"], health_checks: [{ grpc_health_check: {}, ${quick} }] }\n`,
  });

test('between sidecars a check goes to the service itself, with mutual TLS, and tells when that is gone', async (t) => {
  const service = await startHealthServer(t);
  const { entrance, sidecars } = await throughMesh(t, service);
  const port = Number(sidecars['echo']?.inboundPort);
  await until(() => healthy(entrance, port) === true, 'the service');
  assert.equal(service.checks.at(-1)?.method, 'Watch');
  await service.stop();
  await until(() => healthy(entrance, port) === false, 'its end');
  assert.match((await hostOf(entrance, port)).health_check?.why ?? '', /UNAVAILABLE \(.*connection refused/);
  await startHealthServer(t, service.port);
  await until(() => healthy(entrance, port) === true, 'its return');
});

test('a Watch of a peer does not hold up the drain of a sidecar', async (t) => {
  const service = await startHealthServer(t);
  const { entrance, sidecars } = await throughMesh(t, service);
  const callee = sidecars['echo'] as TestSidecar;
  await until(() => service.watchers.size === 1 && healthy(entrance, callee.inboundPort) === true, 'the Watch');
  await callee.sidecar.drain();
  assert.equal(callee.fates('inbound').draining, undefined, 'nothing had to be cut off');
  await until(() => healthy(entrance, callee.inboundPort) === false, 'that it is gone');
});
