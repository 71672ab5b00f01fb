import { Deadline } from '../core/index.ts';
import type { Engine } from '../http2/index.ts';

/** `per_try_idle_timeout`: an attempt's silence, from the end of the request on. One timer, moved only when it expires. */
export class TryIdleTimer extends Deadline {
  readonly #engine: Engine;
  readonly #idleMs: number;
  readonly #isWaited: () => boolean;
  readonly #onSilence: () => void;
  #lastMs: number;

  /** @param isWaited whether the server has all that it waits for: a slow caller is no silence of the server's. */
  constructor(engine: Engine, idleMs: number, isWaited: () => boolean, onSilence: () => void) {
    super();
    this.#engine = engine;
    this.#idleMs = idleMs;
    this.#isWaited = isWaited;
    this.#onSilence = onSilence;
    this.#lastMs = engine.nowMs;
    engine.wheel.arm(this, this.#lastMs + idleMs);
  }

  touch(): void {
    this.#lastMs = this.#engine.nowMs;
  }

  stop(): void {
    this.#engine.wheel.cancel(this);
  }

  override expire(): void {
    this.#engine.tick();
    const { nowMs, wheel } = this.#engine;
    if (!this.#isWaited()) this.#lastMs = nowMs;
    if (nowMs - this.#lastMs >= this.#idleMs) this.#onSilence();
    else wheel.arm(this, this.#lastMs + this.#idleMs);
  }
}
