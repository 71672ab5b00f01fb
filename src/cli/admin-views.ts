import type {
  AdminViews,
  BreakerActionResult,
  BreakerTarget,
  BreakerView,
  CertificatesView,
  ClusterView,
  HostView,
} from '../admin/index.ts';
import type { Clock } from '../core/index.ts';
import type { IdentityPaths } from '../identity/index.ts';
import { type BreakerSelection, type Cluster, type Endpoint, Unhealthy, type BreakerView as UpstreamBreaker } from '../upstream/index.ts';

/** What the admin API shows of clusters, made out of the live ones. */

/** Of endpoints that finish what is under way; with thousands of them nobody reads each. */
const leavingAtMost = 100;

/** Every cluster as `/clusters` shows it. */
export const clusterViews = (clusters: Iterable<Cluster>, clock: Clock): readonly ClusterView[] =>
  Array.from(clusters, (cluster) => ({
    name: cluster.name,
    policy: cluster.policy,
    hosts: cluster.endpoints.map((endpoint) => hostView(cluster, endpoint, clock)),
    leaving: [...cluster.leaving].slice(0, leavingAtMost).map((endpoint) => hostView(cluster, endpoint, clock)),
    breakers: cluster.breakers.views().map((view) => breakerView(view, clock)),
    endpoints: endpointsOf(cluster),
  }));

const endpointsOf = (cluster: Cluster): ClusterView['endpoints'] => {
  const { source, updatedAtMs, error } = cluster.endpointSet;
  return {
    source,
    updatedAtMs,
    ...(error === undefined ? {} : { error }),
    ...(cluster.endpointUpdates === undefined ? {} : { stalenessMs: cluster.stalenessMs }),
    ...(cluster.onDemand ? { onDemand: true } : {}),
    departures: cluster.departures,
  };
};

const hostView = (cluster: Cluster, endpoint: Endpoint, clock: Clock): HostView => ({
  address: endpoint.address.host,
  port: endpoint.address.port,
  ...(endpoint.address.hostname === undefined ? {} : { hostname: endpoint.address.hostname }),
  ...(endpoint.address.instance === undefined ? {} : { instance: endpoint.address.instance }),
  ...(endpoint.address.metadata === undefined ? {} : { metadata: endpoint.address.metadata }),
  discoveredAtMs: endpoint.sinceMs + clock.wallNow() - clock.now(),
  weight: endpoint.weight,
  priority: endpoint.priority,
  locality: endpoint.locality,
  successRate: endpoint.outlier?.external.successRate ?? -1,
  localOriginSuccessRate: endpoint.outlier?.localOrigin.successRate ?? -1,
  healthFlags: healthFlags(cluster, endpoint),
  ...healthCheckView(endpoint, clock),
  ...ejectionView(endpoint, clock),
  stats: endpoint.stats.entries().map(([name, value]) => ({ name, value, kind: name.endsWith('_active') ? 'gauge' : 'counter' })),
});

/** Envoy's words. An endpoint whose own breaker is open is one that calls have shown to be ill, as ejected ones are. */
const healthFlags = (cluster: Cluster, endpoint: Endpoint): readonly string[] => {
  const { checker, unhealthyFor } = endpoint;
  const health = checker?.health;
  const failed = health?.checked === true && health.failing;
  return [
    ...(failed ? ['failed_active_hc'] : []),
    ...((unhealthyFor & Unhealthy.ejected) !== 0 || cluster.isOpen(endpoint) ? ['failed_outlier_check'] : []),
    ...((unhealthyFor & Unhealthy.uncheckedYet) !== 0 ? ['pending_active_hc'] : []),
    ...(failed && health.failure === 'network_timeout' ? ['active_hc_timeout'] : []),
  ];
};

const ejectionView = ({ outlier }: Endpoint, clock: Clock): Pick<HostView, 'ejection'> => {
  if (outlier?.ejected !== true) return {};
  const wallOffsetMs = clock.wallNow() - clock.now();
  const { ejectedAtMs, ejectedFor, returnsAtMs } = outlier;
  return { ejection: { type: ejectedFor, sinceMs: ejectedAtMs + wallOffsetMs, untilMs: returnsAtMs + wallOffsetMs } };
};

const healthCheckView = ({ checker }: Endpoint, clock: Clock): Pick<HostView, 'healthCheck'> => {
  if (checker === undefined) return {};
  const wallOffsetMs = clock.wallNow() - clock.now();
  const { checkedAtMs, health, method, sinceMs, why } = checker;
  return {
    healthCheck: {
      method,
      state: !health.checked ? 'pending' : health.failing ? 'unhealthy' : 'healthy',
      why,
      sinceMs: sinceMs + wallOffsetMs,
      ...(health.checked && { checkedAtMs: checkedAtMs + wallOffsetMs }),
    },
  };
};

const breakerView = ({ breaker, endpoint, method }: UpstreamBreaker, clock: Clock): BreakerView => {
  const nowMs = clock.now();
  const wallOffsetMs = clock.wallNow() - nowMs;
  const { openedAtMs, currentHold } = breaker;
  const counts = breaker.rollingCounts(nowMs);
  const held = currentHold !== undefined && currentHold.untilMs > nowMs ? currentHold : undefined;
  return {
    state: breaker.stateAt(nowMs),
    consecutiveFailures: breaker.consecutiveFailures,
    ...(openedAtMs === undefined ? {} : { openedAtMs: openedAtMs + wallOffsetMs }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(method === undefined ? {} : { method }),
    ...(held === undefined
      ? {}
      : { hold: { state: held.state, ...(Number.isFinite(held.untilMs) ? { untilMs: held.untilMs + wallOffsetMs } : {}) } }),
    ...(counts === undefined ? {} : { window: { ...counts, lengthMs: breaker.windowMs } }),
  };
};

/** POST `/clusters/{name}/circuit_breakers/...`. */
export const actOnBreakers = (
  cluster: Cluster | undefined,
  action: Parameters<AdminViews['actOnBreakers']>[1],
  target: BreakerTarget,
): BreakerActionResult => {
  if (cluster === undefined) return 'unknown_cluster';
  const { scope } = cluster.breakers;
  if ((target.endpoint !== undefined && scope !== 'endpoint') || (target.method !== undefined && scope !== 'method')) return 'wrong_scope';
  const selection: BreakerSelection = {
    ...(target.endpoint === undefined ? {} : { endpoint: target.endpoint }),
    ...(target.method === undefined ? {} : { method: target.method }),
  };
  const meant =
    action === 'reset'
      ? cluster.breakers.reset(selection)
      : cluster.breakers.hold(action === 'open' ? 'OPEN' : 'CLOSED', target.ttlMs ?? Number.POSITIVE_INFINITY, selection);
  if (meant > 0 || (target.endpoint === undefined && target.method === undefined)) return 'ok';
  return target.endpoint === undefined ? 'unknown_method' : 'unknown_endpoint';
};

/** The certificates as they stand in the files; what is in force after a failed reload is told by the stats. */
export const certificatesView = (
  paths: IdentityPaths,
  identity: { readonly caPem: string; readonly certPem: string },
): CertificatesView => ({
  authorities: { path: paths.caCertPath, pem: identity.caPem },
  chain: { path: paths.clientCertPath, pem: identity.certPem },
});
