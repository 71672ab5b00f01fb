/**
 * Keeps retries in proportion to the calls that are really in flight: of those at most `percent` may be retries, but always
 * `minConcurrency`, so that a quiet cluster can retry as well. Without it, retries on every tier multiply, and a short
 * outage becomes a long one.
 *
 * One budget belongs to one cluster. Envoy: `CircuitBreakers.Thresholds.RetryBudget`.
 */
export interface RetryBudgetOptions {
  /** Share of the calls in flight that may be retries, 0 to 100. */
  readonly percent: number;
  /** Retries that may always be under way at once. */
  readonly minConcurrency: number;
}

/** The budget of a cluster for which nobody wrote one. */
export const defaultRetryBudget: RetryBudgetOptions = { percent: 20, minConcurrency: 3 };

/** Retries that a quiet cluster may have saved up for a bad moment, beyond its share of the calls in flight. */
const savedRetries = 10;

/**
 * Two bounds, both of `percent`: retries under way, of the calls in flight, as Envoy has it; and, above `minConcurrency`, retries that begin, of
 * the calls that begin. The first alone leaves a gap: where calls wait long and failures come fast, as in a brown-out, many short
 * retries go through the room of a few, and the calls that wait longer for it make the room larger.
 */
export class RetryBudget {
  readonly #percent: number;
  readonly #minConcurrency: number;
  #active = 0;
  #retrying = 0;
  /** Retries that the calls which have begun leave room for, in hundredths. */
  #savedPercent = 100 * savedRetries;

  constructor({ percent, minConcurrency }: RetryBudgetOptions = defaultRetryBudget) {
    this.#percent = percent;
    this.#minConcurrency = minConcurrency;
  }

  /** A call has begun. Owes one `end()`, whatever becomes of it; its retries are part of it. */
  begin(): void {
    this.#active++;
    const most = Math.max(this.#active * this.#percent, 100 * savedRetries);
    const saved = this.#savedPercent + this.#percent;
    this.#savedPercent = saved < most ? saved : most;
  }
  end(): void {
    this.#active--;
  }

  /** Takes room for one retry. `true` owes one `release()`, when the attempt has ended. */
  tryAcquire(): boolean {
    if (this.#retrying >= this.limit) return false;
    if (this.#savedPercent >= 100) this.#savedPercent -= 100;
    else if (this.#retrying >= this.#minConcurrency) return false;
    this.#retrying++;
    return true;
  }
  release(): void {
    this.#retrying--;
  }

  /** Retries that may be under way at once, now. When it falls, those under way are let finish. */
  get limit(): number {
    return Math.max(this.#minConcurrency, Math.floor((this.#active * this.#percent) / 100));
  }
  /** Retries under way, back-off included. */
  get retrying(): number {
    return this.#retrying;
  }
  /** Calls in flight. */
  get active(): number {
    return this.#active;
  }
}
