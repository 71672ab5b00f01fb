import { TokenBucket } from './abuse-limits.ts';
import type { Connection } from './connection.ts';
import type { ControlSender } from './control-sender.ts';
import { defaultWindowBytes, ErrorCode, largestWindowBytes } from './frames.ts';
import { LingeringStreams } from './lingering-streams.ts';
import type { MessageSender } from './message-sender.ts';
import type { ReceiveWindow } from './receive-window.ts';
import { Stream, type StreamHandler } from './stream.ts';
import { StreamIds } from './stream-ids.ts';
import { StreamTable } from './stream-table.ts';

/**
 * The streams of one connection from their birth to their end, whoever ends them: both sides in order, the owner, the peer, a broken
 * rule, or the connection.
 */
export class ConnectionStreams {
  readonly ids: StreamIds;
  readonly #connection: Connection;
  readonly #control: ControlSender;
  readonly #receiving: ReceiveWindow;
  readonly #sender: MessageSender;
  readonly #table = new StreamTable();
  readonly #lingering: LingeringStreams;
  readonly #ownResets: TokenBucket;
  #peerInitialWindow = defaultWindowBytes;

  constructor(connection: Connection, control: ControlSender, receiving: ReceiveWindow, sender: MessageSender) {
    const { engine, options, role } = connection;
    this.#connection = connection;
    this.#control = control;
    this.#receiving = receiving;
    this.#sender = sender;
    this.#ownResets = new TokenBucket(options.resetBurst, options.resetsPerSecond, engine.clock.now());
    this.#lingering = new LingeringStreams(engine, this);
    this.ids = new StreamIds(role, options.maxConcurrentStreams);
  }

  get size(): number {
    return this.#table.size;
  }

  get(id: number): Stream | undefined {
    return this.#table.get(id);
  }

  /** Those that are open now, in the order in which they were opened; also those that are closed for their owners and linger. */
  snapshot(): readonly Stream[] {
    return this.#table.snapshot();
  }

  get peerInitialWindow(): number {
    return this.#peerInitialWindow;
  }

