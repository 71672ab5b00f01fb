import { Deadline } from '../core/index.ts';
import type { Connection } from '../http2/index.ts';

export interface KeepaliveOptions {
  /** Silence of the peer after which we ask whether it is there. 0 = never. */
  readonly intervalMs: number;
  /** How long the answer may take. */
  readonly timeoutMs: number;
}

/**
 * Finds peers that are gone without a word: a crashed machine, a firewall that forgot the connection. Without it every call
 * on such a connection waits for its own deadline, and so does the next one. Any byte from the peer counts as a sign of life,
 * so that a busy connection is never pinged. One deadline per connection, moved only when it expires.
 */
export class Keepalive {
  readonly #deadline = new Deadline(this);
  readonly #connection: Connection;
  readonly #bytesRead: () => number;
  readonly #onSilence: () => void;
  #options: KeepaliveOptions;
  #bytesSeen = 0;
  #awaitingAck = false;

  /**
   * @param bytesRead bytes received from the peer so far.
   * @param onSilence called once when a PING has not been answered in time; the owner closes the connection.
   */
  constructor(connection: Connection, options: KeepaliveOptions, bytesRead: () => number, onSilence: () => void) {
    this.#connection = connection;
    this.#options = options;
    this.#bytesRead = bytesRead;
    this.#onSilence = onSilence;
    this.#watch();
  }

  /** Other intervals from now on. */
  change(options: KeepaliveOptions): void {
    this.#options = options;
    if (!this.#awaitingAck) this.#watch();
  }

  stop(): void {
    this.#connection.engine.wheel.cancel(this.#deadline);
  }

  expire(): void {
    if (this.#bytesRead() !== this.#bytesSeen) this.#watch();
    else if (this.#awaitingAck) this.#onSilence();
    else {
      this.#awaitingAck = true;
      this.#arm(this.#options.timeoutMs);
      this.#connection.ping(this.#onAck);
    }
  }

  readonly #onAck = (): void => {
    if (this.#awaitingAck) this.#watch();
  };

  #watch(): void {
    this.#awaitingAck = false;
    this.#bytesSeen = this.#bytesRead();
    if (this.#options.intervalMs > 0 && !this.#connection.closed) this.#arm(this.#options.intervalMs);
    else this.stop();
  }

  #arm(delayMs: number): void {
    const { clock, wheel } = this.#connection.engine;
    wheel.arm(this.#deadline, clock.now() + delayMs);
  }
}
