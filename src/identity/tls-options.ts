import type { ConnectionOptions, TlsOptions } from 'node:tls';
import type { Identity } from './identity.ts';

export type TlsVersion = 'TLSv1.3' | 'TLSv1.2';

/**
 * For `tls.createServer(options)` and, on a rotation, `server.setSecureContext(options)`. The server lets every client complete its handshake
 * and leaves the verdict to `verifyClient`.
 */
export const serverContextOptions = (_identity: Identity, _minimumVersion: TlsVersion = 'TLSv1.3'): TlsOptions => {
  throw new Error('not yet');
};

/** For `tls.connect({ ...options, host, port })` (or `socket`); `serverName` is the cluster's service name. Then `verifyServer` in 'secureConnect'. */
export const clientConnectOptions = (
  _identity: Identity,
  _serverName: string,
  _minimumVersion: TlsVersion = 'TLSv1.3',
): ConnectionOptions => {
  throw new Error('not yet');
};
