import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { CertificateAuthority } from '../../../src/identity/index.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { assertFailure, consulProgram, VerifiedMesh } from './verified-mesh.ts';

const { skip } = consulProgram;
let mesh: VerifiedMesh | undefined;
// Before the check for what is left over, which looks after it.
after(() => mesh?.[Symbol.asyncDispose]());
checkLeaks();
if (skip === false) mesh = await VerifiedMesh.start();

const issueAgain = /^outrider certs issue [a-z-]+ {2}# /;
const restartStrict = /^INBOUND_TLS=strict outrider sidecar /;

test('a certificate that has expired while its sidecar runs', { skip }, async () => {
  assert.ok(mesh);
  // Long enough for the process to start with it, which it would refuse to do afterwards.
  const identity = await mesh.issue('brief-svc', 5_000);
  const endsAtMs = Date.now() + 5_000;
  await mesh.sidecar({ name: 'brief-svc', identity });
  await mesh.registered('brief-svc');
  while (Date.now() <= endsAtMs) await new Promise((resolve) => setTimeout(resolve, 50));
  const verdict = await mesh.verify('brief-svc');
  assert.equal(verdict.code, 1);
  assertFailure(verdict.check('certificate.dates'), /^expired on \d{4}-/, issueAgain);
  assert.equal(verdict.check('certificate.chain').result, 'ok');
});

test('a certificate that ends soon is a warning, and below the other threshold a failure', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'soon-svc', identity: await mesh.issue('soon-svc', 5 * 86_400_000) });
  await mesh.registered('soon-svc');
  const [usual, strict] = await Promise.all([mesh.verify('soon-svc'), mesh.verify('soon-svc', ['--expiry-failure', '7d'])]);
  assert.equal(usual.code, 0);
  const { result, detail, remedy } = usual.check('certificate.dates');
  assert.equal(result, 'warning');
  assert.match(detail, /, 4 days left$/);
  assert.match(remedy ?? '', issueAgain);
  assert.equal(strict.code, 1);
  assertFailure(strict.check('certificate.dates'), /, 4 days left$/, issueAgain);
});

test('a certificate with the name of another service', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'wrong-svc', certificate: 'other-svc' });
  await mesh.registered('wrong-svc');
  const verdict = await mesh.verify('wrong-svc');
  assert.deepEqual(verdict.failed(), ['certificate.names']);
  assertFailure(
    verdict.check('certificate.names'),
    /^is for other-svc, .*: neither wrong-svc nor spiffe:\/\/mesh\.local\/service\/wrong-svc is among its names, and peers refuse it$/,
    /^outrider certs issue wrong-svc /,
  );
});

test('a sidecar of another mesh: its certificate is of another authority, and so is what it lets in', { skip }, async () => {
  assert.ok(mesh);
  const { authority } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() });
  const identity = await mesh.issue('stranger-svc', undefined, authority);
  await mesh.sidecar({ name: 'stranger-svc', identity });
  await mesh.registered('stranger-svc');
  const verdict = await mesh.verify('stranger-svc');
  assertFailure(
    verdict.check('certificate.chain'),
    /was signed by another authority of the name mesh\.local root$/,
    /^outrider certs verify .*outrider certs issue stranger-svc$/,
  );
});

test('the certificate of the client itself is wrong: that is said of it, and of nobody else', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'good-svc' });
  await mesh.registered('good-svc');
  const { authority } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() });
  const { cert, key } = await mesh.issue('mesh-client', undefined, authority);
  const verdict = await mesh.verify('good-svc', ['--cert', cert, '--key', key]);
  assertFailure(verdict.check('identity.chain'), /was signed by another authority/, /^outrider certs verify \S+tls\.crt --ca /);
  assertFailure(verdict.check('mtls.client'), /tls\.crt is refused: /, /^outrider certs verify /);
  assert.deepEqual(verdict.failed('good-svc'), ['mtls.client', 'call.inbound']);
});

test('a listener that takes plain text beside TLS', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'lenient-svc', environment: { INBOUND_TLS: 'permissive' } });
  await mesh.registered('lenient-svc');
  const verdict = await mesh.verify('lenient-svc');
  assert.deepEqual(verdict.failed(), ['mtls.plaintext']);
  assertFailure(verdict.check('mtls.plaintext'), /^plain text is let in$/, restartStrict);
});

test('a listener without TLS', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'open-svc', environment: { INBOUND_TLS: 'off' } });
  await mesh.registered('open-svc');
  const verdict = await mesh.verify('open-svc');
  assert.deepEqual(verdict.failed(), ['certificate', 'mtls.plaintext', 'call.inbound']);
  assertFailure(verdict.check('certificate'), /^shows none: /, restartStrict);
});

test('TLS 1.2 fails, and is a warning where the mesh says that it is wanted', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'old-svc', environment: { TLS_MINIMUM: '1.2' } });
  await mesh.registered('old-svc');
  const [strict, migrating] = await Promise.all([mesh.verify('old-svc'), mesh.verify('old-svc', [], { TLS_MINIMUM: '1.2' })]);
  assert.deepEqual(strict.failed(), ['mtls.version']);
  assertFailure(strict.check('mtls.version'), /^TLS 1\.2 is let in$/, /^TLS_MINIMUM=1\.3 outrider sidecar /);
  assert.deepEqual(migrating.failed(), []);
  assert.equal(migrating.check('mtls.version').result, 'warning');
  assert.equal(migrating.code, 0);
});

test('a sidecar of another trust domain', { skip }, async () => {
  assert.ok(mesh);
  await mesh.sidecar({ name: 'abroad-svc', environment: { TRUST_DOMAIN: 'other.local' } });
  await mesh.registered('abroad-svc');
  const verdict = await mesh.verify('abroad-svc');
  assertFailure(
    verdict.check('registration.meta'),
    /of the trust domain other\.local, not mesh\.local/,
    /^TRUST_DOMAIN=mesh\.local outrider sidecar /,
  );
});
