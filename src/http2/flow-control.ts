import type { Engine } from './engine.ts';
import {
  defaultFrameBytes,
  defaultWindowBytes,
  Flag,
  FrameType,
  frameHeaderBytes,
  largestWindowBytes,
  writeFrameHeader,
} from './frames.ts';
import { copyBytes } from './hpack/field-scan.ts';
import type { Output } from './output.ts';
import { PendingData } from './pending-data.ts';
import type { Stream } from './stream.ts';
import { StreamQueue } from './stream-queue.ts';

/** What the sending side of a connection tells the connection. */
export interface DataSenderOwner {
  /** All DATA of the stream has been written; what waited behind it may follow. */
  onDataSent(stream: Stream): void;
}

/**
 * The sending half of flow control (RFC 9113 5.2): DATA goes out as far as the stream's window, the connection's window and
 * the socket admit; the rest is copied and waits in its stream. Streams that wait for the connection take turns, one frame
 * each, so that a large body delays nobody.
 */
export class DataSender {
  /** What the peer admits on the connection. */
  window = defaultWindowBytes;
  /** DATA frames written, for the budget of WINDOW_UPDATE frames. */
  framesSent = 0;
  /** Bytes that wait in all streams. */
  pendingBytes = 0;
  readonly #output: Output;
  readonly #owner: DataSenderOwner;
  readonly #highWaterBytes: number;
  /** Streams that wait for the connection's window or for the socket, not those that wait for their own. */
  readonly #waiting = new StreamQueue();
  readonly #engine: Engine;

  constructor(engine: Engine, output: Output, owner: DataSenderOwner, highWaterBytes: number) {
    this.#engine = engine;
    this.#output = output;
    this.#owner = owner;
    this.#highWaterBytes = highWaterBytes;
  }

  /** Returns how many bytes have been written; the others wait. `endStream` goes with the last byte. */
  send(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): number {
    let at = start;
    if (stream.queuedBytes === 0) {
      const room = this.#room(stream);
      const to = Math.min(end, start + room);
      if (to > start || start === end) {
        if (to > start || endStream) this.#write(stream, bytes, start, to, endStream && to === end);
        at = to;
      }
      if (at === end) return end - start;
    }
    stream.pending ??= new PendingData(this.#engine);
    stream.pending.append(bytes, at, end);
    if (this.pendingBytes === 0) this.#engine.slowReaders.connections.add(stream.connection);
    this.pendingBytes += end - at;
    if (endStream) stream.pendingEnd = true;
    if (stream.sendWindow > 0) this.#enqueue(stream);
    return at - start;
  }

  /** The stream's window has grown. */
  onStreamCredit(stream: Stream): void {
    if (stream.queuedBytes === 0 || stream.sendWindow <= 0) return;
    this.#enqueue(stream);
    this.pump();
  }

  /** Writes what waits, as far as the connection's window and the socket admit. */
  pump(): void {
    const waiting = this.#waiting;
    while (waiting.size > 0 && this.window > 0 && !this.congested) this.#sendPending(waiting.shift());
  }

  /** Drops what the stream had waiting. */
  forget(stream: Stream): void {
    if (stream.pending !== undefined) {
      this.#unwait(stream, stream.pending.length);
      stream.pending.clear();
    }
    if (stream.queued) this.#waiting.remove(stream);
  }

  /** The socket takes no more DATA for now: its backlog is above the high-water mark, or above its share of what all sockets may have. */
  get congested(): boolean {
    const backlog = this.#output.pendingBytes;
    return backlog > this.#highWaterBytes || backlog > this.#engine.outputShareBytes;
  }

  /** Adds to the connection's window; false on overflow (RFC 9113 6.9.1). */
  grow(bytes: number): boolean {
    if (this.window + bytes > largestWindowBytes) return false;
    this.window += bytes;
    return true;
  }

  #room(stream: Stream): number {
    if (this.congested) return 0;
    return Math.max(0, Math.min(stream.sendWindow, this.window));
  }

  #enqueue(stream: Stream): void {
    if (!stream.queued) this.#waiting.push(stream);
  }

  #sendPending(stream: Stream): void {
    const pending = stream.pending;
    if (pending === undefined || pending.length === 0) return;
    const count = Math.min(pending.length, this.#room(stream), defaultFrameBytes);
    if (count === 0) return;
    const last = count === pending.length;
    const endStream = last && stream.pendingEnd;
    const output = this.#output;
    output.reserve(frameHeaderBytes + count);
    const at = writeFrameHeader(output.bytes, output.length, count, FrameType.data, endStream ? Flag.endStream : 0, stream.id);
    pending.take(output.bytes, at, count);
    output.length = at + count;
    this.#account(stream, count);
    this.#unwait(stream, count);
    if (!last && stream.sendWindow > 0) this.#enqueue(stream);
    stream.handler.onSent(stream, count);
    // Its owner may have ended it in `onSent`, or sent more that waits again.
    if (last && !stream.closed && stream.queuedBytes === 0) this.#owner.onDataSent(stream);
  }

  #write(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const output = this.#output;
    let at = start;
    do {
      const count = Math.min(end - at, defaultFrameBytes);
      const flags = endStream && at + count === end ? Flag.endStream : 0;
      output.reserve(frameHeaderBytes + count);
      const to = writeFrameHeader(output.bytes, output.length, count, FrameType.data, flags, stream.id);
      copyBytes(bytes, at, at + count, output.bytes, to);
      output.length = to + count;
      at += count;
      this.#account(stream, count);
    } while (at < end);
  }

  #unwait(stream: Stream, bytes: number): void {
    if (bytes === 0) return;
    this.pendingBytes -= bytes;
    if (this.pendingBytes === 0) this.#engine.slowReaders.forget(stream.connection);
  }

  #account(stream: Stream, count: number): void {
    stream.sendWindow -= count;
    this.window -= count;
    this.framesSent++;
  }
}
