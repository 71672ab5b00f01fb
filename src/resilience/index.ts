export { BackOff, type BackOffOptions, defaultBackOff, parsePushback } from './back-off.ts';
export type { Balancer, BalancerEndpoint } from './balancer.ts';
export { Breaker, type BreakerChange, type BreakerHold, type BreakerOptions, type BreakerState, defaultBreaker } from './breaker.ts';
export { ConcurrencyLimit, ConcurrencyLimits, defaultThresholds, type ThresholdOptions } from './concurrency-limits.ts';
export { createBalancer, type LbPolicy, lbPolicies } from './create-balancer.ts';
export { attemptDueMs, callDueMs, type DeadlineReason, deadlineReason, noDeadline, remainingMs } from './deadlines.ts';
export { defaultRetryBudget, RetryBudget, type RetryBudgetOptions } from './retry-budget.ts';
export {
  type AttemptOutcome,
  conditionsAfterSending,
  isRetriable,
  parseRetryOn,
  provablyUnprocessed,
  RetryOn,
  type RetryPolicyOptions,
  retryOnWords,
} from './retry-conditions.ts';
export { type GiveUpReason, type RetryCircumstances, type RetryContext, type RetryDecision, RetryMachine } from './retry-machine.ts';
export { type RollingCounts, RollingWindow, type RollingWindowOptions } from './rolling-window.ts';
