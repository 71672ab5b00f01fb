import type { Clock, Timer } from '../../core/index.ts';

export interface QueryPaceOptions {
  readonly clock: Clock;
  /** Questions that may be asked at once after a rest. */
  readonly burst: number;
  readonly perSecond: number;
}

/** How often Consul is asked: a bucket of tokens, and a queue of those who wait for one. */
export class QueryPace {
  /** Questions that had to wait. */
  delayed = 0;
  readonly #options: QueryPaceOptions;
  readonly #queue: (() => void)[] = [];
  #tokens: number;
  #filledAtMs: number;
  #timer: Timer | undefined;

  constructor(options: QueryPaceOptions) {
    this.#options = options;
    this.#tokens = options.burst;
    this.#filledAtMs = options.clock.now();
  }

  /** Calls `proceed` when it may ask: at once, or in the order of asking. Returns what gives the wait up. */
  enter(proceed: () => void): () => void {
    this.#fill();
    if (this.#queue.length === 0 && this.#tokens >= 1) {
      this.#tokens--;
      proceed();
      return () => {};
    }
    this.delayed++;
    this.#queue.push(proceed);
    this.#arm();
    return () => {
      const at = this.#queue.indexOf(proceed);
      if (at >= 0) this.#queue.splice(at, 1);
    };
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#queue.length = 0;
  }

  #fill(): void {
    const { clock, burst, perSecond } = this.#options;
    const nowMs = clock.now();
    this.#tokens = Math.min(burst, this.#tokens + ((nowMs - this.#filledAtMs) * perSecond) / 1_000);
    this.#filledAtMs = nowMs;
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#queue.length === 0) return;
    const { clock, perSecond } = this.#options;
    this.#timer = clock.setTimer(
      () => {
        this.#timer = undefined;
        this.#fill();
        while (this.#tokens >= 1 && this.#queue.length > 0) {
          this.#tokens--;
          this.#queue.shift()?.();
        }
        this.#arm();
      },
      Math.max(((1 - this.#tokens) * 1_000) / perSecond, 1),
    );
  }
}
