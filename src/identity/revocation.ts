/** What the authorities have taken back. */
export interface RevocationLists {
  readonly size: number;
  /** @param issuer hex of the issuer's name (DER), @param serial hex, both as in `PeerIdentity`. */
  isRevoked(issuer: string, serial: string): boolean;
}
