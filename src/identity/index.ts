export {
  CertificateAuthority,
  checkServiceName,
  checkTrustDomain,
  type IssuedCertificate,
  type LeafRequest,
  serviceNames,
} from './authority.ts';
export { certificatePem, type KeyType, keyTypes } from './certificate-builder.ts';
export {
  type CertificateCheck,
  type CertificateFinding,
  type CertificateQuestion,
  checkCertificate,
} from './certificate-check.ts';
export { type CertificateFields, readCertificateFields } from './certificate-fields.ts';
export { type AuthorityChoice, certificatePaths, checkFileName, issueInto, meshClientName, openAuthority } from './certificate-folder.ts';
export { describeHandshakeFailure, type HandshakeFailure } from './handshake-failure.ts';
export { type Identity, type IdentityPaths, loadIdentity } from './identity.ts';
export { IdentityFiles, type IdentityFilesOptions } from './identity-files.ts';
export { type PeerIdentity, peerIdentityOf } from './peer-identity.ts';
export { certificateBlocks } from './pem.ts';
export type { RevocationLists } from './revocation.ts';
export { clientConnectOptions, serverContextOptions, type TlsVersion } from './tls-options.ts';
export {
  type ClientExpectation,
  type HandshakeCounter,
  handshakeCounters,
  judgeLivePeer,
  type PeerAccepted,
  type PeerRefusal,
  type PeerVerdict,
  type ServerExpectation,
  verifyClient,
  verifyServer,
} from './verify.ts';
export { formatXfcc } from './xfcc.ts';
