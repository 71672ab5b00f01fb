import type { Engine } from './engine.ts';
import type { FrameWriter } from './frame-writer.ts';
import { defaultWindowBytes, SettingId } from './frames.ts';
import type { Http2Options } from './options.ts';
import type { Stream } from './stream.ts';

/** What the receiving half of flow control asks of its connection. */
export interface ReceiveWindowOwner {
  readonly closed: boolean;
  readonly activeStreams: number;
  openStreams(): Iterable<Stream>;
  /** Sends a PING whose acknowledgement ends in `onRoundTrip`. */
  measureRoundTrip(): void;
}

/** No stream's window gets smaller: a thousand of them are a quarter of what a connection may hold. */
const smallestStreamWindowBytes = 4 * 1024;
/** Between one step up and the next, so that a load that comes and goes does not move the windows with it. */
const raiseIntervalMs = 1_000;
/** A connection's window that is used up faster than this grows; one that lasts longer than that shrinks again. */
const busyIntervalMs = 1_000;
const quietIntervalMs = 10_000;

/**
 * The receiving half of flow control (RFC 9113 5.2): what the peer may still send, and when it gets credit.
 *
 * A stream's credit goes back when its bytes have left for the other side, so that a slow reader slows its sender and nothing
 * piles up here. The connection's credit goes back on receipt, so that one stalled stream does not stop the others.
 *
 * Two rules keep that promise. The window of a stream is so small that what all open streams could still hold is no more than a quarter
 * of what the connection may: however many of them stall, the others go on. And a connection may hold no more than what is left free
 * for all of them (the dynamic threshold of shared-memory switches): many that stall get little each, and what RFC 9113 gives
 * every connection, 64 KiB, is never denied to one whose readers keep up.
 */
export class ReceiveWindow {
  /** Received DATA that waits for its way out. */
  heldBytes = 0;
  /** SETTINGS_INITIAL_WINDOW_SIZE as it was last announced. */
  streamWindowBytes: number;
  readonly #engine: Engine;
  readonly #options: Http2Options;
  readonly #writer: FrameWriter;
  readonly #owner: ReceiveWindowOwner;
  #windowBytes = defaultWindowBytes;
  /** Of the DATA frame that comes in: not yet held, but no longer in the window. */
  #arrivingBytes = 0;
  /** What the connection's window is filled up to: grows while it is used up quickly. */
  #sizeBytes: number;
  /** The part of the window that lies above the 64 KiB of every connection: it counts for the process, since it may come at any time. */
  #grantedBytes = 0;
  #announcedAtMs: number;
  /** What a stream's window would be if few streams were open: grows with the measured bandwidth-delay product. */
  #wantedStreamWindowBytes: number;
  /** What a peer may go by: the largest of what it has acknowledged and what it may have read since (RFC 9113 6.9.2). */
  #enforcedStreamWindowBytes: number;
  #acknowledgedStreamWindowBytes = defaultWindowBytes;
  readonly #unacknowledged: number[];
  #raiseAtMs = 0;
  /** -1: no round trip is being measured; else the bytes received since it began. */
  #measuredBytes = -1;

  constructor(engine: Engine, options: Http2Options, writer: FrameWriter, owner: ReceiveWindowOwner) {
    this.#engine = engine;
    this.#options = options;
    this.#writer = writer;
    this.#owner = owner;
    this.streamWindowBytes = options.initialStreamWindowBytes;
    this.#wantedStreamWindowBytes = options.initialStreamWindowBytes;
    this.#unacknowledged = [options.initialStreamWindowBytes];
    this.#enforcedStreamWindowBytes = Math.max(options.initialStreamWindowBytes, defaultWindowBytes);
    this.#sizeBytes = Math.min(defaultWindowBytes, options.connectionWindowBytes);
    this.#announcedAtMs = engine.nowMs;
  }

  /** A stream is about to be opened. Returns what its peer may send on it. */
  admitStream(): number {
    this.#fitStreamWindow(this.#owner.activeStreams + 1);
    return this.#enforcedStreamWindowBytes;
  }

