import { Deadline } from '../../core/index.ts';
import { type Engine, type HeaderBlock, PendingData, type Stream, type StreamHandler } from '../../http2/index.ts';

/** How often bytes are let through, as in Envoy. */
const intervalMs = 50;

/**
 * A server's answer at a given bandwidth: stands between a stream and whoever handles it, so that everything above sees a server behind a thin
 * line. Bytes wait here without credit, so that the stream's window bounds them; headers pass, trailers stay behind the bytes. One deadline
 * in the timer wheel for each answer, armed only while bytes wait.
 */
export class PacedAnswer implements StreamHandler {
  readonly #deadline = new Deadline(this);
  readonly #stream: Stream;
  readonly #handler: StreamHandler;
  readonly #bytesPerMs: number;
  readonly #engine: Engine;
  readonly #waiting: PendingData;
  #trailers: HeaderBlock | undefined = undefined;
  #endWithData = false;
  /** Bytes that may pass. */
  #allowance: number;
  #filledAtMs: number;
  #stopped = false;

  /** Takes the place of the stream's handler, which hears everything from here. @param bytesPerMs above 0. */
  constructor(stream: Stream, bytesPerMs: number) {
    this.#stream = stream;
    this.#handler = stream.handler;
    this.#bytesPerMs = bytesPerMs;
    this.#engine = stream.connection.engine;
    this.#waiting = new PendingData(this.#engine);
    this.#allowance = this.#mostAllowed;
    this.#filledAtMs = this.#engine.nowMs;
    stream.handler = this;
  }

  /** The answer is of no use to anybody any more. Idempotent. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#engine.wheel.cancel(this.#deadline);
    const dropped = this.#waiting.length;
    this.#waiting.clear();
    if (this.#trailers !== undefined) this.#engine.returnBlock(this.#trailers);
    this.#trailers = undefined;
    this.#stream.consume(dropped);
  }

  onHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.#handler.onHeaders(stream, block, endStream);
  }

  onData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.#stopped) {
      this.#handler.onData(stream, bytes, start, end, endStream);
      return;
    }
    this.#fill();
    if (this.#waiting.length === 0 && end - start <= this.#allowance) {
      this.#allowance -= end - start;
      this.#handler.onData(stream, bytes, start, end, endStream);
      return;
    }
    this.#waiting.append(bytes, start, end);
    this.#endWithData = endStream;
    if (!this.#deadline.armed) this.#arm();
  }

  onTrailers(stream: Stream, block: HeaderBlock): void {
    if (this.#stopped || this.#waiting.length === 0) {
      this.#handler.onTrailers(stream, block);
      return;
    }
    this.#trailers = this.#engine.takeBlock();
    this.#trailers.copyFrom(block);
  }

  onReset(stream: Stream, code: number, unprocessed: boolean): void {
    this.stop();
    this.#handler.onReset(stream, code, unprocessed);
  }

  onSent(stream: Stream, bytes: number): void {
    this.#handler.onSent(stream, bytes);
  }

  onSlowReader(stream: Stream): void {
    this.#handler.onSlowReader?.(stream);
  }

  /** The next bytes may pass. */
  expire(): void {
    this.#engine.tick();
    this.#fill();
    const count = Math.min(this.#waiting.length, Math.floor(this.#allowance));
    if (count < this.#waiting.length) this.#arm();
    if (count === 0) return;
    this.#allowance -= count;
    const bytes = Buffer.allocUnsafe(count);
    this.#waiting.take(bytes, 0, count);
    const last = this.#waiting.length === 0;
    this.#handler.onData(this.#stream, bytes, 0, count, last && this.#endWithData);
    if (!last || this.#trailers === undefined) return;
    const trailers = this.#trailers;
    this.#trailers = undefined;
    this.#handler.onTrailers(this.#stream, trailers);
    this.#engine.returnBlock(trailers);
  }

  /** What an answer that paused has saved up, and at least a byte. */
  get #mostAllowed(): number {
    return Math.max(1, this.#bytesPerMs * intervalMs);
  }

  #fill(): void {
    const { nowMs } = this.#engine;
    const allowance = this.#allowance + (nowMs - this.#filledAtMs) * this.#bytesPerMs;
    // What waits is owed, however late the deadline comes; a pause saves up only so much.
    this.#allowance = this.#waiting.length > 0 ? allowance : Math.min(this.#mostAllowed, allowance);
    this.#filledAtMs = nowMs;
  }

  #arm(): void {
    this.#engine.wheel.arm(this.#deadline, this.#engine.nowMs + intervalMs);
  }
}
