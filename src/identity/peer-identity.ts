import type { X509Certificate } from 'node:crypto';
import { readCertificateFields } from './certificate-fields.ts';
import { hexOf } from './der.ts';

/** Who is at the other end, from its verified certificate. */
export interface PeerIdentity {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly ipSans: readonly string[];
  /** The URI SAN where it is the only one and a SPIFFE id. */
  readonly spiffeId?: string;
  /** RFC 2253, as in `x-forwarded-client-cert`. Never to be authorised on. */
  readonly subject: string;
  /** SHA-256 of the DER, lower-case hex without colons. */
  readonly fingerprint256: string;
  /** End of validity, wall-clock milliseconds: the connection may not outlive it. */
  readonly notAfterMs: number;
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  /** Hex of the issuer's name (DER). */
  readonly issuer: string;
}

/** Reads a certificate that OpenSSL has accepted. Throws a `DerError` where it is malformed all the same. */
export const peerIdentityOf = (certificate: X509Certificate): PeerIdentity => {
  const fields = readCertificateFields(certificate.raw);
  const [uri, second] = fields.uris;
  return {
    uriSans: fields.uris,
    dnsSans: fields.dnsNames,
    ipSans: fields.ipAddresses,
    // SPIFFE X509-SVID 2: exactly one URI SAN.
    ...(uri !== undefined && second === undefined && uri.startsWith('spiffe://') ? { spiffeId: uri } : {}),
    // Node prints one attribute a line, most general first, and nothing at all for an empty name (SPIFFE certificates have one), whatever its
    // types say; RFC 2253 wants one line, most specific first.
    subject: ((certificate.subject as string | undefined) ?? '').split('\n').reverse().join(','),
    fingerprint256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    notAfterMs: certificate.validToDate.getTime(),
    serial: fields.serial,
    issuer: hexOf(fields.issuerDer),
  };
};
