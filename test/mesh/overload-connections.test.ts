import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { atEnd } from './at-end.ts';
import { echoPolicies, MeshCertificates, pass, startSidecar, type TestSidecar, virtualClock } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

interface Visitor {
  readonly socket: net.Socket;
  closed: boolean;
}

/** Somebody who connects, and says nothing. */
const visit = async (t: TestContext, port: number, localAddress = '127.0.0.1'): Promise<Visitor> => {
  const socket = net.connect({ port, host: '127.0.0.1', localAddress });
  const visitor = { socket, closed: false };
  socket.on('error', () => {});
  socket.on('close', () => {
    visitor.closed = true;
  });
  socket.resume();
  atEnd(t, () => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  return visitor;
};

const plainEcho = async (t: TestContext, environment: Readonly<Record<string, string>>, clock = virtualClock()) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    name: 'echo',
    policies: echoPolicies({ endpoints: [service.address] }),
    localService: service.port,
    environment,
    clock,
  });
  return { outrider, clock };
};

const tlsEcho = async (t: TestContext, clock = virtualClock(), environment: Readonly<Record<string, string>> = {}) => {
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    name: 'echo',
    localService: service.port,
    certificates: await certificates.issue('echo'),
    environment,
    clock,
  });
  const { certPem, keyPem } = await certificates.pair('caller');
  return { outrider, clock, mtls: { ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' } };
};

const logged = (outrider: TestSidecar, msg: string) => outrider.log.filter((line) => line['msg'] === msg);

test('a listener that has as many connections as it may closes the newest, and takes another when one has left', async (t) => {
  const { outrider } = await plainEcho(t, { MAX_CONNECTIONS_PER_LISTENER: '2' });
  const caller = outrider.caller();
  assert.equal((await caller.call()).status, GrpcStatus.OK);
  const second = await visit(t, outrider.outboundPort);
  const third = await visit(t, outrider.outboundPort);
  await until(() => third.closed, 'the end of the third');
  assert.equal(outrider.stat('listener.outbound.downstream_cx_overflow'), 1);
  assert.match(String(logged(outrider, 'connection refused')[0]?.['remedy']), /MAX_CONNECTIONS_PER_LISTENER/);
  assert.equal(second.closed, false);
  assert.equal((await caller.call()).status, GrpcStatus.OK);
  second.socket.destroy();
  await until(() => outrider.stat('listener.outbound.downstream_cx_active') === 1, 'room');
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  assert.equal((await outrider.admin('GET', '/healthz')).status, 200);
});

test('both listeners together have no more connections than the process may', async (t) => {
  const { outrider } = await plainEcho(t, { MAX_CONNECTIONS: '2', MAX_CONNECTIONS_PER_LISTENER: '2' });
  await visit(t, outrider.inboundPort);
  await visit(t, outrider.outboundPort);
  await until(() => outrider.stat('server.total_connections') === 2, 'both');
  const third = await visit(t, outrider.inboundPort);
  await until(() => third.closed, 'the end of the third');
  assert.equal(outrider.stat('listener.inbound.downstream_global_cx_overflow'), 1);
  assert.equal(outrider.stat('listener.inbound.downstream_cx_overflow'), 0);
  assert.match(String(logged(outrider, 'connection refused')[0]?.['remedy']), /MAX_CONNECTIONS$/);
});

test('by default one listener leaves the other a fifth of the connections', async (t) => {
  const { outrider } = await plainEcho(t, { MAX_CONNECTIONS: '10' });
  const visitors = await Promise.all(Array.from({ length: 9 }, () => visit(t, outrider.inboundPort)));
  await until(() => visitors.filter(({ closed }) => closed).length === 1, 'the end of the ninth');
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  const { listener_statuses: listeners } = JSON.parse((await outrider.admin('GET', '/listeners?format=json')).text);
  assert.deepEqual(listeners[0].connections, { active: 8, limit: 8 });
});

test('an address that has as many connections as it may leaves room for others; the own service is not counted', async (t) => {
  const { outrider } = await plainEcho(t, { MAX_CONNECTIONS_PER_SOURCE: '1' });
  const first = await visit(t, outrider.inboundPort);
  const second = await visit(t, outrider.inboundPort);
  const other = await visit(t, outrider.inboundPort, '127.0.0.2');
  await until(() => second.closed, 'the end of the second');
  assert.deepEqual([first.closed, other.closed], [false, false]);
  assert.equal(outrider.stat('listener.inbound.downstream_source_cx_overflow'), 1);
  const callers = [outrider.caller(), outrider.caller()];
  for (const caller of callers) assert.equal((await caller.call()).status, GrpcStatus.OK);
  first.socket.destroy();
  await until(() => outrider.stat('listener.inbound.downstream_cx_active') === 1, 'room');
  assert.equal((await outrider.inboundCaller().call()).status, GrpcStatus.OK);
});

test('a flood of refused connections is counted one by one, and is no flood of log lines', async (t) => {
  const { outrider, clock } = await plainEcho(t, { MAX_CONNECTIONS_PER_SOURCE: '1' });
  await visit(t, outrider.inboundPort);
  for (let i = 0; i < 50; i++) await visit(t, outrider.inboundPort);
  const refused = () => outrider.stat('listener.inbound.downstream_source_cx_overflow');
  await until(() => refused() === 50, 'fifty refusals');
  assert.equal(logged(outrider, 'connection refused').length, 10);
  await pass(clock, 10_001);
  // The first one has said nothing in all that time, and is gone.
  await until(() => outrider.stat('listener.inbound.downstream_cx_active') === 0, 'room');
  await visit(t, outrider.inboundPort);
  await visit(t, outrider.inboundPort);
  await until(() => refused() === 51, 'one more');
  const lines = logged(outrider, 'connection refused');
  assert.equal(lines.length, 11);
  assert.equal(lines.at(-1)?.['suppressed'], 40);
});

test('silent connections to a TLS listener fill no more than their share, are counted, and end after ten seconds', async (t) => {
  const { outrider, clock, mtls } = await tlsEcho(t);
  const established = outrider.inboundCaller(mtls);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  const visitors = await Promise.all(Array.from({ length: 540 }, () => visit(t, outrider.inboundPort)));
  const gone = () => visitors.filter(({ closed }) => closed).length;
  await until(() => gone() === 28, 'the end of those above 512');
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_overflow'), 28);
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_active'), 512);
  // Who comes from elsewhere shakes hands as if nothing were.
  const elsewhere = { ...mtls, localAddress: '127.0.0.2' };
  assert.equal((await outrider.inboundCaller(elsewhere).call()).status, GrpcStatus.OK);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  await pass(clock, 10_100);
  await until(() => gone() === 540, 'the end of the others');
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_timeout'), 512);
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_active'), 0);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  assert.equal((await outrider.inboundCaller(mtls).call()).status, GrpcStatus.OK);
});

/** The first bytes of a TLS handshake, as a client of Node sends them. */
const clientHello = async (t: TestContext): Promise<Buffer> => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const client = tls.connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'] });
  client.on('error', () => {});
  const socket = await accepted;
  const bytes = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  atEnd(t, () => new Promise((resolve) => server.close(resolve)));
  client.destroy();
  socket.destroy();
  return bytes;
};

