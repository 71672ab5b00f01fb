/**
 * What a peer may make us do for nothing. Each budget is honest-proof by construction: it counts only what an honest peer does
 * rarely, and refills. See `docs/security.md` for the attack behind each.
 */

/** A bucket of `burst` tokens, refilled at `perSecond`. */
export class TokenBucket {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #atMs: number;

  constructor(burst: number, perSecond: number, nowMs: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1_000;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Takes `cost` tokens, and says whether they were there. */
  take(cost: number, nowMs: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    if (this.#tokens < cost) return false;
    this.#tokens -= cost;
    return true;
  }
}

/** Counts of one connection that only an attacker lets grow. */
export class FrameBudgets {
  priorityFrames = 0;
  windowUpdates = 0;
  dataFramesSent = 0;
  streamsOpened = 0;
  consecutiveEmptyFrames = 0;
  consecutiveInformational = 0;

  /** WINDOW_UPDATE frames beyond what any reader of our DATA could have reason to send. */
  get tooManyWindowUpdates(): boolean {
    return this.windowUpdates > 5 + 2 * (this.streamsOpened + 10 * this.dataFramesSent);
  }
}
