import { formatDurationMs, MeshError } from '../core/index.ts';
import { describeHandshakeFailure, type HandshakeCounter, type PeerRefusal } from '../identity/index.ts';
import type { ClusterStats } from './cluster-stats.ts';

/** How far a connection had come. */
export type ConnectPhase = 'tcp' | 'tls' | 'settings';

/** Who was called: `cluster "auth-svc", endpoint 10.0.0.4:50051`. */
export interface ConnectTarget {
  readonly cluster: string;
  readonly endpoint: string;
}

const statOfCounter = {
  fail_verify_no_cert: 'sslFailVerifyNoCert',
  fail_verify_error: 'sslFailVerifyError',
  fail_verify_san: 'sslFailVerifySan',
  fail_verify_cert_hash: 'sslFailVerifyCertHash',
  connection_error: 'sslConnectionError',
  no_alpn: 'sslNoAlpn',
  protocol_version: 'sslProtocolVersion',
  not_tls: 'sslNotTls',
  handshake_timeout: 'sslHandshakeTimeout',
} as const satisfies Record<HandshakeCounter, keyof ClusterStats>;

/** Adds one to the stat of a refused or broken handshake. */
const countHandshake = (stats: ClusterStats, counter: HandshakeCounter): void => {
  stats[statOfCounter[counter]]++;
};

const where = ({ cluster, endpoint }: ConnectTarget): string => `cluster "${cluster}", endpoint ${endpoint}`;

/** Every failure to connect is proof that the server never saw the call. */
const failure = (
  reason: 'connect_failure' | 'tls_handshake_failed' | 'tls_peer_not_allowed',
  target: ConnectTarget,
  why: string,
  remedy: string,
  cause?: unknown,
): MeshError => new MeshError(reason, `${where(target)}: ${why}`, { source: 'upstream', unprocessed: true, remedy, cause });

const tcpProblems: Readonly<Record<string, readonly [string, string]>> = {
  ECONNREFUSED: ['connection refused', 'check that the service is running and listens on this port'],
  EHOSTUNREACH: ['no route to the host', 'check the address of the endpoint and the network between here and there'],
  ENETUNREACH: ['the network is unreachable', 'check the address of the endpoint and the network between here and there'],
  ETIMEDOUT: ['the host does not answer', 'check the address of the endpoint and the firewalls between here and there'],
  ENOTFOUND: ['the name does not resolve', 'check the name of the endpoint and the name server'],
  ECONNRESET: ['the peer closed the connection', 'check that the service behind this port speaks HTTP/2'],
};

/** The TCP connection did not come about. */
export const tcpFailure = (target: ConnectTarget, error: Error): MeshError => {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'EMFILE' || code === 'ENFILE') return noSocketLeft(target, error);
  const [why, remedy] = tcpProblems[code] ?? [error.message, 'check the address of the endpoint and the network between here and there'];
  return failure('connect_failure', target, code === '' ? why : `${why} (${code})`, remedy, error);
};

/** The process has as many sockets as it may have, and asking for one more would take the last descriptors. No breaker learns of it. */
export const noSocketLeft = (target: ConnectTarget, cause?: unknown): MeshError =>
  new MeshError('connect_failure', `${where(target)}: the sidecar has no file descriptor left for a connection`, {
    source: 'local',
    unprocessed: true,
    remedy: 'raise the limit of open files (ulimit -n)',
    cause,
  });

/** `connect_timeout` is over. */
export const connectTimeout = (target: ConnectTarget, phase: ConnectPhase, timeoutMs: number): MeshError => {
  const missing = { tcp: 'TCP connection', tls: 'complete TLS handshake', settings: 'HTTP/2 SETTINGS' }[phase];
  const remedy = {
    tcp: 'check the address of the endpoint and the firewalls between here and there, or raise connect_timeout',
    tls: 'check that the service behind this port speaks TLS and is not overloaded, or raise connect_timeout',
    settings: 'check that the service behind this port speaks HTTP/2 and is not overloaded, or raise connect_timeout',
  }[phase];
  return failure('connect_failure', target, `no ${missing} within ${formatDurationMs(timeoutMs)} (connect_timeout)`, remedy);
};

