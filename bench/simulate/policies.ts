import { loadPolicies } from '../../src/policy/index.ts';
import {
  type BreakerOptions,
  defaultBackOff,
  defaultBreaker,
  defaultLoadBalancer,
  defaultThresholds,
  type LoadBalancerOptions,
  type OutlierOptions,
  parseRetryOn,
  type RetryBudgetOptions,
  type RetryPolicyOptions,
  type ThresholdOptions,
} from '../../src/resilience/index.ts';

/** How every sidecar of a simulated mesh treats its calls: options of the real machines. */
export interface MeshPolicy {
  readonly name: string;
  readonly retry: RetryPolicyOptions | undefined;
  readonly breaker: BreakerOptions & { readonly scope: 'cluster' | 'endpoint' | 'method' };
  readonly thresholds: ThresholdOptions;
  /** `undefined`: the one of `thresholds`, or the default; a mesh that has none gets one without bound. */
  readonly budget: RetryBudgetOptions | undefined;
  readonly loadBalancer: LoadBalancerOptions;
  readonly outlier: OutlierOptions | undefined;
  /** Whether the hop above is told not to repeat what retries were spent on below. */
  readonly crossHopGuard: boolean;
  /** Whether a failure that carries the guard's word counts for the breaker of the hop above, although it only passed through. */
  readonly relayedFailures: 'count' | 'neutral';
}

/** A call is tried at most four times wherever somebody has to write a number: what people write. */
const writtenRetries = 3;
const never = Number.POSITIVE_INFINITY;
const noBudget: RetryBudgetOptions = { percent: 100, minConcurrency: never };
const noBreaker = { consecutiveFailures: never, recoveryTimeoutMs: 60_000, scope: 'cluster' } as const;

const retryOn = (conditions: string, numRetries: number): RetryPolicyOptions => ({
  ...defaultBackOff,
  conditions: parseRetryOn(conditions).conditions,
  numRetries,
  perTryTimeoutMs: 0,
  retriableStatusCodes: [],
});

const outrider: MeshPolicy = {
  name: 'outrider',
  retry: retryOn('unavailable,reset,connect-failure,refused-stream', writtenRetries),
  breaker: { ...defaultBreaker, scope: 'cluster' },
  thresholds: defaultThresholds,
  budget: undefined,
  loadBalancer: defaultLoadBalancer,
  outlier: undefined,
  crossHopGuard: true,
  relayedFailures: 'neutral',
};

/**
 * Outrider, parts of it left out, and what others do where nobody has written more than that calls are to be retried.
 *
 * Envoy 1.40: `max_retries` 3, 1,024 requests, no budget, no breaker, round robin; retries have to be written (`circuit_breaker.proto`,
 * `route_components.proto`). Istio: two retries that nobody wrote, all thresholds 2^32-1, least request (`retry.go`,
 * `cluster_traffic_policy.go`). Linkerd 2: retries by annotation, no budget with them, peak EWMA (linkerd.io/2/reference/retries).
 */
export const builtInPolicies: readonly MeshPolicy[] = [
  outrider,
  { ...outrider, name: 'outrider, relayed failures count', relayedFailures: 'count' },
  { ...outrider, name: 'outrider, no guard', crossHopGuard: false },
  {
    ...outrider,
    name: 'outrider, breaker at 80 %, 10 s',
    breaker: {
      consecutiveFailures: never,
      failureRate: { percent: 80, windowMs: 10_000, minimumRequests: 20 },
      recoveryTimeoutMs: 10_000,
      scope: 'cluster',
    },
  },
  { ...outrider, name: 'outrider, no breaker', breaker: noBreaker },
  { ...outrider, name: 'outrider, no breaker, no guard', breaker: noBreaker, crossHopGuard: false },
  {
    ...outrider,
    name: 'envoy',
    breaker: noBreaker,
    budget: noBudget,
    thresholds: { maxConnections: 1_024, maxPendingRequests: 1_024, maxRequests: 1_024, maxRetries: 3 },
    crossHopGuard: false,
  },
  {
    ...outrider,
    name: 'istio',
    retry: retryOn('connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes', 2),
    breaker: noBreaker,
    budget: noBudget,
    thresholds: { maxConnections: never, maxPendingRequests: never, maxRequests: never, maxRetries: never },
    loadBalancer: { ...defaultLoadBalancer, policy: 'least_request' },
    crossHopGuard: false,
  },
  {
    ...outrider,
    name: 'linkerd',
    breaker: noBreaker,
    budget: noBudget,
    thresholds: { maxConnections: never, maxPendingRequests: never, maxRequests: never, maxRetries: never },
    loadBalancer: { ...defaultLoadBalancer, policy: 'peak_ewma' },
    crossHopGuard: false,
  },
  { ...outrider, name: 'no retries', retry: undefined, breaker: noBreaker, budget: noBudget, crossHopGuard: false },
];

/** Another number of retries for everybody. */
export const withRetries = (policy: MeshPolicy, numRetries: number): MeshPolicy =>
  policy.retry === undefined ? policy : { ...policy, retry: { ...policy.retry, numRetries } };

/** The policies of a file: its first route with its cluster, which holds for every hop. Throws with the problems of the file. */
export const policyOfFile = (path: string): MeshPolicy => {
  const { table, problems } = loadPolicies([path]);
  if (table === undefined) throw new Error(problems.map(({ message, remedy }) => `${path}: ${message}; ${remedy}`).join('\n'));
  const [route] = table.outbound.routes;
  if (route === undefined) throw new Error(`${path} has no route; write one, with a cluster`);
  const cluster = table.clusters.get(route.cluster) ?? table.defaultCluster;
  return {
    name: path,
    retry: route.retry,
    breaker: cluster.breaker,
    thresholds: cluster.thresholds,
    budget: undefined,
    loadBalancer: cluster.loadBalancer,
    outlier: cluster.outlierDetection,
    crossHopGuard: true,
    relayedFailures: 'neutral',
  };
};
