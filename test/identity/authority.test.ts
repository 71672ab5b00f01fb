import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigurationError } from '../../src/core/index.ts';
import {
  CertificateAuthority,
  certificatePaths,
  checkServiceName,
  issueInto,
  type KeyType,
  openAuthority,
} from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { craft, dayMs, issue, makeAuthority, type Pair } from './hostile-certificates.ts';

checkLeaks();

const nowMs = Date.UTC(2026, 5, 1);
const request = (name: string, keyType: KeyType = 'p256') => ({ name, trustDomain: 'mesh.local', validDays: 365, keyType, nowMs });
const choice = { trustDomain: 'mesh.local', keyType: 'p256' as const, nowMs };

const opensslVerify = async (folder: string, ca: string, cert: string, ...more: string[]) =>
  runProgram('openssl', ['verify', '-CAfile', ca, ...more, cert], { cwd: folder });

for (const keyType of ['p256', 'rsa'] as const) {
  test(`openssl verifies what is made with ${keyType}, strictly, for both purposes and by name`, async () => {
    using folder = temporaryFolder();
    const { authority, created } = await openAuthority(folder.path, { ...choice, keyType });
    assert.equal(created, true);
    const { cert } = await issueInto(folder.path, authority, request('learner-svc', keyType));
    const ca = certificatePaths(folder.path, 'ca').cert;
    const at = ['-x509_strict', '-attime', String(nowMs / 1000 + 60)];
    for (const purpose of ['sslserver', 'sslclient']) {
      for (const name of ['learner-svc', 'learner-svc.default.svc.cluster.local', 'localhost']) {
        const { code, stderr } = await opensslVerify(folder.path, ca, cert, ...at, '-purpose', purpose, '-verify_hostname', name);
        assert.equal(code, 0, stderr);
      }
    }
    assert.equal((await opensslVerify(folder.path, ca, cert, ...at, '-verify_ip', '127.0.0.1')).code, 0);
    assert.notEqual((await opensslVerify(folder.path, ca, cert, ...at, '-verify_hostname', 'auth-svc')).code, 0);
    assert.notEqual((await opensslVerify(folder.path, ca, cert, '-attime', String((nowMs + 366 * dayMs) / 1000))).code, 0);
    assert.notEqual((await opensslVerify(folder.path, ca, cert, '-attime', String((nowMs - dayMs) / 1000))).code, 0);
  });
}

test('a leaf of the mesh cannot sign, and the root allows no authority between', async () => {
  using folder = temporaryFolder();
  const mesh = await makeAuthority();
  const write = (name: string, ...pairs: readonly Pair[]): string => {
    writeFileSync(join(folder.path, name), pairs.map(({ cert }) => cert).join(''));
    return name;
  };
  const ca = write('ca', mesh);
  const leaf = await issue(mesh, 'learner-svc');
  const between = await craft(mesh, { commonName: 'between', kind: { kind: 'authority' } });
  for (const issuer of [leaf, between]) {
    const { code, stderr } = await opensslVerify(
      folder.path,
      ca,
      write('cert', await craft(issuer)),
      '-untrusted',
      write('issuer', issuer),
    );
    assert.notEqual(code, 0);
    assert.match(stderr, /invalid CA certificate|path length constraint exceeded|unable to get local issuer/);
  }
});

test('the root is valid for ten years and a leaf as long as asked, five minutes back, never longer than the root', async () => {
  const { authority, issued } = await CertificateAuthority.create(choice);
  const root = new X509Certificate(issued.certPem);
  assert.equal(root.validFromDate.getTime(), nowMs - 5 * 60_000);
  assert.equal(root.validToDate.getTime(), nowMs + 3_650 * dayMs);
  assert.equal(root.ca, true);
  assert.equal(authority.trustDomain, 'mesh.local');
  const leaf = await authority.issue(request('a'));
  assert.equal(new X509Certificate(leaf.certPem).validToDate.getTime(), nowMs + 365 * dayMs);
  const long = await authority.issue({ ...request('a'), validDays: 10_000 });
  assert.equal(long.notAfterMs, root.validToDate.getTime());
});

test('dates from 2050 on are right', async () => {
  const { authority } = await CertificateAuthority.create({ ...choice, nowMs: Date.UTC(2049, 11, 1) });
  assert.equal(authority.certificate.validToDate.toISOString(), new Date(Date.UTC(2049, 11, 1) + 3_650 * dayMs).toISOString());
});

test('serial numbers are positive and never the same', async () => {
  const { authority } = await CertificateAuthority.create(choice);
  const serials = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const { serialNumber } = new X509Certificate((await authority.issue(request('a'))).certPem);
    assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
    serials.add(serialNumber);
  }
  assert.equal(serials.size, 20);
});

test('files lie where the layout says, keys readable by their owner alone, and nothing else is left', async () => {
  using folder = temporaryFolder();
  const { authority } = await openAuthority(folder.path, choice);
  for (const name of ['auth-svc', 'mesh-client']) await issueInto(folder.path, authority, request(name));
  const files = readdirSync(folder.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.path.length + 1))
    .sort();
  assert.deepEqual(files, [
    'ca/ca-key.pem',
    'ca/ca.crt',
    'mesh-client-key.pem',
    'mesh-client.crt',
    'services/auth-svc-key.pem',
    'services/auth-svc.crt',
  ]);
  for (const file of files) assert.equal(statSync(join(folder.path, file)).mode & 0o777, file.endsWith('key.pem') ? 0o600 : 0o644, file);
  assert.match(readFileSync(join(folder.path, 'ca/ca-key.pem'), 'utf8'), /^-----BEGIN PRIVATE KEY-----/);
});

