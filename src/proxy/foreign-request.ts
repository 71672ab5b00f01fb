import { Deadline } from '../core/index.ts';
import type { Stream, StreamHandler } from '../http2/index.ts';
import { sendUnsupportedContentType } from './replies.ts';

/** What is read of a request that nobody wants, and for how long, before the answer goes out regardless. */
const mostDiscardedBytes = 64 * 1024;
const longestWaitMs = 5_000;

/**
 * The rest of a request that is not gRPC: read and dropped, then answered. An answer before the request's end closes the stream
 * (RFC 9113 8.1), and what the client still gets wrong would be answered as an error of a closed stream, or not at all; simple clients
 * also take the reset that follows for a failure and never show the text. The call itself has ended already.
 */
export class ForeignRequest implements StreamHandler {
  readonly #deadline = new Deadline(this);
  readonly #stream: Stream;
  readonly #isHead: boolean;
  #discardedBytes = 0;

  constructor(stream: Stream, isHead: boolean) {
    this.#stream = stream;
    this.#isHead = isHead;
  }

  /** Answers at the request's end, which may be now. */
  answer(requestEnded: boolean): void {
    if (requestEnded) {
      this.expire();
      return;
    }
    const { engine } = this.#stream.connection;
    this.#stream.handler = this;
    engine.wheel.arm(this.#deadline, engine.nowMs + longestWaitMs);
  }

  expire(): void {
    const { engine } = this.#stream.connection;
    engine.wheel.cancel(this.#deadline);
    sendUnsupportedContentType(this.#stream, this.#isHead);
  }

  onData(stream: Stream, _bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (stream.headersSent) return;
    this.#discardedBytes += end - start;
    if (endStream || this.#discardedBytes >= mostDiscardedBytes) this.expire();
  }

  onTrailers(stream: Stream): void {
    if (!stream.headersSent) this.expire();
  }

  onReset(): void {
    this.#stream.connection.engine.wheel.cancel(this.#deadline);
  }

  onHeaders(): void {}

  onSent(): void {}
}
