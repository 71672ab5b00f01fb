import { Deadline } from '../core/index.ts';
import { ErrorCode, type Stream, type StreamHandler } from '../http2/index.ts';

/** A reader below 1 KiB/s for this long is not waited for. */
const patienceMs = 30_000;
const fewestBytes = 30 * 1024;
/** Above this share of the process's budget nobody's unread bytes are kept for a call that has failed. */
const keptShare = 0.75;

/**
 * The begun answer of a call that has failed since: its status stands behind DATA that the caller has not read. No upstream stream answers
 * for these bytes any more and no deadline runs, so that callers who never read would hold them for ever, beside every budget. They
 * count as buffered here, and a caller who does not read them is reset.
 */
export class UnreadAnswer implements StreamHandler {
  readonly #deadline = new Deadline(this);
  readonly #stream: Stream;
  #keptBytes: number;
  #sentBytes = 0;

  private constructor(stream: Stream, keptBytes: number) {
    this.#stream = stream;
    this.#keptBytes = keptBytes;
  }

  /** Takes over `stream` where DATA waits in it. Whoever held these bytes has given them back. */
  static watch(stream: Stream): void {
    const keptBytes = stream.queuedBytes;
    if (keptBytes === 0) return;
    const { engine } = stream.connection;
    if (engine.bufferedBytes + keptBytes > keptShare * engine.maxBufferedBytes) {
      giveUp(stream);
      return;
    }
    engine.bufferedBytes += keptBytes;
    const unread = new UnreadAnswer(stream, keptBytes);
    stream.handler = unread;
    engine.wheel.arm(unread.#deadline, engine.nowMs + patienceMs);
  }

  expire(): void {
    const { engine } = this.#stream.connection;
    if (this.#sentBytes >= fewestBytes) {
      this.#sentBytes = 0;
      engine.wheel.arm(this.#deadline, engine.tick() + patienceMs);
      return;
    }
    this.#giveBack(this.#keptBytes);
    giveUp(this.#stream);
  }

  onSent(_stream: Stream, bytes: number): void {
    this.#sentBytes += bytes;
    this.#giveBack(bytes);
  }

  onReset(): void {
    this.#giveBack(this.#keptBytes);
  }

  /** What the caller still sends goes nowhere. */
  onData(stream: Stream, _bytes: Uint8Array, start: number, end: number): void {
    stream.consume(end - start);
  }

  onTrailers(): void {}

  onHeaders(): void {}

  #giveBack(bytes: number): void {
    const { engine } = this.#stream.connection;
    const given = Math.min(bytes, this.#keptBytes);
    this.#keptBytes -= given;
    if (this.#keptBytes === 0) engine.wheel.cancel(this.#deadline);
    if (given > 0) engine.unbuffer(given);
  }
}

const giveUp = (stream: Stream): void => {
  stream.connection.counters.txFlushTimeout++;
  stream.reset(ErrorCode.cancel);
};
