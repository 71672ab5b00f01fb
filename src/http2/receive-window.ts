import type { Engine } from './engine.ts';
import type { FrameWriter } from './frame-writer.ts';
import { defaultWindowBytes, SettingId } from './frames.ts';
import type { Http2Options } from './options.ts';
import type { Stream } from './stream.ts';

/** What the receiving half of flow control asks of its connection. */
export interface ReceiveWindowOwner {
  readonly closed: boolean;
  openStreams(): Iterable<Stream>;
  /** Sends a PING whose acknowledgement ends in `onRoundTrip`. */
  measureRoundTrip(): void;
}

/**
 * The receiving half of flow control (RFC 9113 5.2): what the peer may still send, and when it gets credit.
 *
 * A stream's credit goes back when its bytes have left for the other side, so that a slow reader slows its sender and nothing
 * piles up here. The connection's credit goes back on receipt, so that one stalled stream does not stop the others, as long as
 * what is held stays within the budgets of connection and process.
 */
export class ReceiveWindow {
  /** Received DATA that waits for its way out. */
  heldBytes = 0;
  /** Window of a new stream. Grows with the measured bandwidth-delay product. */
  streamWindowBytes: number;
  readonly #engine: Engine;
  readonly #options: Http2Options;
  readonly #writer: FrameWriter;
  readonly #owner: ReceiveWindowOwner;
  #windowBytes = defaultWindowBytes;
  /** -1: no round trip is being measured; else the bytes received since it began. */
  #measuredBytes = -1;

  constructor(engine: Engine, options: Http2Options, writer: FrameWriter, owner: ReceiveWindowOwner) {
    this.#engine = engine;
    this.#options = options;
    this.#writer = writer;
    this.#owner = owner;
    this.streamWindowBytes = options.initialStreamWindowBytes;
  }

  /** A DATA frame of `length` bytes, padding included, has come. False where the connection's window did not admit it. */
  receive(length: number): boolean {
    this.#windowBytes -= length;
    if (this.#windowBytes < 0) return false;
    if (this.#measuredBytes >= 0) this.#measuredBytes += length;
    this.#announceIfLow();
    return true;
  }

  /** Bytes of a stream are kept for its owner. */
  hold(stream: Stream, bytes: number): void {
    stream.heldBytes += bytes;
    this.heldBytes += bytes;
    this.#engine.bufferedBytes += bytes;
  }

  /** Bytes of a stream have left for the other side. */
  consume(stream: Stream, bytes: number): void {
    const released = Math.min(bytes, stream.heldBytes);
    this.#unhold(stream, released);
    if (!stream.closed && !stream.remoteEnded && !this.#owner.closed) {
      stream.unannouncedBytes += released;
      if (stream.unannouncedBytes * 2 >= this.streamWindowBytes) this.#announceStream(stream);
    }
    this.#announceIfLow();
  }

  /** Bytes of a stream that are forwarded to nobody: their credit goes back at once. */
  refund(stream: Stream, bytes: number): void {
    stream.unannouncedBytes += bytes;
    if (stream.unannouncedBytes * 2 >= this.streamWindowBytes) this.#announceStream(stream);
  }

  /** The stream is gone, and so is what it held. */
  release(stream: Stream): void {
    if (stream.heldBytes === 0) return;
    this.#unhold(stream, stream.heldBytes);
    this.#announceIfLow();
  }

  /** Gives the connection's credit, where enough has come together to be worth a frame. */
  announce(): void {
    const { connectionWindowBytes, maxConnectionBufferBytes } = this.#options;
    if (this.#owner.closed) return;
    if (this.#engine.bufferedBytes >= this.#engine.maxBufferedBytes) {
      this.#engine.waitForBuffer(this);
      return;
    }
    const target = Math.min(connectionWindowBytes, maxConnectionBufferBytes - this.heldBytes);
    const increment = target - this.#windowBytes;
    if (increment < Math.min(connectionWindowBytes / 4, defaultWindowBytes)) return;
    this.#windowBytes += increment;
    this.#writer.windowUpdate(0, increment);
  }

  /** The acknowledgement has come: what was received meanwhile is the bandwidth-delay product. */
  onRoundTrip(): void {
    const product = this.#measuredBytes;
    if (product < 0) return;
    this.#measuredBytes = -1;
    // A reader that falls behind gets no larger window: the rest would only be buffered here.
    if (product * 1.5 < this.streamWindowBytes || this.heldBytes > this.#options.maxConnectionBufferBytes / 4) return;
    const grown = Math.min(Math.max(product, this.streamWindowBytes) * 2, this.#options.maxStreamWindowBytes);
    const delta = grown - this.streamWindowBytes;
    this.streamWindowBytes = grown;
    for (const stream of this.#owner.openStreams()) stream.receiveWindow += delta;
    this.#writer.settings([[SettingId.initialWindowSize, grown]]);
  }

  #announceIfLow(): void {
    if (this.#windowBytes < this.#options.connectionWindowBytes / 2) this.announce();
  }

  #announceStream(stream: Stream): void {
    const increment = stream.unannouncedBytes;
    stream.unannouncedBytes = 0;
    stream.receiveWindow += increment;
    this.#writer.windowUpdate(stream.id, increment);
    if (this.#measuredBytes >= 0 || this.streamWindowBytes >= this.#options.maxStreamWindowBytes) return;
    this.#measuredBytes = 0;
    this.#owner.measureRoundTrip();
  }

  #unhold(stream: Stream, bytes: number): void {
    stream.heldBytes -= bytes;
    this.heldBytes -= bytes;
    this.#engine.unbuffer(bytes);
  }
}
