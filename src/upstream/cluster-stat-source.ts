import { type ConcurrencyLimits, outlierKinds } from '../resilience/index.ts';
import type { StatSink } from '../telemetry/index.ts';
import type { Admission } from './admission.ts';
import type { Cluster } from './cluster.ts';

/** Value of `circuit_breaker.state`. */
export const breakerStateCodes = { CLOSED: 0, OPEN: 1, HALF_OPEN: 2 } as const;

/** Everything that a cluster counts, under Envoy's names where Envoy has one. */
export const collectClusterStats = (cluster: Cluster, sink: StatSink): void => {
  const prefix = `cluster.${cluster.name}.`;
  const { limits } = cluster;
  const high = cluster.highPriority?.limits;
  const both = (of: (limits: ConcurrencyLimits) => number): number => of(limits) + (high === undefined ? 0 : of(high));
  cluster.stats.collect(prefix, sink);
  sink.gauge(
    `${prefix}upstream_cx_active`,
    both(({ connections }) => connections.active),
  );
  sink.gauge(
    `${prefix}upstream_rq_pending_active`,
    both(({ pending }) => pending.active),
  );
  sink.counter(
    `${prefix}upstream_cx_overflow`,
    both(({ connections }) => connections.overflowTotal),
  );
  sink.counter(
    `${prefix}upstream_rq_pending_overflow`,
    both(({ pending }) => pending.overflowTotal),
  );
  sink.counter(
    `${prefix}upstream_rq_active_overflow`,
    both(({ requests }) => requests.overflowTotal),
  );
  sink.counter(
    `${prefix}upstream_rq_retry_overflow`,
    both(({ retries }) => retries.overflowTotal),
  );
  sink.gauge(`${prefix}membership_total`, cluster.endpoints.length);
  sink.gauge(`${prefix}membership_healthy`, cluster.endpoints.filter((endpoint) => cluster.isHealthy(endpoint)).length);
  sink.counter(`${prefix}lb_healthy_panic`, cluster.balancer.counts.healthyPanic);
  collectSubsets(cluster, prefix, sink);
  if (cluster.policy.loadBalancer.zoneAware !== undefined) {
    const { zoneRoutingAllDirectly, zoneRoutingCrossZone, zoneRoutingSampled } = cluster.balancer.counts;
    sink.counter(`${prefix}lb_zone_routing_all_directly`, zoneRoutingAllDirectly);
    sink.counter(`${prefix}lb_zone_routing_sampled`, zoneRoutingSampled);
    sink.counter(`${prefix}lb_zone_routing_cross_zone`, zoneRoutingCrossZone);
  }
  cluster.health.collect(`${prefix}health_check.`, cluster.endpoints, sink);
  collectOutliers(cluster, `${prefix}outlier_detection.`, sink);
  if (cluster.endpointUpdates !== undefined) {
    for (const [name, value] of Object.entries(cluster.endpointUpdates)) sink.counter(prefix + name, value);
    sink.gauge(`${prefix}discovery_staleness_seconds`, cluster.stalenessMs / 1_000);
  }
  collectThresholds(cluster, `${prefix}circuit_breakers.default.`, sink);
  if (cluster.highPriority !== undefined) collectThresholds(cluster.highPriority, `${prefix}circuit_breakers.high.`, sink);
  cluster.adaptiveLimit?.collectStats(sink);
  collectBreakers(cluster, `${prefix}circuit_breaker.`, sink);
  cluster.http2Counters.forEach((name, value, gauge) => {
    if (gauge) sink.gauge(`${prefix}http2.${name}`, value);
    else sink.counter(`${prefix}http2.${name}`, value);
  });
};

