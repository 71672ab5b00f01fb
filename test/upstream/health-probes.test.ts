/** Checks otherwise than by gRPC, and what TLS has to say: against servers of Node. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { SystemClock, WatchSource } from '../../src/core/index.ts';
import { CertificateAuthority, type Identity, loadIdentity } from '../../src/identity/index.ts';
import {
  defaultHealthCheckTimes,
  type HealthCheckOptions,
  type HealthCheckTimes,
  type HttpHealthCheck,
  type TcpHealthCheck,
} from '../../src/resilience/index.ts';
import type { Cluster } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { startHealthServer } from './health-server.ts';
import { addressOf, backend, clusterOf, policyOf, until } from './upstream-bench.ts';

checkLeaks();

const quick = 20;
const times: HealthCheckTimes = {
  ...defaultHealthCheckTimes,
  intervalMs: quick,
  timeoutMs: 5_000,
  unhealthyThreshold: 2,
  noTrafficIntervalMs: quick,
  noTrafficHealthyIntervalMs: quick,
  unhealthyIntervalMs: quick,
  unhealthyEdgeIntervalMs: quick,
  healthyEdgeIntervalMs: quick,
};
const checking = (check: HealthCheckOptions['check'], timeoutMs = times.timeoutMs): HealthCheckOptions => ({
  times: { ...times, timeoutMs },
  check,
  newEndpoints: 'after_check',
  ignoreNewEndpoints: false,
  alwaysLogFailures: false,
});
const tcp = (overrides: Partial<TcpHealthCheck> = {}): TcpHealthCheck => ({
  kind: 'tcp',
  send: new Uint8Array(0),
  receive: [],
  ...overrides,
});
const httpCheck = (overrides: Partial<HttpHealthCheck> = {}): HttpHealthCheck => ({
  kind: 'http',
  host: '',
  path: '/healthz',
  method: 'GET',
  headers: [],
  expectedStatuses: [[200, 201]],
  retriableStatuses: [],
  version: 'http1',
  ...overrides,
});

const clusterOn = (
  t: TestContext,
  port: number,
  healthCheck: HealthCheckOptions,
  overrides: Partial<ReturnType<typeof policyOf>> = {},
): Cluster => clusterOf(t, [addressOf(port)], { healthCheck, ...overrides }).cluster;

const checkerOf = (cluster: Cluster) => {
  const checker = cluster.endpoints[0]?.checker;
  assert.ok(checker);
  return checker;
};
const becomes = (cluster: Cluster, healthy: boolean): Promise<void> =>
  until(() => checkerOf(cluster).health.checked && checkerOf(cluster).health.failing === !healthy, healthy ? 'health' : 'failure');

const listenTcp = async (t: TestContext, onSocket: (socket: net.Socket) => void): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as net.AddressInfo).port;
};

test('TCP: connecting is enough where nothing is written, and each check ends its connection', async (t) => {
  let open = 0;
  let accepted = 0;
  const port = await listenTcp(t, (socket) => {
    open++;
    accepted++;
    socket.resume().on('close', () => open--);
  });
  const cluster = clusterOn(t, port, checking(tcp()));
  await becomes(cluster, true);
  await until(() => accepted >= 4 && open <= 1, 'more checks');
  assert.equal(checkerOf(cluster).why, 'takes connections');
});

test('TCP: what is received has to contain what is expected, in its order, however it is split', async (t) => {
  let answers = ['+PO', 'NG  and ', 'ready\r\n'];
  const port = await listenTcp(t, (socket) => {
    socket.once('data', (bytes) => {
      assert.equal(bytes.toString(), 'PING');
      void (async () => {
        for (const part of answers) {
          socket.write(part);
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
    });
  });
  const check = tcp({ send: Buffer.from('PING'), receive: [Buffer.from('PONG'), Buffer.from('ready')] });
  const cluster = clusterOn(t, port, checking(check, 200));
  await becomes(cluster, true);
  answers = ['ready PONG'];
  await becomes(cluster, false);
  assert.equal(checkerOf(cluster).why, 'no answer within 200ms');
});

test('TCP: an answer that does not end is given up', async (t) => {
  const port = await listenTcp(t, (socket) => {
    const chunk = Buffer.alloc(4_096, 'x');
    socket.on('drain', () => socket.write(chunk));
    for (let i = 0; i < 8; i++) socket.write(chunk);
  });
  const cluster = clusterOn(t, port, checking(tcp({ receive: [Buffer.from('never')] })));
  await becomes(cluster, false);
  assert.match(checkerOf(cluster).why, /^nothing that was expected in the first 8192 bytes/);
});

test('HTTP/1.1: the status decides; one that may be retried needs the threshold', async (t) => {
  let status = 200;
  const seen: http.IncomingMessage[] = [];
  const server = http.createServer((request, response) => {
    seen.push(request);
    response.writeHead(status, { 'content-length': '2' }).end('ok');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as net.AddressInfo;
  const cluster = clusterOn(t, port, checking(httpCheck({ retriableStatuses: [[503, 504]], headers: [['x-from', 'test']] })));
  await becomes(cluster, true);
  const [first] = seen;
  assert.deepEqual([first?.method, first?.url, first?.headers.host, first?.headers['x-from']], ['GET', '/healthz', 'learner-svc', 'test']);
  status = 500;
  await becomes(cluster, false);
  assert.equal(checkerOf(cluster).why, 'answers HTTP 500 to GET /healthz');
  assert.equal(checkerOf(cluster).health.failure, 'active');
  status = 200;
  await becomes(cluster, true);
  status = 503;
  await becomes(cluster, false);
  assert.equal(checkerOf(cluster).health.failure, 'network');
});

test('HTTP/1.1: an interim answer is not the last word, and what is no HTTP is a failure', async (t) => {
  let answer = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n';
  const port = await listenTcp(t, (socket) => socket.once('data', () => socket.end(answer)));
  const cluster = clusterOn(t, port, checking(httpCheck({ expectedStatuses: [[200, 300]] })));
  await becomes(cluster, true);
  assert.equal(checkerOf(cluster).why, 'answers HTTP 204 to GET /healthz');
  answer = 'SSH-2.0-OpenSSH_9.6\r\n';
  await becomes(cluster, false);
  assert.equal(checkerOf(cluster).why, 'does not answer in HTTP/1.1');
});

test('HTTP/2: over the connection of calls', async (t) => {
  const server = await backend(t);
  const cluster = clusterOn(t, server.port, checking(httpCheck({ version: 'http2' })));
  await becomes(cluster, true);
  await until(() => cluster.health.stats.success >= 3, 'more checks');
  assert.equal(server.accepted, 1);
});

test('a port where nobody listens is a failure of the network', async (t) => {
  for (const check of [tcp(), httpCheck(), httpCheck({ version: 'http2' })]) {
    const cluster = clusterOn(t, await freePort(), checking(check));
    await becomes(cluster, false);
    assert.match(checkerOf(cluster).why, /ECONNREFUSED|connection refused/);
    assert.equal(checkerOf(cluster).health.failure, 'network');
  }
});

const clock = new SystemClock();
const authorityOf = async () =>
  (await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() })).authority;
const [mesh, other] = await Promise.all([authorityOf(), authorityOf()]);
const pairOf = (name: string, authority = mesh) =>
  authority.issue({ name, trustDomain: 'mesh.local', validDays: 1, keyType: 'p256', nowMs: Date.now() });

const identityOf = async (): Promise<Identity> => {
  using folder = temporaryFolder();
  const { certPem, keyPem } = await pairOf('caller');
  const put = (name: string, text: string): string => {
    writeFileSync(join(folder.path, name), text, { mode: 0o600 });
    return join(folder.path, name);
  };
  return loadIdentity(
    { caCertPath: put('ca', mesh.certPem), clientCertPath: put('crt', certPem), clientKeyPath: put('key', keyPem) },
    clock,
  );
};

const listenTls = async (t: TestContext, name: string, authority: CertificateAuthority, alpn: string[]): Promise<number> => {
  const { certPem, keyPem } = await pairOf(name, authority);
  const server = tls.createServer(
    { cert: certPem, key: keyPem, ca: mesh.certPem, requestCert: true, rejectUnauthorized: true, ALPNProtocols: alpn },
    (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
    },
  );
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return (server.address() as net.AddressInfo).port;
};

test('checks are made with the TLS of the cluster: a peer that is somebody else fails them, and says why', async (t) => {
  const identity = new WatchSource(await identityOf());
  const tlsPolicy = { ...policyOf().tls, mode: 'mutual' as const };
  const clusterAt = (port: number, check: HealthCheckOptions['check']): Cluster =>
    clusterOf(t, [addressOf(port)], { healthCheck: checking(check), tls: tlsPolicy }, { identity }).cluster;
  const right = clusterAt(await listenTls(t, 'learner-svc', mesh, ['http/1.1']), httpCheck());
  await becomes(right, true);
  const connecting = clusterAt(await listenTls(t, 'learner-svc', mesh, ['h2']), tcp());
  await becomes(connecting, true);
  const wrongName = clusterAt(await listenTls(t, 'auth-svc', mesh, ['http/1.1', 'h2']), httpCheck());
  await becomes(wrongName, false);
  assert.match(checkerOf(wrongName).why, /^its certificate is for auth-svc/);
  const stranger = clusterAt(await listenTls(t, 'learner-svc', other, ['h2']), tcp());
  await becomes(stranger, false);
  assert.equal(checkerOf(stranger).health.failure, 'network');
  const byGrpc = clusterAt(await listenTls(t, 'auth-svc', mesh, ['h2']), {
    kind: 'grpc',
    serviceName: '',
    authority: '',
    metadata: [],
    watch: true,
    answersSuffice: false,
  });
  await becomes(byGrpc, false);
  assert.match(checkerOf(byGrpc).why, /its certificate is for auth-svc/);
});

test('where the sidecar has no socket left nothing is held against the endpoint', async (t) => {
  const server = await startHealthServer(t);
  const full = { take: () => false, give: () => {}, limit: 0, inUse: 0 };
  for (const check of [
    tcp(),
    httpCheck(),
    { kind: 'grpc' as const, serviceName: '', authority: '', metadata: [], watch: false, answersSuffice: false },
  ]) {
    const { cluster } = clusterOf(t, [addressOf(server.port)], { healthCheck: checking(check) }, { sockets: full as never });
    await until(() => cluster.health.stats.attempt >= 3, 'attempts');
    assert.equal(cluster.health.stats.failure, 0);
    assert.equal(checkerOf(cluster).health.checked, false);
    assert.match(checkerOf(cluster).why, /no file descriptor left/);
  }
});
