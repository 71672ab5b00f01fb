import { Deadline } from '../core/index.ts';
import type { Engine } from './engine.ts';

/** How far ages lie apart, in relation to the age: connections that began together do not end together. */
const jitter = 0.1;

/**
 * Tells the owner of a connection that it is old enough to be replaced (gRPC: MAX_CONNECTION_AGE), so that long-lived connections do not
 * pin one backend. The age is 10 % longer or shorter at most, drawn once.
 */
export class ConnectionAge {
  readonly #deadline = new Deadline(this);
  readonly #engine: Engine;
  readonly #onAge: () => void;
  readonly #bornMs: number;
  /** From 0 to 1. */
  readonly #share: number;

  /** @param share from 0 to 1, by chance: where in the jitter it lies. */
  constructor(engine: Engine, share: number, onAge: () => void) {
    this.#engine = engine;
    this.#share = share;
    this.#onAge = onAge;
    this.#bornMs = engine.clock.now();
  }

  /**
   * From here on it may be so many milliseconds old; 0: any age. One that is older already has its turn within a tenth of the age, so that a
   * shorter age does not end all connections at once.
   */
  limit(ageMs: number): void {
    const { clock, wheel } = this.#engine;
    if (ageMs <= 0) {
      wheel.cancel(this.#deadline);
      return;
    }
    const dueMs = this.#bornMs + ageMs * (1 - jitter + 2 * jitter * this.#share);
    const nowMs = clock.now();
    wheel.arm(this.#deadline, dueMs > nowMs ? dueMs : nowMs + ageMs * jitter * this.#share);
  }

  /** Tells once more after so many milliseconds. */
  remind(afterMs: number): void {
    const { clock, wheel } = this.#engine;
    wheel.arm(this.#deadline, clock.now() + afterMs);
  }

  stop(): void {
    this.#engine.wheel.cancel(this.#deadline);
  }

  expire(): void {
    this.#engine.tick();
    this.#onAge();
  }
}
