import type { PeerIdentity } from './peer-identity.ts';

/**
 * The value of `x-forwarded-client-cert` in Envoy's form: `By=...;Hash=...;Subject="...";URI=...;DNS=...`.
 * @param ownName our own SPIFFE id, or a DNS name where we have none.
 */
export const formatXfcc = (_peer: PeerIdentity, _ownName: string): string => {
  throw new Error('not yet');
};
