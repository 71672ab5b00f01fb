import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type Program, spawnProgram } from '../harness/program.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { atEnd } from './at-end.ts';
import { clusterStat } from './consul-mesh.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from './mesh.ts';
import { SteadyLoad } from './steady-load.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, resetWith, startUpstream, until } from './upstream.ts';

checkLeaks();
const consulProgram = await peerProgram('consul');

const mark = 'x-outrider-unprocessed';
const refusedStream = 7;

/** Policies of a caller of `echo`, without any retry policy. */
const callsTo = (ports: readonly number[], more = ''): string =>
  `clusters: { echo: { endpoints: [${ports.map((port) => `"127.0.0.1:${port}"`).join(', ')}], lb_policy: round_robin${more} } }\n`;

interface Mesh {
  readonly certificates: MeshCertificates;
  /** A sidecar in front of the service at that port. */
  beside(localService: number): Promise<TestSidecar>;
  caller(ports: readonly number[], more?: string): Promise<TestSidecar>;
}

const startMesh = async (t: TestContext): Promise<Mesh> => {
  const certificates = await MeshCertificates.create(t);
  return {
    certificates,
    beside: async (localService) => await startSidecar(t, { name: 'echo', localService, certificates: await certificates.issue('echo') }),
    caller: async (ports, more) =>
      await startSidecar(t, { certificates: await certificates.issue('caller'), policies: callsTo(ports, more) }),
  };
};

/** A server with a certificate of `echo` that answers without a sidecar, and counts. */
const hostile = async (
  t: TestContext,
  mesh: Mesh,
  headers: http2.OutgoingHttpHeaders,
): Promise<{ readonly port: number; calls: number }> => {
  const { certPem, keyPem } = await mesh.certificates.pair('echo');
  const server = http2.createSecureServer({ cert: certPem, key: keyPem, ca: mesh.certificates.authority.certPem, requestCert: true });
  const sessions = new Set<http2.ServerHttp2Session>();
  const counted = { port: 0, calls: 0 };
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    counted.calls++;
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { endStream: true });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  counted.port = (server.address() as AddressInfo).port;
  atEnd(t, async () => {
    const closed = new Promise((done) => server.close(done));
    for (const session of sessions) session.destroy();
    await closed;
  });
  return counted;
};

const unprocessed = { 'grpc-status': '14', 'x-outrider-reason': 'connect_failure', [mark]: '1' };

test('a call whose sidecar cannot reach its service goes to another endpoint, without a policy', async (t) => {
  const mesh = await startMesh(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const [dead, alive] = [await mesh.beside(await closedPort()), await mesh.beside(service.port)];
  const caller = await mesh.caller(
    [dead.inboundPort, alive.inboundPort],
    ', outlier_detection: { consecutive_5xx: 5, max_ejection_percent: 50 }',
  );
  const client = caller.caller();
  for (let i = 0; i < 20; i++) {
    const answer = await client.call();
    assert.equal(answer.status, GrpcStatus.OK, answer.message);
    assert.equal(answer.headers[mark], undefined);
  }
  assert.equal(service.received.length, 20);
  assert.equal(service.received[0]?.headers['grpc-previous-rpc-attempts'], undefined, 'no attempt was spent');
  const wentElsewhere = caller.stat('cluster.echo.upstream_rq_unprocessed');
  // Five in a row eject it, and then nobody goes there.
  assert.equal(wentElsewhere, 5);
  assert.equal(caller.stat('cluster.echo.upstream_rq_retry'), 0);
  assert.deepEqual(caller.fates(), { ok: 20 });
  assert.deepEqual(dead.fates('inbound'), { connect_failure: wentElsewhere });
});

test('a streamed request that nobody has seen goes elsewhere from its beginning, and goes on', async (t) => {
  const mesh = await startMesh(t);
  const service = await startUpstream(t, (call) => void call.stream.on('end', () => answerOk(call)));
  const [dead, alive] = [await mesh.beside(await closedPort()), await mesh.beside(service.port)];
  const caller = await mesh.caller([dead.inboundPort, alive.inboundPort]);
  const client = caller.caller();
  for (let i = 0; i < 2; i++) {
    const call = client.start({ open: true, body: 'one' });
    await until(() => service.received.length === i + 1, 'the call at the service');
    call.write('two');
    call.end();
    assert.equal((await call.answer).status, GrpcStatus.OK);
    assert.equal(String((await service.received[i]?.body) ?? '').replaceAll(/[^a-z]/g, ''), 'onetwo');
  }
  assert.ok(caller.stat('cluster.echo.upstream_rq_unprocessed') >= 1);
});

test('with one instance the reason reaches the caller as it is, after one attempt', async (t) => {
  const mesh = await startMesh(t);
  const dead = await mesh.beside(await closedPort());
  const caller = await mesh.caller([dead.inboundPort]);
  const answer = await caller.caller().call();
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.reason, 'connect_failure');
  assert.match(answer.message, /cluster "local_service", endpoint 127\.0\.0\.1:\d+: connection refused/);
  assert.equal(answer.headers[mark], undefined);
  assert.equal(caller.stat('cluster.echo.upstream_rq_total'), 1);
});

