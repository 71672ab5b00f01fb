import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { Sidecar } from '../../src/cli/sidecar.ts';
import { ConfigurationError, silentLogger } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram } from '../harness/program.ts';
import { atEnd } from './at-end.ts';
import { MeshCertificates, pass, startSidecar, type TestSidecar, virtualClock } from './mesh.ts';
import { answerOk, startTcp, startUpstream, until } from './upstream.ts';

checkLeaks();

/** What a listener says to bytes that somebody sends, until it closes. */
const say = (t: TestContext, port: number, bytes: string | Uint8Array): Promise<string> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    atEnd(t, () => socket.destroy());
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });

const sidecarWith = async (t: TestContext, inboundTls: string, options: Parameters<typeof startSidecar>[1] = {}) => {
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const policies = `clusters:\n  echo: { endpoints: ["${service.address}"], tls: { mode: disable } }\n`;
  const outrider = await startSidecar(t, {
    name: 'echo',
    policies,
    localService: service.port,
    certificates: { ...(await certificates.issue('echo')), INBOUND_TLS: inboundTls },
    ...options,
  });
  const { certPem, keyPem } = await certificates.pair('caller');
  return { certificates, service, outrider, mtls: { ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' } };
};

const stillServes = async (outrider: TestSidecar): Promise<void> => {
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  assert.equal((await outrider.admin('GET', '/healthz')).status, 200);
};

test('INBOUND_TLS=strict takes mutual TLS only', async (t) => {
  const { mtls, outrider, service } = await sidecarWith(t, 'strict');
  assert.equal((await outrider.inboundCaller(mtls).call()).status, GrpcStatus.OK);
  const plain = outrider.inboundCaller();
  assert.equal((await plain.call()).status, -1);
  const { servername } = mtls;
  assert.equal((await outrider.inboundCaller({ ca: mtls.ca, servername }).call()).status, -1);
  await until(() => outrider.stat('listener.inbound.ssl.fail_verify_no_cert') === 1, 'the count of missing certificates');
  assert.equal(service.received.length, 1);
  await stillServes(outrider);
});

test('a certificate of another mesh is refused, counted and logged with its reason', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'strict');
  const other = await MeshCertificates.create(t);
  const { certPem, keyPem } = await other.pair('caller');
  assert.equal((await outrider.inboundCaller({ ...mtls, cert: certPem, key: keyPem }).call()).status, -1);
  await until(() => outrider.stat('listener.inbound.ssl.fail_verify_error') === 1, 'the count of failed verifications');
  const line = outrider.log.find(({ msg }) => msg === 'handshake refused');
  assert.equal(line?.['listener'], 'inbound');
  assert.ok(String(line?.['why']).length > 0 && String(line?.['remedy']).length > 0);
  await stillServes(outrider);
});

test('INBOUND_TLS=permissive takes plain text too, and counts it', async (t) => {
  const { mtls, outrider, service } = await sidecarWith(t, 'permissive');
  assert.equal((await outrider.inboundCaller(mtls).call()).status, GrpcStatus.OK);
  assert.equal((await outrider.inboundCaller().call()).status, GrpcStatus.OK);
  assert.equal(outrider.stat('listener.inbound.downstream_cx_plain_text'), 1);
  assert.match(String(service.received[0]?.headers['x-forwarded-client-cert']), /service\/caller/);
  assert.equal(service.received[1]?.headers['x-forwarded-client-cert'], undefined);
});

test('INBOUND_TLS=permissive still refuses a stranger that speaks TLS', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'permissive');
  assert.equal((await outrider.inboundCaller({ ca: mtls.ca, servername: 'echo' }).call()).status, -1);
});

test('INBOUND_TLS=off speaks plain text only, with certificates for the way out', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'off');
  assert.equal((await outrider.inboundCaller().call()).status, GrpcStatus.OK);
  assert.equal((await outrider.inboundCaller(mtls).call()).status, -1);
  await stillServes(outrider);
});

test('the outbound listener takes TLS without a certificate and plain text, told apart by the first byte', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'strict');
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  const session = http2.connect(`https://127.0.0.1:${outrider.outboundPort}`, {
    ca: mtls.ca,
    servername: 'echo',
    rejectUnauthorized: false,
  });
  atEnd(t, () => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': '/acme.Echo/Call',
    ':authority': 'echo',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.resume();
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  const status = await new Promise((resolve) => stream.on('trailers', (trailers) => resolve(trailers['grpc-status'])));
  assert.equal(status, '0');
});

