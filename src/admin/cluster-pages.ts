import { formatHostPort } from '../core/index.ts';
import { localityJson } from './balancing-pages.ts';
import { isoTime, protoDuration } from './durations.ts';
import { protoUint32 } from './proto-number.ts';
import type { BreakerView, ClusterView, HealthCheckView, HostView } from './views.ts';

const worstFirst = ['OPEN', 'HALF_OPEN', 'CLOSED'] as const;

const hostKey = ({ address, port }: HostView): string => formatHostPort({ host: address, port });

const breakerJson = (breaker: BreakerView, scope: string) => ({
  state: breaker.state,
  consecutive_failures: breaker.consecutiveFailures,
  opened_at: breaker.openedAtMs === undefined ? null : isoTime(breaker.openedAtMs),
  scope,
  ...(breaker.endpoint !== undefined && { endpoint: breaker.endpoint }),
  ...(breaker.method !== undefined && { method: breaker.method }),
  ...(breaker.hold !== undefined && {
    held: breaker.hold.state,
    hold_until: breaker.hold.untilMs === undefined ? 'reset' : isoTime(breaker.hold.untilMs),
  }),
  ...(breaker.window !== undefined && { window: windowJson(breaker.window) }),
});

type Window = NonNullable<BreakerView['window']>;

/** Percent of the results that are failures, two digits; `null` without results. */
const failureRateOf = ({ successes, failures }: Window): number | null =>
  successes + failures === 0 ? null : Math.round((10_000 * failures) / (successes + failures)) / 100;

const windowJson = (window: Window) => ({
  length: protoDuration(window.lengthMs),
  attempts: window.attempts,
  successes: window.successes,
  failures: window.failures,
  slow_calls: window.slow,
  rejected: window.rejected,
  failure_rate: failureRateOf(window),
});

const pristine: BreakerView = { state: 'CLOSED', consecutiveFailures: 0 };

/** The one that lets the least through: what somebody who looks for trouble wants to see first. */
const worst = (breakers: readonly BreakerView[]): BreakerView =>
  [...breakers].sort(
    (a, b) => worstFirst.indexOf(a.state) - worstFirst.indexOf(b.state) || b.consecutiveFailures - a.consecutiveFailures,
  )[0] ?? pristine;

/** `circuit_breaker` of a cluster, and in the scopes that have several, each of them. */
export const breakersJson = ({ policy, breakers }: ClusterView) => ({
  circuit_breaker: breakerJson(worst(breakers), policy.breaker.scope),
  ...(policy.breaker.scope !== 'cluster' && { circuit_breakers: breakers.map((breaker) => breakerJson(breaker, policy.breaker.scope)) }),
});

const healthCheckJson = ({ method, state, why, sinceMs, checkedAtMs }: HealthCheckView) => ({
  method,
  state,
  why,
  since: isoTime(sinceMs),
  checked_at: checkedAtMs === undefined ? null : isoTime(checkedAtMs),
});

const hostJson = (host: HostView) => ({
  address: { socket_address: { address: host.address, port_value: host.port } },
  // Protobuf's JSON prints 64-bit numbers as strings.
  stats: host.stats.map(({ name, kind, value }) => ({ type: kind.toUpperCase(), value: String(value), name })),
  health_status: {
    eds_health_status: host.healthFlags.length === 0 ? 'HEALTHY' : 'UNHEALTHY',
    ...(host.healthFlags.includes('failed_active_hc') && { failed_active_health_check: true }),
    ...(host.healthFlags.includes('failed_outlier_check') && { failed_outlier_check: true }),
    ...(host.healthFlags.includes('pending_active_hc') && { pending_active_hc: true }),
    ...(host.healthFlags.includes('active_hc_timeout') && { active_hc_timeout: true }),
  },
  ...(host.healthCheck !== undefined && { health_check: healthCheckJson(host.healthCheck) }),
  ...(host.ejection !== undefined && {
    ejection: { type: host.ejection.type, since: isoTime(host.ejection.sinceMs), until: isoTime(host.ejection.untilMs) },
  }),
  weight: host.weight,
  ...(host.hostname !== undefined && { hostname: host.hostname }),
  ...(host.instance !== undefined && { instance: host.instance }),
  ...(host.discoveredAtMs !== undefined && { discovered_at: isoTime(host.discoveredAtMs) }),
  ...(host.metadata !== undefined && { metadata: host.metadata }),
  priority: host.priority,
  locality: localityJson(host.locality),
  ...(host.successRate >= 0 && { success_rate: { value: host.successRate } }),
  ...(host.localOriginSuccessRate >= 0 && { local_origin_success_rate: { value: host.localOriginSuccessRate } }),
});