  /**
   * The peer's SETTINGS_INITIAL_WINDOW_SIZE, with the largest value that it had on the way: false where that made a window overflow
   * (RFC 9113 6.9.2).
   */
  setPeerInitialWindow(bytes: number, largestBytes: number): boolean {
    const delta = bytes - this.#peerInitialWindow;
    const mostBytes = largestWindowBytes - (largestBytes - this.#peerInitialWindow);
    this.#peerInitialWindow = bytes;
    let fits = true;
    this.#table.forEach((stream) => {
      if (stream.sendWindow > mostBytes) fits = false;
      stream.sendWindow += delta;
    });
    return fits;
  }

  // ---- birth and orderly end ----

  add(id: number, handler: StreamHandler): Stream {
    const { counters, engine } = this.#connection;
    const receiveWindow = this.#receiving.admitStream();
    const stream = new Stream(this.#connection, id, handler, this.#peerInitialWindow, receiveWindow, engine.nowMs);
    this.#table.add(stream);
    counters.streamsTotal++;
    counters.streamsActive++;
    return stream;
  }

  /** END_STREAM of ours is written. */
  onLocalEnd(stream: Stream): void {
    stream.localEnded = true;
    stream.endSent = true;
    if (stream.closed) return;
    if (stream.remoteEnded) this.#close(stream);
    else if (this.#connection.role === 'server') this.#linger(stream);
  }

  /** END_STREAM of the peer has come, and its owner knows. */
  onRemoteEnd(stream: Stream): void {
    if (stream.endSent && !stream.closed) this.#close(stream);
  }

  #close(stream: Stream): void {
    this.#detach(stream);
    this.#remove(stream);
    this.#connection.onStreamGone();
  }

  // ---- an answer that is complete before its request (RFC 9113 8.1) ----

  #linger(stream: Stream): void {
    this.#receiving.release(stream);
    this.#detach(stream);
    this.#lingering.add(stream);
  }

  /** DATA of a request that has been answered. */
  onDiscardedData(stream: Stream, bytes: number, endStream: boolean): void {
    if (endStream) this.onDiscardedEnd(stream);
    else this.#lingering.discard(stream, bytes);
  }

  /** The client has ended a request that has been answered. */
  onDiscardedEnd(stream: Stream): void {
    this.#lingering.onRequestEnd();
    this.endLingering(stream);
  }

  /** LingeringStreams: any frame will do, and nobody objects to this one. */
  wakeClient(): void {
    this.#connection.wakePeer();
  }

  /** The client has ended or reset its request. */
  endLingering(stream: Stream): void {
    this.#remove(stream);
    this.#connection.onStreamGone();
  }

  /** LingeringStreams: the request has not ended in time, or is large. NO_ERROR keeps the client from taking it for a failure. */
  onLingerEnd(stream: Stream): void {
    this.#remove(stream);
    this.#sendReset(stream.id, ErrorCode.noError);
    this.#connection.onStreamGone();
  }

  // ---- early ends ----

  /** Our owner ends it. */
  reset(stream: Stream, code: number): void {
    this.discard(stream);
    this.#sendReset(stream.id, code);
    this.#connection.onStreamGone();
  }

  /** The peer broke a rule of one stream. */
  fail(stream: Stream, code: number, message: string): void {
    this.#connection.counters.rxMessagingError++;
    if (stream.closed) this.#remove(stream);
    else {
      stream.problem = message;
      this.discard(stream);
      stream.handler.onReset(stream, code, false);
    }
    this.refuse(stream.id, code);
    this.#connection.onStreamGone();
  }

  failById(streamId: number, code: number, message: string): void {
    const stream = this.#table.get(streamId);
    if (stream !== undefined) this.fail(stream, code, message);
    else if (this.ids.isIdle(streamId)) this.#connection.protocolError(code, message);
    else {
      this.#sendReset(streamId, code);
      this.#chargeReset();
    }
  }

  /** A frame for a stream that is not open: too early, too late, or on its way when we reset the stream. */
  onFrameForClosed(streamId: number, frame: string): void {
    const { ids } = this;
    if (ids.isIdle(streamId)) this.#connection.protocolError(ErrorCode.protocolError, `${frame} on an idle stream (RFC 9113 5.1)`);
    else if (this.#connection.role === 'server' && !ids.isBeyondGoAway(streamId) && !ids.wasReset(streamId)) {
      this.refuse(streamId, ErrorCode.streamClosed);
    }
  }

  /** A request that was refused, and that its client goes on sending: NO_ERROR keeps the client from taking that for the failure (RFC 9113 8.1). */
  endRefused(streamId: number): void {
    this.#sendReset(streamId, ErrorCode.noError);
  }

  /** A reset that the peer made us send. A server that breaks off our calls can do so no more often than we call. */
  refuse(streamId: number, code: number): void {
    this.#sendReset(streamId, code);
    if (this.#connection.role === 'server') this.#chargeReset();
  }

  /** Resets that the peer makes us send have a budget of their own, since they cost as much as the peer's own (CVE-2025-8671). */
  #chargeReset(): void {
    const { counters, engine } = this.#connection;
    if (this.#ownResets.take(1, engine.clock.now())) return;
    counters.rapidReset++;
    this.#connection.protocolError(ErrorCode.enhanceYourCalm, 'too many streams had to be reset');
  }

  /** Client role, GOAWAY: streams above `lastStreamId` were never looked at (RFC 9113 6.8). */
  dropUnprocessed(lastStreamId: number): void {
    for (const stream of this.#table.snapshot()) {
      if (stream.id <= lastStreamId || stream.closed) continue;
      this.discard(stream);
      stream.handler.onReset(stream, ErrorCode.refusedStream, true);
    }
  }

  /** The connection is lost. */
  loseAll(code: number, message: string): void {
    const lost: Stream[] = [];
    for (const stream of this.#table.snapshot()) {
      if (stream.closed) {
        if (stream.lingering !== undefined) this.#remove(stream);
        continue;
      }
      this.discard(stream);
      stream.connectionLost = true;
      stream.problem = message;
      lost.push(stream);
    }
    this.#lingering.close();
    this.#receiving.close();
    if (lost.length > 0) this.#connection.engine.losses.tell(lost, code);
  }

  /** Closes a stream with all that it holds. `onStreamGone` follows, once its owner has heard of it. */
  discard(stream: Stream): void {
    this.#receiving.release(stream);
    this.#detach(stream);
    this.#remove(stream);
  }

  /** The one place where a stream becomes closed: its owner is done with it. */
  #detach(stream: Stream): void {
    stream.closed = true;
    this.#sender.forget(stream);
  }

  /** The one place where a stream ceases to count: both sides are done with it. */
  #remove(stream: Stream): void {
    this.#lingering.remove(stream);
    this.#table.delete(stream.id);
    this.#connection.counters.streamsActive--;
  }

  #sendReset(streamId: number, code: number): void {
    this.#connection.counters.txReset++;
    this.ids.rememberReset(streamId);
    if (code === ErrorCode.cancel && this.#connection.role === 'client') this.#control.cancel(streamId, code);
    else this.#control.reset(streamId, code);
  }
}