test('TLS without ALPN h2 is refused and counted', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'strict');
  const socket = tls.connect({ port: outrider.inboundPort, host: '127.0.0.1', ...mtls, rejectUnauthorized: false });
  atEnd(t, () => socket.destroy());
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('close', resolve));
  await until(() => outrider.stat('listener.inbound.ssl.no_alpn') === 1, 'the count');
  await stillServes(outrider);
});

test('TLS 1.2 is refused', async (t) => {
  const { mtls, outrider } = await sidecarWith(t, 'strict');
  const socket = tls.connect({
    port: outrider.inboundPort,
    host: '127.0.0.1',
    ...mtls,
    ALPNProtocols: ['h2'],
    maxVersion: 'TLSv1.2',
    rejectUnauthorized: false,
  });
  atEnd(t, () => socket.destroy());
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('close', resolve));
  await until(() => outrider.stat('listener.inbound.ssl.protocol_version') === 1, 'the count');
  await stillServes(outrider);
});

const http1 = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

test('whoever speaks HTTP/1.1 to a plain listener is told in HTTP/1.1 what is wrong', async (t) => {
  const { outrider } = await sidecarWith(t, 'off');
  for (const port of [outrider.inboundPort, outrider.outboundPort]) {
    const answer = await say(t, port, http1);
    assert.match(answer, /^HTTP\/1\.1 505 /);
    assert.match(answer, /gRPC over HTTP\/2/);
  }
  await stillServes(outrider);
});

test('whoever speaks HTTP/1.1 to a TLS listener is refused, counted and logged', async (t) => {
  const { outrider } = await sidecarWith(t, 'strict');
  await say(t, outrider.inboundPort, http1);
  await until(() => outrider.log.some(({ msg, listener }) => msg === 'handshake refused' && listener === 'inbound'), 'a log line');
  await stillServes(outrider);
});

test('HTTP/1.1 to the permissive listener is answered in plain text', async (t) => {
  const { outrider } = await sidecarWith(t, 'permissive');
  assert.match(await say(t, outrider.inboundPort, http1), /^HTTP\/1\.1 505 /);
});

test('garbage on each listener ends that connection only', async (t) => {
  const { outrider } = await sidecarWith(t, 'permissive');
  const garbage = [
    Buffer.from('\0\0\0\0\0\0\0\0\0'),
    Buffer.from([0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9]),
    Buffer.alloc(5_000, 0xff),
    Buffer.from('SSH-2.0-OpenSSH_9\r\n'),
  ];
  for (const port of [outrider.inboundPort, outrider.outboundPort]) for (const bytes of garbage) await say(t, port, bytes);
  const admin = await say(t, outrider.adminPort, 'nonsense\r\n\r\n');
  assert.match(admin, /^HTTP\/1\.1 400 /);
  await stillServes(outrider);
});

