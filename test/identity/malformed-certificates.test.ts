import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { readCertificateFields } from '../../src/identity/certificate-fields.ts';
import { childrenOf, DerError, readDer } from '../../src/identity/der.ts';
import { parseRevocationLists } from '../../src/identity/revocation.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { craft, issue, makeAuthority, revocationList } from './hostile-certificates.ts';

checkLeaks();

const mesh = await makeAuthority();
const pair = await issue(mesh, 'auth-svc');
const certificate = new X509Certificate(pair.cert);

/** Either a value or a `DerError`, never anything else. */
const readsOrRefuses = (read: () => unknown): void => {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof DerError, String(error));
  }
};

test('certificates with any byte changed, cut off or put in are read or refused, and nothing else', () => {
  const raw = certificate.raw;
  fc.assert(
    fc.property(fc.nat(raw.length - 1), fc.nat(255), fc.nat(2), (at, byte, kind) => {
      const changed = Buffer.from(raw);
      changed[at] = byte;
      const inserted = Buffer.concat([raw.subarray(0, at), Buffer.of(byte), raw.subarray(at)]);
      readsOrRefuses(() => readCertificateFields([changed, raw.subarray(0, at), inserted][kind] as Buffer));
    }),
    { numRuns: 3_000 },
  );
});

test('random bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => readsOrRefuses(() => readDer(bytes))),
    { numRuns: 3_000 },
  );
});

test('revocation lists with a byte changed are read or refused', () => {
  const pem = revocationList(mesh, [pair]);
  const der = Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64');
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), (at, byte) => {
      const changed = Buffer.from(der);
      changed[at] = byte;
      const text = `-----BEGIN X509 CRL-----\n${changed.toString('base64')}\n-----END X509 CRL-----\n`;
      readsOrRefuses(() => parseRevocationLists(text));
    }),
    { numRuns: 1_000 },
  );
});

test('a list is signed by its authority and by nobody else', async () => {
  const [list] = parseRevocationLists(revocationList(mesh, [pair]));
  assert.ok(list);
  assert.equal(list.isSignedBy(new X509Certificate(mesh.cert).publicKey), true);
  assert.equal(list.isSignedBy(new X509Certificate((await makeAuthority()).cert).publicKey), false);
  assert.equal(list.isSignedBy(new X509Certificate((await makeAuthority('rsa')).cert).publicKey), false);
  assert.deepEqual([...list.serials], [certificate.serialNumber.toLowerCase()]);
});

test('lengths that lie, that are indefinite or that are too long are refused', () => {
  for (const [hex, why] of [
    ['3080', /length of 0 bytes at offset 0/],
    ['30850000000001', /length of 5 bytes at offset 0/],
    ['300205000500', /another element was expected/],
    ['0500', /another element was expected/],
    ['300502', /cut short/],
    ['1f01', /high tag number at offset 0/],
    ['30', /no length at offset 0/],
  ] as const) {
    assert.throws(() => childrenOf(Buffer.from(hex, 'hex')), why, hex);
  }
});

test('names are read as Node prints them, addresses in their one spelling', async () => {
  const { cert } = await craft(mesh, {
    kind: { kind: 'leaf', dnsNames: ['a', '*.b.c', ''], uris: ['spiffe://x/y?z'], ips: ['10.0.0.4', '::1', '2001:db8:0:0:1:0:0:1', '::'] },
  });
  const fields = readCertificateFields(new X509Certificate(cert).raw);
  assert.deepEqual(fields.dnsNames, ['a', '*.b.c']);
  assert.deepEqual(fields.uris, ['spiffe://x/y?z']);
  assert.deepEqual(fields.ipAddresses, ['10.0.0.4', '::1', '2001:db8::1:0:0:1', '::']);
});
