/** What found the outlier. Envoy's words in the log of events and in the names of statistics. */
export const outlierKinds = [
  'consecutive_5xx',
  'consecutive_gateway_failure',
  'consecutive_local_origin_failure',
  'success_rate',
  'local_origin_success_rate',
  'failure_percentage',
  'local_origin_failure_percentage',
] as const;
export type OutlierKind = (typeof outlierKinds)[number];

/** Envoy's `outlier_detection`, field by field. */
export interface OutlierOptions {
  /** Failures in a row that eject, by kind. */
  readonly consecutive5xx: number;
  readonly consecutiveGatewayFailure: number;
  readonly consecutiveLocalOriginFailure: number;
  readonly intervalMs: number;
  /** Times the number of ejections so far. */
  readonly baseEjectionTimeMs: number;
  readonly maxEjectionTimeMs: number;
  readonly maxEjectionTimeJitterMs: number;
  /** Percent of the cluster's endpoints that may be ejected at once. */
  readonly maxEjectionPercent: number;
  /** One may be ejected whatever `maxEjectionPercent` says. */
  readonly alwaysEjectOneHost: boolean;
  /** Failures that did not come from the endpoint (connect failures, resets, time limits) are counted apart from those that did. */
  readonly splitExternalLocalOriginErrors: boolean;
  /** A passing health check ends an ejection. */
  readonly successfulActiveHealthCheckUnejectHost: boolean;
  readonly successRateMinimumHosts: number;
  readonly successRateRequestVolume: number;
  /** In thousandths of a standard deviation. */
  readonly successRateStdevFactor: number;
  readonly failurePercentageThreshold: number;
  readonly failurePercentageMinimumHosts: number;
  readonly failurePercentageRequestVolume: number;
  /** Percent of the outliers found that are really ejected; the others are only counted. */
  readonly enforcing: Readonly<Record<OutlierKind, number>>;
}

/** Envoy's. */
export const defaultOutlier: OutlierOptions = Object.freeze({
  consecutive5xx: 5,
  consecutiveGatewayFailure: 5,
  consecutiveLocalOriginFailure: 5,
  intervalMs: 10_000,
  baseEjectionTimeMs: 30_000,
  maxEjectionTimeMs: 300_000,
  maxEjectionTimeJitterMs: 0,
  maxEjectionPercent: 10,
  alwaysEjectOneHost: false,
  splitExternalLocalOriginErrors: false,
  successfulActiveHealthCheckUnejectHost: true,
  successRateMinimumHosts: 5,
  successRateRequestVolume: 100,
  successRateStdevFactor: 1_900,
  failurePercentageThreshold: 85,
  failurePercentageMinimumHosts: 5,
  failurePercentageRequestVolume: 50,
  enforcing: Object.freeze({
    consecutive_5xx: 100,
    consecutive_gateway_failure: 0,
    consecutive_local_origin_failure: 100,
    success_rate: 100,
    local_origin_success_rate: 100,
    failure_percentage: 0,
    local_origin_failure_percentage: 0,
  }),
});
