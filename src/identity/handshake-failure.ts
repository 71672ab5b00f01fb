import type { HandshakeCounter } from './verify.ts';

export interface HandshakeFailure {
  readonly counter: HandshakeCounter;
  readonly why: string;
  readonly remedy: string;
}

/**
 * Turns the error of a handshake that did not complete into words and a stat.
 * @param role ours: 'server' for the error of 'tlsClientError', 'client' for the one of 'error' on a `tls.connect` socket.
 */
export const describeHandshakeFailure = (_error: Error, _role: 'server' | 'client'): HandshakeFailure => {
  throw new Error('not yet');
};
