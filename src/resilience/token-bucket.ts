/** Envoy's `TokenBucket`. */
export interface TokenBucketOptions {
  readonly maxTokens: number;
  readonly tokensPerFill: number;
  readonly fillIntervalMs: number;
}

/**
 * Tokens that are taken one by one and come back a few at a time, at fixed instants. Without a timer: whoever asks brings the time, and what
 * has come since is added then.
 */
export class TokenBucket {
  #options: TokenBucketOptions;
  #tokens: number;
  #filledMs: number;

  /** Full at first. */
  constructor(options: TokenBucketOptions, nowMs: number) {
    this.#options = options;
    this.#tokens = options.maxTokens;
    this.#filledMs = nowMs;
  }

  /** Takes over other numbers; what was taken stays taken, as far as the new bucket is as large. */
  update(options: TokenBucketOptions, nowMs: number): void {
    const taken = this.#options.maxTokens - this.tokens(nowMs);
    if (options.fillIntervalMs !== this.#options.fillIntervalMs) this.#filledMs = nowMs;
    this.#options = options;
    this.#tokens = Math.max(options.maxTokens - taken, 0);
  }

  /** How many there are now. */
  tokens(nowMs: number): number {
    const { fillIntervalMs, maxTokens, tokensPerFill } = this.#options;
    if (nowMs - this.#filledMs < fillIntervalMs) return this.#tokens;
    const fills = Math.floor((nowMs - this.#filledMs) / fillIntervalMs);
    if (fills > 0) {
      this.#filledMs += fills * fillIntervalMs;
      this.#tokens = Math.min(maxTokens, this.#tokens + fills * tokensPerFill);
    }
    return this.#tokens;
  }

  /** Takes one of those that `tokens` has told of. */
  take(): void {
    this.#tokens--;
  }

  /** How long until there is one; 0 where there is. */
  waitMs(nowMs: number): number {
    return this.tokens(nowMs) > 0 ? 0 : this.#filledMs + this.#options.fillIntervalMs - nowMs;
  }

  get fillIntervalMs(): number {
    return this.#options.fillIntervalMs;
  }
}
