import type { Connection } from './connection.ts';
import { DataSender } from './flow-control.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { HeaderBlock } from './header-block.ts';
import type { Output } from './output.ts';
import type { Stream } from './stream.ts';

/** The sending half of all streams: headers at once, DATA as flow control admits it, trailers behind the last of it (RFC 9113 8.1). */
export class MessageSender {
  readonly data: DataSender;
  readonly #connection: Connection;
  readonly #output: Output;
  readonly #writer: FrameWriter;

  constructor(connection: Connection, output: Output, writer: FrameWriter) {
    this.#connection = connection;
    this.#output = output;
    this.#writer = writer;
    this.data = new DataSender(connection.engine, output, this, connection.options.socketHighWaterBytes);
  }

  sendHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    stream.headersSent = true;
    this.#writeHeaders(stream, block, endStream);
    if (endStream) this.#connection.onEndSent(stream);
  }

  sendInformational(stream: Stream, block: HeaderBlock): void {
    this.#writeHeaders(stream, block, false);
  }

  sendData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): number {
    if (endStream) stream.localEnded = true;
    const sent = this.data.send(stream, bytes, start, end, endStream);
    if (endStream && stream.queuedBytes === 0) this.onDataSent(stream);
    return sent;
  }

  sendTrailers(stream: Stream, block: HeaderBlock): void {
    stream.localEnded = true;
    if (stream.queuedBytes === 0) {
      this.#writeHeaders(stream, block, true);
      this.#connection.onEndSent(stream);
      return;
    }
    const kept = this.#connection.engine.takeBlock();
    kept.copyFrom(block);
    stream.pendingTrailers = kept;
  }

  /** DataSender: all DATA of the stream is out, and END_STREAM with it unless trailers wait. */
  onDataSent(stream: Stream): void {
    const trailers = stream.pendingTrailers;
    if (trailers !== undefined) {
      stream.pendingTrailers = undefined;
      this.#writeHeaders(stream, trailers, true);
      this.#connection.engine.returnBlock(trailers);
    }
    if (stream.localEnded) this.#connection.onEndSent(stream);
  }

  /** The socket has taken a write: what waited for it may follow. */
  onWritten(): void {
    if (this.#connection.closed || this.data.pendingBytes === 0) return;
    this.#connection.engine.tick();
    this.data.pump();
  }

  /** The stream is gone: drops what it had waiting. */
  forget(stream: Stream): void {
    this.data.forget(stream);
    if (stream.pendingTrailers === undefined) return;
    this.#connection.engine.returnBlock(stream.pendingTrailers);
    stream.pendingTrailers = undefined;
  }

  #writeHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.#writer.headers(stream.id, block, endStream);
    this.#output.headerBlocks++;
  }
}
