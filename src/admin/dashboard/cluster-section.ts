import { formatDurationMs } from '../../core/index.ts';
import { localServiceName } from '../../upstream/index.ts';
import type { BreakerView, ClusterView, HostView } from '../views.ts';
import type { BreakerRow, ClusterSection, EndpointRow } from './model.ts';

/** Endpoints and breakers of one cluster that are shown; `/clusters` has them all. */
const shownAtMost = 100;

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

const endpointRow = (host: HostView): EndpointRow => {
  const name = host.instance ?? host.hostname;
  return {
    key: host.address.includes(':') ? `[${host.address}]:${host.port}` : `${host.address}:${host.port}`,
    ...(name !== undefined && name !== host.address && { name }),
    place: [host.locality, host.priority === 0 ? '' : `priority ${host.priority}`].filter((part) => part !== '').join(', '),
    weight: host.weight,
    flags: host.healthFlags,
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

/** @param nowMs wall clock. */
export const clusterSection = (view: ClusterView, nowMs: number): ClusterSection => {
  const { name, policy, hosts, breakers, endpoints } = view;
  const { file, line, column } = policy.location;
  const sum = (stat: string): number => hosts.reduce((total, host) => total + statOf(host, stat), 0);
  const { stalenessMs = 0 } = endpoints;
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
    breakers: breakers
      .map(breakerRow)
      .sort((a, b) => worstFirst.indexOf(a.state) - worstFirst.indexOf(b.state) || b.failures - a.failures)
      .slice(0, shownAtMost),
    healthy: hosts.reduce((count, { healthFlags }) => count + (healthFlags.length === 0 ? 1 : 0), 0),
    size: hosts.length,
    active: sum('rq_active'),
    total: sum('rq_total'),
    errors: sum('rq_error'),
    endpoints: shownOf(hosts).map(endpointRow),
  };
};
