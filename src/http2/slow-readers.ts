import { Deadline } from '../core/index.ts';
import type { Connection } from './connection.ts';
import type { Engine } from './engine.ts';

/** A reader below 1 KiB/s over this time is slow. */
const patienceMs = 30_000;
const fewestBytesPerMs = 1_024 / 1_000;
const lookIntervalMs = 1_000;

/**
 * Looks for streams whose readers take less than 1 KiB/s, while a budget is short and only then: a slow reader that is in nobody's way is
 * waited for. What left for a reader is counted in its `PendingData` as it leaves, so that nothing runs here before it is needed.
 *
 * What becomes of such a stream is for its handler to say, who knows whose budget it takes from.
 */
export class SlowReaders {
  readonly #deadline = new Deadline(this);
  /** Connections of which a stream has DATA waiting. */
  readonly connections = new Set<Connection>();
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** A budget is short: looks now and then until it is not, or nobody waits any more. */
  watch(): void {
    if (this.#deadline.armed || this.connections.size === 0) return;
    this.#engine.wheel.arm(this.#deadline, this.#engine.nowMs + lookIntervalMs);
  }

  /** Nothing waits in any stream of the connection. */
  forget(connection: Connection): void {
    this.connections.delete(connection);
    if (this.connections.size === 0) this.#engine.wheel.cancel(this.#deadline);
  }

  expire(): void {
    const nowMs = this.#engine.tick();
    for (const connection of [...this.connections]) {
      for (const stream of connection.openStreams()) {
        if (!stream.closed && stream.pending?.isSlow(nowMs, patienceMs, fewestBytesPerMs) === true) stream.handler.onSlowReader?.(stream);
      }
    }
    if (this.#engine.buffersShort || this.#engine.shortWindows.size > 0) this.watch();
  }
}