  /** A DATA frame of `length` bytes, padding included, has come. False where the connection's window did not admit it. */
  receive(length: number): boolean {
    this.#windowBytes -= length;
    if (this.#windowBytes < 0) return false;
    this.#arrivingBytes = length;
    if (this.#grantedBytes > 0) this.#grant(-Math.min(length, this.#grantedBytes));
    if (this.#measuredBytes >= 0) this.#measuredBytes += length;
    this.#announceIfLow();
    return true;
  }

  /** Bytes of a stream are kept for its owner. */
  hold(stream: Stream, bytes: number): void {
    this.#arrivingBytes -= bytes;
    stream.heldBytes += bytes;
    this.heldBytes += bytes;
    this.#engine.bufferedBytes += bytes;
  }

  /** A piece that was kept is with its owner now: whatever is held from here on waits. */
  settle(): void {
    if (this.heldBytes === 0) return;
    this.#fitStreamWindow(this.#owner.activeStreams);
    const { short } = this;
    if (short) this.#engine.shortWindows.add(this);
    if (short || this.#engine.buffersShort) this.#engine.slowReaders.watch();
  }

  /** The connection holds more than three quarters of what it may. */
  get short(): boolean {
    return this.heldBytes * 4 > this.#options.maxConnectionBufferBytes * 3;
  }

  /** Bytes of a stream have left for the other side. */
  consume(stream: Stream, bytes: number): void {
    const released = Math.min(bytes, stream.heldBytes);
    this.#unhold(stream, released);
    if (!stream.closed && !stream.remoteEnded && !this.#owner.closed) {
      stream.unannouncedBytes += released;
      this.#announceStreamIfLow(stream);
    }
    this.#announceIfLow();
  }

  /** Bytes of a stream that are forwarded to nobody: their credit goes back at once. */
  refund(stream: Stream, bytes: number): void {
    stream.unannouncedBytes += bytes;
    this.#announceStreamIfLow(stream);
  }

  /** The stream is gone, and so is what it held. */
  release(stream: Stream): void {
    if (stream.heldBytes === 0) return;
    this.#unhold(stream, stream.heldBytes);
    this.#announceIfLow();
  }

  /** The connection is gone: what its peer might still have sent will not come. */
  close(): void {
    this.#grant(-this.#grantedBytes);
    this.#engine.stopWaiting(this);
  }

  /** As much as everybody else leaves free, itself included. */
  get #shareBytes(): number {
    return (this.#engine.freeBytes + this.heldBytes + this.#grantedBytes) >> 1;
  }

  /** What all streams together may be sent and hold, the first counted twice: the half of the connection's budget, or its share. */
  get #exposureBytes(): number {
    return Math.min(this.#options.maxConnectionBufferBytes >> 1, this.#shareBytes);
  }

  /** Gives the connection's credit, where enough has come together to be worth a frame. */
  announce(): void {
    if (this.#owner.closed) return;
    const { connectionWindowBytes, maxConnectionBufferBytes } = this.#options;
    const { freeBytes, nowMs } = this.#engine;
    const elapsedMs = nowMs - this.#announcedAtMs;
    let size = this.#sizeBytes;
    if (this.#windowBytes * 2 < size) {
      if (elapsedMs < busyIntervalMs) size = Math.min(size * 2, connectionWindowBytes);
      else if (elapsedMs > quietIntervalMs) size = Math.max(size >>> 1, Math.min(defaultWindowBytes, connectionWindowBytes));
    }
    const kept = this.heldBytes + this.#arrivingBytes;
    const room = Math.min(size, Math.min(maxConnectionBufferBytes, this.#shareBytes) - kept);
    // What stalls here is bounded by the windows of its streams, so that the others may go on as long as anything is free at all.
    const guaranteed = Math.min(
      defaultWindowBytes,
      maxConnectionBufferBytes - kept,
      freeBytes > 0 ? defaultWindowBytes : defaultWindowBytes - kept,
    );
    const increment = Math.max(room, guaranteed) - this.#windowBytes;
    if (increment < Math.min(size, defaultWindowBytes) / 4) {
      // Its own bytes may never move again, while those of others do.
      if (this.#windowBytes * 2 < defaultWindowBytes) this.#engine.waitForBuffer(this);
      return;
    }
    this.#sizeBytes = size;
    this.#announcedAtMs = nowMs;
    this.#windowBytes += increment;
    this.#grant(Math.max(0, this.#windowBytes - defaultWindowBytes) - this.#grantedBytes);
    this.#writer.windowUpdate(0, increment);
  }

  /** The peer has acknowledged our oldest SETTINGS: it goes by them from here on. */
  onSettingsAck(): void {
    const acknowledged = this.#unacknowledged.shift();
    if (acknowledged === undefined) return;
    this.#acknowledgedStreamWindowBytes = acknowledged;
    this.#enforceStreamWindow();
  }

  /** The acknowledgement has come: what was received meanwhile is the bandwidth-delay product. */
  onRoundTrip(): void {
    const product = this.#measuredBytes;
    if (product < 0) return;
    this.#measuredBytes = -1;
    const { maxConnectionBufferBytes, maxStreamWindowBytes } = this.#options;
    // A reader that falls behind gets no larger window: the rest would only be buffered here.
    if (product * 1.5 < this.streamWindowBytes || this.heldBytes > maxConnectionBufferBytes / 4) return;
    const grown = Math.min(Math.max(product, this.streamWindowBytes) * 2, maxStreamWindowBytes);
    this.#wantedStreamWindowBytes = Math.max(this.#wantedStreamWindowBytes, grown);
    const fitting = this.#fitting(grown, this.#owner.activeStreams);
    if (fitting > this.streamWindowBytes) this.#changeStreamWindow(fitting);
  }

  #announceIfLow(): void {
    if (this.#windowBytes < this.#sizeBytes / 2) this.announce();
  }

  #announceStreamIfLow(stream: Stream): void {
    if (stream.unannouncedBytes * 2 >= this.streamWindowBytes) this.#announceStream(stream);
  }

  #announceStream(stream: Stream): void {
    this.#giveStreamCredit(stream);
    if (this.streamWindowBytes < this.#wantedStreamWindowBytes) this.#fitStreamWindow(this.#owner.activeStreams);
    if (this.#measuredBytes >= 0 || this.streamWindowBytes >= this.#options.maxStreamWindowBytes) return;
    this.#measuredBytes = 0;
    this.#owner.measureRoundTrip();
  }

  #giveStreamCredit(stream: Stream): void {
    const increment = stream.unannouncedBytes;
    stream.unannouncedBytes = 0;
    stream.receiveWindow += increment;
    this.#writer.windowUpdate(stream.id, increment);
  }

  // ---- the window of a stream ----

  /** Lowers the windows at once where too much could be held, and raises them slowly, where there is twice the room. */
  #fitStreamWindow(streams: number): void {
    const bytes = this.streamWindowBytes;
    const limit = this.#exposureBytes;
    if (this.#exposedBytes(bytes, streams) > limit) {
      if (bytes <= smallestStreamWindowBytes) return;
      let lower = bytes;
      do lower = Math.max(lower >>> 1, smallestStreamWindowBytes);
      while (lower > smallestStreamWindowBytes && this.#exposedBytes(lower, streams) > limit);
      this.#raiseAtMs = this.#engine.nowMs + raiseIntervalMs;
      this.#changeStreamWindow(lower);
      return;
    }
    if (bytes >= this.#wantedStreamWindowBytes || this.#unacknowledged.length > 0 || this.#engine.nowMs < this.#raiseAtMs) return;
    const higher = this.#fitting(Math.min(bytes * 2, this.#wantedStreamWindowBytes), streams);
    if (higher > bytes) {
      this.#raiseAtMs = this.#engine.nowMs + raiseIntervalMs;
      this.#changeStreamWindow(higher);
    }
  }

  /** Twice what all open streams could still be sent, and what is held: with that below the limit, half of the rest stays free. */
  #exposedBytes(streamWindowBytes: number, streams: number): number {
    return 2 * streamWindowBytes * streams + this.heldBytes;
  }

  #fitting(bytes: number, streams: number): number {
    let fitting = bytes;
    const limit = this.#exposureBytes;
    while (fitting > smallestStreamWindowBytes && 2 * this.#exposedBytes(fitting, streams) > limit) {
      fitting >>>= 1;
    }
    return fitting;
  }

  #changeStreamWindow(bytes: number): void {
    const lower = bytes < this.streamWindowBytes;
    this.streamWindowBytes = bytes;
    this.#unacknowledged.push(bytes);
    this.#enforceStreamWindow();
    // Credit that was not worth a frame may be all that keeps the peer from a window of nothing.
    if (lower) {
      for (const stream of this.#owner.openStreams()) {
        if (!stream.closed && !stream.remoteEnded && stream.unannouncedBytes * 2 >= bytes) this.#giveStreamCredit(stream);
      }
    }
    this.#writer.settings([[SettingId.initialWindowSize, bytes]]);
  }

  /** What the peer has not acknowledged is never held against it: it may have sent by the larger value. */
  #enforceStreamWindow(): void {
    let largest = this.#acknowledgedStreamWindowBytes;
    for (const bytes of this.#unacknowledged) largest = Math.max(largest, bytes);
    const delta = largest - this.#enforcedStreamWindowBytes;
    if (delta === 0) return;
    this.#enforcedStreamWindowBytes = largest;
    for (const stream of this.#owner.openStreams()) stream.receiveWindow += delta;
  }

  #unhold(stream: Stream, bytes: number): void {
    stream.heldBytes -= bytes;
    this.heldBytes -= bytes;
    const engine = this.#engine;
    if (engine.shortWindows.size > 0 && !this.short) engine.shortWindows.delete(this);
    engine.unbuffer(bytes);
  }

  #grant(bytes: number): void {
    this.#grantedBytes += bytes;
    this.#engine.grantedBytes += bytes;
  }
}
