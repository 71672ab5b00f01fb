import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigurationError } from '../../src/core/index.ts';
import { CertificateAuthority, type Identity, type IdentityPaths, loadIdentity } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';
import {
  authorityExtensions,
  chained,
  clock,
  craft,
  dayMs,
  honest,
  issue,
  issueWithOpenssl,
  makeAuthority,
  type Pair,
  revocationList,
  weakRsaKey,
} from './hostile-certificates.ts';

checkLeaks();

const [mesh, otherMesh] = await Promise.all([makeAuthority(), makeAuthority()]);
const ours = await issue(mesh, 'auth-svc');

/** A folder with a good identity in which a test spoils something. */
class Files implements Disposable {
  readonly #folder: TemporaryFolder = temporaryFolder();
  readonly paths: IdentityPaths & { readonly crlPath?: string };

  constructor({ crl }: { readonly crl?: string } = {}) {
    this.paths = {
      caCertPath: this.#path('ca.crt'),
      clientCertPath: this.#path('tls.crt'),
      clientKeyPath: this.#path('tls.key'),
      ...(crl === undefined ? {} : { crlPath: this.#path('crl.pem') }),
    };
    this.write('ca.crt', mesh.cert);
    this.write('tls.crt', ours.cert);
    this.write('tls.key', ours.key);
    if (crl !== undefined) this.write('crl.pem', crl);
  }

  write(name: string, contents: string | Uint8Array): void {
    writeFileSync(this.#path(name), contents, { mode: 0o600 });
  }

  remove(name: string): void {
    rmSync(this.#path(name));
  }

  folder(name: string): void {
    this.remove(name);
    mkdirSync(this.#path(name));
  }

  load(): Identity {
    return loadIdentity(this.paths, clock);
  }

  /** The error of loading, with `<name>` for paths: message, line break, remedy. */
  error(): string {
    try {
      this.load();
    } catch (error) {
      assert.ok(error instanceof ConfigurationError, String(error));
      assert.doesNotMatch(error.message, /PRIVATE KEY-----/);
      return `${error.message}\n${error.remedy}`.replaceAll(`${this.#folder.path}/`, '');
    }
    assert.fail('it was accepted');
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }

  #path(name: string): string {
    return join(this.#folder.path, name);
  }
}

const makeThem = 'make the certificates with certs-scripts/generate-certs.sh, or correct the variable';

test('a good identity is read with its names, its fingerprint and its end, and without a warning', () => {
  using files = new Files();
  const identity = files.load();
  assert.equal(identity.spiffeId, 'spiffe://mesh.local/service/auth-svc');
  assert.equal(identity.dnsNames[0], 'auth-svc');
  assert.equal(identity.certPem, ours.cert);
  assert.equal(identity.keyPem, ours.key);
  assert.equal(identity.caPem, mesh.cert);
  assert.match(identity.fingerprint, /^[0-9a-f]{64}$/);
  assert.equal(identity.fingerprint, identity.leaf.fingerprint256.replaceAll(':', '').toLowerCase());
  assert.equal(identity.notAfterMs, identity.leaf.validToDate.getTime());
  assert.equal(identity.authorities.length, 1);
  assert.equal(identity.revocations.size, 0);
  assert.equal(identity.crlPem, undefined);
  assert.deepEqual(identity.warnings, []);
});

for (const [file, variable] of [
  ['ca.crt', 'CA_CERT_PATH'],
  ['tls.crt', 'CLIENT_CERT_PATH'],
  ['tls.key', 'CLIENT_KEY_PATH'],
  ['crl.pem', 'CRL_PATH'],
] as const) {
  test(`${variable}: a file that is missing, a folder, or empty is named with what to do`, () => {
    const crl = revocationList(mesh, []);
    using missing = new Files({ crl });
    missing.remove(file);
    assert.equal(missing.error(), `${variable}: ${file} does not exist\n${makeThem}`);
    using folder = new Files({ crl });
    folder.folder(file);
    assert.equal(folder.error(), `${variable}: ${file} is a folder\nname the PEM file in it`);
    using empty = new Files({ crl });
    empty.write(file, ' \n');
    assert.equal(empty.error(), `${variable}: ${file} is empty\n${makeThem}`);
  });
}

test('a file that may not be read is named with the user who may not', {
  skip: process.getuid?.() === 0 && 'root may read everything',
}, () => {
  using files = new Files();
  chmodSync(files.paths.clientKeyPath, 0);
  assert.equal(
    files.error(),
    `CLIENT_KEY_PATH: tls.key cannot be read: permission denied\nlet user ${process.getuid?.()} read it (chown or chmod), or run the sidecar as its owner`,
  );
});

test('what is no PEM is told apart from a certificate that is broken', () => {
  using der = new Files();
  der.write('tls.crt', Buffer.from(ours.cert.replace(/-----.*-----/g, ''), 'base64'));
  assert.equal(
    der.error(),
    'CLIENT_CERT_PATH: tls.crt holds no certificate (-----BEGIN CERTIFICATE-----)\nname a PEM file; DER is converted with "openssl x509 -inform der"',
  );
  using broken = new Files();
  broken.write('ca.crt', `${mesh.cert}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n`);
  assert.equal(broken.error(), `CA_CERT_PATH: ca.crt holds a certificate that cannot be read (the 2. of 2)\n${makeThem}`);
  using swapped = new Files();
  swapped.write('tls.key', ours.cert);
  assert.equal(swapped.error(), `CLIENT_KEY_PATH: tls.key holds no private key that can be read (PEM)\n${makeThem}`);
});

test('an encrypted key is refused, in both of its forms', () => {
  const remedy = 'decrypt it ("openssl pkey -in key -out plain"): there is nobody to ask for a passphrase';
  const key = createPrivateKey(ours.key);
  for (const type of ['pkcs8', 'sec1'] as const) {
    using files = new Files();
    files.write('tls.key', key.export({ type, format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' }));
    assert.equal(files.error(), `CLIENT_KEY_PATH: tls.key is encrypted\n${remedy}`);
  }
});

test('keys in the older forms are accepted', async () => {
  using sec1 = new Files();
  sec1.write('tls.key', createPrivateKey(ours.key).export({ type: 'sec1', format: 'pem' }));
  assert.equal(sec1.load().fingerprint.length, 64);
});

test('a key of another certificate is refused', async () => {
  using files = new Files();
  files.write('tls.key', (await issue(mesh, 'auth-svc')).key);
  assert.match(
    files.error(),
    /^CLIENT_KEY_PATH: tls\.key is not the key of the certificate in tls\.crt\nname the two files that were issued together$/,
  );
});

test('a certificate that has expired, or is not valid yet, is refused with its date', async () => {
  using expired = new Files();
  const old = await issue(mesh, 'auth-svc', { atMs: clock.wallNow() - 10 * dayMs, validDays: 1 });
  expired.write('tls.crt', old.cert);
  expired.write('tls.key', old.key);
  assert.match(expired.error(), /^CLIENT_CERT_PATH: tls\.crt has expired on \w{3} .* GMT\nissue a new one \("outrider certs issue"\)$/);
  using early = new Files();
  const young = await issue(mesh, 'auth-svc', { atMs: clock.wallNow() + 10 * dayMs });
  early.write('tls.crt', young.cert);
  early.write('tls.key', young.key);
  assert.match(early.error(), /^CLIENT_CERT_PATH: tls\.crt is not valid before \w{3} .* GMT\ncompare the clock of this machine/);
});

test('authorities that have all expired are refused; one that is still valid is enough', async () => {
  const past = clock.wallNow() - 4_000 * dayMs;
  const { issued } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: past });
  using files = new Files();
  files.write('ca.crt', issued.certPem);
  assert.equal(
    files.error(),
    'CA_CERT_PATH: ca.crt holds only authorities that have expired\nmake a new authority ("outrider certs init")',
  );
  files.write('ca.crt', issued.certPem + mesh.cert);
  assert.equal(files.load().authorities.length, 2);
});

test('an own certificate that every peer would refuse is refused at once', async () => {
  using short = new Files();
  const weak = await craft(mesh, { key: weakRsaKey() });
  short.write('tls.crt', weak.cert);
  short.write('tls.key', weak.key);
  assert.equal(
    short.error(),
    'CLIENT_CERT_PATH: tls.crt would be refused by every peer: its key is too small (RSA of 1024 bits)\nissue it with P-256, or RSA of 2048 bits or more, and SHA-256',
  );
  using sha1 = new Files();
  const old = issueWithOpenssl(mesh, { extensions: Object.values(honest), digest: 'sha1' });
  sha1.write('tls.crt', old.cert);
  sha1.write('tls.key', old.key);
  assert.match(sha1.error(), /^CLIENT_CERT_PATH: tls\.crt would be refused by every peer: it is signed with SHA-1\n/);
});

test('what works, but peers will stumble over, is a warning', async () => {
  const warningsOf = (pair: { cert: string; key: string }): readonly string[] => {
    using files = new Files();
    files.write('tls.crt', pair.cert);
    files.write('tls.key', pair.key);
    return files.load().warnings.map(({ why }) => why);
  };
  const foreign = await issue(otherMesh, 'auth-svc');
  assert.deepEqual(warningsOf(foreign), ['our certificate was signed by another authority of the name mesh.local root']);
  const bare = issueWithOpenssl(mesh, { extensions: [honest.constraints, honest.usage] });
  assert.deepEqual(warningsOf(bare), [
    'our certificate carries no DNS name and no URI (a common name counts for nothing)',
    'our certificate lacks extended key usage serverAuth and clientAuth',
  ]);
});

test('an intermediate in the certificate file completes the chain, as far as its authority allows one', async () => {
  const warningsUnder = async (root: Pair): Promise<readonly string[]> => {
    const between = issueWithOpenssl(root, { extensions: authorityExtensions, subject: '/CN=between' });
    const chain = chained(issueWithOpenssl(between, { extensions: Object.values(honest) }), between);
    using files = new Files();
    files.write('tls.crt', chain.cert);
    files.write('tls.key', chain.key);
    files.write('ca.crt', root.cert);
    return files.load().warnings.map(({ why }) => why);
  };
  assert.deepEqual(await warningsUnder(issueWithOpenssl(undefined, { extensions: authorityExtensions, subject: '/CN=root' })), []);
  assert.deepEqual(await warningsUnder(mesh), ['our certificate is longer than mesh.local root allows (path length 0)']);
});

test('revocation lists are read, and refused where OpenSSL would refuse every peer because of them', () => {
  using good = new Files({ crl: revocationList(mesh, [ours]) });
  assert.equal(good.load().revocations.size, 1);
  using both = new Files({ crl: revocationList(mesh, [ours]) + revocationList(otherMesh, []) });
  assert.equal(both.load().revocations.size, 1);

  using noList = new Files({ crl: mesh.cert });
  assert.equal(
    noList.error(),
    'CRL_PATH: crl.pem holds no revocation list that can be read: no revocation list (-----BEGIN X509 CRL-----)\nname a PEM file of lists',
  );
  using cut = new Files({ crl: '-----BEGIN X509 CRL-----\nMIIBAAA=\n-----END X509 CRL-----\n' });
  assert.match(cut.error(), /^CRL_PATH: crl\.pem holds no revocation list that can be read: element at offset 0 is cut short\n/);
  using old = new Files({ crl: revocationList(mesh, [], '20250201000000Z') });
  assert.equal(old.error(), 'CRL_PATH: crl.pem has expired on 2025-02-01T00:00:00.000Z\npublish a new list');
  using foreign = new Files({ crl: revocationList(otherMesh, []) });
  assert.match(
    foreign.error(),
    /^CRL_PATH: crl\.pem holds no list that O=mesh\.local, CN=mesh\.local root signed: nothing that this authority takes back would be known\n/,
  );
});

test('openssl reads the lists as we do', () => {
  using files = new Files({ crl: revocationList(mesh, [ours]) });
  const said = execFileSync('openssl', ['crl', '-in', files.paths.crlPath ?? '', '-noout', '-text'], { encoding: 'utf8' });
  const [, serial] = /Serial Number: ([0-9A-F]+)/.exec(said) ?? [];
  assert.equal(serial, files.load().leaf.serialNumber);
});
