import { formatDurationMs, formatHostPort } from '../../core/index.ts';
import { localServiceName } from '../../upstream/index.ts';
import type { BreakerView, ClusterView, HostView } from '../views.ts';
import type { BreakerRow, ClusterSection, DepartureRow, EndpointRow, EndpointState } from './model.ts';

/** Endpoints and breakers of one cluster that are shown; `/clusters` has them all. */
const shownAtMost = 100;
const drainingAtMost = 20;
const departuresAtMost = 20;
const longestName = 200;
const longestWhy = 300;

const worstFirst = ['OPEN', 'HALF_OPEN', 'CLOSED'];

const breakerRow = (breaker: BreakerView): BreakerRow => ({
  state: breaker.state,
  failures: breaker.consecutiveFailures,
  ...(breaker.openedAtMs !== undefined && { openedAtMs: Math.round(breaker.openedAtMs) }),
  ...(breaker.endpoint !== undefined && { endpoint: breaker.endpoint }),
  ...(breaker.method !== undefined && { method: breaker.method }),
  ...(breaker.hold !== undefined && { held: breaker.hold.state }),
  ...(breaker.hold?.untilMs !== undefined && { heldUntilMs: Math.round(breaker.hold.untilMs) }),
});

const statOf = ({ stats }: HostView, name: string): number => stats.find((stat) => stat.name === name)?.value ?? 0;

const keyOf = ({ address, port }: HostView): string => formatHostPort({ host: address, port });

/** Envoy has one word for an ejection and for a breaker of its own that is open. */
const stateOf = ({ ejection, healthFlags }: HostView, breaker: BreakerRow | undefined): EndpointState => {
  if (ejection !== undefined) return 'ejected';
  if (healthFlags.some((flag) => flag !== 'failed_outlier_check' && flag !== 'pending_active_hc')) return 'failing';
  if (breaker?.state === 'OPEN' || (breaker === undefined && healthFlags.includes('failed_outlier_check'))) return 'breaker_open';
  if (healthFlags.includes('pending_active_hc')) return 'unchecked';
  return breaker?.state === 'HALF_OPEN' ? 'breaker_half_open' : 'healthy';
};

const endpointRow = (host: HostView, breaker: BreakerRow | undefined): EndpointRow => {
  const name = (host.instance ?? host.hostname)?.slice(0, longestName);
  return {
    key: keyOf(host),
    ...(name !== undefined && name !== host.address && { name }),
    place: [host.locality.slice(0, longestName), host.priority === 0 ? '' : `priority ${host.priority}`]
      .filter((part) => part !== '')
      .join(', '),
    weight: host.weight,
    priority: host.priority,
    state: stateOf(host, breaker),
    // Both clocks are read for it: finer than this it would change at each look.
    ...(host.discoveredAtMs !== undefined && { foundAtMs: Math.round(host.discoveredAtMs / 1_000) * 1_000 }),
    flags: host.healthFlags,
    ...(breaker !== undefined && { breaker }),
    ...(host.healthCheck !== undefined && {
      check: { state: host.healthCheck.state, method: host.healthCheck.method, why: host.healthCheck.why.slice(0, 200) },
    }),
    ...(host.ejection !== undefined && {
      ejection: { type: host.ejection.type, sinceMs: Math.round(host.ejection.sinceMs), untilMs: Math.round(host.ejection.untilMs) },
    }),
    active: statOf(host, 'rq_active'),
    total: statOf(host, 'rq_total'),
    errors: statOf(host, 'rq_error'),
  };
};

const ruleOf = ({ policy: { breaker }, name }: ClusterView): string => {
  if (name === localServiceName)
    return 'The service beside this sidecar: its breaker never opens by itself, since there is nobody else to call.';
  const { consecutiveFailures, failureRate, recoveryTimeoutMs, scope } = breaker;
  const opens = [
    ...(Number.isFinite(consecutiveFailures)
      ? [consecutiveFailures === 1 ? 'after one failure' : `after ${consecutiveFailures} failures in a row`]
      : []),
    ...(failureRate === undefined ? [] : [`when ${failureRate.percent} % of at least ${failureRate.minimumRequests} calls fail`]),
  ];
  const whose = scope === 'cluster' ? '' : ` One for each ${scope}.`;
  if (opens.length === 0) return `Opens only by hand.${whose}`;
  return `Opens ${opens.join(' or ')}, tries again after ${formatDurationMs(recoveryTimeoutMs)}.${whose}`;
};