/** Envoy's `envoy.admin.v3.Clusters`, with our breakers. */
export const clustersJson = (clusters: readonly ClusterView[]) => ({
  cluster_statuses: clusters.map((cluster) => ({
    name: cluster.name,
    added_via_api: false,
    observability_name: cluster.name,
    service_name: cluster.policy.serviceName,
    ...breakersJson(cluster),
    endpoint_source: {
      name: cluster.endpoints.source,
      updated_at: cluster.endpoints.updatedAtMs === 0 ? null : isoTime(cluster.endpoints.updatedAtMs),
      ...(cluster.endpoints.error !== undefined && { error: cluster.endpoints.error }),
      ...(cluster.endpoints.stalenessMs !== undefined && { staleness_seconds: cluster.endpoints.stalenessMs / 1_000 }),
      ...(cluster.endpoints.onDemand === true && { on_demand: true }),
      ...((cluster.endpoints.departures ?? []).length > 0 && {
        departures: cluster.endpoints.departures?.map(({ instance, address, why, atMs }) => ({
          instance,
          address,
          why,
          at: isoTime(atMs),
        })),
      }),
    },
    host_statuses: cluster.hosts.map(hostJson),
  })),
});

const hostLines = (host: HostView): readonly (readonly [string, string | number])[] => {
  const [region = '', zone = '', subZone = ''] = host.locality.split('/');
  return [
    ...host.stats.map(({ name, value }): [string, number] => [name, value]),
    ['hostname', host.hostname ?? ''],
    ...(host.instance === undefined ? [] : [['instance', host.instance] as const]),
    ...(host.discoveredAtMs === undefined ? [] : [['discovered_at', isoTime(host.discoveredAtMs)] as const]),
    ['health_flags', host.healthFlags.length === 0 ? 'healthy' : host.healthFlags.map((flag) => `/${flag}`).join('')],
    ...(host.healthCheck === undefined
      ? []
      : [['health_check', `${host.healthCheck.state} (${host.healthCheck.method}: ${host.healthCheck.why})`] as const]),
    ['weight', host.weight],
    ['region', region],
    ['zone', zone],
    ['sub_zone', subZone],
    ['canary', 'false'],
    ['priority', host.priority],
    ['success_rate', host.successRate],
    ['local_origin_success_rate', host.localOriginSuccessRate],
  ];
};

const windowLines = (window: Window): readonly (readonly [string, string | number])[] =>
  Object.entries(windowJson(window)).map(([name, value]) => [`window_${name}`, value ?? '-']);

const breakerLines = (breaker: BreakerView): readonly (readonly [string, string | number])[] => [
  ['state', breaker.state],
  ['consecutive_failures', breaker.consecutiveFailures],
  ...(breaker.openedAtMs === undefined ? [] : [['opened_at', isoTime(breaker.openedAtMs)] as const]),
  ...(breaker.window === undefined ? [] : windowLines(breaker.window)),
];

/** Envoy's text form, one `cluster::what::value` a line. */
export const clustersText = (clusters: readonly ClusterView[]): string => {
  const lines: string[] = [];
  for (const { name, policy, hosts, breakers, endpoints } of clusters) {
    const add = (...parts: readonly (string | number)[]): void => void lines.push([name, ...parts].join('::'));
    const { maxConnections, maxPendingRequests, maxRequests, maxRetries } = policy.thresholds;
    add('observability_name', name);
    add('default_priority', 'max_connections', protoUint32(maxConnections));
    add('default_priority', 'max_pending_requests', protoUint32(maxPendingRequests));
    add('default_priority', 'max_requests', protoUint32(maxRequests));
    if (Number.isFinite(maxRetries)) add('default_priority', 'max_retries', maxRetries);
    add('added_via_api', 'false');
    add('endpoint_source', 'name', endpoints.source);
    if (endpoints.updatedAtMs !== 0) add('endpoint_source', 'updated_at', isoTime(endpoints.updatedAtMs));
    if (endpoints.error !== undefined) add('endpoint_source', 'error', endpoints.error.replaceAll(/\s+/g, ' '));
    for (const { instance, address, why, atMs } of endpoints.departures ?? [])
      add('endpoint_source', 'departed', instance, address, isoTime(atMs), why);
    add('circuit_breaker', 'scope', policy.breaker.scope);
    for (const breaker of breakers.length === 0 && policy.breaker.scope === 'cluster' ? [pristine] : breakers) {
      const which = [breaker.endpoint, breaker.method].filter((part) => part !== undefined);
      for (const line of breakerLines(breaker)) add('circuit_breaker', ...which, ...line);
    }
    for (const host of hosts) for (const line of hostLines(host)) add(hostKey(host), ...line);
  }
  return lines.map((line) => `${line}\n`).join('');
};
