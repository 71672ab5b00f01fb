import type { ClusterPolicy } from '../policy/index.ts';

/** Name of the cluster that is the service beside this sidecar. */
export const localServiceName = 'local_service';

const withoutLimits = {
  maxConnections: Number.POSITIVE_INFINITY,
  maxPendingRequests: Number.POSITIVE_INFINITY,
  maxPendingDurationMs: Number.POSITIVE_INFINITY,
  maxRequests: Number.POSITIVE_INFINITY,
  trackRemaining: false,
};

/**
 * The service beside this sidecar as a cluster: plain HTTP/2 on loopback. It has no breaker that opens by itself, since there is nobody
 * else to call, and no threshold: who may come in at once is the listener's to say.
 *
 * @param defaults `table.defaultCluster`.
 */
export const localServicePolicy = (host: string, port: number, defaults: ClusterPolicy): ClusterPolicy => ({
  ...defaults,
  name: localServiceName,
  serviceName: localServiceName,
  endpoints: { kind: 'static', endpoints: [{ host, port, weight: 1 }] },
  breaker: { ...defaults.breaker, scope: 'cluster', consecutiveFailures: Number.POSITIVE_INFINITY },
  thresholds: { ...defaults.thresholds, ...withoutLimits },
  highThresholds: { ...(defaults.highThresholds ?? defaults.thresholds), ...withoutLimits },
  maxConnectionsPerEndpoint: Number.POSITIVE_INFINITY,
  // `LocalServiceHealth` asks it, and no call is refused for the answer.
  healthCheck: undefined,
  tls: { ...defaults.tls, mode: 'disable' },
  // Both ends are on one machine, where a peer that is gone says so; servers are strict about pings that nobody asked for.
  keepaliveIntervalMs: 0,
});
