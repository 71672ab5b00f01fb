import { isDeepStrictEqual } from 'node:util';
import type { EndpointAddress } from '../discovery/index.ts';

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
