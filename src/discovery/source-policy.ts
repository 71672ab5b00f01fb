/** One `host:port` of a policy file. */
export interface EndpointTarget {
  readonly host: string;
  readonly port: number;
  readonly weight: number;
}

/** Fixed endpoints; a host that is a name stays a name and is resolved by whoever connects. */
export interface StaticEndpointsPolicy {
  readonly kind: 'static';
  readonly endpoints: readonly EndpointTarget[];
}

/** Names whose every address is an endpoint (Envoy: STRICT_DNS). */
export interface DnsEndpointsPolicy {
  readonly kind: 'dns';
  readonly targets: readonly EndpointTarget[];
  /** Milliseconds between two looks where no TTL says otherwise; Envoy: `dns_refresh_rate`, 5 s. At least 1 s. */
  readonly refreshMs?: number;
}

export type EndpointSourcePolicy = StaticEndpointsPolicy | DnsEndpointsPolicy;
