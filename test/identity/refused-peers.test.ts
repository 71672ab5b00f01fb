import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { judgeLivePeer } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { judgeClient, judgeServer, type Outcome } from './handshake-bench.ts';
import {
  chained,
  clock,
  craft,
  dayMs,
  honest,
  identityOf,
  issue,
  issueWithOpenssl,
  makeAuthority,
  type Pair,
  revocationList,
  weakRsaKey,
} from './hostile-certificates.ts';

checkLeaks();

const [mesh, otherMesh] = await Promise.all([makeAuthority(), makeAuthority()]);
const ours = await issue(mesh, 'learner-svc');
const identity = identityOf(ours, mesh.cert);
const intermediate = await craft(mesh, { commonName: 'between', kind: { kind: 'authority' } });
const withExtensions = (...extensions: readonly string[]): Pair => issueWithOpenssl(mesh, { extensions });

const assertRefused = (outcome: Outcome, counter: string, why: RegExp): void => {
  assert.ok(!outcome.ok, 'it was accepted');
  assert.equal(outcome.counter, counter);
  assert.match(outcome.why, why);
  assert.notEqual(outcome.remedy, '');
};

test('a peer with a certificate of the mesh is accepted in both roles, with all its names', async () => {
  for (const outcome of [await judgeClient(identity, ours), await judgeServer(identity, ours)]) {
    assert.ok(outcome.ok);
    const { peer } = outcome;
    assert.deepEqual(peer.dnsSans, [
      'learner-svc',
      'learner-svc.default',
      'learner-svc.default.svc',
      'learner-svc.default.svc.cluster.local',
      'localhost',
    ]);
    assert.deepEqual(peer.ipSans, ['127.0.0.1']);
    assert.deepEqual(peer.uriSans, ['spiffe://mesh.local/service/learner-svc']);
    assert.equal(peer.spiffeId, 'spiffe://mesh.local/service/learner-svc');
    assert.equal(peer.subject, 'CN=learner-svc,O=mesh.local');
    assert.equal(peer.fingerprint256, identity.fingerprint);
    assert.equal(peer.notAfterMs, identity.notAfterMs);
  }
});

test('RSA, P-384 chains and authorities of other makers are accepted', async () => {
  const rsaMesh = await makeAuthority('rsa');
  const peer = await craft(rsaMesh, {
    key: generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey,
  });
  const rsaIdentity = identityOf(await issue(rsaMesh, 'learner-svc'), rsaMesh.cert);
  assert.equal((await judgeClient(rsaIdentity, peer)).ok, true);
  assert.equal((await judgeServer(rsaIdentity, peer)).ok, true);
});

test('a certificate with an empty subject, as SPIFFE has it, is accepted', async () => {
  const peer = issueWithOpenssl(mesh, { extensions: [...Object.values(honest)], subject: '/' });
  const outcome = await judgeClient(identity, peer);
  assert.ok(outcome.ok);
  assert.equal(outcome.peer.subject, '');
  assert.equal((await judgeServer(identity, peer)).ok, true);
});

const rows: readonly (readonly [name: string, peer: Pair, why: RegExp])[] = [
  [
    'an expired certificate',
    await issue(mesh, 'learner-svc', { atMs: clock.wallNow() - 10 * dayMs, validDays: 5 }),
    /^its certificate has expired$/,
  ],
  [
    'a certificate that is not valid yet',
    await issue(mesh, 'learner-svc', { atMs: clock.wallNow() + 10 * dayMs }),
    /^its certificate is not valid yet$/,
  ],
  [
    'a certificate of another authority with the same name',
    await issue(otherMesh, 'learner-svc'),
    /^its certificate comes from another authority$/,
  ],
  [
    'a certificate of another authority that sends this authority along',
    chained(await issue(otherMesh, 'learner-svc'), otherMesh),
    /^its certificate comes from another authority$/,
  ],
  ['a certificate signed by itself', await craft(undefined), /^its certificate is signed by itself$/],
  [
    'a certificate signed by a leaf of the mesh',
    chained(await craft(ours), ours),
    /^the certificate that issued it is no authority \(CA:TRUE or keyCertSign is missing\)$/,
  ],
  [
    'a chain longer than the path length of the root',
    chained(await craft(intermediate), intermediate),
    /^its chain is longer than the authority allows \(path length\)$/,
  ],
  [
    'an RSA key of 1024 bits',
    await craft(mesh, { key: weakRsaKey() }),
    /^its certificate is too weak: its key is too small \(RSA of 1024 bits\)$/,
  ],
  [
    'a signature with SHA-1',
    issueWithOpenssl(mesh, { extensions: Object.values(honest), digest: 'sha1' }),
    /^its certificate is too weak: it is signed with SHA-1$/,
  ],
  [
    'no extended key usage',
    withExtensions(honest.constraints, honest.usage, honest.names),
    /^its certificate is not meant for this: extended key usage (clientAuth|serverAuth) is missing$/,
  ],
  [
    'any extended key usage, which is none of ours',
    withExtensions(honest.constraints, honest.usage, honest.names, 'extendedKeyUsage=anyExtendedKeyUsage'),
    /^its certificate is not meant for this \(extended key usage\)$/,
  ],
  ['the certificate of the authority itself', mesh, /^its certificate is not meant for this/],
];