test('an authority that is there is used and never overwritten; a service is renewed', async () => {
  using folder = temporaryFolder();
  const first = await openAuthority(folder.path, choice);
  const before = await issueInto(folder.path, first.authority, request('auth-svc'));
  const [caBefore, certBefore] = [readFileSync(certificatePaths(folder.path, 'ca').cert, 'utf8'), readFileSync(before.cert, 'utf8')];
  const again = await openAuthority(folder.path, choice);
  assert.equal(again.created, false);
  await issueInto(folder.path, again.authority, request('auth-svc'));
  assert.equal(readFileSync(certificatePaths(folder.path, 'ca').cert, 'utf8'), caBefore);
  const renewed = readFileSync(before.cert, 'utf8');
  assert.notEqual(renewed, certBefore);
  const leaf = new X509Certificate(renewed);
  assert.equal(leaf.checkPrivateKey(createPrivateKey(readFileSync(before.key, 'utf8'))), true);
  assert.equal(leaf.verify(new X509Certificate(caBefore).publicKey), true);
});

const refusal = async (work: () => Promise<unknown>): Promise<string> => {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, String(error));
    return `${error.message}\n${error.remedy}`;
  }
  assert.fail('it was accepted');
};

test('half an authority, a foreign key, a leaf in its place, and one that has expired are refused with a remedy', async () => {
  using folder = temporaryFolder();
  const paths = certificatePaths(folder.path, 'ca');
  await openAuthority(folder.path, choice);
  const [cert, key] = [readFileSync(paths.cert, 'utf8'), readFileSync(paths.key, 'utf8')];
  const open = (more = {}) => refusal(() => openAuthority(folder.path, { ...choice, ...more }));

  rmSync(paths.key);
  assert.equal(
    await open(),
    `${paths.cert} is there, but ${paths.key} is missing: half an authority cannot sign\nbring ${paths.key} back from your backup, or choose another --output-dir so that a new authority is made`,
  );
  writeFileSync(paths.key, (await makeAuthority()).key);
  assert.match(await open(), /^the key in .*ca-key\.pem does not belong to the certificate in .*ca\.crt\n/);
  writeFileSync(paths.key, createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }));
  assert.match(await open(), /^the key in .*ca-key\.pem is encrypted\ndecrypt it/);
  writeFileSync(paths.key, 'nonsense');
  assert.match(await open(), /^.*ca-key\.pem holds no private key that can be read\n/);
  writeFileSync(paths.key, key);
  assert.match(await open({ nowMs: nowMs + 4_000 * dayMs }), /^the authority in .*ca\.crt expired on 2036-05-29T/);
  rmSync(paths.cert);
  assert.match(await open(), /ca-key\.pem is there, but .*ca\.crt is missing/);
  const leaf = await issue(await makeAuthority(), 'x');
  writeFileSync(paths.cert, leaf.cert);
  writeFileSync(paths.key, leaf.key);
  assert.match(await open(), /^the certificate in .*ca\.crt is not that of an authority \(CA:true is missing\)\n/);
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key);
  assert.equal((await openAuthority(folder.path, choice)).created, false);
});

test('where no authority may be made, its absence is an error, and nothing is written', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'new');
  assert.match(
    await refusal(() => openAuthority(path, { ...choice, mayCreate: false })),
    /new has no authority that could sign .*\nmake one with "outrider certs init --output-dir /,
  );
  assert.deepEqual(readdirSync(folder.path), []);
});

test('no name of a service leads out of the folder or takes the place of the authority', async () => {
  using folder = temporaryFolder();
  const { authority } = await openAuthority(folder.path, choice);
  for (const name of ['../ca/ca', '/etc/passwd', 'a/b', '..', '', 'UPPER', 'a.b', '-a', 'a'.repeat(64), 'a\0', 'ca', 'ü']) {
    assert.match(await refusal(() => issueInto(folder.path, authority, request(name))), /cannot be (the name|that) of a service/, name);
  }
  fc.assert(
    fc.property(fc.string(), (name) => {
      try {
        checkServiceName(name);
      } catch {
        return;
      }
      assert.match(name, /^[a-z0-9-]{1,63}$/);
    }),
  );
});

test('an authority of another maker signs: RSA by openssl', async () => {
  using folder = temporaryFolder();
  await openAuthority(folder.path, choice);
  const paths = certificatePaths(folder.path, 'ca');
  const made = await runProgram(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      paths.key,
      '-out',
      paths.cert,
      '-days',
      '30',
      '-subj',
      '/O=Acme, Inc/CN=Acme Mesh CA',
    ],
    { cwd: folder.path },
  );
  assert.equal(made.code, 0, made.stderr);
  const now = { ...choice, nowMs: Date.now() };
  const { authority, created } = await openAuthority(folder.path, now);
  assert.equal(created, false);
  assert.equal(authority.trustDomain, undefined);
  const { cert } = await issueInto(folder.path, authority, { ...request('auth-svc'), nowMs: now.nowMs });
  const { code, stderr } = await opensslVerify(folder.path, paths.cert, cert, '-purpose', 'sslserver');
  assert.equal(code, 0, stderr);
});
