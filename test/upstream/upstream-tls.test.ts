import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Clock, SystemClock, VirtualClock, type Watch, WatchSource } from '../../src/core/index.ts';
import { CertificateAuthority, type Identity, loadIdentity } from '../../src/identity/index.ts';
import type { ClusterPolicy } from '../../src/policy/index.ts';
import { ClusterSet } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import {
  addressOf,
  backend,
  clusterOf,
  contextOf,
  HandSource,
  listen,
  policyOf,
  startCall,
  TestCall,
  tableOf,
  until,
} from './upstream-bench.ts';

checkLeaks();

const clock = new SystemClock();
const trustDomain = 'mesh.local';
const authorityOf = async () => (await CertificateAuthority.create({ trustDomain, keyType: 'p256', nowMs: clock.wallNow() })).authority;
const [mesh, otherMesh] = await Promise.all([authorityOf(), authorityOf()]);

const issue = (name: string, authority = mesh, validDays = 10) =>
  authority.issue({ name, trustDomain, validDays, keyType: 'p256', nowMs: clock.wallNow() });

/** The identity of a sidecar, read from files as a sidecar reads it. */
const identityOf = async (name: string, authority = mesh, trusted = mesh): Promise<Identity> => {
  using folder = temporaryFolder();
  const { certPem, keyPem } = await issue(name, authority);
  const paths = {
    caCertPath: join(folder.path, 'ca.crt'),
    clientCertPath: join(folder.path, 'tls.crt'),
    clientKeyPath: join(folder.path, 'tls.key'),
  };
  writeFileSync(paths.caCertPath, trusted.certPem);
  writeFileSync(paths.clientCertPath, certPem);
  writeFileSync(paths.clientKeyPath, keyPem, { mode: 0o600 });
  return loadIdentity(paths, clock);
};