for (const [name, peer, why] of rows) {
  test(`${name} is refused as a client and as a server`, async () => {
    assertRefused(await judgeClient(identity, peer), 'fail_verify_error', why);
    assertRefused(await judgeServer(identity, peer), 'fail_verify_error', why);
  });
}

test('each role needs its own purpose', async () => {
  const onlyServer = withExtensions(honest.constraints, honest.usage, honest.names, 'extendedKeyUsage=serverAuth');
  const onlyClient = withExtensions(honest.constraints, honest.usage, honest.names, 'extendedKeyUsage=clientAuth');
  const why = /^its certificate is not meant for this \(extended key usage\)$/;
  assertRefused(await judgeClient(identity, onlyServer), 'fail_verify_error', why);
  assertRefused(await judgeServer(identity, onlyClient), 'fail_verify_error', why);
  assert.equal((await judgeClient(identity, onlyClient)).ok, true);
  assert.equal((await judgeServer(identity, onlyServer)).ok, true);
});

test('an authority of 1024 bits certifies nobody', async () => {
  const weakRoot = await craft(undefined, { commonName: 'weak', kind: { kind: 'authority' }, key: weakRsaKey() });
  const peer = await craft(weakRoot);
  const trusting = identityOf(ours, mesh.cert + weakRoot.cert);
  assert.deepEqual(trusting.warnings, [
    {
      why: 'every certificate of O=mesh.local, CN=weak will be refused: its key is too small (RSA of 1024 bits)',
      remedy: 'make a new authority ("outrider certs init")',
    },
  ]);
  for (const outcome of [await judgeClient(trusting, peer), await judgeServer(trusting, peer)]) {
    assertRefused(outcome, 'fail_verify_error', /^its chain does not verify, perhaps because its authority is too weak$/);
  }
});

test('a client without a certificate is refused', async () => {
  assertRefused(await judgeClient(identity, {}), 'fail_verify_no_cert', /^it showed no certificate$/);
});

test('a revoked certificate is refused, and one that is not on the list is accepted', async () => {
  const [revoked, other] = [await issue(mesh, 'learner-svc'), await issue(mesh, 'learner-svc')];
  const strict = identityOf(ours, mesh.cert, revocationList(mesh, [revoked]));
  for (const judge of [judgeClient, judgeServer]) {
    assertRefused(await judge(strict, revoked), 'fail_verify_error', /^its certificate was revoked$/);
    assert.equal((await judge(strict, other)).ok, true);
  }
});

test('a peer without ALPN, or without h2 in it, is refused', async () => {
  const counter = 'no_alpn';
  assertRefused(await judgeClient(identity, { ...ours, ALPNProtocols: [] }), counter, /^it did not agree on HTTP\/2 \(ALPN h2\)$/);
  assertRefused(await judgeClient(identity, { ...ours, ALPNProtocols: ['http/1.1'] }), counter, /no protocol in common \(ALPN h2\)/);
  assertRefused(await judgeServer(identity, { ...ours, ALPNProtocols: [] }), counter, /^it did not agree on HTTP\/2 \(ALPN h2\)$/);
  assertRefused(await judgeServer(identity, { ...ours, ALPNProtocols: ['http/1.1'] }), counter, /no protocol in common \(ALPN h2\)/);
});

test('a bad certificate is named before a missing ALPN', async () => {
  const foreign = await issue(otherMesh, 'learner-svc');
  assertRefused(await judgeClient(identity, { ...foreign, ALPNProtocols: [] }), 'fail_verify_error', /another authority/);
});

test('a peer may stay until its certificate ends or is revoked', async () => {
  const outcome = await judgeClient(identity, ours);
  assert.ok(outcome.ok);
  const { peer } = outcome;
  const { revocations } = identity;
  assert.equal(judgeLivePeer(peer, { nowMs: peer.notAfterMs - 1, revocations }), undefined);
  assert.equal(judgeLivePeer(peer, { nowMs: peer.notAfterMs, revocations })?.why, 'its certificate has expired');
  const revoking = (issuer: Pair, revoked: Pair) => identityOf(ours, issuer.cert, revocationList(issuer, [revoked])).revocations;
  const nowMs = clock.wallNow();
  assert.equal(judgeLivePeer(peer, { nowMs, revocations: revoking(mesh, ours) })?.why, 'its certificate was revoked');
  assert.equal(judgeLivePeer(peer, { nowMs, revocations: revoking(mesh, await issue(mesh, 'learner-svc')) }), undefined);
});
