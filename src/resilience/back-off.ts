/**
 * Waiting times between attempts, with full jitter: random in [0, min(maxIntervalMs, baseIntervalMs * 2^(n-1))) before retry n.
 * Clients that failed together must not come back together. Envoy: `retry_back_off`.
 */
export interface BackOffOptions {
  /** Upper bound of the first wait, in milliseconds. */
  readonly baseIntervalMs: number;
  /** Upper bound of every wait, in milliseconds. */
  readonly maxIntervalMs: number;
  /** How much the bound grows with each wait; 2 where left out. */
  readonly multiplier?: number;
}

/** What Envoy uses where nobody wrote a back-off: 25 ms, and ten times as much at most. */
export const defaultBackOff: BackOffOptions = { baseIntervalMs: 25, maxIntervalMs: 250 };

export class BackOff {
  readonly #options: BackOffOptions;
  readonly #random: () => number;
  #boundMs: number;

  /** `random` gives numbers in [0, 1), as `Math.random` does. */
  constructor(options: BackOffOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#boundMs = options.baseIntervalMs;
  }

  /** Milliseconds to wait before the next attempt. */
  nextMs(): number {
    const boundMs = Math.min(this.#boundMs, this.#options.maxIntervalMs);
    this.#boundMs = Math.min(this.#boundMs * (this.#options.multiplier ?? 2), this.#options.maxIntervalMs);
    return this.#random() * boundMs;
  }

  /** Starts again at the base: after a success, or after a wait that the server dictated. */
  reset(): void {
    this.#boundMs = this.#options.baseIntervalMs;
  }
}

const wholeNumber = /^\d{1,10}$/;

/**
 * Reads `grpc-retry-pushback-ms` (gRFC A6): milliseconds after which the server wants to be asked again, or -1 where it does not
 * want to be: the value is negative, or is no number.
 */
export const parsePushback = (text: string): number => (wholeNumber.test(text) ? Number(text) : -1);
