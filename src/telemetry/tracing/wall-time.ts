import type { Clock } from '../../core/index.ts';

/** A step back of more than this is a clock that was set, and no rounding. */
const roundingMs = 1.5;

/**
 * What to add to monotonic milliseconds to get those since the Unix epoch, finer than the wall clock, which tells whole ones: it is
 * rounded down, so that the largest difference of the last readings is the nearest. A clock that is set is followed.
 */
export class WallTime {
  readonly #clock: Clock;
  #offsetMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  offsetMs(): number {
    const offsetMs = this.#clock.wallNow() - this.#clock.now();
    if (offsetMs > this.#offsetMs || offsetMs < this.#offsetMs - roundingMs) this.#offsetMs = offsetMs;
    return this.#offsetMs;
  }
}
