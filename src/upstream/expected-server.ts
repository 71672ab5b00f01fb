import type { ClientExpectation, Identity, ServerExpectation } from '../identity/index.ts';
import type { ClusterPolicy } from '../policy/index.ts';
import type { UpstreamContext } from './upstream-context.ts';

/**
 * What `verifyServer` holds the certificate of an endpoint against, at this moment.
 * @param serviceName the name that it has to carry.
 * @param ours the identity with which the connection was made: where there is none any more, its revocations hold.
 */
export const expectedServer = (
  policy: ClusterPolicy,
  serviceName: string,
  context: UpstreamContext,
  ours: Identity,
): ServerExpectation & ClientExpectation => ({
  serviceName,
  trustDomain: context.trustDomain,
  matchSubjectAltNames: policy.tls.matchSubjectAltNames,
  spkiPins: policy.tls.verifyCertificateSpki,
  hashPins: policy.tls.verifyCertificateHash,
  nowMs: context.engine.clock.wallNow(),
  revocations: (context.identity?.value ?? ours).revocations,
});