/** The handshake broke off: with an alert of the peer's, or because we do not trust its certificate. */
export const handshakeFailure = (target: ConnectTarget, error: Error, stats: ClusterStats): MeshError => {
  const { counter, why, remedy } = describeHandshakeFailure(error, 'client');
  countHandshake(stats, counter);
  return failure('tls_handshake_failed', target, why, remedy, error);
};

/** The handshake was completed, and the peer is not whom we meant. */
export const peerRefusal = (target: ConnectTarget, refusal: PeerRefusal, stats: ClusterStats): MeshError => {
  countHandshake(stats, refusal.counter);
  const wrongPeer = refusal.counter === 'fail_verify_san' || refusal.counter === 'fail_verify_cert_hash';
  return failure(wrongPeer ? 'tls_peer_not_allowed' : 'tls_handshake_failed', target, refusal.why, refusal.remedy);
};

/** The socket was there, and closed or spoke something else before the peer's first SETTINGS. */
export const settingsFailure = (target: ConnectTarget, why: string): MeshError =>
  failure(
    'connect_failure',
    target,
    `no HTTP/2 connection: ${why}`,
    'check that the service behind this port speaks HTTP/2, with TLS or without as the cluster says',
  );

/**
 * The peer completed the handshake and closed before its first SETTINGS, without a TLS alert: so does a server that looks at our certificate
 * by itself, such as another sidecar.
 */
export const closedAfterHandshake = (target: ConnectTarget, stats: ClusterStats): MeshError => {
  countHandshake(stats, 'connection_error');
  return failure(
    'tls_handshake_failed',
    target,
    'the peer closed the connection right after the TLS handshake, most likely because it refuses our certificate',
    'look for the reason in the log of the peer, and check our certificate with "outrider certs verify"',
  );
};

/** TLS is wanted, and this sidecar has no certificate. */
export const noIdentity = (target: ConnectTarget): MeshError =>
  failure(
    'tls_handshake_failed',
    target,
    'this cluster is called with TLS, and the sidecar has no certificate',
    'set CA_CERT_PATH, CLIENT_CERT_PATH and CLIENT_KEY_PATH, or write "tls: { mode: disable }" in the cluster',
  );

/** The call waited for a connection of an endpoint that is no longer one of the cluster's. */
export const endpointRemoved = (target: ConnectTarget): MeshError =>
  new MeshError('no_endpoint', `${where(target)}: the endpoint was removed while the call waited for a connection`, {
    source: 'local',
    unprocessed: true,
  });

/** The sidecar ends. */
export const endpointClosed = (target: ConnectTarget): MeshError =>
  new MeshError('draining', `${where(target)}: the sidecar closes its connections`, { source: 'local', unprocessed: true });

/** It has waited as long as calls may. */
export const pendingTooLong = (target: ConnectTarget, limitMs: number): MeshError =>
  new MeshError(
    'too_many_pending',
    `${where(target)}: no connection had room for the call within ${formatDurationMs(limitMs)} (max_pending_duration)`,
    {
      source: 'local',
      unprocessed: true,
      remedy: 'raise max_connections of the cluster or max_concurrent_streams of its servers, or find out why its endpoints are slow',
    },
  );

/** The queue is full. */
export const tooManyPending = (target: ConnectTarget, limit: number): MeshError =>
  new MeshError('too_many_pending', `${where(target)}: ${limit} calls wait for a connection already (max_pending_requests)`, {
    source: 'local',
    unprocessed: true,
    remedy: 'raise max_pending_requests or max_connections of the cluster, or find out why its endpoints are slow',
  });
