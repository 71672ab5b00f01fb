import type { InputReader } from './connection-input.ts';
import { longestDelayMs, type RequestShedding } from './request-shedding.ts';

/**
 * How long what the peer sends waits before it is read. What stands in line here is seen; what waits in the kernel is seen by nobody, and a client that
 * sends as much as it may always has something there. So it is asked for a sign (PING), where it sends much and the process has no time to spare: the
 * acknowledgement stands behind everything that it sent before.
 */
export class InputDelay {
  readonly #reader: InputReader;
  readonly #shedding: RequestShedding;
  /** 0: no answer is awaited. */
  #askedAtMs = 0;
  #waitedMs = 0;

  constructor(reader: InputReader, shedding: RequestShedding) {
    this.#reader = reader;
    this.#shedding = shedding;
  }

  /** Requests are refused. */
  get refusing(): boolean {
    return this.#shedding.active;
  }

  /** Requests are refused, or it may soon be known that they have to be. */
  get active(): boolean {
    return this.refusing || this.#askedAtMs > 0;
  }

  /** As far as it is known: of what was read last, and since the peer was asked. */
  get delayMs(): number {
    const askedForMs = this.#askedAtMs > 0 ? this.#reader.engine.nowMs - this.#askedAtMs : 0;
    return Math.max(this.#waitedMs, askedForMs);
  }

  /**
   * Something will be read that has waited for `waitedMs` here.
   * @param more there is more where it came from.
   * @param greedy the connection wants more than its share: else its requests are not among those that are too many.
   */
  observe(waitedMs: number, more: boolean, greedy: boolean): void {
    const { engine } = this.#reader;
    const { nowMs } = engine;
    this.#waitedMs = waitedMs;
    if (!greedy) {
      this.#shedding.onDelay(0, nowMs);
      return;
    }
    const { delayMs } = this;
    // A sign that is awaited for less says nothing yet.
    if (delayMs > longestDelayMs || (this.#askedAtMs === 0 && !more)) this.#shedding.onDelay(delayMs, nowMs);
    if (this.#askedAtMs > 0 || !more || !engine.turns.isSaturated(nowMs)) return;
    this.#askedAtMs = nowMs;
    this.#reader.askDelay();
  }

  /** The sign has come. */
  onAnswer(): void {
    if (this.#askedAtMs === 0) return;
    const { nowMs } = this.#reader.engine;
    this.#shedding.onDelay(nowMs - this.#askedAtMs, nowMs);
    this.#askedAtMs = 0;
  }
}
