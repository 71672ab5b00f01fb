/** gRPC's `retryThrottling`: retries stop where failures outweigh successes (gRFC A6). */
export interface RetryThrottleOptions {
  /** Tokens at the beginning, and at most; above 0. */
  readonly maxTokens: number;
  /** What a success gives back; a failure that might be tried again takes 1. */
  readonly tokenRatio: number;
}

/**
 * The tokens of one cluster. Retries and hedges are allowed while more than half of them are left, so that a service that fails for
 * everybody is soon asked once for each call. Stands beside the retry budget, not in its place.
 */
export class RetryThrottle {
  readonly #options: RetryThrottleOptions;
  #tokens: number;

  constructor(options: RetryThrottleOptions) {
    this.#options = options;
    this.#tokens = options.maxTokens;
  }

  /** An attempt has failed in a way that might be tried again, or the server has said that it is not to be. */
  failed(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  /** A call has succeeded. */
  succeeded(): void {
    this.#tokens = Math.min(this.#options.maxTokens, this.#tokens + this.#options.tokenRatio);
  }

  /** Whether an attempt beyond the first may begin. */
  get allows(): boolean {
    return this.#tokens > this.#options.maxTokens / 2;
  }

  get tokens(): number {
    return this.#tokens;
  }
}
