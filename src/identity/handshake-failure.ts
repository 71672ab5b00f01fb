import type { HandshakeCounter } from './verify.ts';

export interface HandshakeFailure {
  readonly counter: HandshakeCounter;
  readonly why: string;
  readonly remedy: string;
}

/** OpenSSL's words for a chain that does not verify, in ours. The keys are Node's `authorizationError` and error codes. */
const verificationProblems: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  CERT_HAS_EXPIRED: ['its certificate has expired', 'issue a new one ("outrider certs issue")'],
  CERT_NOT_YET_VALID: ['its certificate is not valid yet', 'compare the clocks of the two machines'],
  CERT_REVOKED: ['its certificate was revoked', 'issue a new one ("outrider certs issue")'],
  CRL_HAS_EXPIRED: ['the revocation list has expired', 'publish a new list in CRL_PATH'],
  CRL_NOT_YET_VALID: ['the revocation list is not valid yet', 'compare the clocks of the two machines'],
  CRL_SIGNATURE_FAILURE: ['the revocation list was signed by another authority', 'publish the list of the authority of CA_CERT_PATH'],
  UNABLE_TO_GET_CRL: ['there is no revocation list of the authority that issued it', 'add the list of each authority to CRL_PATH'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['its certificate is signed by itself', 'issue it with the authority of this mesh'],
  SELF_SIGNED_CERT_IN_CHAIN: ['its certificate comes from another authority', 'compare the CA_CERT_PATH of both sides'],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ['its certificate comes from another authority', 'compare the CA_CERT_PATH of both sides'],
  UNABLE_TO_GET_ISSUER_CERT: ['its certificate comes from another authority', 'compare the CA_CERT_PATH of both sides'],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ['its certificate comes from another authority', 'compare the CA_CERT_PATH of both sides'],
  CERT_SIGNATURE_FAILURE: ['the signature of its certificate is wrong', 'compare the CA_CERT_PATH of both sides'],
  INVALID_CA: [
    'the certificate that issued it is no authority (CA:TRUE or keyCertSign is missing)',
    'issue it with the authority of this mesh',
  ],
  PATH_LENGTH_EXCEEDED: ['its chain is longer than the authority allows (path length)', 'issue it with the authority itself'],
  INVALID_PURPOSE: ['its certificate is not meant for this (extended key usage)', 'issue it with clientAuth and serverAuth'],
  UNSPECIFIED: ['its chain does not verify, perhaps because its authority is too weak', 'check it with "outrider certs verify"'],
  CERT_REJECTED: ['its certificate was rejected', 'issue a new one'],
  EE_KEY_TOO_SMALL: ['the key of its certificate is too small', 'issue it with P-256, or RSA of 2048 bits or more'],
  CA_KEY_TOO_SMALL: ['the key of its authority is too small', 'make an authority with P-256, or RSA of 2048 bits or more'],
  CA_MD_TOO_WEAK: ['its certificate is signed with SHA-1 or weaker', 'issue it with SHA-256'],
};

/** Why OpenSSL did not accept a chain. `code` is Node's `authorizationError`. */
export const describeVerification = (code: string): readonly [why: string, remedy: string] =>
  verificationProblems[code] ?? [`its certificate does not verify (${code})`, 'check it with "outrider certs verify"'];

const plainServer = 'check the port of the endpoint, or write "tls: { mode: disable }" in the cluster';

/** Pieces of OpenSSL's error codes and alerts, the first that occurs decides. */
const pieces: readonly (readonly [
  piece: RegExp,
  counter: HandshakeCounter,
  why: string,
  remedy: string | Readonly<Record<'server' | 'client', string>>,
])[] = [
  [
    /UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|WRONG_SSL_VERSION/,
    'protocol_version',
    'the peer does not speak TLS 1.3',
    'update it, or set TLS_MINIMUM=1.2 for a migration',
  ],
  [
    /HTTP_REQUEST|HTTPS_PROXY_REQUEST/,
    'not_tls',
    'the peer speaks plain HTTP',
    { server: 'call through the outbound port of a sidecar, or use TLS', client: plainServer },
  ],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH|UNEXPECTED_MESSAGE|BAD_RECORD_TYPE|RECORD_LAYER/,
    'not_tls',
    'the peer does not speak TLS',
    { server: 'use TLS, or set INBOUND_TLS=permissive for a migration', client: plainServer },
  ],
  [/NO_APPLICATION_PROTOCOL/, 'no_alpn', 'the two sides have no protocol in common (ALPN h2)', 'offer h2 in ALPN, as gRPC does'],
  [
    /CERTIFICATE_REQUIRED|PEER_DID_NOT_RETURN/,
    'fail_verify_no_cert',
    'a client certificate is demanded',
    'set CLIENT_CERT_PATH and CLIENT_KEY_PATH',
  ],
  [
    /UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_(UNKNOWN|EXPIRED|REVOKED)|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED/,
    'fail_verify_error',
    'the peer does not accept our certificate',
    'compare the CA_CERT_PATH of both sides, and our certificate with "outrider certs verify"',
  ],
  [
    /KEY_TOO_SMALL|MD_TOO_WEAK|DH_KEY/,
    'fail_verify_error',
    'a key or signature is too weak',
    'use P-256, or RSA of 2048 bits with SHA-256',
  ],
  [/TLS_HANDSHAKE_TIMEOUT/, 'handshake_timeout', 'the handshake did not end in time', 'check the network, and whether the peer speaks TLS'],
  [
    /NO_SHARED_(CIPHER|GROUP)|HANDSHAKE_FAILURE|NO_SUITABLE/,
    'connection_error',
    'the two sides have no cipher, curve or signature in common',
    'allow TLS 1.3 with P-256 or X25519',
  ],
  [
    /ECONNRESET|EPIPE|EOF|socket (disconnected|hang up)/,
    'connection_error',
    'the peer closed the connection during the handshake',
    {
      server:
        'look at the log of the client, which may have refused our certificate; TCP health checks and port scanners close like this too',
      client: 'look at the log of the server, which may have refused our certificate',
    },
  ],
];

/**
 * Turns the error of a handshake that did not complete into words and a stat.
 * @param role ours: 'server' for the error of 'tlsClientError', 'client' for the one of 'error' on a `tls.connect` socket.
 */
export const describeHandshakeFailure = (error: Error, role: 'server' | 'client'): HandshakeFailure => {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const known = verificationProblems[code];
  if (known !== undefined) return { counter: 'fail_verify_error', why: `the peer is refused: ${known[0]}`, remedy: known[1] };
  const text = `${code} ${error.message}`;
  for (const [piece, counter, why, remedy] of pieces) {
    if (!piece.test(text)) continue;
    return { counter, why: `${why}${code === '' ? '' : ` (${code})`}`, remedy: typeof remedy === 'string' ? remedy : remedy[role] };
  }
  const side = role === 'server' ? 'client' : 'server';
  return { counter: 'connection_error', why: `the handshake failed: ${error.message}`, remedy: `look at the log of the ${side}` };
};
