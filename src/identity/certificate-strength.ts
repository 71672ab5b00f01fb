import type { KeyObject, X509Certificate } from 'node:crypto';
import { readCertificateFields } from './certificate-fields.ts';
import { DerError } from './der.ts';

const leastRsaBits = 2_048;
/** Those that TLS 1.3 has signatures for (RFC 8446 4.2.3), by their names in OpenSSL and in the standards. */
const curves: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };
const weakSignatures: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.4': 'MD5',
  '1.2.840.113549.1.1.5': 'SHA-1',
  '1.3.14.3.2.29': 'SHA-1',
  '1.2.840.10040.4.3': 'SHA-1',
  '1.2.840.10045.4.1': 'SHA-1',
};

/** The key, which OpenSSL reads only now. */
const keyOf = (certificate: X509Certificate): KeyObject => {
  try {
    return certificate.publicKey;
  } catch {
    throw new DerError('its public key cannot be read');
  }
};

/** The key of a certificate, in words: `P-256`, `RSA of 3072 bits`. Throws a `DerError` where it cannot be read. */
export const describeKey = (certificate: X509Certificate): string => {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = keyOf(certificate);
  if (type === 'rsa' || type === 'rsa-pss') return `RSA of ${details?.modulusLength} bits`;
  if (type === 'ec') return curves[details?.namedCurve ?? ''] ?? `curve ${details?.namedCurve}`;
  return type ?? 'unknown';
};

/**
 * Why security level 2 of OpenSSL refuses a certificate, or `undefined` where it does not: an RSA key below 2048 bits, a curve that TLS 1.3
 * lacks, a signature with MD5 or SHA-1 (that of a root is not looked at). Throws a `DerError` for a malformed certificate.
 */
export const weaknessOf = (certificate: X509Certificate): string | undefined => {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = keyOf(certificate);
  if ((type === 'rsa' || type === 'rsa-pss') && (details?.modulusLength ?? 0) < leastRsaBits)
    return `its key is too small (${describeKey(certificate)})`;
  if (type === 'dsa' || (type === 'ec' && curves[details?.namedCurve ?? ''] === undefined))
    return `its key is of a kind that TLS 1.3 lacks (${describeKey(certificate)})`;
  const digest = weakSignatures[readCertificateFields(certificate.raw).signatureAlgorithm];
  return digest !== undefined && certificate.issuer !== certificate.subject ? `it is signed with ${digest}` : undefined;
};
