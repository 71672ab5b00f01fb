/** Who takes the calls where nobody before can. */
export interface ConsulFailoverTarget {
  /** Name in the catalogue and in certificates. */
  readonly service: string;
  /** `''`: the agent's own. */
  readonly datacenter: string;
  /** `''`: none. */
  readonly filter: string;
  readonly passingOnly: boolean;
}

/** Instances of a service in the catalogue of Consul. */
export interface ConsulEndpointsPolicy {
  readonly kind: 'consul';
  /** Name in the catalogue; of a prepared query its name or id. */
  readonly service: string;
  readonly isPreparedQuery: boolean;
  /** An instance must have all of them. */
  readonly tags: readonly string[];
  /** Consul's filter expression; `''`: none. */
  readonly filter: string;
  /** The first one takes the calls as long as it can carry them, then the next; empty: the agent's own. */
  readonly datacenters: readonly string[];
  /** In this order, after the datacenters. */
  readonly failover: readonly ConsulFailoverTarget[];
  /** `''`: that of the token. */
  readonly namespace: string;
  /** `''`: that of the agent. */
  readonly partition: string;
  /** `_agent` or the name of a node by whose distance instances are sorted; `''`: not sorted. */
  readonly near: string;
  /** How many of the nearest count; 0 = all. */
  readonly nearest: number;
  /** Any server answers, not only the leader. */
  readonly stale: boolean;
  /** An answer of a server that has not heard of its leader for so long is not used, and the leader asked; 0 = any. */
  readonly maxAgeMs: number;
  /** Instances of which a check warns take no calls. */
  readonly passingOnly: boolean;
  /** Instead of `CONSUL_HTTP_TOKEN_FILE`; `''`: that one. */
  readonly tokenFile: string;
  /** How long the last good endpoints outlive an empty answer. */
  readonly keepLastMs: number;
}

/** What holds where nobody wrote more than the name. */
export const plainConsulPolicy = (service: string): ConsulEndpointsPolicy => ({
  kind: 'consul',
  service,
  isPreparedQuery: false,
  tags: [],
  filter: '',
  datacenters: [],
  failover: [],
  namespace: '',
  partition: '',
  near: '',
  nearest: 0,
  stale: false,
  maxAgeMs: 0,
  passingOnly: true,
  tokenFile: '',
  keepLastMs: 300_000,
});
