import { Deadline } from '../core/index.ts';
import type { Engine } from '../http2/index.ts';

/** Whose silence it is. */
export interface TryIdleOwner {
  /** Whether the server has all that it waits for: a slow caller is no silence of the server's. */
  readonly serverIsWaitedFor: boolean;
  onSilence(): void;
}

/** `per_try_idle_timeout`: an attempt's silence, from the end of the request on. One timer, moved only when it expires. */
export class TryIdleTimer extends Deadline {
  readonly #engine: Engine;
  readonly #idleMs: number;
  readonly #owner: TryIdleOwner;
  #lastMs: number;

  constructor(engine: Engine, idleMs: number, owner: TryIdleOwner) {
    super();
    this.#engine = engine;
    this.#idleMs = idleMs;
    this.#owner = owner;
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
    if (!this.#owner.serverIsWaitedFor) this.#lastMs = nowMs;
    if (nowMs - this.#lastMs >= this.#idleMs) this.#owner.onSilence();
    else wheel.arm(this, this.#lastMs + this.#idleMs);
  }
}
