import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { CertificateAuthority, checkCertificate } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
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
  trustDomain,
  weakRsaKey,
} from './hostile-certificates.ts';

checkLeaks();

const [mesh, otherMesh] = await Promise.all([makeAuthority(), makeAuthority()]);
const ours = await issue(mesh, 'learner-svc');

interface Question {
  readonly keyPem?: string | undefined;
  readonly name?: string;
  readonly trusted?: readonly Pair[];
}

const check = (pair: Pair, { trusted = [mesh], name, ...rest }: Question = {}) =>
  checkCertificate({
    certPem: pair.cert,
    keyPem: 'keyPem' in rest ? rest.keyPem : pair.key,
    authorities: trusted.map(({ cert }) => new X509Certificate(cert)),
    name,
    nowMs: clock.wallNow(),
  });

/** Only what is wrong: `check: detail`. */
const wrongs = (pair: Pair, question?: Question): readonly string[] =>
  check(pair, question)
    .filter(({ result }) => result === 'wrong')
    .map((finding) => {
      assert.ok(finding.remedy);
      return `${finding.check}: ${finding.detail}`;
    });

test('a good certificate is good in every respect', () => {
  const findings = check(ours, { name: 'learner-svc' });
  assert.deepEqual(
    findings.map(({ check, result }) => `${check} ${result}`),
    ['chain good', 'dates good', 'key good', 'strength good', 'names good', 'purposes good'],
  );
  assert.equal(findings[0]?.detail, 'signed by mesh.local root');
  assert.match(findings[1]?.detail ?? '', /^until \d{4}-\d\d-\d\d, 9 days from now$/);
});

test('an authority is asked for no names and purposes', () => {
  assert.deepEqual(
    check(mesh).map(({ check, result }) => `${check} ${result}`),
    ['chain good', 'dates good', 'key good', 'strength good'],
  );
});

const notYet = await issue(mesh, 'learner-svc', { atMs: clock.wallNow() + 10 * dayMs });
const between = issueWithOpenssl(mesh, { extensions: authorityExtensions, subject: '/CN=between' });
const weakRoot = await craft(undefined, { commonName: 'weak', kind: { kind: 'authority' }, key: weakRsaKey() });
const past = await CertificateAuthority.create({ trustDomain, keyType: 'p256', nowMs: clock.wallNow() - 4_000 * dayMs });
const oldRoot = { cert: past.issued.certPem, key: past.issued.keyPem };

const rows: readonly (readonly [name: string, wrong: readonly string[], pair: Pair, question?: Question])[] = [
  [
    'another authority of the same name',
    ['chain: was signed by another authority of the name mesh.local root'],
    await issue(otherMesh, 'learner-svc'),
  ],
  [
    'another authority',
    ['chain: comes from another authority (CN=between)'],
    issueWithOpenssl(between, { extensions: Object.values(honest) }),
  ],
  ['itself', ['chain: is signed by itself'], await craft(undefined)],
  [
    'a leaf',
    ['chain: was signed by learner-svc, which is no authority (CA:TRUE or keyCertSign is missing)'],
    chained(await craft(ours), ours),
  ],
  [
    'an authority below one that allows none',
    ['chain: is longer than mesh.local root allows (path length 0)'],
    chained(issueWithOpenssl(between, { extensions: Object.values(honest) }), between),
  ],
  [
    'an authority that is too weak',
    ['chain: its authority weak is too weak: its key is too small (RSA of 1024 bits)'],
    await craft(weakRoot),
    { trusted: [weakRoot] },
  ],
  [
    'an authority that has expired',
    [`chain: its authority mesh.local root expired on ${past.authority.certificate.validToDate.toISOString().slice(0, 10)}`],
    await craft(oldRoot),
    { trusted: [oldRoot] },
  ],
  ['no key that belongs to it', ['key: belongs to another certificate'], ours, { keyPem: mesh.key }],
  ['no key that can be read', ['key: the file beside it holds no private key that can be read (PEM)'], ours, { keyPem: 'nonsense' }],
  [
    'an encrypted key',
    ['key: is encrypted'],
    ours,
    { keyPem: createPrivateKey(ours.key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }).toString() },
  ],
  ['a key of 1024 bits', ['strength: its key is too small (RSA of 1024 bits)'], await craft(mesh, { key: weakRsaKey() })],
  ['SHA-1', ['strength: it is signed with SHA-1'], issueWithOpenssl(mesh, { extensions: Object.values(honest), digest: 'sha1' })],
  ['another name', ['names: is for learner-svc, not for auth-svc'], await craft(mesh), { name: 'auth-svc' }],
  [
    'no name but a common name, and one purpose',
    ['names: carries no DNS name and no URI (a common name counts for nothing)', 'purposes: lacks extended key usage clientAuth'],
    issueWithOpenssl(mesh, { extensions: [honest.constraints, honest.usage, 'extendedKeyUsage=serverAuth'] }),
  ],
  ['no PEM', ['file: holds no certificate (-----BEGIN CERTIFICATE-----)'], { cert: 'nonsense', key: ours.key }],
  [
    'broken PEM',
    ['file: holds a certificate that cannot be read'],
    { cert: '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n', key: ours.key },
  ],
  ['an authority that is none', ['chain: is among the authorities, and is none itself (CA:TRUE is missing)'], ours, { trusted: [ours] }],
];

for (const [name, wrong, pair, question] of rows) {
  test(`a certificate with this mistake is told so, and nothing else is: ${name}`, () => {
    assert.deepEqual(wrongs(pair, question), wrong);
  });
}

test('dates are told', async () => {
  const expired = await issue(mesh, 'learner-svc', { atMs: clock.wallNow() - 10 * dayMs, validDays: 5 });
  assert.match(wrongs(expired).join(), /^dates: expired on \d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.match(wrongs(notYet).join(), /^dates: not valid before \d{4}-/);
});

test('a key that is not at hand is not checked', () => {
  assert.deepEqual(check(ours, { keyPem: undefined })[2], { check: 'key', result: 'skipped', detail: 'no key file beside it' });
});

test('a chain through an authority below the root is good where the root allows it', () => {
  const root = issueWithOpenssl(undefined, { extensions: authorityExtensions, subject: '/CN=root' });
  const below = issueWithOpenssl(root, { extensions: authorityExtensions, subject: '/CN=below' });
  const leaf = chained(issueWithOpenssl(below, { extensions: Object.values(honest) }), below);
  const [chain] = check(leaf, { trusted: [root] });
  assert.equal(chain?.detail, 'signed by root, through 1 authority below it');
});