test('garbage after the preface gets GOAWAY with its reason', async (t) => {
  const { outrider } = await sidecarWith(t, 'off');
  const text = await say(t, outrider.outboundPort, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'x'.repeat(200)}`);
  assert.match(text, /RFC 9113/);
  await stillServes(outrider);
});

test('a port scanner and one who never speaks are forgotten', async (t) => {
  const clock = virtualClock();
  const { outrider } = await sidecarWith(t, 'permissive', { clock });
  const closed: Promise<unknown>[] = [];
  for (const port of [outrider.inboundPort, outrider.outboundPort]) {
    const scanner = net.connect(port, '127.0.0.1');
    await new Promise((resolve) => scanner.once('connect', resolve));
    scanner.destroy();
    const silent = net.connect(port, '127.0.0.1');
    atEnd(t, () => silent.destroy());
    silent.on('error', () => {});
    closed.push(new Promise((resolve) => silent.once('close', resolve)));
    silent.resume();
  }
  await until(
    () => outrider.stat('listener.inbound.downstream_cx_total') >= 2 && outrider.stat('listener.outbound.downstream_cx_total') >= 2,
    'all connections',
  );
  await pass(clock, 10_004);
  await Promise.all(closed);
  await until(() => outrider.stat('listener.inbound.downstream_cx_active') === 0, 'nobody connected');
  await stillServes(outrider);
});

const start = async (variables: Readonly<Record<string, string>>): Promise<unknown> => {
  const environment = {
    SERVICE_NAME: 'echo',
    GRPC_PORT: '0',
    OUTBOUND_PORT: '0',
    ADMIN_PORT: '0',
    INBOUND_TLS: 'off',
    LOCAL_SERVICE_PORT: '1',
    ...variables,
  };
  const clock = virtualClock();
  try {
    const sidecar = new Sidecar(readSidecarConfiguration({ environment }), { clock, log: silentLogger, random: Math.random }, environment);
    await sidecar.start();
    await sidecar.close();
    return undefined;
  } catch (error) {
    clock.advance(5_000);
    assert.equal(clock.pending, 0, 'timers that are left');
    return error;
  }
};

for (const variable of ['GRPC_PORT', 'OUTBOUND_PORT', 'ADMIN_PORT']) {
  test(`a port of ${variable} that is in use is named, with what to do, and nothing stays open`, async (t) => {
    const port = await startTcp(t, () => {});
    const host = variable === 'GRPC_PORT' ? await wildcard(t) : port;
    const error = await start({ [variable]: String(host) });
    assert.ok(error instanceof ConfigurationError, String(error));
    assert.match(error.message, new RegExp(`${host}.* in use`));
    assert.match(String(error.remedy), new RegExp(variable));
  });
}

/** A port that is taken on every interface. */
const wildcard = async (t: TestContext): Promise<number> => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  atEnd(t, () => new Promise((resolve) => server.close(resolve)));
  return (server.address() as net.AddressInfo).port;
};

test('policies that are wrong at the start name file, line and remedy, and leave no watcher', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const variables = { ...(await certificates.issue('echo')), INBOUND_TLS: 'strict', POLICY_PATH: `${certificates.folder}/ca.crt` };
  const error = await start(variables);
  assert.ok(error instanceof ConfigurationError);
  assert.match(error.message, /ca\.crt:1:/);
  assert.match(String(error.remedy), /outrider policy check/);
});

test('a connection whose certificate expires while it lives is closed, with the reason', async (t) => {
  const clock = virtualClock();
  const { certificates, mtls, outrider } = await sidecarWith(t, 'strict', { clock });
  const tenMinutes = await certificates.pair('caller', 10 / 1_440);
  const client = outrider.inboundCaller({ ...mtls, cert: tenMinutes.certPem, key: tenMinutes.keyPem });
  const lasting = outrider.inboundCaller(mtls);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal((await lasting.call()).status, GrpcStatus.OK);
  await pass(clock, 597_000);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  for (let i = 0; i < 8 && client.goAways.length === 0; i++) await pass(clock, 500);
  await client.closed;
  assert.match(String(client.goAways[0]?.debug), /expired/);
  assert.equal(outrider.stat('listener.inbound.ssl.peer_expired'), 1);
  assert.equal((await lasting.call()).status, GrpcStatus.OK);
});

test('a process that cannot have its port says so and exits with 2', async (t) => {
  const port = await startTcp(t, () => {});
  const environment = { PATH: process.env['PATH'], SERVICE_NAME: 'echo', GRPC_PORT: '0', ADMIN_PORT: '0', INBOUND_TLS: 'off' };
  const { code, stderr } = await runProgram(outriderPath, ['sidecar'], { env: { ...environment, OUTBOUND_PORT: String(port) } });
  assert.equal(code, 2);
  assert.match(stderr, new RegExp(`outbound listener: port ${port} on 127\\.0\\.0\\.1 is in use`));
  assert.match(stderr, /OUTBOUND_PORT/);
});

test('a process whose policies are wrong says where and exits with 2, certificates or not', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const path = join(certificates.folder, 'policies.yaml');
  writeFileSync(path, 'routes:\n  - match: { prefix: / }\n    rout: { cluster: echo }\n');
  const env = {
    PATH: process.env['PATH'],
    SERVICE_NAME: 'echo',
    GRPC_PORT: '0',
    OUTBOUND_PORT: '0',
    ADMIN_PORT: '0',
    POLICY_PATH: path,
    ...(await certificates.issue('echo')),
  };
  const { code, stderr } = await runProgram(outriderPath, ['sidecar'], { env });
  assert.equal(code, 2, stderr);
  assert.match(stderr, /policies\.yaml:3:5: .*rout.*route/);
});
