import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import tls from 'node:tls';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, type Program, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import { type Answer, Caller } from './caller.ts';
import { echoPolicies, MeshCertificates, startMesh, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, beginAnswer, endAnswer, hold, startTcp, startUpstream, until } from './upstream.ts';

checkLeaks();

interface ChildSidecar {
  readonly program: Program;
  readonly inbound: number;
  readonly outbound: number;
  readonly admin: number;
}

/** A sidecar in a process of its own, as an operator runs it. */
const spawnSidecar = async (t: TestContext, environment: Readonly<Record<string, string>>): Promise<ChildSidecar> => {
  const program = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: 'echo',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      INBOUND_TLS: 'off',
      LOCAL_SERVICE_PORT: '1',
      // The services of these tests count what they receive.
      LOCAL_SERVICE_HEALTH_INTERVAL: '0s',
      ...environment,
    },
  });
  atEnd(t, () => program[Symbol.asyncDispose]());
  const [line] = await program.waitFor(/^.*"msg":"ready".*$/m);
  const { inbound, outbound, admin } = JSON.parse(line) as { inbound: number; outbound: number; admin: number };
  return { program, inbound, outbound, admin };
};

const get = async (port: number, path: string, method = 'GET'): Promise<{ status: number; text: string }> => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { connection: 'close' } });
  return { status: response.status, text: await response.text() };
};

test('SIGTERM while it still waits for files ends it with 0', async () => {
  await using program = spawnProgram(outriderPath, ['sidecar'], {
    env: { PATH: process.env['PATH'], SERVICE_NAME: 'echo', INBOUND_TLS: 'off', POLICY_PATH: '/nowhere/policies', STARTUP_WAIT: '10m' },
  });
  await program.waitFor(/"msg":"waiting for files","missing":\["\/nowhere\/policies"\]/);
  assert.equal((await program.stop('SIGTERM')).code, 0);
});

test('SIGTERM under load: readiness 503 at once, GOAWAY says drain, no call fails, exit 0', async (t) => {
  const service = await startUpstream(t, (call) => {
    if (call.headers[':path'] !== '/acme.Echo/Held') setTimeout(() => answerOk(call), 2);
  });
  const child = await spawnSidecar(t, { LOCAL_SERVICE_PORT: String(service.port) });
  assert.equal((await get(child.admin, '/ready')).status, 200);
  const clients = Array.from({ length: 8 }, () => new Caller(t, child.inbound));
  const held = clients[0]?.start({ path: '/acme.Echo/Held' });
  const heldAtService = await service.call(0);
  const answers: (Answer & { readonly id: string })[] = [];
  const load = async (client: Caller, name: number): Promise<void> => {
    for (let i = 0; client.goAways.length === 0; i++) {
      const id = `${name}-${i}`;
      answers.push({ ...(await client.call({ headers: { 'x-id': id } })), id });
    }
  };
  const running = Promise.all(clients.map(load));
  await until(() => answers.length > 200, 'traffic');
  process.kill(child.program.pid, 'SIGTERM');
  await running;
  assert.equal((await get(child.admin, '/ready')).status, 503);
  answerOk(heldAtService);
  assert.equal((await held?.answer)?.status, GrpcStatus.OK);
  // A request that a client makes in the moment in which it reads the GOAWAY is never sent: its own library says so, and sends it elsewhere.
  const sent = new Set(service.received.map(({ headers }) => headers['x-id']));
  const failed = answers.filter(
    ({ id, resetCode, status }) => status !== GrpcStatus.OK && !(resetCode === http2.constants.NGHTTP2_REFUSED_STREAM && !sent.has(id)),
  );
  assert.deepEqual(failed, []);
  assert.equal(clients[0]?.goAways[0]?.debug, 'drain');
  assert.equal(clients[0]?.goAways[0]?.lastStreamId, 2 ** 31 - 1);
  const exit = await child.program.end();
  assert.equal(exit.code, 0, exit.stderr);
  assert.match(exit.stderr, /"msg":"draining"/);
  assert.match(exit.stderr, /"msg":"stopped"/);
});

test('while a call is still under way, readiness says 503 and the outbound listener serves', async (t) => {
  const peer = await startUpstream(t, (call) => answerOk(call));
  const local = await startUpstream(t, hold);
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const outrider = await startSidecar(t, {
    localService: local.port,
    policies: echoPolicies({ endpoints: [peer.address] }),
    endsItself: true,
  });
  const inbound = outrider.inboundCaller();
  const call = inbound.start();
  const received = await local.call(0);
  const drained = outrider.sidecar.drain();
  assert.equal((await outrider.admin('GET', '/ready')).status, 503);
  // The service needs its peers to finish what it has begun.
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  answerOk(received);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  await drained;
  assert.deepEqual(outrider.fates('inbound'), { ok: 1 });
  assert.deepEqual(outrider.fates(), { ok: 1 });
});

test('POST /drain does what SIGTERM does', async (t) => {
  const child = await spawnSidecar(t, {});
  assert.ok((await get(child.admin, '/drain', 'POST')).status < 300);
  const exit = await child.program.end();
  assert.equal(exit.code, 0, exit.stderr);
});