/** Options of a server that demands a certificate of the mesh. */
const serverTls = async (name: string, authority = mesh, trusted = mesh, validDays = 10) => {
  const { certPem, keyPem } = await issue(name, authority, validDays);
  return { cert: certPem, key: keyPem, ca: trusted.certPem, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' as const };
};

const mutual: ClusterPolicy['tls'] = { ...policyOf().tls, mode: 'mutual' };
const secureCluster = async (
  t: TestContext,
  port: number,
  { tls = mutual, identity, clock: virtual }: { tls?: ClusterPolicy['tls']; identity?: Watch<Identity>; clock?: Clock } = {},
) => {
  const watch = identity ?? new WatchSource(await identityOf('auth-svc'));
  return clusterOf(
    t,
    [addressOf(port)],
    { tls, connectTimeoutMs: 5_000 },
    { identity: watch, ...(virtual === undefined ? {} : { clock: virtual }) },
  ).cluster;
};
/** The one call that is tried, and why it got no connection. */
const failedCall = async (cluster: Awaited<ReturnType<typeof secureCluster>>) => {
  const { waiter, stream } = await startCall(cluster.pickEndpoint());
  assert.equal(stream, undefined, 'nothing was sent');
  assert.ok(waiter.error);
  assert.equal(waiter.error.unprocessed, true);
  assert.match(waiter.error.message, /^cluster "learner-svc", endpoint 127\.0\.0\.1:\d+: ./);
  assert.ok(waiter.error.remedy);
  assert.equal(cluster.stats.upstreamCxConnectFail, 1);
  assert.equal(cluster.limits.connections.active, 0);
  return waiter.error;
};

test('both sides verify each other, and calls go through', async (t) => {
  const server = await backend(t, { tls: await serverTls('learner-svc') });
  const cluster = await secureCluster(t, server.port);
  const call = await startCall(cluster.pickEndpoint());
  assert.deepEqual(await call.ended, { kind: 'answered' });
  assert.equal(cluster.stats.sslHandshake, 1);
});

test('a server of another mesh is refused before anything is sent', async (t) => {
  const server = await backend(t, { tls: await serverTls('learner-svc', otherMesh) });
  const cluster = await secureCluster(t, server.port);
  assert.equal((await failedCall(cluster)).reason, 'tls_handshake_failed');
  assert.equal(cluster.stats.sslFailVerifyError, 1);
});

test('a server that is another service is refused', async (t) => {
  const server = await backend(t, { tls: await serverTls('billing-svc') });
  const cluster = await secureCluster(t, server.port);
  assert.equal((await failedCall(cluster)).reason, 'tls_peer_not_allowed');
  assert.equal(cluster.stats.sslFailVerifySan, 1);
  assert.equal(cluster.stats.sslHandshake, 0);
});

test('a server whose pinned key differs is refused', async (t) => {
  const server = await backend(t, { tls: await serverTls('learner-svc') });
  const cluster = await secureCluster(t, server.port, { tls: { ...mutual, verifyCertificateHash: ['00'.repeat(32)] } });
  assert.equal((await failedCall(cluster)).reason, 'tls_peer_not_allowed');
  assert.equal(cluster.stats.sslFailVerifyCertHash, 1);
});

test('a server that refuses our certificate after our handshake costs no call: nothing was sent', async (t) => {
  const server = await backend(t, { tls: await serverTls('learner-svc', mesh, otherMesh) });
  const cluster = await secureCluster(t, server.port);
  const error = await failedCall(cluster);
  assert.equal(error.reason, 'tls_handshake_failed');
  assert.match(error.message, /refuses our certificate/);
  assert.equal(server.sessions.length, 0);
});

test('the alert of a server that refuses our certificate is told as a failed handshake', async (t) => {
  using folder = temporaryFolder();
  const { cert, key, ca } = await serverTls('learner-svc', mesh, otherMesh);
  for (const [name, pem] of Object.entries({ cert, key, ca })) writeFileSync(join(folder.path, name), pem, { mode: 0o600 });
  const files = ['-cert', 'cert', '-key', 'key', '-CAfile', 'ca'];
  const server = spawn(
    'openssl',
    ['s_server', '-accept', '127.0.0.1:0', ...files, '-Verify', '1', '-verify_return_error', '-alpn', 'h2', '-tls1_3'],
    {
      cwd: folder.path,
      stdio: ['pipe', 'pipe', 'ignore'],
    },
  );
  const exited = once(server, 'exit');
  t.after(async () => {
    server.kill();
    await exited;
  });
  let said = '';
  server.stdout.on('data', (text) => {
    said += text;
  });
  await until(() => /ACCEPT .*:(\d+)/.test(said), 'the port of openssl s_server');
  const cluster = await secureCluster(t, Number(/ACCEPT .*:(\d+)/.exec(said)?.[1]));
  assert.equal((await failedCall(cluster)).reason, 'tls_handshake_failed');
  assert.equal(cluster.stats.sslHandshake, 1, 'our own side of it was complete');
});

test('a server without TLS is named as such', async (t) => {
  const port = await listen(
    t,
    net.createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')),
  );
  const cluster = await secureCluster(t, port);
  assert.equal((await failedCall(cluster)).reason, 'tls_handshake_failed');
});

test('a TLS server that does not offer HTTP/2 is refused', async (t) => {
  const port = await listen(t, https.createServer(await serverTls('learner-svc')));
  const cluster = await secureCluster(t, port);
  assert.equal((await failedCall(cluster)).reason, 'tls_handshake_failed');
});

test('a server that never answers the handshake is given up after connect_timeout', async (t) => {
  const virtual = new VirtualClock(clock.wallNow());
  let greeted = false;
  const port = await listen(
    t,
    net.createServer((socket) => socket.once('data', () => (greeted = true))),
  );
  const cluster = await secureCluster(t, port, { clock: virtual });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const call = new TestCall(endpoint);
  await until(() => greeted, 'the ClientHello');
  virtual.advance(5_010);
  assert.equal(call.waiter.error?.reason, 'connect_failure');
  assert.match(call.waiter.error?.message ?? '', /no complete TLS handshake within 5s \(connect_timeout\)/);
  assert.equal(cluster.stats.sslHandshakeTimeout, 1);
});

test('a new certificate serves new connections, and the old ones go on', async (t) => {
  const server = await backend(t, { tls: await serverTls('learner-svc') });
  const identity = new WatchSource(await identityOf('auth-svc'));
  const cluster = await secureCluster(t, server.port, { identity });
  const first = await startCall(cluster.pickEndpoint());
  await first.ended;
  const rotated = await identityOf('auth-svc');
  identity.set(rotated);
  assert.equal((await startCall(cluster.pickEndpoint())).connection, first.connection);
  server.sessions[0]?.goaway(0);
  await until(() => cluster.stats.upstreamCxCloseNotify === 1, 'the GOAWAY');
  await (await startCall(cluster.pickEndpoint())).ended;
  const [, session] = server.sessions;
  const socket = session?.socket as unknown as import('node:tls').TLSSocket;
  assert.equal(socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase(), rotated.fingerprint);
});

test('a sidecar without a certificate says so, and still reaches clusters in plain text', async (t) => {
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)], { tls: mutual });
  const error = await failedCall(cluster);
  assert.equal(error.reason, 'tls_handshake_failed');
  assert.match(error.remedy ?? '', /CLIENT_CERT_PATH/);
});

test('a connection does not outlive the certificate of its peer', async (t) => {
  const virtual = new VirtualClock(clock.wallNow());
  const server = await backend(t, { tls: await serverTls('learner-svc', mesh, mesh, 2), hold: true });
  const identity = new WatchSource(await identityOf('auth-svc'));
  const clusters = new ClusterSet(contextOf(new HandSource([addressOf(server.port)]), { clock: virtual, identity }));
  t.after(() => clusters.close());
  clusters.apply(tableOf(policyOf({ tls: mutual })));
  const call = await startCall(clusters.get('learner-svc')?.pickEndpoint());
  virtual.advance(86_400_000);
  assert.equal(call.ending, undefined);
  virtual.advance(86_400_000 + 3_000);
  assert.equal((await call.ended).kind, 'reset');
  clusters.close();
});
