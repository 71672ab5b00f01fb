import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock, Timer } from '../../core/index.ts';

const againAfterMs = 30_000;

/**
 * Looks a host up until it is found: of one that does not resolve nobody would hear before the first spans, which may be hours away. Nobody
 * waits for it.
 */
export class HostLookUp {
  readonly #clock: Clock;
  readonly #onResult: (problem: string | undefined) => void;
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
    const problem = await lookup(host).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (this.#closed) return;
    this.#onResult(problem);
    if (problem !== undefined) this.#timer = this.#clock.setTimer(() => void this.#look(host), againAfterMs);
  }
}