test('what outlives DRAIN_TIMEOUT ends with draining, also in the middle of an answer and over TLS', async (t) => {
  const service = await startUpstream(t, (call) => (call.headers[':path'] === '/acme.Echo/Begun' ? beginAnswer(call, 'part') : undefined));
  const certificates = await MeshCertificates.create(t);
  const child = await spawnSidecar(t, {
    ...(await certificates.issue('echo')),
    INBOUND_TLS: 'strict',
    DRAIN_TIMEOUT: '300ms',
    LOCAL_SERVICE_PORT: String(service.port),
  });
  const { certPem, keyPem } = await certificates.pair('caller');
  const client = new Caller(t, child.inbound, { ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' });
  const silent = client.start();
  const begun = client.start({ path: '/acme.Echo/Begun' });
  await until(() => begun.receivedBytes > 0 && service.received.length === 2, 'both calls under way');
  process.kill(child.program.pid, 'SIGTERM');
  for (const answer of [await silent.answer, await begun.answer]) {
    assert.equal(answer.status, GrpcStatus.UNAVAILABLE, 'not a lost connection');
    assert.equal(answer.reason, 'draining');
    assert.match(answer.message, /DRAIN_TIMEOUT/);
  }
  const exit = await child.program.end();
  assert.equal(exit.code, 0, exit.stderr);
});

test('a peer that never closes its side does not keep the process', async (t) => {
  const port = await startTcp(t, (socket) => socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])), true);
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const child = await spawnSidecar(t, { LOCAL_SERVICE_PORT: String(port), DRAIN_TIMEOUT: '200ms' });
  const client = new Caller(t, child.inbound);
  client.start();
  // A client that does not even read.
  const deaf = net.connect({ port: child.inbound, host: '127.0.0.1', allowHalfOpen: true });
  atEnd(t, () => deaf.destroy());
  deaf.on('error', () => {});
  deaf.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
  await wait(50);
  process.kill(child.program.pid, 'SIGTERM');
  const exit = await child.program.end();
  assert.equal(exit.code, 0, exit.stderr);
});

test('DRAIN_DELAY: new connections are still served, although not ready', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const child = await spawnSidecar(t, { LOCAL_SERVICE_PORT: String(service.port), DRAIN_DELAY: '1s' });
  process.kill(child.program.pid, 'SIGTERM');
  await child.program.waitFor(/"msg":"draining"/);
  assert.equal((await get(child.admin, '/ready')).status, 503);
  assert.equal((await new Caller(t, child.inbound).call()).status, GrpcStatus.OK);
  assert.equal((await child.program.end()).code, 0);
});

test('through two sidecars, the one beside the service drains without a failed call', async (t) => {
  const service = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const other = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const mesh = await startMesh(t, {
    services: { one: service.port, two: other.port },
    policies: ({ one, two }) =>
      echoPolicies({
        endpoints: [String(one), String(two)],
        cluster: 'tls: { match_subject_alt_names: [one, two] }\ncircuit_breakers: { scope: endpoint }',
      }),
  });
  const client = mesh.entrance.caller();
  const statuses: number[] = [];
  let stop = false;
  const load = async (): Promise<void> => {
    while (!stop) statuses.push((await client.call()).status);
  };
  const running = Array.from({ length: 16 }, load);
  await until(() => statuses.length > 100, 'traffic');
  await mesh.sidecars['one']?.sidecar.drain();
  const during = statuses.length;
  await until(() => statuses.length > during + 100, 'traffic to the other one');
  stop = true;
  await Promise.all(running);
  assert.deepEqual(
    statuses.filter((status) => status !== 0),
    [],
  );
  assert.equal(Object.keys(mesh.sidecars['one']?.fates('inbound') ?? {}).join(), 'ok');
});

test('draining twice is draining once, and an idle sidecar is gone at once', async (t) => {
  const { outrider } = await throughOne(t, hold, { endsItself: true });
  const first = outrider.sidecar.drain();
  assert.equal(outrider.sidecar.drain(), first);
  await first;
  await outrider.sidecar.stopped;
});

test('a call that a drain finds half-answered is finished, not cut', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call, 'first'), { endsItself: true });
  const call = client.start();
  await until(() => call.receivedBytes > 0, 'the first message');
  const drained = outrider.sidecar.drain();
  await until(() => client.goAways.length > 0, 'GOAWAY');
  const [received] = service.received;
  received?.stream.write(Buffer.from([0, 0, 0, 0, 1, 7]));
  if (received !== undefined) endAnswer(received, 0);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(answer.body.length, 10 + 6);
  await drained;
});

test('who is about to shake hands when the drain begins is served, then told to go', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    name: 'echo',
    localService: service.port,
    certificates: await certificates.issue('echo'),
    endsItself: true,
  });
  const socket = net.connect(outrider.inboundPort, '127.0.0.1');
  atEnd(t, () => socket.destroy());
  await until(() => outrider.stat('listener.inbound.downstream_cx_active') === 1, 'the connection');
  const drained = outrider.sidecar.drain();
  await new Promise((resolve) => setImmediate(resolve));
  const { certPem, keyPem } = await certificates.pair('caller');
  const secured = tls.connect({
    socket,
    ca: certificates.authority.certPem,
    cert: certPem,
    key: keyPem,
    servername: 'echo',
    ALPNProtocols: ['h2'],
  });
  const session = http2.connect('https://echo', { createConnection: () => secured });
  atEnd(t, () => session.destroy());
  const stream = session.request({ ':method': 'POST', ':path': '/acme.Echo/Call', 'content-type': 'application/grpc', te: 'trailers' });
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  stream.resume();
  assert.equal(await new Promise((resolve) => stream.on('trailers', (trailers) => resolve(trailers['grpc-status']))), '0');
  await drained;
});

test('a drain leaves no timer behind', async (t) => {
  const clock = virtualClock();
  const outrider = await startSidecar(t, { clock, endsItself: true });
  await outrider.sidecar.drain();
});
