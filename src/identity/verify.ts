import type { TLSSocket } from 'node:tls';
import type { PeerIdentity } from './peer-identity.ts';
import type { RevocationLists } from './revocation.ts';

/** The stat under `listener.<name>.ssl.` or `cluster.<name>.ssl.` that a refused or broken handshake raises. The first five are Envoy's. */
export const handshakeCounters = [
  'fail_verify_no_cert',
  'fail_verify_error',
  'fail_verify_san',
  'fail_verify_cert_hash',
  'connection_error',
  'no_alpn',
  'protocol_version',
  'not_tls',
  'handshake_timeout',
] as const;
export type HandshakeCounter = (typeof handshakeCounters)[number];

/** Why a peer is not spoken to, in words for an operator. */
export interface PeerRefusal {
  readonly ok: false;
  readonly counter: HandshakeCounter;
  readonly why: string;
  readonly remedy: string;
}
export interface PeerAccepted {
  readonly ok: true;
  readonly peer: PeerIdentity;
}
export type PeerVerdict = PeerAccepted | PeerRefusal;

export interface ClientExpectation {
  /** Wall clock, milliseconds. */
  readonly nowMs: number;
  readonly revocations: RevocationLists;
}

/** Whom the caller means to reach. */
export interface ServerExpectation {
  /** The cluster's service name: `consul.service`, else `service_name`, else the cluster's own name. */
  readonly serviceName: string;
  readonly trustDomain: string;
  /** Exact DNS names, addresses or URIs of which the certificate must carry one; instead of the service name where not empty. */
  readonly matchSubjectAltNames: readonly string[];
  /** Base64 of the SHA-256 of the public key (SubjectPublicKeyInfo); one must match where there is any. */
  readonly spkiPins: readonly string[];
  /** Hex of the SHA-256 of the certificate (DER), colons allowed; one must match where there is any. */
  readonly hashPins: readonly string[];
}

/**
 * Judges a client after its handshake. To be called first of all in 'secureConnection' of a server made with
 * `serverContextOptions`: that server completes the handshake with anybody, so that the reason of a refusal is known. Nothing
 * the peer sent has been read by then, since a socket without a reader does not flow. A refused socket must be destroyed in the same turn.
 */
export const verifyClient = (_socket: TLSSocket, _expected: ClientExpectation): PeerVerdict => {
  throw new Error('not yet');
};

/** Judges a server in 'secureConnect' of a socket made with `clientConnectOptions`. A refused socket must be destroyed in the same turn. */
export const verifyServer = (_socket: TLSSocket, _expected: ServerExpectation & ClientExpectation): PeerVerdict => {
  throw new Error('not yet');
};

/** For the sweep over live connections: `undefined` while the peer may stay, else why not (its certificate has expired or was revoked). */
export const judgeLivePeer = (_peer: PeerIdentity, _expected: ClientExpectation): PeerRefusal | undefined => {
  throw new Error('not yet');
};
