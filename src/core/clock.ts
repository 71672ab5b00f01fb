/**
 * Time comes in through this interface, so that a test owns it: nothing else in the tree calls `Date.now`,
 * `performance.now`, `setTimeout` or `setInterval`.
 */
export interface Clock {
  /** Monotonic milliseconds with fractions. Differences mean something; the value does not. Immune to clock jumps. */
  now(): number;
  /** Milliseconds since the Unix epoch, for logs, certificates and people. */
  wallNow(): number;
  /**
   * Calls `fire` once, no earlier than `delayMs` from now. A delay beyond 2^31-1 ms is clamped to it (Node would
   * turn it into 1 ms). An armed timer does not keep the process alive.
   */
  setTimer(fire: () => void, delayMs: number): Timer;
}

export interface Timer {
  /** Idempotent; harmless after the timer has fired. */
  cancel(): void;
}

const longestDelayMs = 2 ** 31 - 1;

/** The real clock of the process. */
export class SystemClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  setTimer(fire: () => void, delayMs: number): Timer {
    const clampedMs = Math.min(Math.max(delayMs, 0), longestDelayMs);
    const dueMs = performance.now() + clampedMs;
    // Node cuts fractions off, and counts from when the turn of the loop began: by itself it fires up to a millisecond early.
    const onTimeout = (): void => {
      if (performance.now() < dueMs) arm(1);
      else fire();
    };
    let handle: NodeJS.Timeout;
    const arm = (ms: number): void => {
      handle = setTimeout(onTimeout, ms);
      handle.unref();
    };
    arm(Math.ceil(clampedMs));
    return { cancel: () => clearTimeout(handle) };
  }
}

interface VirtualTimer extends Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/** A clock that moves only when told to. Timers fire in the order of their due time, ties in the order they were set. */
export class VirtualClock implements Clock {
  readonly #timers = new Set<VirtualTimer>();
  readonly #wallOriginMs: number;
  #nowMs = 0;
  #order = 0;

  constructor(wallOriginMs = Date.UTC(2026, 0, 1)) {
    this.#wallOriginMs = wallOriginMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wallNow(): number {
    return this.#wallOriginMs + this.#nowMs;
  }

  setTimer(fire: () => void, delayMs: number): Timer {
    const timer: VirtualTimer = {
      dueMs: this.#nowMs + Math.min(Math.max(delayMs, 0), longestDelayMs),
      order: this.#order++,
      fire,
      cancel: () => this.#timers.delete(timer),
    };
    this.#timers.add(timer);
    return timer;
  }

  /** Moves time forward by `ms`, firing on the way what falls due, also timers that were set on the way. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#earliest();
      if (next === undefined || next.dueMs > endMs) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fire();
    }
    this.#nowMs = endMs;
  }

  /** Timers that are armed now: a test ends with zero. */
  get pending(): number {
    return this.#timers.size;
  }

  #earliest(): VirtualTimer | undefined {
    let best: VirtualTimer | undefined;
    for (const timer of this.#timers) {
      if (best === undefined || timer.dueMs < best.dueMs || (timer.dueMs === best.dueMs && timer.order < best.order)) best = timer;
    }
    return best;
  }
}
