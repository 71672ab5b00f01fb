const jitterShare = 0.1;
const firstBackOffMs = 1_000;

/** When to ask again: jittered, so that a thousand sidecars that started together do not stay together; less and less often after failures. */
export class PollPace {
  readonly #intervalMs: number;
  readonly #random: () => number;
  #failuresInARow = 0;

  /** @param random from 0 to 1. */
  constructor(intervalMs: number, random: () => number) {
    this.#intervalMs = intervalMs;
    this.#random = random;
  }

  afterSuccess(): number {
    this.#failuresInARow = 0;
    return this.#intervalMs * (1 + jitterShare * this.#random());
  }

  /** From one second up to twice the interval, and at least half a minute. */
  afterFailure(): number {
    const longestMs = Math.max(2 * this.#intervalMs, 30_000);
    const ceilingMs = Math.min(firstBackOffMs * 2 ** Math.min(this.#failuresInARow++, 16), longestMs);
    return ceilingMs * (0.5 + this.#random() / 2);
  }
}
