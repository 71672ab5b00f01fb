/** When an endpoint is checked, and how many results decide. Envoy's fields of the same names; times in milliseconds. */
export interface HealthCheckTimes {
  readonly timeoutMs: number;
  readonly intervalMs: number;
  /** Up to so much is added to each interval, at random. */
  readonly intervalJitterMs: number;
  /** Up to so many percent of each interval are added to it, at random. */
  readonly intervalJitterPercent: number;
  /** The first check waits up to so long, at random. */
  readonly initialJitterMs: number;
  /** Checks in a row without an answer that make an endpoint unhealthy. One that says that it does not serve needs no more than one. */
  readonly unhealthyThreshold: number;
  /** Passing checks in a row that make it healthy again. The very first check decides alone. */
  readonly healthyThreshold: number;
  /** In the place of the interval while no call has gone to the cluster yet. */
  readonly noTrafficIntervalMs: number;
  /** The same for endpoints that are healthy. */
  readonly noTrafficHealthyIntervalMs: number;
  /** After a failed check of an unhealthy endpoint. */
  readonly unhealthyIntervalMs: number;
  /** After a failed check of an endpoint that is still healthy. */
  readonly unhealthyEdgeIntervalMs: number;
  /** After a passing check of an endpoint that is still unhealthy. */
  readonly healthyEdgeIntervalMs: number;
}

/** Envoy's, where it has one; interval, timeout and thresholds are required there, and are those of the product page here. */
export const defaultHealthCheckTimes: HealthCheckTimes = Object.freeze({
  timeoutMs: 5_000,
  intervalMs: 30_000,
  intervalJitterMs: 0,
  intervalJitterPercent: 0,
  initialJitterMs: 0,
  unhealthyThreshold: 3,
  healthyThreshold: 1,
  noTrafficIntervalMs: 60_000,
  noTrafficHealthyIntervalMs: 60_000,
  unhealthyIntervalMs: 30_000,
  unhealthyEdgeIntervalMs: 30_000,
  healthyEdgeIntervalMs: 30_000,
});