const unhealthyFirst = (a: HostView, b: HostView): number => Number(a.healthFlags.length === 0) - Number(b.healthFlags.length === 0);
/** Sorting thousands each second for nothing would cost more than showing them. */
const shownOf = (hosts: readonly HostView[]): readonly HostView[] =>
  hosts.length <= shownAtMost ? hosts : [...hosts].sort(unhealthyFirst).slice(0, shownAtMost);

/** Those that are called under one address are one row: an endpoint can leave, come back and leave while calls are under way. */
const drainingRows = (leaving: readonly HostView[], departures: readonly DepartureRow[]): readonly EndpointRow[] => {
  const rows = new Map<string, EndpointRow>();
  for (const host of leaving) {
    const row = endpointRow(host, undefined);
    const former = rows.get(row.key);
    if (former === undefined && rows.size === drainingAtMost) break;
    const departure = departures.find(({ address }) => address === row.key);
    rows.set(row.key, {
      ...row,
      state: 'draining',
      active: row.active + (former?.active ?? 0),
      ...(departure !== undefined && { departure: { atMs: departure.atMs, why: departure.why } }),
    });
  }
  return [...rows.values()];
};

const departureRows = (departures: NonNullable<ClusterView['endpoints']['departures']>): readonly DepartureRow[] =>
  departures
    .map(({ instance, address, atMs, why }) => ({
      instance: instance.slice(0, longestName),
      address: address.slice(0, longestName),
      atMs: Math.round(atMs),
      why: why.slice(0, longestWhy),
    }))
    .sort((a, b) => b.atMs - a.atMs)
    .slice(0, departuresAtMost);

/** @param nowMs wall clock. */
export const clusterSection = (view: ClusterView, nowMs: number): ClusterSection => {
  const { name, policy, hosts, leaving = [], breakers, endpoints } = view;
  const { file, line, column } = policy.location;
  const sum = (stat: string): number => hosts.reduce((total, host) => total + statOf(host, stat), 0);
  const { stalenessMs = 0 } = endpoints;
  const rows = breakers.map(breakerRow);
  const ofEndpoints = new Map(
    rows
      .filter(({ endpoint, held, state }) => endpoint !== undefined && (state !== 'CLOSED' || held !== undefined))
      .map((row) => [row.endpoint, row]),
  );
  const shown = shownOf(hosts);
  const departures = departureRows(endpoints.departures ?? []);
  return {
    name,
    local: name === localServiceName,
    location: line === 0 ? '' : `${file}:${line}:${column}`,
    balancer: policy.loadBalancer.policy,
    source: endpoints.source,
    ...(endpoints.updatedAtMs > 0 && { updatedAtMs: Math.round(endpoints.updatedAtMs) }),
    ...(endpoints.error !== undefined && { error: endpoints.error.slice(0, 400) }),
    ...(stalenessMs > 0 && { staleSinceMs: Math.round((nowMs - stalenessMs) / 1_000) * 1_000 }),
    onDemand: endpoints.onDemand === true,
    scope: policy.breaker.scope,
    rule: ruleOf(view),
    breakers: rows
      .sort((a, b) => worstFirst.indexOf(a.state) - worstFirst.indexOf(b.state) || b.failures - a.failures)
      .slice(0, shownAtMost),
    healthy: hosts.reduce((count, { healthFlags }) => count + (healthFlags.length === 0 ? 1 : 0), 0),
    size: hosts.length,
    active: sum('rq_active') + leaving.reduce((total, host) => total + statOf(host, 'rq_active'), 0),
    total: sum('rq_total'),
    errors: sum('rq_error'),
    endpoints: [...shown.map((host) => endpointRow(host, ofEndpoints.get(keyOf(host)))), ...drainingRows(leaving, departures)],
    left: hosts.length - shown.length,
    departures,
  };
};
