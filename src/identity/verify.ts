import { createHash, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { canonicalAddress, readCertificateFields } from './certificate-fields.ts';
import { weaknessOf } from './certificate-strength.ts';
import { DerError, hexOf } from './der.ts';
import { describeVerification } from './handshake-failure.ts';
import { type PeerIdentity, peerIdentityOf } from './peer-identity.ts';
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
  /** A health check may speak HTTP/1.1, or agree on nothing; whatever carries calls agrees on `h2`, which is what is left out. */
  readonly alpn?: 'h2' | 'http/1.1 or none';
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

const clientAuthId = '1.3.6.1.5.5.7.3.2';
const serverAuthId = '1.3.6.1.5.5.7.3.1';

/**
 * Judges a client after its handshake. To be called first of all in 'secureConnection' of a server made with
 * `serverContextOptions`: that server completes the handshake with anybody, so that the reason of a refusal is known. Nothing
 * the peer sent has been read by then, since a socket without a reader does not flow. A refused socket must be destroyed in the same turn.
 */
export const verifyClient = (socket: TLSSocket, expected: ClientExpectation): PeerVerdict => judge(socket, expected, clientAuthId);

/** Judges a server in 'secureConnect' of a socket made with `clientConnectOptions`. A refused socket must be destroyed in the same turn. */
export const verifyServer = (socket: TLSSocket, expected: ServerExpectation & ClientExpectation): PeerVerdict => {
  const verdict = judge(socket, expected, serverAuthId);
  if (!verdict.ok) return verdict;
  return (
    judgeName(verdict.peer, expected) ?? judgePins(socket.getPeerX509Certificate() as X509Certificate, verdict.peer, expected) ?? verdict
  );
};

/** For the sweep over live connections: `undefined` while the peer may stay, else why not (its certificate has expired or was revoked). */
export const judgeLivePeer = (peer: PeerIdentity, expected: ClientExpectation): PeerRefusal | undefined => {
  if (expected.nowMs >= peer.notAfterMs) return refusal('fail_verify_error', ...describeVerification('CERT_HAS_EXPIRED'));
  if (expected.revocations.isRevoked(peer.issuer, peer.serial))
    return refusal('fail_verify_error', ...describeVerification('CERT_REVOKED'));
  return undefined;
};

const refusal = (counter: HandshakeCounter, why: string, remedy: string): PeerRefusal => ({ ok: false, counter, why, remedy });

/** What holds for both roles: a certificate, a chain that OpenSSL accepts, today's date, the purpose, ALPN h2. */
const judge = (socket: TLSSocket, expected: ClientExpectation, purpose: string): PeerVerdict => {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return refusal('fail_verify_no_cert', 'it showed no certificate', 'every peer of the mesh needs one: "outrider certs issue" makes it');
  }
  if (!socket.authorized) {
    const problem: unknown = socket.authorizationError;
    const code = problem instanceof Error ? ('code' in problem ? String(problem.code) : problem.message) : String(problem);
    return refusal('fail_verify_error', ...(describeWeakLink(code, certificate) ?? describeVerification(code)));
  }
  // Node accepts a certificate without any extended key usage (RFC 5280 4.2.1.12 leaves that to us).
  if (!(certificate.keyUsage as readonly string[] | undefined)?.includes(purpose)) {
    const name = purpose === clientAuthId ? 'clientAuth' : 'serverAuth';
    return refusal(
      'fail_verify_error',
      `its certificate is not meant for this: extended key usage ${name} is missing`,
      `issue it with ${name}`,
    );
  }
  let peer: PeerIdentity;
  try {
    peer = peerIdentityOf(certificate);
  } catch (error) {
    if (error instanceof DerError) return refusal('fail_verify_error', `its certificate is malformed: ${error.message}`, 'issue a new one');
    throw error;
  }
  const live = judgeLivePeer(peer, expected);
  if (live !== undefined) return live;
  if (issuerIsRevoked(certificate, expected.revocations)) return refusal('fail_verify_error', ...describeVerification('CERT_REVOKED'));
  if (socket.alpnProtocol !== 'h2' && expected.alpn !== 'http/1.1 or none') {
    return refusal('no_alpn', 'it did not agree on HTTP/2 (ALPN h2)', 'use a gRPC peer: they all offer h2');
  }
  return { ok: true, peer };
};

