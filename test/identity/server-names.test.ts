import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import type { ServerExpectation } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { judgeServer } from './handshake-bench.ts';
import { craft, honest, identityOf, issue, issueWithOpenssl, makeAuthority } from './hostile-certificates.ts';

checkLeaks();

const mesh = await makeAuthority();
const ours = await issue(mesh, 'auth-svc');
const identity = identityOf(ours, mesh.cert);

interface Names {
  readonly dns?: readonly string[];
  readonly uris?: readonly string[];
  readonly ips?: readonly string[];
}
/** Whether a server with these names is taken for the one that is expected; where not, the counter is asserted. */
const accepts = async ({ dns = [], uris = [], ips = [] }: Names, expected: Partial<ServerExpectation>): Promise<boolean> => {
  const server = await craft(mesh, { commonName: 'learner-svc', kind: { kind: 'leaf', dnsNames: dns, uris, ips } });
  const outcome = await judgeServer(identity, server, expected);
  if (!outcome.ok) assert.equal(outcome.counter, 'fail_verify_san', outcome.why);
  return outcome.ok;
};

test('a server is whom it was meant to be by its DNS name or its SPIFFE id, and by nothing else', async () => {
  const meant = { serviceName: 'learner-svc' };
  assert.equal(await accepts({ dns: ['learner-svc'] }, meant), true);
  assert.equal(await accepts({ dns: ['Learner-SVC'] }, meant), true);
  assert.equal(await accepts({ uris: ['spiffe://mesh.local/service/learner-svc'] }, meant), true);
  assert.equal(await accepts({ dns: ['billing-svc'] }, meant), false);
  assert.equal(await accepts({ uris: ['spiffe://other.mesh/service/learner-svc'] }, meant), false);
  assert.equal(await accepts({ uris: ['spiffe://mesh.local/service/learner-svc/x'] }, meant), false);
  assert.equal(await accepts({ uris: ['learner-svc'] }, meant), false);
  assert.equal(await accepts({ dns: ['spiffe://mesh.local/service/learner-svc'] }, meant), false);
});

test('the common name counts for nothing', async () => {
  const server = issueWithOpenssl(mesh, { extensions: [honest.constraints, honest.usage, honest.purposes] });
  const outcome = await judgeServer(identity, server);
  assert.ok(!outcome.ok);
  assert.equal(outcome.counter, 'fail_verify_san');
  assert.equal(
    outcome.why,
    'its certificate is for nobody (no subject alternative name), wanted is learner-svc or spiffe://mesh.local/service/learner-svc',
  );
});

test('the refusal says who it is and who was wanted', async () => {
  const outcome = await judgeServer(
    identity,
    await craft(mesh, { kind: { kind: 'leaf', dnsNames: ['a.b'], uris: ['spiffe://x/y'], ips: ['::1'] } }),
  );
  assert.ok(!outcome.ok);
  assert.equal(
    outcome.why,
    'its certificate is for a.b, spiffe://x/y, ::1, wanted is learner-svc or spiffe://mesh.local/service/learner-svc',
  );
});

test('a wildcard stands for exactly one whole label, and never for what is directly above the top', async () => {
  const dns = ['*.svc.local', '*.com', 'x*.svc.local'];
  const want = (name: string) => accepts({ dns }, { serviceName: name });
  assert.equal(await want('learner.svc.local'), true);
  assert.equal(await want('a.learner.svc.local'), false);
  assert.equal(await want('svc.local'), false);
  assert.equal(await want('.svc.local'), false);
  assert.equal(await want('example.com'), false);
  assert.equal(await want('xy.svc.localhost'), false);
  assert.equal(await accepts({ dns: ['x*.svc.local'] }, { serviceName: 'xy.svc.local' }), false);
});

test('an address matches an address of the certificate, in whatever spelling, and never a DNS name that looks like one', async () => {
  const want = (...names: string[]) => ({ matchSubjectAltNames: names });
  assert.equal(await accepts({ ips: ['10.0.0.4'] }, want('10.0.0.4')), true);
  assert.equal(await accepts({ dns: ['10.0.0.4'] }, want('10.0.0.4')), false);
  assert.equal(await accepts({ dns: ['10.0.0.4'] }, { serviceName: '10.0.0.4' }), false);
  assert.equal(await accepts({ ips: ['2001:db8::1'] }, want('2001:0DB8:0:0:0:0:0:1')), true);
  assert.equal(await accepts({ ips: ['2001:db8::2'] }, want('2001:db8::1')), false);
  assert.equal(await accepts({ ips: ['2001:db8::2'] }, want('fe80::1%eth0')), false);
});

test('match_subject_alt_names stands instead of the service name', async () => {
  const server = { dns: ['learner-svc'], uris: ['spiffe://old.mesh/learner'] };
  assert.equal(await accepts(server, { matchSubjectAltNames: ['other', 'spiffe://old.mesh/learner'] }), true);
  assert.equal(await accepts(server, { matchSubjectAltNames: ['other'] }), false);
});

test('names that hold what no name can hold match nothing', async () => {
  assert.equal(await accepts({ dns: ['learner-svc\0.evil.example'] }, {}), false);
  assert.equal(await accepts({ dns: ['evil.example, DNS:learner-svc'] }, {}), false);
});

test('one of the pins must match where there are any, of the key and of the certificate', async () => {
  const server = await issue(mesh, 'learner-svc');
  const certificate = new X509Certificate(server.cert);
  const spki = createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64');
  const other = createHash('sha256').digest('base64');
  const judged = async (pins: Partial<ServerExpectation>): Promise<string> => {
    const outcome = await judgeServer(identity, server, pins);
    return outcome.ok ? 'ok' : `${outcome.counter}: ${outcome.why}`;
  };
  assert.equal(await judged({ spkiPins: [other, spki] }), 'ok');
  assert.equal(await judged({ hashPins: [certificate.fingerprint256] }), 'ok');
  assert.equal(await judged({ hashPins: [certificate.fingerprint256.replaceAll(':', '').toLowerCase()], spkiPins: [spki] }), 'ok');
  assert.equal(
    await judged({ spkiPins: [other] }),
    `fail_verify_cert_hash: its certificate is not the pinned one: verify_certificate_spki is ${spki}`,
  );
  assert.match(
    await judged({ hashPins: ['00'.repeat(32)], spkiPins: [spki] }),
    /^fail_verify_cert_hash: .* verify_certificate_hash is [0-9a-f]{64}$/,
  );
});

test('a pin does not replace the name', async () => {
  const server = await issue(mesh, 'billing-svc');
  const outcome = await judgeServer(identity, server, { hashPins: [new X509Certificate(server.cert).fingerprint256] });
  assert.ok(!outcome.ok);
  assert.equal(outcome.counter, 'fail_verify_san');
});
