import type { Connection } from './connection.ts';
import { ErrorCode } from './frames.ts';
import type { HeaderBlock } from './header-block.ts';
import type { Lingering } from './lingering-streams.ts';
import type { PendingData } from './pending-data.ts';

/**
 * What a stream tells its owner. All calls are synchronous and must not throw. `block` and `bytes` are valid only during the
 * call: whoever keeps a block takes it with `connection.keepBlock()`.
 */
export interface StreamHandler {
  /** Client role: the final response headers. Informational responses are consumed by the engine. */
  onHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void;
  /** A piece of DATA; its boundaries mean nothing. The owner owes `stream.consume(end - start)` once the bytes have left. */
  onData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void;
  /** Trailers: the peer has ended the stream. */
  onTrailers(stream: Stream, block: HeaderBlock): void;
  /**
   * The stream is over without an orderly end: reset by the peer, malformed, or its connection is gone. Not called for our own
   * `reset`. `unprocessed` is true where the peer provably never looked at the request (REFUSED_STREAM, GOAWAY below the stream).
   */
  onReset(stream: Stream, code: number, unprocessed: boolean): void;
  /** `bytes` of DATA that had to wait have left for the peer. */
  onSent(stream: Stream, bytes: number): void;
  /** DATA waits that its reader takes at less than 1 KiB/s, while a budget of memory is short: the owner may end the stream. */
  onSlowReader?(stream: Stream): void;
}

/**
 * One HTTP/2 stream, of either role. States are RFC 9113 5.1 told by two booleans: each side has ended its half or not; `closed`
 * is entered once, in `ConnectionStreams`, and is the end of it for its owner, who hears nothing more.
 *
 * The public methods are the owner's; the fields below them belong to the connection.
 */
export class Stream {
  readonly id: number;
  readonly connection: Connection;
  handler: StreamHandler;

  /** We have sent END_STREAM (or still hold it behind queued DATA). */
  localEnded = false;
  /** The peer has sent END_STREAM. */
  remoteEnded = false;
  closed = false;
  /** END_STREAM of ours has been written. */
  endSent = false;
  /** The stream ended because its connection did. */
  connectionLost = false;
  /** It did, and its owner has yet to hear of it. */
  lossUntold = false;
  /** What was wrong, where the peer broke a rule or the connection ended. */
  problem: string | undefined = undefined;
  /** A reset by the peer after this time is honest: its owner sets it to most of the caller's own deadline. */
  patienceMs = Number.POSITIVE_INFINITY;

  /** Bytes that the peer lets us send; negative after its SETTINGS shrank (RFC 9113 6.9.2). */
  sendWindow: number;
  /** Bytes that we let the peer send. */
  receiveWindow: number;
  /** Received and not yet consumed. */
  heldBytes = 0;
  /** Consumed and not yet announced by WINDOW_UPDATE. */
  unannouncedBytes = 0;
  headersReceived = false;
  headersSent = false;
  /** DATA bytes that `content-length` still promises, -1 where it promised nothing. */
  expectedBytes = -1;
  pending: PendingData | undefined = undefined;
  /** Trailers that wait behind `pending`. */
  pendingTrailers: HeaderBlock | undefined = undefined;
  pendingEnd = false;
  /** True while it stands in the connection's queue of those that wait for the connection's window or the socket. */
  queued = false;
  /** Closed for its owner, while its client still has to end its request. */
  lingering: Lingering | undefined = undefined;
  /** Monotonic milliseconds. */
  readonly openedAtMs: number;

  constructor(connection: Connection, id: number, handler: StreamHandler, sendWindow: number, receiveWindow: number, openedAtMs: number) {
    this.connection = connection;
    this.id = id;
    this.handler = handler;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.openedAtMs = openedAtMs;
  }

  /** Server role: sends response headers. Does nothing on a closed stream, as do all methods here. */
  sendHeaders(block: HeaderBlock, endStream: boolean): void {
    if (!this.closed && !this.localEnded) this.connection.sendHeaders(this, block, endStream);
  }

  /** Server role: an informational response (RFC 9113 8.1), while no other headers have gone out. */
  sendInformational(block: HeaderBlock): void {
    if (!this.closed && !this.headersSent) this.connection.sendInformational(this, block);
  }

  /**
   * Sends DATA, or keeps a copy of what the windows do not admit. Returns the bytes that left at once; `onSent` tells of the others.
   */
  sendData(bytes: Buffer, start: number, end: number, endStream: boolean): number {
    if (this.closed || this.localEnded) return end - start;
    return this.connection.sendData(this, bytes, start, end, endStream);
  }

  /** Ends our half, behind all DATA. Where the client does not end its own soon, RST_STREAM(NO_ERROR) follows (RFC 9113 8.1). */
  sendTrailers(block: HeaderBlock): void {
    if (!this.closed && !this.localEnded) this.connection.sendTrailers(this, block);
  }

  /** Ends the stream at once; what waits is dropped, and the owner hears nothing more. */
  reset(code: number = ErrorCode.cancel): void {
    if (!this.closed) this.connection.resetStream(this, code);
    else this.lossUntold = false;
  }

  /** Gives the peer credit for bytes that have left for the other side. */
  consume(bytes: number): void {
    if (bytes > 0) this.connection.consume(this, bytes);
  }

  /** Gives back all credit that is still held: the end of a stream whose bytes will not leave any more. */
  release(): void {
    this.connection.consume(this, this.heldBytes);
  }

  /** Client role: the peer's GOAWAY says that it was not and will not be looked at. */
  get isLeftOut(): boolean {
    return this.id > this.connection.lastProcessedStreamId;
  }

  /** Client role: the peer has lowered SETTINGS_MAX_CONCURRENT_STREAMS since, and may refuse it for that alone (RFC 9113 5.1.2). */
  get isAboveLimit(): boolean {
    return this.id < this.connection.firstIdOfLimit;
  }

  /** DATA that waits for a window. */
  get queuedBytes(): number {
    return this.pending === undefined ? 0 : this.pending.length;
  }
}