const collectThresholds = ({ budget, limits }: Pick<Admission, 'budget' | 'limits'>, prefix: string, sink: StatSink): void => {
  const { connections, pending, requests, retries, trackRemaining } = limits;
  const budgetLeft = Math.max(budget.limit - budget.retrying, 0);
  sink.gauge(`${prefix}cx_open`, connections.open ? 1 : 0);
  sink.gauge(`${prefix}rq_pending_open`, pending.open ? 1 : 0);
  sink.gauge(`${prefix}rq_open`, requests.open ? 1 : 0);
  sink.gauge(`${prefix}rq_retry_open`, retries.open || budgetLeft === 0 ? 1 : 0);
  if (!trackRemaining) return;
  sink.gauge(`${prefix}remaining_cx`, connections.remaining);
  sink.gauge(`${prefix}remaining_pending`, pending.remaining);
  sink.gauge(`${prefix}remaining_rq`, requests.remaining);
  sink.gauge(`${prefix}remaining_retries`, Math.min(retries.remaining, budgetLeft));
};

const collectSubsets = ({ balancer, policy }: Cluster, prefix: string, sink: StatSink): void => {
  if (policy.loadBalancer.subsets === undefined) return;
  const { subsetsCreated, subsetsFallback, subsetsFallbackPanic, subsetsRemoved, subsetsSelected, subsetsSingleHostDuplicate } =
    balancer.counts;
  sink.gauge(`${prefix}lb_subsets_active`, balancer.subsets);
  sink.counter(`${prefix}lb_subsets_created`, subsetsCreated);
  sink.counter(`${prefix}lb_subsets_removed`, subsetsRemoved);
  sink.counter(`${prefix}lb_subsets_selected`, subsetsSelected);
  sink.counter(`${prefix}lb_subsets_fallback`, subsetsFallback);
  sink.counter(`${prefix}lb_subsets_fallback_panic`, subsetsFallbackPanic);
  sink.gauge(`${prefix}lb_subsets_single_host_per_subset_duplicate`, subsetsSingleHostDuplicate);
};

/** As in Envoy they are there as long as outlier detection is configured, and what it counted stays when it no longer is. */
const collectOutliers = ({ outliers }: Cluster, prefix: string, sink: StatSink): void => {
  if (outliers.detection === undefined && outliers.counts.ejectionsEnforcedTotal === 0) return;
  sink.gauge(`${prefix}ejections_active`, outliers.active);
  sink.counter(`${prefix}ejections_enforced_total`, outliers.counts.ejectionsEnforcedTotal);
  sink.counter(`${prefix}ejections_overflow`, outliers.counts.ejectionsOverflow);
  for (const kind of outlierKinds) {
    sink.counter(`${prefix}ejections_detected_${kind}`, outliers.counts.detected[kind]);
    sink.counter(`${prefix}ejections_enforced_${kind}`, outliers.counts.enforced[kind]);
  }
};

/** Of several breakers the state that most needs looking at, and the sums. */
const collectBreakers = ({ breakers, context }: Cluster, prefix: string, sink: StatSink): void => {
  const nowMs = context.engine.clock.now();
  const states = new Set<keyof typeof breakerStateCodes>();
  let consecutiveFailures = 0;
  let failures = 0;
  let slow = 0;
  let opens = 0;
  let rejected = 0;
  for (const { breaker } of breakers.views()) {
    states.add(breaker.stateAt(nowMs));
    consecutiveFailures = Math.max(consecutiveFailures, breaker.consecutiveFailures);
    failures += breaker.failuresTotal;
    slow += breaker.slowTotal;
    opens += breaker.opensTotal;
    rejected += breaker.rejectedTotal;
  }
  const worst = states.has('OPEN') ? 'OPEN' : states.has('HALF_OPEN') ? 'HALF_OPEN' : 'CLOSED';
  sink.gauge(`${prefix}state`, breakerStateCodes[worst]);
  sink.gauge(`${prefix}consecutive_failures`, consecutiveFailures);
  sink.counter(`${prefix}failures_total`, failures);
  sink.counter(`${prefix}slow_total`, slow);
  sink.counter(`${prefix}opens_total`, opens);
  sink.counter(`${prefix}rejected_total`, rejected);
};
