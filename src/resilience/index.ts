export { BackOff, type BackOffOptions, defaultBackOff, parsePushback } from './back-off.ts';
export type { Balancer, BalancerEndpoint, CallHash, Usable } from './balancer.ts';
export {
  Breaker,
  type BreakerChange,
  type BreakerHold,
  type BreakerOptions,
  type BreakerState,
  defaultBreaker,
  defaultFailureStatuses,
  type FailureRateOptions,
  statusBits,
} from './breaker.ts';
export { ConcurrencyLimit, ConcurrencyLimits, defaultThresholds, type ThresholdOptions } from './concurrency-limits.ts';
export {
  type BalancerOptions,
  createBalancer,
  defaultBalancerOptions,
  isConsistentHash,
  type LbPolicy,
  lbPolicies,
} from './create-balancer.ts';
export { CrossHopGuard, type CrossHopGuardOptions, defaultCrossHopGuard, exhaustsRetries } from './cross-hop-guard.ts';
export { attemptDueMs, callDueMs, type DeadlineReason, deadlineReason, noDeadline, remainingMs } from './deadlines.ts';
export { GradientController, type GradientOptions } from './gradient-controller.ts';
export { Hash64 } from './hash64.ts';
export { defaultHealthCheckTimes, type HealthCheckTimes } from './health-options.ts';
export type { GrpcHealthCheck, HealthCheckOptions, HttpHealthCheck, TcpHealthCheck } from './health-policy.ts';
export { type HedgeCircumstances, type HedgeDecision, HedgeMachine, type HedgePolicyOptions } from './hedge-machine.ts';
export { type HealthCheckFailure, type HealthTransition, HostHealth } from './host-health.ts';
export {
  defaultLoadBalancer,
  LoadBalancer,
  LoadBalancerCounts,
  type LoadBalancerOptions,
  type PickWish,
  type SubsetFallback,
  type SubsetOptions,
  type SubsetSelector,
} from './load-balancer.ts';
export { type DescriptorEntry, type DescriptorLimit, LocalRateLimit, type LocalRateLimitOptions } from './local-rate-limit.ts';
export { largestMaglevTable } from './maglev.ts';
export { outlierResultOfHttp, outlierResultOfStatus } from './outlier-categories.ts';
export { OutlierCounts, OutlierDetection, type OutlierListener, type ReturnReason } from './outlier-detection.ts';
export type { OutlierHost, OutlierResult } from './outlier-host.ts';
export { defaultOutlier, type OutlierKind, type OutlierOptions, outlierKinds } from './outlier-options.ts';
export { PeakLatency, type PeakLatencyOptions } from './peak-latency.ts';
export type { PooledEndpoint } from './pooled-endpoint.ts';
export { type PriorityHealth, type PriorityLoad, priorityLoads } from './priority-loads.ts';
export { type LoadReport, ReportedLoad, type ReportedLoadOptions } from './reported-load.ts';
export { defaultRetryBudget, RetryBudget, type RetryBudgetOptions } from './retry-budget.ts';
export {
  type AttemptOutcome,
  conditionsAfterSending,
  conditionsOnlyAfterSending,
  isRetriable,
  parseRetryOn,
  provablyUnprocessed,
  RetryOn,
  type RetryPolicyOptions,
  retryOnWords,
} from './retry-conditions.ts';
export { type GiveUpReason, type RetryCircumstances, type RetryContext, type RetryDecision, RetryMachine } from './retry-machine.ts';
export { RetryThrottle, type RetryThrottleOptions } from './retry-throttle.ts';
export { type RollingCounts, RollingWindow, type RollingWindowOptions } from './rolling-window.ts';
export { defaultSlowStart, type SlowStartOptions, warmth } from './slow-start.ts';
export {
  type EndpointMetadata,
  subsetKey,
  subsetKeys,
  subsetPairs,
  subsetsOfWish,
  subsetWish,
  type WantedMetadata,
} from './subset-keys.ts';
export { TokenBucket, type TokenBucketOptions } from './token-bucket.ts';
export { WeightedChoice } from './weighted-choice.ts';
export { type ZoneAwareOptions, type ZoneView, zoneKey, zoneShares } from './zone-shares.ts';
