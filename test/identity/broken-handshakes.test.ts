import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeHandshakeFailure } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import {
  connectHostile,
  JudgingServer,
  judgeBytes,
  judgeClient,
  judgePlainServer,
  judgeServer,
  judgeServerAt,
  type Outcome,
} from './handshake-bench.ts';
import { identityOf, issue, makeAuthority, type Pair } from './hostile-certificates.ts';

checkLeaks();

const [mesh, otherMesh] = await Promise.all([makeAuthority(), makeAuthority()]);
const ours = await issue(mesh, 'learner-svc');
const identity = identityOf(ours, mesh.cert);

const told = (outcome: Outcome): string => (outcome.ok ? 'ok' : `${outcome.counter}: ${outcome.why}; ${outcome.remedy}`);

test('TLS 1.2 is refused on both sides, unless it is allowed for a migration', async () => {
  const old = { ...ours, maxVersion: 'TLSv1.2' as const };
  assert.equal(
    told(await judgeClient(identity, old)),
    'protocol_version: the peer does not speak TLS 1.3 (ERR_SSL_UNSUPPORTED_PROTOCOL); update it, or set TLS_MINIMUM=1.2 for a migration',
  );
  assert.match(told(await judgeServer(identity, old)), /^protocol_version: the peer does not speak TLS 1\.3 /);
  assert.equal(told(await judgeClient(identity, old, 'TLSv1.2')), 'ok');
  assert.match(
    told(await judgeClient(identity, { ...ours, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }, 'TLSv1.2')),
    /^protocol_version: /,
  );
});

test('a client that speaks plain HTTP, HTTP/2 without TLS or garbage is told apart from a broken handshake', async () => {
  assert.equal(
    told(await judgeBytes(identity, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n')),
    'not_tls: the peer speaks plain HTTP (ERR_SSL_HTTP_REQUEST); call through the outbound port of a sidecar, or use TLS',
  );
  const notTls = /^not_tls: the peer does not speak TLS \(ERR_SSL_\w+\); use TLS, or set INBOUND_TLS=permissive for a migration$/;
  for (const bytes of ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x00\x01\x02 garbage garbage garbage', '\x16\x03\x01\x00\x05aaaaa']) {
    assert.match(told(await judgeBytes(identity, Buffer.from(bytes, 'latin1'))), notTls);
  }
});

test('a client that closes without a word, or in the middle of its hello, is no attack and no crash', async () => {
  for (const bytes of ['', '\x16\x03\x01\x02']) {
    assert.match(
      told(await judgeBytes(identity, Buffer.from(bytes, 'latin1'))),
      /^connection_error: the peer closed the connection during the handshake \(ECONNRESET\); look at the log of the client, .*health checks/,
    );
  }
});

test('a server that speaks something else, or closes, is told with the remedy of the one who calls', async () => {
  const plain =
    /^not_tls: the peer does not speak TLS \(ERR_SSL_\w+\); check the port of the endpoint, or write "tls: \{ mode: disable \}"/;
  assert.match(told(await judgePlainServer(identity, 'HTTP/1.1 400 Bad Request\r\n\r\n')), plain);
  assert.match(told(await judgePlainServer(identity, 'garbage garbage garbage')), plain);
  assert.match(
    told(await judgePlainServer(identity, '')),
    /^connection_error: the peer closed the connection .*; look at the log of the server/,
  );
});

test('a server that takes no certificate of ours says so in the alert', async () => {
  const outcome = describeHandshakeFailure(
    Object.assign(new Error('ssl3_read_bytes:tlsv1 alert unknown ca'), { code: 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA' }),
    'client',
  );
  assert.equal(outcome.counter, 'fail_verify_error');
  assert.equal(outcome.why, 'the peer does not accept our certificate (ERR_SSL_TLSV1_ALERT_UNKNOWN_CA)');
});

test('errors without a code that is known keep their own words', () => {
  assert.deepEqual(describeHandshakeFailure(new Error('the sky fell'), 'server'), {
    counter: 'connection_error',
    why: 'the handshake failed: the sky fell',
    remedy: 'look at the log of the client',
  });
  const slow = Object.assign(new Error('TLS handshake timeout'), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' });
  assert.equal(describeHandshakeFailure(slow, 'server').counter, 'handshake_timeout');
});

test('no session is resumed, in TLS 1.3 and in TLS 1.2: each connection shows its certificate again', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    await using server = await JudgingServer.listen(identity, 'TLSv1.2');
    const options = { ...ours, maxVersion };
    const first = connectHostile(server.port, options);
    let session: Buffer | undefined;
    first.on('session', (given: Buffer) => (session = given));
    await once(first, 'close');
    assert.equal(told(await server.outcome()), 'ok');
    const second = connectHostile(server.port, session === undefined ? options : { ...options, session });
    await once(second, 'secureConnect');
    assert.equal(second.isSessionReused(), false);
    await once(second, 'close');
    assert.equal(told(await server.outcome()), 'ok');
    assert.deepEqual(server.resumed, [false, false]);
  }
});

test('a session of a certificate that was good does not let in one that is not', async () => {
  await using server = await JudgingServer.listen(identity);
  const first = connectHostile(server.port, ours);
  let session: Buffer | undefined;
  first.on('session', (given: Buffer) => (session = given));
  await once(first, 'close');
  assert.equal(told(await server.outcome()), 'ok');
  const foreign = await issue(otherMesh, 'learner-svc');
  const second = connectHostile(server.port, { ...foreign, ...(session === undefined ? {} : { session }) });
  await once(second, 'close');
  assert.match(told(await server.outcome()), /^fail_verify_error: its certificate comes from another authority/);
});

/** `openssl s_client` as somebody at a shell would call it. */
const sClient = async (port: number, pair: Pair | undefined, ca: string, ...more: string[]): Promise<string> => {
  using folder = temporaryFolder();
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder.path, name), text);
    return join(folder.path, name);
  };
  const own = pair === undefined ? [] : ['-cert', file('crt', pair.cert), '-key', file('key', pair.key)];
  const { stdout, stderr } = await runProgram('openssl', [
    's_client',
    ...['-connect', `127.0.0.1:${port}`, '-servername', 'learner-svc', '-verify_hostname', 'learner-svc'],
    ...['-CAfile', file('ca', ca), '-alpn', 'h2', ...own, ...more],
  ]);
  return stdout + stderr;
};

