import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatXfcc, type PeerIdentity, peerIdentityOf } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { craft, issueWithOpenssl, makeAuthority } from './hostile-certificates.ts';

checkLeaks();

const mesh = await makeAuthority();
const peer: PeerIdentity = {
  uriSans: ['spiffe://mesh.local/service/auth-svc'],
  dnsSans: ['auth-svc', 'localhost'],
  ipSans: ['127.0.0.1'],
  subject: 'CN=auth-svc,O=mesh.local',
  fingerprint256: 'ab'.repeat(32),
  notAfterMs: 0,
  serial: '1',
  issuer: '',
};
const by = 'spiffe://mesh.local/service/learner-svc';

test('the header has the order and the quoting of Envoy', () => {
  assert.equal(
    formatXfcc(peer, by),
    `By=${by};Hash=${'ab'.repeat(32)};Subject="CN=auth-svc,O=mesh.local";URI=spiffe://mesh.local/service/auth-svc;DNS=auth-svc;DNS=localhost`,
  );
});

test('values with separators are quoted, and nothing in them ends the quotes', () => {
  const uriSans = ['spiffe://x/a;By=evil', 'spiffe://x/a,b', 'spiffe://x/a="b"'];
  assert.equal(
    formatXfcc({ ...peer, uriSans, dnsSans: [] }, by).slice(`By=${by};Hash=${'ab'.repeat(32)};`.length),
    'Subject="CN=auth-svc,O=mesh.local";URI="spiffe://x/a;By=evil";URI="spiffe://x/a,b";URI="spiffe://x/a=\\"b\\""',
  );
});

test('a subject that is escaped already is not escaped twice; what ASCII lacks is written as bytes', async () => {
  const subjectOf = (subject: string): string => {
    const certificate = issueWithOpenssl(mesh, { extensions: ['basicConstraints=CA:FALSE'], subject });
    return formatXfcc(peerIdentityOf(new X509Certificate(certificate.cert)), 'me').replace(/^By=me;Hash=\w+;/, '');
  };
  assert.equal(subjectOf('/O=Evil, Inc/CN=a"b;c'), 'Subject="CN=a\\"b\\;c,O=Evil\\, Inc"');
  assert.equal(subjectOf('/CN=a\\\\'), 'Subject="CN=a\\\\"');
  assert.equal(subjectOf('/'), 'Subject=""');
  const { cert } = await craft(mesh, { commonName: 'Ä\n";URI=spiffe://mesh.local/service/admin;x="' });
  const { subject } = peerIdentityOf(new X509Certificate(cert));
  assert.equal(
    formatXfcc({ ...peer, subject, uriSans: [], dnsSans: [] }, 'me').replace(/^By=me;Hash=\w+;/, ''),
    'Subject="CN=\\C3\\84\\0A\\"\\;URI=spiffe://mesh.local/service/admin\\;x=\\",O=mesh.local"',
  );
});

/** Reads as a receiver does: pairs at semicolons that stand outside of quotes. */
const parse = (header: string): readonly (readonly [string, string])[] =>
  [...header.matchAll(/([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;]*)(?:;|$)/g)].map(([, key = '', value = '']) => [key, value]);

test('whatever a certificate holds, the header has the fields that we wrote, and visible ASCII alone', () => {
  const visible = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength: 30 });
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.array(visible, { maxLength: 3 }),
      fc.array(visible, { maxLength: 3 }),
      (subject, uris, names) => {
        const header = formatXfcc({ ...peer, subject, uriSans: uris, dnsSans: names }, by);
        assert.match(header, /^[\x20-\x7e]*$/);
        const keys = parse(header).map(([key]) => key);
        assert.deepEqual(keys, ['By', 'Hash', 'Subject', ...uris.map(() => 'URI'), ...names.map(() => 'DNS')]);
      },
    ),
  );
});
