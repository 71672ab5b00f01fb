import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { type CertificateFields, readCertificateFields } from '../../../src/identity/certificate-fields.ts';
import { describeKey, weaknessOf } from '../../../src/identity/certificate-strength.ts';
import { DerError, readDer } from '../../../src/identity/der.ts';
import { checkCertificate, formatXfcc, peerIdentityOf } from '../../../src/identity/index.ts';
import { certificateBlocks } from '../../../src/identity/pem.ts';
import { parseRevocationLists } from '../../../src/identity/revocation.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateDer } from '../mutators/der.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const certificateTag = 0x30;

/** Either a value or a `DerError`, never anything else. */
const readOrRefused = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    if (error instanceof DerError) return undefined;
    throw error;
  }
};

/** An input is the DER of a certificate or of a revocation list; each is tried as both, and as text. */
export class CertificatesTarget implements FuzzTarget {
  readonly name = 'certificates';
  readonly longestInputBytes = 4_000;

  seeds(): readonly Buffer[] {
    // Real ones are in the corpus, where `make-corpus.ts` put them.
    return [Buffer.from('3003020101', 'hex')];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return random.oneIn(3) ? mutateBytes(random, input, other) : mutateDer(random, input, other);
  }

  run(input: Buffer): void {
    const nodes = readOrRefused(() => readDer(input));
    if (nodes !== undefined)
      assert.equal(
        nodes.reduce((sum, { whole }) => sum + whole.length, 0),
        input.length,
        'nothing is left out',
      );
    const fields = readOrRefused(() => readCertificateFields(input));
    const pem = `-----BEGIN CERTIFICATE-----\n${input.toString('base64')}\n-----END CERTIFICATE-----\n`;
    assert.equal(certificateBlocks(pem + pem).length, 2);
    const findings = checkCertificate({
      certPem: pem,
      keyPem: undefined,
      authorities: [],
      name: 'learner-svc',
      nowMs: Date.UTC(2026, 5, 1),
    });
    assert.ok(findings.length > 0 && findings.every(({ detail }) => detail !== ''), 'each check says what it found');
    readOrRefused(() => parseRevocationLists(`-----BEGIN X509 CRL-----\n${input.toString('base64')}\n-----END X509 CRL-----\n`));
    readOrRefused(() => parseRevocationLists(input.toString('latin1')));
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(input);
    } catch {
      assert.ok(
        !findings.some(({ check, result }) => check !== 'file' && result === 'good'),
        'nothing is good of what OpenSSL cannot read',
      );
      return;
    }
    // OpenSSL reads on where a certificate begins, and stops at its end.
    if (input[0] === certificateTag && certificate.raw.equals(input)) compareWithOpenssl(certificate, fields);
    readOrRefused(() => weaknessOf(certificate));
    readOrRefused(() => describeKey(certificate));
    const peer = readOrRefused(() => peerIdentityOf(certificate));
    if (peer === undefined) return;
    assert.ok(peer.spiffeId === undefined || peer.uriSans.length === 1);
    const xfcc = formatXfcc(peer, 'spiffe://mesh.local/own');
    assert.match(xfcc, /^[\u0020-\u007e]*$/, 'a header can hold it');
    assert.deepEqual(
      xfccKeys(xfcc),
      ['By', 'Hash', 'Subject', ...peer.uriSans.map(() => 'URI'), ...peer.dnsSans.map(() => 'DNS')],
      'no name adds an element of its own',
    );
  }
}

/** Both read the same bytes: what we decide by is what OpenSSL has verified. */
const compareWithOpenssl = (certificate: X509Certificate, fields: CertificateFields | undefined): void => {
  if (fields === undefined) return;
  const serial = certificate.serialNumber.toLowerCase();
  // OpenSSL prints a negative number with a sign; RFC 5280 4.1.2.2 forbids them.
  if (/^[0-9a-f]+$/.test(serial) && !/^[89a-f]/.test(fields.serial.padStart(fields.serial.length + (fields.serial.length % 2), '0')))
    assert.equal(fields.serial, serial.replace(/^0+(?=.)/, ''), 'serial number');
  const text = certificate.subjectAltName ?? '';
  // Node puts into quotes what could be mistaken for another name, and escapes it there.
  if (text.includes('"')) return;
  for (const name of [...fields.dnsNames, ...fields.uris]) assert.ok(text.includes(name), `OpenSSL does not know the name ${name}`);
};

/** Keys of the elements of one `x-forwarded-client-cert`, read as Envoy does: separators count outside of quotes. */
const xfccKeys = (text: string): string[] => {
  const keys: string[] = [];
  let quoted = false;
  let key = '';
  let inKey = true;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (quoted && c === '\\') i++;
    else if (c === '"') quoted = !quoted;
    else if (!quoted && (c === ';' || c === ',')) {
      keys.push(key);
      key = '';
      inKey = true;
    } else if (!quoted && c === '=') inKey = false;
    else if (inKey && !quoted) key += c;
  }
  return [...keys, key];
};