const longestChain = 10;

/** Whether an authority between the certificate and the root was taken back. The root itself is on nobody's list. */
const issuerIsRevoked = (certificate: X509Certificate, revocations: RevocationLists): boolean => {
  if (revocations.size === 0) return false;
  let current = certificate.issuerCertificate;
  for (let i = 0; i < longestChain && current !== undefined; i++) {
    const { issuerDer, serial } = readCertificateFields(current.raw);
    if (revocations.isRevoked(hexOf(issuerDer), serial)) return true;
    current = current.issuerCertificate;
  }
  return false;
};

/** OpenSSL has more reasons than Node has codes; the certificates themselves tell which of the others it was. */
const describeWeakLink = (code: string, certificate: X509Certificate): readonly [why: string, remedy: string] | undefined => {
  if (code !== 'UNSPECIFIED') return undefined;
  let current = certificate;
  for (let i = 0; i < longestChain; i++) {
    const weakness = weaknessIn(current);
    if (weakness !== undefined) {
      const whose = i === 0 ? 'its certificate is too weak' : 'a certificate of its chain is too weak';
      return [`${whose}: ${weakness}`, 'issue it with P-256, or RSA of 2048 bits or more, and SHA-256'];
    }
    const issuer = current.issuerCertificate;
    if (issuer === undefined) return undefined;
    if (!issuer.ca) return describeVerification('INVALID_CA');
    current = issuer;
  }
  return undefined;
};

const weaknessIn = (certificate: X509Certificate): string | undefined => {
  try {
    return weaknessOf(certificate);
  } catch (error) {
    if (error instanceof DerError) return `it is malformed (${error.message})`;
    throw error;
  }
};

/** The name that the certificate must carry: an alternative name, never the common name (RFC 9525 2). */
const judgeName = (peer: PeerIdentity, expected: ServerExpectation): PeerRefusal | undefined => {
  const wanted =
    expected.matchSubjectAltNames.length > 0
      ? expected.matchSubjectAltNames
      : [expected.serviceName, `spiffe://${expected.trustDomain}/service/${expected.serviceName}`];
  for (const name of wanted) if (carries(peer, name)) return undefined;
  const found = [...peer.dnsSans, ...peer.uriSans, ...peer.ipSans];
  return refusal(
    'fail_verify_san',
    `its certificate is for ${found.length === 0 ? 'nobody (no subject alternative name)' : found.join(', ')}, wanted is ${wanted.join(' or ')}`,
    'check the endpoints of the cluster, its service_name, or tls.match_subject_alt_names',
  );
};

const carries = (peer: PeerIdentity, name: string): boolean => {
  if (name.includes('://')) return peer.uriSans.includes(name);
  // An address that stands among the DNS names is no name (RFC 9525 6.2).
  if (isIP(name) !== 0) return peer.ipSans.includes(canonicalAddress(name));
  const lower = name.toLowerCase();
  return peer.dnsSans.some((san) => dnsNameMatches(san.toLowerCase(), lower));
};

/** A wildcard stands for exactly one whole label, the leftmost (RFC 9525 6.3); never directly above the top. */
const dnsNameMatches = (san: string, name: string): boolean => {
  if (san === name) return true;
  if (!san.startsWith('*.')) return false;
  const rest = san.slice(1);
  const dot = name.indexOf('.');
  return dot > 0 && rest.indexOf('.', 1) > 0 && name.slice(dot) === rest;
};

const judgePins = (
  certificate: X509Certificate,
  peer: PeerIdentity,
  { spkiPins, hashPins }: ServerExpectation,
): PeerRefusal | undefined => {
  if (spkiPins.length > 0) {
    const spki = createHash('sha256')
      .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64');
    if (!spkiPins.includes(spki)) return pinRefusal('verify_certificate_spki', spki);
  }
  if (hashPins.length > 0) {
    const wanted = hashPins.map((pin) => pin.replaceAll(':', '').toLowerCase());
    if (!wanted.includes(peer.fingerprint256)) return pinRefusal('verify_certificate_hash', peer.fingerprint256);
  }
  return undefined;
};

const pinRefusal = (field: string, found: string): PeerRefusal =>
  refusal(
    'fail_verify_cert_hash',
    `its certificate is not the pinned one: ${field} is ${found}`,
    `check the endpoints of the cluster, or tls.${field}`,
  );