test('where all instances are away a call is tried at four of them at most', async (t) => {
  const mesh = await startMesh(t);
  const nobody = await closedPort();
  const dead = await Promise.all(Array.from({ length: 6 }, () => mesh.beside(nobody)));
  const caller = await mesh.caller(dead.map(({ inboundPort }) => inboundPort));
  const answer = await caller.caller().call();
  assert.equal(answer.reason, 'connect_failure');
  assert.equal(caller.stat('cluster.echo.upstream_rq_total'), 4);
});

test('a service that hands on the word of another sidecar is not believed: it has seen the call', async (t) => {
  const mesh = await startMesh(t);
  const handOn: Handler = (call) => answerTrailersOnly(call, 14, unprocessed);
  const services = [await startUpstream(t, handOn), await startUpstream(t, handOn)];
  const sidecars = await Promise.all(services.map(({ port }) => mesh.beside(port)));
  const caller = await mesh.caller(sidecars.map(({ inboundPort }) => inboundPort));
  const answer = await caller.caller().call();
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.headers[mark], undefined);
  assert.equal(services.reduce((sum, { received }) => sum + received.length, 0), 1); // biome-ignore format: a sum
});

test('a call that its service may have seen is not said to be unseen', async (t) => {
  const mesh = await startMesh(t);
  const lose: Handler = (call) => call.stream.session?.destroy();
  const services = [await startUpstream(t, lose), await startUpstream(t, lose)];
  const sidecars = await Promise.all(services.map(({ port }) => mesh.beside(port)));
  const caller = await mesh.caller(sidecars.map(({ inboundPort }) => inboundPort));
  assert.equal((await caller.caller().call()).reason, 'connection_lost');
  assert.equal(services.reduce((sum, { received }) => sum + received.length, 0), 1); // biome-ignore format: a sum
});

