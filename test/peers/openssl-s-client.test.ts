import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { peerProgram } from './peer-programs.ts';
import { type IdentityFiles, initCertificates, type SidecarProcess, startSidecar } from './sidecar-processes.ts';

checkLeaks();

const openssl = await peerProgram('openssl');

/** Enough bytes for the sidecar to see that they are no HTTP/2, and to end a connection that it has accepted. */
const noHttp2 = 'this is no HTTP/2 at all, and an accepted client is told so\n';

const run = async (...args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await runProgram(openssl.path, args);
  assert.equal(code, 0, `openssl ${args.join(' ')}: ${stderr}`);
  return stdout + stderr;
};

describe('openssl at the inbound listener', { skip: openssl.skip }, () => {
  const owned = new AsyncDisposableStack();
  const folder = owned.adopt(temporaryFolder(), (temporary) => temporary[Symbol.dispose]());
  const inFolder = (name: string): string => join(folder.path, name);
  let mesh: (name: string) => IdentityFiles;
  let stranger: (name: string) => IdentityFiles;
  let sidecar: SidecarProcess;
  before(async () => {
    mesh = await initCertificates(inFolder('certs'), ['auth-svc', 'learner-svc']);
    stranger = await initCertificates(inFolder('certs-of-another-mesh'), ['learner-svc']);
    sidecar = owned.use(await startSidecar({ name: 'auth-svc', identity: mesh('auth-svc') }));
  });
  after(() => owned.disposeAsync());

  /** s_client stays until the sidecar ends the connection, so that nothing depends on who is first. */
  const connect = (port: number, ...args: readonly string[]): Promise<ProgramExit> =>
    runProgram(openssl.path, ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', mesh('auth-svc').ca, '-ign_eof', ...args], {
      input: noHttp2,
    });
  const showing = ({ cert, key }: Pick<IdentityFiles, 'cert' | 'key'>): readonly string[] => ['-cert', cert, '-key', key];
  const h2 = ['-alpn', 'h2'];

  /** What the TLS side of the listener counted while `work` ran; only what changed. */
  const counted = async (of: SidecarProcess, work: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> => {
    const read = async () => [...(await of.stats())].filter(([name]) => name.startsWith('listener.inbound.ssl.'));
    const earlier = new Map(await read());
    await work();
    const changes = (await read()).map(([name, value]) => [name.slice('listener.inbound.ssl.'.length), value - (earlier.get(name) ?? 0)]);
    return Object.fromEntries(changes.filter(([, change]) => change !== 0));
  };

  /** Exactly one refusal is counted, under this name, and the newest line of the log says why and what to do. */
  const assertRefused = async (counter: string, why: RegExp, ...args: readonly string[]): Promise<void> => {
    let said = '';
    const earlier = sidecar.log.filter(({ msg }) => msg === 'handshake refused').length;
    const changes = await counted(sidecar, async () => {
      const { code, stdout, stderr } = await connect(sidecar.inboundPort, ...args);
      said = stdout + stderr;
      assert.doesNotMatch(said, /HTTP\/2 preface/, 'it was let in');
      assert.notEqual(code, null);
    });
    assert.deepEqual(changes, { [counter]: 1 }, said);
    const line = (await sidecar.logged('handshake refused', earlier + 1)).at(-1);
    assert.equal(line?.['counter'], counter);
    assert.equal(line['listener'], 'inbound');
    assert.match(String(line['peer']), /^127\.0\.0\.1:\d+$/);
    assert.match(String(line['why']), why);
    assert.match(String(line['remedy']), /\w+ \w+/);
  };

  /** A certificate for `learner-svc` that the mesh's own authority signs, with whatever is wrong about it. */
  const issueOddly = async (
    name: string,
    extensions: string,
    validity: readonly string[],
    key: readonly string[],
  ): Promise<IdentityFiles> => {
    const files = { ca: mesh('auth-svc').ca, cert: inFolder(`${name}.crt`), key: inFolder(`${name}-key.pem`) };
    await run(
      'req',
      '-new',
      '-nodes',
      ...key,
      '-keyout',
      files.key,
      '-out',
      inFolder(`${name}.csr`),
      '-subj',
      '/O=mesh.local/CN=learner-svc',
    );
    writeFileSync(inFolder(`${name}.ext`), extensions);
    const authorityKey = join(inFolder('certs'), 'ca', 'ca-key.pem');
    await run(
      ...['x509', '-req', '-in', inFolder(`${name}.csr`), '-CA', files.ca, '-CAkey', authorityKey, '-set_serial', '7'],
      ...['-extfile', inFolder(`${name}.ext`), '-out', files.cert, ...validity],
    );
    return files;
  };
  const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const bothPurposes =
    'extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:learner-svc,URI:spiffe://mesh.local/service/learner-svc\n';

  test('a peer with a certificate of the mesh, TLS 1.3 and ALPN h2 is let in', async () => {
    const changes = await counted(sidecar, async () => {
      const { stdout, stderr } = await connect(sidecar.inboundPort, ...h2, ...showing(mesh('learner-svc')), '-servername', 'auth-svc');
      assert.match(stdout, /New, TLSv1\.3/);
      assert.match(stdout, /ALPN protocol: h2/);
      assert.match(stdout, /Verify return code: 0 \(ok\)/);
      assert.match(stdout + stderr, /the client did not begin with the HTTP\/2 preface/);
    });
    assert.deepEqual(changes, { handshake: 1 });
  });

  test('so is one that the authority signed with openssl alone', async () => {
    const foreign = await issueOddly('foreign', bothPurposes, ['-days', '1'], p256);
    assert.deepEqual(await counted(sidecar, () => connect(sidecar.inboundPort, ...h2, ...showing(foreign))), { handshake: 1 });
  });

  test('a peer without a certificate is refused', () => assertRefused('fail_verify_no_cert', /no certificate/, ...h2));

  test('a peer with a certificate of another mesh is refused', () =>
    assertRefused('fail_verify_error', /another authority/, ...h2, ...showing(stranger('learner-svc'))));

  test('a peer with a certificate that signed itself is refused', async () => {
    const files = { cert: inFolder('self.crt'), key: inFolder('self-key.pem') };
    await run('req', '-x509', '-nodes', ...p256, '-keyout', files.key, '-out', files.cert, '-subj', '/CN=learner-svc', '-days', '1');
    await assertRefused('fail_verify_error', /signed by itself|self-signed/, ...h2, ...showing(files));
  });

  test('a peer with a certificate that has expired is refused', async () => {
    const modern = /-not_after/.test((await runProgram(openssl.path, ['x509', '-help'])).stderr);
    const validity = modern ? ['-not_before', '20200101000000Z', '-not_after', '20200102000000Z'] : ['-days', '-1'];
    const expired = await issueOddly('expired', bothPurposes, validity, p256);
    await assertRefused('fail_verify_error', /expired/, ...h2, ...showing(expired));
  });

  test('a peer with a certificate that is for servers only is refused', async () => {
    const files = await issueOddly('server-only', 'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:learner-svc\n', ['-days', '1'], p256);
    await assertRefused('fail_verify_error', /clientAuth|extended key usage/, ...h2, ...showing(files));
  });

  test('a peer with a key that is too small is refused', async () => {
    const files = await issueOddly('small', bothPurposes, ['-days', '1'], ['-newkey', 'rsa:1024']);
    // s_client itself would not load it at its own level of security.
    await assertRefused('fail_verify_error', /too small|too weak/, ...h2, '-cipher', 'DEFAULT:@SECLEVEL=0', ...showing(files));
  });

  test('a peer with TLS 1.2 is refused', () =>
    assertRefused('protocol_version', /does not speak TLS 1\.3/, ...h2, '-tls1_2', ...showing(mesh('learner-svc'))));

  test('a peer without ALPN is refused', () => assertRefused('no_alpn', /ALPN h2/, ...showing(mesh('learner-svc'))));

  test('a peer with the ALPN of another protocol is refused', () =>
    assertRefused('no_alpn', /ALPN h2/, '-alpn', 'http/1.1', ...showing(mesh('learner-svc'))));

  test('no session is resumed: every connection shows its certificate', async () => {
    const session = inFolder('session.pem');
    const once = (...args: readonly string[]) => connect(sidecar.inboundPort, ...h2, ...showing(mesh('learner-svc')), ...args);
    await once('-sess_out', session);
    assert.match(readFileSync(session, 'utf8'), /BEGIN SSL SESSION/);
    const { stdout } = await once('-sess_in', session);
    assert.match(stdout, /^New, TLSv1\.3/m);
    assert.doesNotMatch(stdout, /^Reused/m);
  });

  test('TLS 1.2 is let in where a migration asks for it', async () => {
    const environment = { TLS_MINIMUM: '1.2' };
    await using lenient = await startSidecar({ name: 'auth-svc', identity: mesh('auth-svc'), environment });
    const changes = await counted(lenient, async () => {
      const { stdout } = await connect(lenient.inboundPort, ...h2, '-tls1_2', ...showing(mesh('learner-svc')));
      assert.match(stdout, /New, TLSv1\.2, Cipher is ECDHE-ECDSA-AES/);
    });
    assert.deepEqual(changes, { handshake: 1 });
    await lenient.stop();
  });

  test('a revoked certificate is refused, and the others are not', async () => {
    const revoked = mesh('learner-svc');
    writeFileSync(inFolder('index.txt'), '');
    writeFileSync(inFolder('crlnumber'), '01\n');
    writeFileSync(
      inFolder('ca.cnf'),
      `[ca]\ndefault_ca=mesh\n[mesh]\ndatabase=${inFolder('index.txt')}\ncrlnumber=${inFolder('crlnumber')}\ndefault_md=sha256\ndefault_crl_days=1\n`,
    );
    const authority = ['-config', inFolder('ca.cnf'), '-cert', revoked.ca, '-keyfile', join(inFolder('certs'), 'ca', 'ca-key.pem')];
    await run('ca', ...authority, '-revoke', revoked.cert);
    await run('ca', ...authority, '-gencrl', '-out', inFolder('crl.pem'));
    const environment = { CRL_PATH: inFolder('crl.pem') };
    await using strict = await startSidecar({ name: 'auth-svc', identity: mesh('auth-svc'), environment });
    const attempt = (files: IdentityFiles) => counted(strict, () => connect(strict.inboundPort, ...h2, ...showing(files)));
    assert.deepEqual(await attempt(revoked), { fail_verify_error: 1 });
    assert.match(String((await strict.logged('handshake refused', 1))[0]?.['why']), /revoked/);
    assert.deepEqual(await attempt(mesh('mesh-client')), { handshake: 1 });
    await strict.stop();
  });

  test('the commands that people debug certificates with find what they expect', async () => {
    const { ca, cert, key } = mesh('learner-svc');
    assert.match(await run('verify', '-CAfile', ca, cert), /learner-svc\.crt: OK/);
    const text = await run('x509', '-in', cert, '-text', '-noout');
    assert.match(text, /Subject Alternative Name:\s*\n.*DNS:learner-svc, .*URI:spiffe:\/\/mesh\.local\/service\/learner-svc/);
    // As written in runbooks: nothing on stdin, no ALPN.
    const address = `127.0.0.1:${sidecar.inboundPort}`;
    const { stdout } = await runProgram(openssl.path, ['s_client', '-connect', address, '-cert', cert, '-key', key, '-CAfile', ca]);
    assert.match(stdout, /Verify return code: 0 \(ok\)/);
  });

  test('the sidecar drains and ends with 0', () => sidecar.stop());
});