test('openssl s_client verifies our server, and is judged like anybody else', async () => {
  await using server = await JudgingServer.listen(identity);
  const said = await sClient(server.port, ours, mesh.cert);
  assert.match(said, /Verify return code: 0 \(ok\)/);
  assert.match(said, /ALPN protocol: h2/);
  assert.match(said, /TLSv1\.3/);
  assert.equal(told(await server.outcome()), 'ok');

  await sClient(server.port, undefined, mesh.cert);
  assert.match(told(await server.outcome()), /^fail_verify_no_cert: it showed no certificate/);
  assert.doesNotMatch(await sClient(server.port, await issue(otherMesh, 'x'), otherMesh.cert), /Verify return code: 0/);
  assert.match(told(await server.outcome()), /^fail_verify_error: its certificate comes from another authority/);
  assert.match(await sClient(server.port, ours, mesh.cert, '-tls1_2'), /alert protocol version/);
  assert.match(told(await server.outcome()), /^protocol_version: /);
});

test('openssl s_server is verified by our client', async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, 'crt'), ours.cert);
  writeFileSync(join(folder.path, 'key'), ours.key);
  const options = ['-accept', '127.0.0.1:0', '-cert', 'crt', '-key', 'key', '-alpn', 'h2', '-tls1_3', '-www'];
  await using server = spawnProgram('openssl', ['s_server', ...options], { cwd: folder.path });
  const [, port] = await server.waitFor(/ACCEPT .*:(\d+)/);
  assert.equal(told(await judgeServerAt(Number(port), identity)), 'ok');
  assert.match(told(await judgeServerAt(Number(port), identity, { serviceName: 'auth-svc' })), /^fail_verify_san: /);
  assert.match(told(await judgeServerAt(Number(port), identityOf(ours, otherMesh.cert))), /^fail_verify_error: .*another authority/);
});