test('a handshake that does not end is ended after ten seconds, counted once, and logged with the peer', async (t) => {
  const { outrider, clock } = await tlsEcho(t);
  const hello = await clientHello(t);
  const half = await visit(t, outrider.inboundPort);
  half.socket.write(hello.subarray(0, hello.length / 2));
  const whole = await visit(t, outrider.inboundPort);
  let answered = 0;
  whole.socket.on('data', (bytes: Buffer) => {
    answered += bytes.length;
  });
  whole.socket.write(hello);
  await until(() => answered > 0, 'the answer to the whole one');
  await pass(clock, 9_000);
  assert.deepEqual([half.closed, whole.closed], [false, false]);
  await pass(clock, 1_100);
  await until(() => half.closed && whole.closed, 'the end of both');
  await until(() => outrider.stat('listener.inbound.ssl.handshake_timeout') === 2, 'the counts');
  assert.equal(outrider.stat('listener.inbound.ssl.connection_error'), 0);
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_timeout'), 0);
  assert.deepEqual(
    logged(outrider, 'handshake refused').map(({ counter }) => counter),
    ['handshake_timeout', 'handshake_timeout'],
  );
});

test('who shakes hands and then says nothing is closed after five seconds, and after sixty where only a request is missing', async (t) => {
  const { outrider, clock, mtls } = await tlsEcho(t);
  const silent = tls.connect({ port: outrider.inboundPort, host: '127.0.0.1', ...mtls, ALPNProtocols: ['h2'] });
  atEnd(t, () => silent.destroy());
  silent.on('error', () => {});
  silent.resume();
  let closed = false;
  silent.on('close', () => {
    closed = true;
  });
  await until(() => outrider.stat('listener.inbound.ssl.handshake') === 1, 'the handshake');
  const idle = outrider.inboundCaller(mtls);
  await new Promise((resolve) => idle.session.once('remoteSettings', resolve));
  await pass(clock, 5_100);
  await until(() => closed, 'the end of the silent one');
  assert.equal(outrider.stat('listener.inbound.http2.preface_timeout'), 1);
  assert.equal(idle.session.closed, false);
  await pass(clock, 55_000);
  await idle.closed;
  assert.match(String(idle.goAways[0]?.debug), /no request/);
});

test('a flood of handshakes is worked off in turns, and every one of them is served', async (t) => {
  const { outrider, mtls } = await tlsEcho(t);
  const established = outrider.inboundCaller(mtls);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  const flood = Array.from({ length: 60 }, () => outrider.inboundCaller(mtls));
  const first = await Promise.race([established.call(), ...flood.map((caller) => caller.call())]);
  assert.equal(first.status, GrpcStatus.OK);
  for (const caller of flood) assert.equal((await caller.call()).status, GrpcStatus.OK);
  assert.equal(outrider.stat('listener.inbound.downstream_pre_cx_active'), 0);
});
