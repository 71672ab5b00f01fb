import { defaultRetryBudget, type RetryBudgetOptions } from './retry-budget.ts';

/** How much of everything a cluster may have at once. Envoy: `circuit_breakers.thresholds`. */
export interface ThresholdOptions {
  readonly maxConnections: number;
  /** Calls that wait for a connection or for a free stream. */
  readonly maxPendingRequests: number;
  /** How long a call waits for that, in milliseconds; left out: as long as it likes. */
  readonly maxPendingDurationMs?: number;
  /** Calls in flight. */
  readonly maxRequests: number;
  /** Retries under way; not looked at where `retryBudget` is given, as in Envoy. */
  readonly maxRetries: number;
  /** The budget that somebody wrote; the default one exists beside `maxRetries` all the same. */
  readonly retryBudget?: RetryBudgetOptions;
  /** Whether the `remaining_*` gauges are published. */
  readonly trackRemaining?: boolean;
}

/** Envoy's defaults, with the retry budget that always exists in place of its three retries. */
export const defaultThresholds: ThresholdOptions = {
  maxConnections: 1_024,
  maxPendingRequests: 1_024,
  maxRequests: 1_024,
  maxRetries: 3,
  retryBudget: defaultRetryBudget,
};

/** One threshold: what is active, what it may be, and how often it said no. */
export class ConcurrencyLimit {
  #max: number;
  #active = 0;
  #overflowTotal = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes one, or counts an overflow. `true` owes one `leave()`. */
  tryEnter(): boolean {
    if (this.#active >= this.#max) {
      this.#overflowTotal++;
      return false;
    }
    this.#active++;
    return true;
  }

  leave(): void {
    this.#active--;
  }

  /** Takes one whatever the threshold says: for what must not be refused, but counts. Owes one `leave()`. */
  enter(): void {
    this.#active++;
  }

  /** Counts a refusal that was decided elsewhere, such as by the retry budget. */
  countOverflow(): void {
    this.#overflowTotal++;
  }

  /** A reload's new threshold. What is active stays; nothing new starts until it has fallen below. */
  set max(max: number) {
    this.#max = max;
  }
  get max(): number {
    return this.#max;
  }
  get active(): number {
    return this.#active;
  }
  get overflowTotal(): number {
    return this.#overflowTotal;
  }
  /** True while the next one would be refused. */
  get open(): boolean {
    return this.#active >= this.#max;
  }
  get remaining(): number {
    return Math.max(this.#max - this.#active, 0);
  }
}

/**
 * The thresholds of one cluster. A reload keeps the object and what it counts, through `update`.
 *
 * Envoy's names: `connections.open` is `cx_open`, its overflows `upstream_cx_overflow`; `pending.open` is `rq_pending_open`, with
 * `upstream_rq_pending_overflow`; `requests.open` is `rq_open`, with `upstream_rq_active_overflow`; `retries.open` is
 * `rq_retry_open`, with `upstream_rq_retry_overflow`.
 */
export class ConcurrencyLimits {
  readonly connections: ConcurrencyLimit;
  readonly pending: ConcurrencyLimit;
  readonly requests: ConcurrencyLimit;
  /** Retries under way; without bound where a retry budget was written. */
  readonly retries: ConcurrencyLimit;
  /** How long one of `pending` may wait, in milliseconds; infinite where nobody set it. */
  pendingMs: number;
  #trackRemaining: boolean;

  constructor(options: ThresholdOptions = defaultThresholds) {
    this.connections = new ConcurrencyLimit(options.maxConnections);
    this.pending = new ConcurrencyLimit(options.maxPendingRequests);
    this.requests = new ConcurrencyLimit(options.maxRequests);
    this.retries = new ConcurrencyLimit(retryLimit(options));
    this.pendingMs = options.maxPendingDurationMs ?? Number.POSITIVE_INFINITY;
    this.#trackRemaining = options.trackRemaining ?? false;
  }

  update(options: ThresholdOptions): void {
    this.connections.max = options.maxConnections;
    this.pending.max = options.maxPendingRequests;
    this.requests.max = options.maxRequests;
    this.retries.max = retryLimit(options);
    this.pendingMs = options.maxPendingDurationMs ?? Number.POSITIVE_INFINITY;
    this.#trackRemaining = options.trackRemaining ?? false;
  }

  get trackRemaining(): boolean {
    return this.#trackRemaining;
  }
}

const retryLimit = (options: ThresholdOptions): number =>
  options.retryBudget === undefined ? options.maxRetries : Number.POSITIVE_INFINITY;
