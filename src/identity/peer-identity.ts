import type { X509Certificate } from 'node:crypto';

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

export const peerIdentityOf = (_certificate: X509Certificate): PeerIdentity => {
  throw new Error('not yet');
};