test('a service that refuses the streams of its sidecar does not lose the call while another one answers', async (t) => {
  const mesh = await startMesh(t);
  const [full, free] = [await startUpstream(t, (call) => resetWith(call, refusedStream)), await startUpstream(t, (call) => answerOk(call))];
  const sidecars = [await mesh.beside(full.port), await mesh.beside(free.port)];
  const caller = await mesh.caller(sidecars.map(({ inboundPort }) => inboundPort));
  const client = caller.caller();
  for (let i = 0; i < 4; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
});

test('without TLS nobody is believed', async (t) => {
  const service = await startUpstream(t, (call) => answerTrailersOnly(call, 14, unprocessed));
  const other = await startUpstream(t, (call) => answerTrailersOnly(call, 14, unprocessed));
  const caller = await startSidecar(t, { policies: callsTo([service.port, other.port], ', tls: { mode: disable }') });
  const answer = await caller.caller().call();
  assert.equal(answer.reason, 'connect_failure');
  assert.equal(answer.headers[mark], undefined);
  assert.equal(service.received.length + other.received.length, 1);
  assert.equal(caller.stat('cluster.echo.upstream_rq_unprocessed'), 0);
});

test('servers that always say so do not multiply the calls', async (t) => {
  const mesh = await startMesh(t);
  const servers = await Promise.all(Array.from({ length: 8 }, () => hostile(t, mesh, unprocessed)));
  const caller = await mesh.caller(
    servers.map(({ port }) => port),
    ', outlier_detection: { max_ejection_percent: 0 }, circuit_breakers: { consecutive_failures: 1000000 }',
  );
  const client = caller.caller();
  const count = 400;
  for (let i = 0; i < count; i += 100) {
    const answers = await Promise.all(Array.from({ length: 100 }, () => client.call()));
    for (const { status, reason } of answers) assert.deepEqual([status, reason], [GrpcStatus.UNAVAILABLE, 'connect_failure']);
  }
  const attempts = servers.reduce((sum, { calls }) => sum + calls, 0);
  assert.equal(caller.stat('cluster.echo.upstream_rq_total'), attempts);
  // Once free, and beyond that no more than the retry budget of a fifth.
  assert.ok(attempts <= 2.7 * count, `${attempts} attempts for ${count} calls`);
});

test('a pushback beside it is obeyed', async (t) => {
  const mesh = await startMesh(t);
  const servers = [
    await hostile(t, mesh, { ...unprocessed, 'grpc-retry-pushback-ms': '-1' }),
    await hostile(t, mesh, { ...unprocessed, 'grpc-retry-pushback-ms': '-1' }),
  ];
  const caller = await mesh.caller(servers.map(({ port }) => port));
  assert.equal((await caller.caller().call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(servers.reduce((sum, { calls }) => sum + calls, 0), 1); // biome-ignore format: a sum
});

test('a service that is killed under load while its sidecar lives fails no call that it had not got, without any policy', {
  skip: consulProgram.skip,
}, async (t) => {
  await using consul = await ConsulProcess.start({ path: consulProgram.path });
  const mesh = await startMesh(t);
  const environment = { CONSUL_HTTP_ADDR: consul.address, SERVICE_ADDRESS: '127.0.0.1', LOCAL_SERVICE_HEALTH_INTERVAL: '1s' };
  const certificates = await mesh.certificates.issue('echo');
  const begin = async (): Promise<{ readonly program: Program; readonly sidecar: TestSidecar }> => {
    const program = spawnProgram(process.execPath, [resolve(import.meta.dirname, '../soak/echo-service.ts')]);
    atEnd(t, () => program[Symbol.asyncDispose]());
    const [port] = await program.waitFor(/^\d+$/m);
    const sidecar = await startSidecar(t, { name: 'echo', localService: Number(port), certificates, environment });
    return { program, sidecar };
  };
  const [doomed] = [await begin(), await begin()];
  const caller = await startSidecar(t, {
    certificates: await mesh.certificates.issue('caller'),
    environment: { ...environment, REGISTRATION: 'off' },
  });
  const unary = { authority: 'echo', path: '/echo.Echo/Unary' };
  const client = caller.caller();
  assert.equal((await client.call(unary)).status, GrpcStatus.OK);
  await until(() => clusterStat(caller, 'echo', 'membership_total') === 2, 'two endpoints');
  const load = new SteadyLoad(client, 300, unary);
  await until(() => load.calls > 150, 'load');
  await doomed.program.stop('SIGKILL');
  await until(() => clusterStat(caller, 'echo', 'membership_total') === 1, 'one less');
  const seen = load.calls;
  await until(() => load.calls > seen + 100, 'more load');
  await load.stop();
  // What it had when it was killed may have been done, and is nobody's to repeat. The calls that came in the second after it are many more.
  const lost = load.failures.filter((failure) => failure.includes('connection_lost'));
  assert.deepEqual(load.failures.filter((failure) => !lost.includes(failure)), []); // biome-ignore format: a filter
  assert.ok(lost.length <= 20, `${lost.length} calls were at the service when it was killed`);
  assert.ok(caller.stat('cluster.echo.upstream_rq_unprocessed') > 0, 'calls went there after its end');
});
