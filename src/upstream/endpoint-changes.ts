import { isDeepStrictEqual } from 'node:util';
import type { EndpointAddress } from '../discovery/index.ts';

/** Whether a list says the same hosts and ports, in the same order, as the endpoints that there are. */
export const sameMembers = (endpoints: readonly { readonly address: EndpointAddress }[], addresses: readonly EndpointAddress[]): boolean =>
  endpoints.length === addresses.length &&
  endpoints.every(({ address }, i) => {
    const other = addresses[i] as EndpointAddress;
    return address === other || (address.host === other.host && address.port === other.port);
  });

/**
 * Whether balancers would choose otherwise for what has changed.
 * @param bySubset they look at metadata.
 */
export const isChosenOtherwise = (a: EndpointAddress, b: EndpointAddress, bySubset: boolean): boolean =>
  a.weight !== b.weight ||
  a.priority !== b.priority ||
  a.locality !== b.locality ||
  a.localityWeight !== b.localityWeight ||
  (bySubset && !isDeepStrictEqual(a.metadata, b.metadata));
