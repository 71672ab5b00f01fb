import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock, Timer } from '../../core/index.ts';

const againAfterMs = 2_000;

/**
 * Looks a host up until it is found: of one that does not resolve nobody would hear before the first spans, which may be hours away. Nobody
 * waits for it. One lookup at a time: each has a thread of few, and where a name server says nothing it has it for many seconds.
 */
export class HostLookUp {
  readonly #clock: Clock;
  readonly #onResult: (problem: string | undefined) => void;
  /** Why it is not found; `undefined`: it is, or nobody knows yet. */
  problem: string | undefined;
  #timer: Timer | undefined;
  #closed = false;

  /** `onResult` hears why it is not found, each time, and `undefined` once it is. */
  constructor(host: string, clock: Clock, onResult: (problem: string | undefined) => void) {
    this.#clock = clock;
    this.#onResult = onResult;
    if (isIP(host) === 0) void this.#look(host);
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #look(host: string): Promise<void> {
    this.problem = await lookup(host).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (this.#closed) return;
    this.#onResult(this.problem);
    if (this.problem !== undefined) this.#timer = this.#clock.setTimer(() => void this.#look(host), againAfterMs);
  }
}
