import { Deadline } from '../core/index.ts';
import { type Connection, ErrorCode, type Stream, type StreamHandler, TokenBucket } from '../http2/index.ts';

/** What our own inbound listener takes at once and per second (200 and 33), less what two clocks may disagree on. */
const burst = 150;
const perSecond = 30;
/** What nghttp2 takes (1000 and 33), to which every reset is the same, also one that follows a complete answer. */
const burstOfAll = 900;
/** A reset of an older stream is somebody who gave up, and costs a quarter: the rule of our own inbound listener, with a margin. */
const hastyMs = 1_100;
const hastyCost = 1;
const patientCost = 0.25;
const paceMs = 20;

/** The handler of a stream that nobody waits for, and whose reset is owed. */
const nobody: StreamHandler = {
  onHeaders: () => {},
  onData: (stream, _bytes, start, end) => stream.consume(end - start),
  onTrailers: () => {},
  onReset: () => {},
  onSent: () => {},
};

/**
 * Resets of calls on one connection that its server cannot take for an attack. Calls of many callers share the connection, so a
 * server that ends it for the haste of one (rapid reset, CVE-2023-44487) ends the calls of all. What is beyond the budget waits
 * until there is room: the call is over for its caller, only the server hears of it a little later. While any waits, the owner is asked
 * again and again whether the connection can go, which tells the server of all of them at once.
 */
export class PacedResets {
  readonly #deadline = new Deadline(this);
  readonly #connection: Connection;
  readonly #budget: TokenBucket;
  readonly #budgetOfAll: TokenBucket;
  readonly #onOwing: () => void;
  readonly #owed: { readonly stream: Stream; readonly code: number }[] = [];

  /** `onOwing` is called as long as resets wait, when one has to and every 20 ms. */
  constructor(connection: Connection, onOwing: () => void) {
    this.#connection = connection;
    this.#onOwing = onOwing;
    const nowMs = connection.engine.clock.now();
    this.#budget = new TokenBucket(burst, perSecond, nowMs);
    this.#budgetOfAll = new TokenBucket(burstOfAll, perSecond, nowMs);
  }

  /** Resets that wait. */
  get owed(): number {
    return this.#owed.length;
  }

  /** Nobody waits for any stream that is left on the connection. */
  get owesAll(): boolean {
    if (this.#owed.length < this.#connection.activeStreams) return false;
    let owed = 0;
    for (const { stream } of this.#owed) if (!stream.closed) owed++;
    return owed === this.#connection.activeStreams;
  }

  /** Resets the stream, now or as soon as may be; its handler hears nothing more. Returns false where it has to wait. */
  reset(stream: Stream, code: number): boolean {
    if (this.#owed.length === 0 && this.#take(stream, code)) {
      stream.reset(code);
      return true;
    }
    stream.handler = nobody;
    stream.release();
    this.#owed.push({ stream, code });
    if (!this.#deadline.armed) this.#arm();
    this.#onOwing();
    return false;
  }

  expire(): void {
    let sent = 0;
    for (const { stream, code } of this.#owed) {
      // One that ended by itself meanwhile costs nothing.
      if (!stream.closed && !this.#take(stream, code)) break;
      sent++;
      stream.reset(code);
    }
    this.#owed.splice(0, sent);
    if (this.#owed.length === 0) return;
    this.#arm();
    this.#onOwing();
  }

  /** The connection is over. */
  stop(): void {
    this.#owed.length = 0;
    this.#connection.engine.wheel.cancel(this.#deadline);
  }

  #take(stream: Stream, code: number): boolean {
    const nowMs = this.#connection.engine.clock.now();
    if (!this.#budgetOfAll.take(1, nowMs)) return false;
    if (code === ErrorCode.noError) return true;
    const hasty = nowMs - stream.openedAtMs < Math.min(stream.patienceMs, hastyMs);
    return this.#budget.take(hasty ? hastyCost : patientCost, nowMs);
  }

  #arm(): void {
    const { clock, wheel } = this.#connection.engine;
    wheel.arm(this.#deadline, clock.now() + paceMs);
  }
}
