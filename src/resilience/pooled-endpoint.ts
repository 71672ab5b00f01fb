import type { BalancerEndpoint } from './balancer.ts';
import type { EndpointMetadata } from './subset-keys.ts';

/** Where an endpoint is, from the large to the small: `region/zone/sub_zone`. */
export type LocalityKey = string;

/** An endpoint among others that are not all alike. */
export interface PooledEndpoint extends BalancerEndpoint {
  /** Calls go to the lowest number that can carry them. */
  readonly priority: number;
  /** `''` where nobody said. */
  readonly locality: LocalityKey;
  /** Share of the locality in relation to the others of the priority; `undefined` where nobody said. */
  readonly localityWeight: number | undefined;
  readonly metadata: EndpointMetadata | undefined;
  /** False while it is ejected, or fails its health checks. Whoever changes it calls `LoadBalancer.healthChanged`. */
  readonly healthy: boolean;
  /** Monotonic time at which it joined. */
  readonly sinceMs: number;
}
