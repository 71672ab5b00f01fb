import type { X509Certificate } from 'node:crypto';
import type { Clock } from '../core/index.ts';
import type { RevocationLists } from './revocation.ts';

/** Where the identity of this sidecar is read from. */
export interface IdentityPaths {
  /** `CA_CERT_PATH`: the certificates of the authorities that peers are verified against (PEM, one or more). */
  readonly caCertPath: string;
  /** `CLIENT_CERT_PATH`: our own certificate for both roles (PEM, leaf first, then intermediates). */
  readonly clientCertPath: string;
  /** `CLIENT_KEY_PATH`: its private key (PEM, not encrypted). */
  readonly clientKeyPath: string;
  /** `CRL_PATH`: revocation lists (PEM, one or more). */
  readonly crlPath?: string;
}

/** One consistent reading of the files: the key belongs to the certificate. Immutable; a rotation makes a new one. */
export interface Identity {
  readonly certPem: string;
  /** Secret: never to be logged or shown. */
  readonly keyPem: string;
  readonly caPem: string;
  readonly crlPem?: string;
  readonly leaf: X509Certificate;
  /** End of validity of `leaf`, wall-clock milliseconds. */
  readonly notAfterMs: number;
  /** SHA-256 of the leaf's DER, lower-case hex. */
  readonly fingerprint: string;
  readonly spiffeId?: string;
  readonly dnsNames: readonly string[];
  /** The authorities of `caPem`. */
  readonly authorities: readonly X509Certificate[];
  /** What the lists of `CRL_PATH` revoke; empty without one. */
  readonly revocations: RevocationLists;
  /** What works, but will surprise somebody: a leaf without an extended key usage, one that the authority did not sign. */
  readonly warnings: readonly string[];
}

/**
 * Reads and checks the files. Throws a `ConfigurationError` that names the file, the environment variable and the remedy where
 * one is missing, unreadable, empty, no PEM, encrypted or expired, and where the key does not match the certificate.
 */
export const loadIdentity = (_paths: IdentityPaths, _clock: Clock): Identity => {
  throw new Error('not yet');
};
