/** What became of an attempt, in the categories of outlier detection. */
export type OutlierResult =
  /** The endpoint answered, and what it said is no failure of its own. */
  | 'success'
  /** The endpoint answered with what is HTTP 500 or 501 in Envoy's terms. */
  | 'server_error'
  /** The endpoint answered with what is HTTP 502, 503 or 504. */
  | 'gateway_error'
  /** No answer: the connection failed or was lost, the stream was reset, or a time limit passed. */
  | 'local_origin_failure';

/** What one kind of results amounts to in one interval. */
export class ResultTally {
  successes = 0;
  total = 0;
  /** Percent; of the last whole interval; -1 where there were too few. */
  successRate = -1;

  clear(): void {
    this.successes = 0;
    this.total = 0;
  }
}

/** What is remembered of one endpoint. */
export class OutlierHost {
  consecutive5xx = 0;
  consecutiveGatewayFailures = 0;
  consecutiveLocalOriginFailures = 0;
  readonly external = new ResultTally();
  readonly localOrigin = new ResultTally();
  ejected = false;
  /** What it was ejected for: `consecutive_5xx`. */
  ejectedFor = '';
  /** Monotonic. */
  ejectedAtMs = 0;
  /** When it may return; looked at once an interval. */
  returnsAtMs = 0;
  /** Ejections that still make the next one longer; one is forgotten with each interval outside. */
  ejectTimeFactor = 0;
  ejectionsTotal = 0;

  /** As after a return: what led to the ejection is forgotten. */
  forgive(): void {
    this.ejected = false;
    this.consecutive5xx = 0;
    this.consecutiveGatewayFailures = 0;
    this.consecutiveLocalOriginFailures = 0;
  }
}
