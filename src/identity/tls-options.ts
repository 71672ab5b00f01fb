import { constants } from 'node:crypto';
import type { ConnectionOptions, SecureContextOptions, TlsOptions } from 'node:tls';
import type { Identity } from './identity.ts';

export type TlsVersion = 'TLSv1.3' | 'TLSv1.2';

/** Security level 2 refuses RSA and DH below 2048 bits and signatures with SHA-1 or MD5, in the peer's chain and in ours. */
const ciphers = [
  'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384',
  '@SECLEVEL=2',
].join(':');

/** What both roles have in common. */
export const contextOptions = (identity: Pick<Identity, 'certPem' | 'keyPem' | 'caPem'>, minVersion: TlsVersion): SecureContextOptions => ({
  cert: identity.certPem,
  key: identity.keyPem,
  ca: identity.caPem,
  // No revocation lists: OpenSSL refuses every peer from the moment at which a list in force expires. `judge` in verify.ts reads them instead.
  minVersion,
  maxVersion: 'TLSv1.3',
  ciphers,
  // A resumed session would skip the verification of the certificate (CVE-2025-23419).
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
});

/**
 * For `tls.createServer(options)` and, on a rotation, `server.setSecureContext(options)`. The server lets every client complete its handshake
 * and leaves the verdict to `verifyClient`.
 */
export const serverContextOptions = (identity: Identity, minimumVersion: TlsVersion = 'TLSv1.3'): TlsOptions => ({
  ...contextOptions(identity, minimumVersion),
  requestCert: true,
  rejectUnauthorized: false,
  ALPNProtocols: ['h2'],
});

/** For `tls.connect({ ...options, host, port })` (or `socket`); `serverName` is the cluster's service name. Then `verifyServer` in 'secureConnect'. */
export const clientConnectOptions = (
  identity: Identity,
  serverName: string,
  minimumVersion: TlsVersion = 'TLSv1.3',
): ConnectionOptions => ({
  ...contextOptions(identity, minimumVersion),
  // The verdict is `verifyServer`'s: it knows the reason, and never looks at the common name as Node does.
  rejectUnauthorized: false,
  checkServerIdentity: () => undefined,
  ALPNProtocols: ['h2'],
  ...(isAddress(serverName) ? {} : { servername: serverName }),
});

/** SNI holds host names only (RFC 6066 3). */
const isAddress = (name: string): boolean => /^[\d.]+$/.test(name) || name.includes(':');
