// Above 500 lines: the one place that knows the whole state of a connection; codec, flow control, output and rules have files of their own.
import type { Duplex } from 'node:stream';
import { Deadline } from '../core/index.ts';
import { FrameBudgets, TokenBucket } from './abuse-limits.ts';
import type { Http2Counters } from './counters.ts';
import type { Engine } from './engine.ts';
import { DataSender } from './flow-control.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import {
  clientPreface,
  defaultFrameBytes,
  defaultTableBytes,
  defaultWindowBytes,
  ErrorCode,
  errorCodeName,
  Flag,
  FrameType,
  largestStreamId,
  largestWindowBytes,
  readUint31,
  readUint32,
  SettingId,
} from './frames.ts';
import { HeaderAssembly } from './header-assembly.ts';
import type { HeaderBlock } from './header-block.ts';
import { HpackDecoder, HpackProblem } from './hpack/decoder.ts';
import { contentLengthOf, requestProblem, responseProblem, statusOf, trailersProblem } from './message-rules.ts';
import type { Http2Options } from './options.ts';
import { Output } from './output.ts';
import { type ForeignGreeting, PrefaceReader } from './preface-reader.ts';
import { ReceiveWindow } from './receive-window.ts';
import { settingProblem, settingsFrameProblem } from './setting-rules.ts';
import { Stream, type StreamHandler } from './stream.ts';
import { StreamIds } from './stream-ids.ts';
import { StreamTable } from './stream-table.ts';

export interface ConnectionCloseCause {
  /** Who or what ended it: the peer closed the socket, we did, the socket failed, somebody broke the protocol, time ran out. */
  readonly kind: 'peer' | 'local' | 'error' | 'protocol' | 'timeout';
  /** HTTP/2 error code. */
  readonly code: number;
  readonly message: string;
}

/** What a connection tells its owner. All calls are synchronous and must not throw. */
export interface ConnectionHandler {
  /** The peer's first SETTINGS have arrived: a new upstream connection may be used from here on. */
  onReady(connection: Connection): void;
  /** Server role: a well-formed request; the callee sets `stream.handler`. `block` is valid during the call, or kept by `keepBlock`. */
  onRequest(connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean): void;
  /** Client role: `canOpen` may have become true, or a stream has ended. */
  onCapacity(connection: Connection): void;
  onGoAway(connection: Connection, lastStreamId: number, code: number, debugData: string): void;
  /** Exactly once, after every stream heard `onReset`. */
  onClose(connection: Connection, cause: ConnectionCloseCause): void;
}

const pingBytes = 8;
/** Our own pings by the first byte of their payload: each kind has at most one in flight. */
const PingKind = { owner: 1, bandwidth: 2, drain: 3 } as const;
/** Informational responses in a row, for each stream that is open. */
const mostInformational = 16;
const closeGraceMs = 1_000;
const drainRoundTripMs = 2_000;
/** A stream younger than this that its peer resets looks like Rapid Reset; an older one like somebody who gave up. */
const hastyResetMs = 1_000;

type Phase = 'preface' | 'first-request' | 'open' | 'draining' | 'closing';

class PhaseDeadline extends Deadline {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    super();
    this.#connection = connection;
  }

  expire(): void {
    this.#connection.onPhaseDeadline();
  }
}

/**
 * One HTTP/2 connection (RFC 9113) on one socket, as client or as server. It owns stream ids, windows, header tables and limits;
 * what happens on a stream goes to the stream's handler, what happens to the connection to `ConnectionHandler`.
 *
 * Whoever makes one hands over the socket: the connection reads it, writes it and ends it.
 */
export class Connection {
  readonly role: 'client' | 'server';
  readonly socket: Duplex;
  readonly engine: Engine;
  readonly options: Http2Options;
  readonly counters: Http2Counters;
  /** The peer's first SETTINGS have arrived. */
  ready = false;
  /** No new stream may be opened: GOAWAY was sent or received. */
  goingAway = false;
  closed = false;
  /** Streams that the peer lets us have open. */
  peerMaxConcurrentStreams = largestStreamId;
  /** The largest header list that the peer wants to see (SETTINGS_MAX_HEADER_LIST_SIZE); for the owner, who can refuse a call. */
  peerMaxHeaderListBytes = largestWindowBytes;
  /** For the owner: whatever belongs to this connection. */
  context: unknown = undefined;

  readonly #handler: ConnectionHandler;
  readonly #output: Output;
  readonly #sender: DataSender;
  readonly #reader: FrameReader;
  readonly #decoder: HpackDecoder;
  readonly #writer: FrameWriter;
  readonly #receiving: ReceiveWindow;
  readonly #budgets = new FrameBudgets();
  readonly #peerResets: TokenBucket;
  readonly #ownResets: TokenBucket;
  readonly #phaseDeadline = new PhaseDeadline(this);
  readonly #streams = new StreamTable();
  readonly #ids: StreamIds;
  #phase: Phase = 'preface';
  readonly #preface: PrefaceReader;
  readonly #assembly: HeaderAssembly;
  #prefaceSent = false;
  /** The peer has acknowledged our first SETTINGS: until then it may go by the defaults of RFC 9113. */
  #settingsKnown = false;
  #block: HeaderBlock;

  #drainBegun = false;
  #drainDebugData = '';
  #peerInitialWindow = defaultWindowBytes;
  #closeCause: ConnectionCloseCause | undefined;

  /** The DATA frame whose pieces come in. */
  #dataStream: Stream | undefined;
  #dataEndsStream = false;

  #ownerPing: ((rttMs: number) => void) | undefined;
  #pingSentAtMs = 0;
  #pingSequence = 0;

  constructor(
    engine: Engine,
    socket: Duplex,
    role: 'client' | 'server',
    options: Http2Options,
    counters: Http2Counters,
    handler: ConnectionHandler,
  ) {
    this.engine = engine;
    this.socket = socket;
    this.role = role;
    this.options = options;
    this.counters = counters;
    this.#handler = handler;
    this.#output = new Output(engine, socket, this.#onWritten);
    this.#writer = new FrameWriter(this.#output);
    this.#receiving = new ReceiveWindow(engine, options, this.#writer, this);
    this.#sender = new DataSender(this.#output, this, options.socketHighWaterBytes);
    this.#reader = new FrameReader(this, defaultFrameBytes);
    this.#decoder = new HpackDecoder(Math.max(options.headerTableBytes, defaultTableBytes));
    const nowMs = engine.clock.now();
    this.#peerResets = new TokenBucket(options.resetBurst, options.resetsPerSecond, nowMs);
    this.#ownResets = new TokenBucket(options.resetBurst, options.resetsPerSecond, nowMs);
    this.#block = engine.takeBlock();
    this.#preface = new PrefaceReader(role === 'server');
    this.#assembly = new HeaderAssembly(this);
    this.#ids = new StreamIds(role, options.maxConcurrentStreams);
    counters.connectionsTotal++;
    counters.connectionsActive++;
    if (role === 'client') this.#sendPreface();
    engine.wheel.arm(this.#phaseDeadline, nowMs + options.prefaceTimeoutMs);
    socket.on('data', this.receive);
    socket.on('error', this.#onSocketError);
    socket.on('end', this.#onSocketEnd);
    socket.on('close', this.#onSocketEnd);
  }

  // ---- for the owner ----

  get activeStreams(): number {
    return this.#streams.size;
  }

  /** Client role: a stream may be opened now. */
  get canOpen(): boolean {
    return (
      this.ready &&
      !this.goingAway &&
      !this.closed &&
      this.#streams.size < this.peerMaxConcurrentStreams &&
      this.#ids.nextOwn <= this.options.lastOwnStreamId
    );
  }

  /** Handlers of the streams that are open now. */
  handlers(): readonly StreamHandler[] {
    return Array.from(this.#streams.snapshot(), (stream) => stream.handler);
  }

  /** Received DATA that waits for its way out. */
  get heldBytes(): number {
    return this.#receiving.heldBytes;
  }

  /** Client role, only while `canOpen`: opens a stream with its request headers. */
  open(handler: StreamHandler, block: HeaderBlock, endStream: boolean): Stream {
    const stream = this.#addStream(this.#ids.nextOwn, handler);
    this.#ids.nextOwn += 2;
    this.#budgets.streamsOpened++;
    this.sendHeaders(stream, block, endStream);
    // At 10,000 calls a second that is after thirty hours.
    if (this.#ids.nextOwn > this.options.lastOwnStreamId) this.drain('stream ids are used up');
    return stream;
  }

  /** Takes the block of the call that is going on. Its new owner returns it to the engine. */
  keepBlock(): HeaderBlock {
    const kept = this.#block;
    this.#block = this.engine.takeBlock();
    return kept;
  }

  /** Sends a PING and calls `onAck` with the round trip's milliseconds; a PING of the owner that is still in flight is forgotten. */
  ping(onAck: (rttMs: number) => void): void {
    this.#ownerPing = onAck;
    this.#pingSentAtMs = this.engine.clock.now();
    this.#sendPing(PingKind.owner, ++this.#pingSequence);
  }

  /**
   * Ends the connection gracefully: GOAWAY that allows everything, a round trip so that streams on their way arrive, GOAWAY with
   * the real last id, then the end once all streams are done (RFC 9113 6.8). A client only stops opening streams.
   */
  drain(debugData: string): void {
    if (this.closed || this.#drainBegun) return;
    this.#drainBegun = true;
    this.goingAway = true;
    if (this.role === 'client') {
      this.#sendGoAway(0, ErrorCode.noError, debugData);
      this.#closeWhenIdle();
      return;
    }
    this.#phase = 'draining';
    this.#drainDebugData = debugData;
    this.#sendGoAway(largestStreamId, ErrorCode.noError, debugData);
    this.#sendPing(PingKind.drain, 0);
    this.engine.wheel.arm(this.#phaseDeadline, this.engine.clock.now() + drainRoundTripMs);
  }

  /** Ends the connection at once: GOAWAY, what is written goes out, streams hear `onReset`. */
  goAway(code: number, debugData: string): void {
    this.#fail({ kind: 'local', code, message: debugData });
  }

  /** Ends the connection without a word. */
  destroy(error?: Error): void {
    this.#finish({ kind: 'local', code: ErrorCode.cancel, message: error?.message ?? 'closed here' });
  }

  // ---- for streams ----

  sendHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    stream.headersSent = true;
    this.#writeHeaders(stream, block, endStream);
    if (endStream) this.#localEnd(stream);
  }

  sendData(stream: Stream, bytes: Uint8Array, start: number, end: number, endStream: boolean): number {
    if (endStream) stream.localEnded = true;
    const sent = this.#sender.send(stream, bytes, start, end, endStream);
    if (endStream && stream.queuedBytes === 0) this.onDataSent(stream);
    return sent;
  }

  sendTrailers(stream: Stream, block: HeaderBlock): void {
    stream.localEnded = true;
    if (stream.queuedBytes === 0) {
      this.#writeHeaders(stream, block, true);
      this.#localEnd(stream);
      return;
    }
    const kept = this.engine.takeBlock();
    kept.copyFrom(block);
    stream.pendingTrailers = kept;
  }

  /** DataSender: all DATA of the stream is out, and END_STREAM with it unless trailers wait. */
  onDataSent(stream: Stream): void {
    const trailers = stream.pendingTrailers;
    if (trailers !== undefined) {
      stream.pendingTrailers = undefined;
      this.#writeHeaders(stream, trailers, true);
      this.engine.returnBlock(trailers);
    }
    if (stream.localEnded) this.#localEnd(stream);
  }

  #writeHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.#writer.headers(stream.id, block, endStream);
    this.#output.headerBlocks++;
  }

  resetStream(stream: Stream, code: number): void {
    this.#receiving.release(stream);
    this.#dropStream(stream);
    this.#sendReset(stream.id, code);
    this.#settle();
  }

  consume(stream: Stream, bytes: number): void {
    this.#receiving.consume(stream, bytes);
  }

  // ---- input ----

  /** Bytes from the socket. They are valid during the call only, so a reader may reuse its buffer. */
  readonly receive = (bytes: Uint8Array): void => {
    if (this.closed) return;
    this.engine.tick();
    let at = 0;
    if (!this.#preface.complete) {
      const read = this.#preface.read(bytes);
      if (typeof read !== 'number') {
        this.#refuseForeign(read);
        return;
      }
      at = read;
      this.#sendPreface();
    }
    this.#reader.read(bytes, at, bytes.length);
  };

  onFramingError(code: number, message: string): void {
    this.#protocolError(code, this.ready ? message : `${message}; is the peer an HTTP/2 server?`);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (!this.ready && (type !== FrameType.settings || (flags & Flag.ack) !== 0)) {
      this.#protocolError(ErrorCode.protocolError, 'the first frame must be SETTINGS (RFC 9113 3.4)');
      return;
    }
    if (this.#assembly.awaitedStreamId !== 0 && (type !== FrameType.continuation || streamId !== this.#assembly.awaitedStreamId)) {
      this.#protocolError(ErrorCode.protocolError, 'a header block was interrupted by another frame (RFC 9113 6.10)');
      return;
    }
    switch (type) {
      case FrameType.headers:
        this.#assembly.headers(flags, streamId, bytes, start, end);
        break;
      case FrameType.priority:
        this.#onPriority(streamId, bytes, start, end);
        break;
      case FrameType.rstStream:
        this.#onRstStream(streamId, bytes, start, end);
        break;
      case FrameType.settings:
        this.#onSettings(flags, streamId, bytes, start, end);
        break;
      case FrameType.pushPromise:
        this.#protocolError(ErrorCode.protocolError, 'PUSH_PROMISE was not allowed (RFC 9113 8.4)');
        break;
      case FrameType.ping:
        this.#onPing(flags, streamId, bytes, start, end);
        break;
      case FrameType.goAway:
        this.#onGoAway(streamId, bytes, start, end);
        break;
      case FrameType.windowUpdate:
        this.#onWindowUpdate(streamId, bytes, start, end);
        break;
      case FrameType.continuation:
        this.#assembly.continuation(flags, streamId, bytes, start, end);
        break;
      default: // Unknown types are ignored (RFC 9113 4.1).
    }
  }

  onDataFrame(streamId: number, flags: number, length: number, padding: number): void {
    this.#dataStream = undefined;
    if (!this.ready || this.#assembly.awaitedStreamId !== 0) {
      this.#protocolError(ErrorCode.protocolError, 'DATA where it may not stand (RFC 9113 3.4, 6.10)');
      return;
    }
    if (streamId === 0) {
      this.#protocolError(ErrorCode.protocolError, 'DATA on stream 0 (RFC 9113 6.1)');
      return;
    }
    if (!this.#receiving.receive(length)) {
      this.#protocolError(ErrorCode.flowControlError, "DATA beyond the connection's window (RFC 9113 6.9)");
      return;
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if (length - padding > 0 || endStream) this.#budgets.consecutiveEmptyFrames = 0;
    else if (++this.#budgets.consecutiveEmptyFrames > this.options.maxConsecutiveEmptyFrames) {
      this.counters.inboundEmptyFramesFlood++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many empty DATA frames in a row');
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#onFrameForClosedStream(streamId, 'DATA');
      return;
    }
    if (stream.remoteEnded) {
      this.#streamError(stream, ErrorCode.streamClosed, 'DATA after the end of the stream (RFC 9113 5.1)');
      return;
    }
    if (!stream.headersReceived) {
      this.#streamError(stream, ErrorCode.protocolError, 'DATA before HEADERS (RFC 9113 8.1)');
      return;
    }
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      this.#streamError(stream, ErrorCode.flowControlError, "DATA beyond the stream's window (RFC 9113 6.9)");
      return;
    }
    if (stream.expectedBytes >= 0) {
      stream.expectedBytes -= length - padding;
      if (stream.expectedBytes < 0 || (endStream && stream.expectedBytes !== 0)) {
        this.#streamError(stream, ErrorCode.protocolError, 'DATA differs from content-length (RFC 9113 8.1.1)');
        return;
      }
    }
    // Padding is never forwarded, so its credit goes back at once.
    if (padding > 0) this.#receiving.refund(stream, padding);
    this.#dataStream = stream;
    this.#dataEndsStream = endStream;
  }

  onDataPiece(bytes: Uint8Array, start: number, end: number, last: boolean): void {
    const stream = this.#dataStream;
    if (stream === undefined || stream.closed) return;
    const endStream = last && this.#dataEndsStream;
    if (start === end && !endStream) return;
    const length = end - start;
    this.#receiving.hold(stream, length);
    if (endStream) stream.remoteEnded = true;
    stream.handler.onData(stream, bytes, start, end, endStream);
    if (endStream) this.#remoteEnd(stream);
  }

  // ---- frames ----

  #refuseForeign({ answer }: ForeignGreeting): void {
    if (answer !== undefined) {
      // Nothing of HTTP/2 may stand behind it.
      this.#output.close();
      this.socket.write(answer);
    }
    this.#protocolError(ErrorCode.protocolError, 'the client did not begin with the HTTP/2 preface (RFC 9113 3.4)');
  }

  /** HeaderAssembly. */
  onHeaderFramingError(code: number, message: string): void {
    this.#protocolError(code, message);
  }

  /** HeaderAssembly: a whole block, not yet decoded. */
  onHeaderBlock(streamId: number, bytes: Uint8Array, start: number, end: number, endStream: boolean, selfDependent: boolean): void {
    const { maxHeaderFields, maxHeaderListBytes } = this.options;
    this.#budgets.consecutiveEmptyFrames = 0;
    const block = this.#block;
    block.reset();
    const problem = this.#decoder.decode(bytes, start, end, block, maxHeaderFields, maxHeaderListBytes);
    if (problem !== HpackProblem.none) {
      this.#protocolError(ErrorCode.compressionError, 'a header block could not be decoded (RFC 7541)');
      return;
    }
    if (block.overflowed) {
      this.counters.headerOverflow++;
      if (block.listSizeBytes > 2 * maxHeaderListBytes || block.fieldCount > 2 * maxHeaderFields) {
        this.#protocolError(ErrorCode.enhanceYourCalm, `headers of ${block.listSizeBytes} bytes, ${maxHeaderListBytes} are allowed`);
        return;
      }
    }
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      if (selfDependent) this.#streamError(stream, ErrorCode.protocolError, 'a stream depends on itself (RFC 7540 5.3.1)');
      else if (stream.remoteEnded) this.#streamError(stream, ErrorCode.streamClosed, 'HEADERS after the end of the stream (RFC 9113 5.1)');
      else if (stream.headersReceived) this.#onTrailers(stream, block, endStream);
      else this.#onResponse(stream, block, endStream);
      return;
    }
    if (this.role === 'client') {
      if (streamId >= this.#ids.nextOwn) this.#protocolError(ErrorCode.protocolError, 'HEADERS on a stream that was never opened');
      return;
    }
    if (streamId <= this.#ids.lastOfPeer) {
      if (!this.#ids.wasReset(streamId)) this.#protocolError(ErrorCode.streamClosed, 'HEADERS on a closed stream (RFC 9113 5.1)');
      return;
    }
    this.#onNewRequest(streamId, block, endStream, selfDependent);
  }

  #onNewRequest(streamId: number, block: HeaderBlock, endStream: boolean, selfDependent: boolean): void {
    if (this.#ids.isBeyondGoAway(streamId)) return;
    // A client has no more answers unread than streams open, two header blocks each; one that never reads must not fill the memory.
    if (this.#output.headerBlocksInFlight > 4 * this.options.maxConcurrentStreams) {
      this.counters.outboundFlood++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many answers wait for a client that does not read');
      return;
    }
    this.#ids.lastOfPeer = streamId;
    this.#budgets.streamsOpened++;
    if (this.#phase === 'first-request') {
      this.#phase = 'open';
      this.engine.wheel.cancel(this.#phaseDeadline);
    }
    if (this.#streams.size >= this.options.maxConcurrentStreams) {
      this.#refuse(streamId, ErrorCode.refusedStream);
      return;
    }
    const problem = selfDependent ? 'a stream depends on itself (RFC 7540 5.3.1)' : requestProblem(block);
    if (problem !== undefined) {
      this.counters.rxMessagingError++;
      this.#refuse(streamId, ErrorCode.protocolError);
      return;
    }
    const expectedBytes = contentLengthOf(block);
    if (endStream && expectedBytes > 0) {
      this.counters.rxMessagingError++;
      this.#refuse(streamId, ErrorCode.protocolError);
      return;
    }
    const stream = this.#addStream(streamId, unowned);
    stream.headersReceived = true;
    stream.expectedBytes = expectedBytes;
    stream.remoteEnded = endStream;
    this.#handler.onRequest(this, stream, block, endStream);
    if (endStream) this.#remoteEnd(stream);
  }

  #onResponse(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    const problem = block.overflowed ? 'response headers are too large' : responseProblem(block);
    if (problem !== undefined) {
      this.#streamError(stream, ErrorCode.protocolError, problem);
      return;
    }
    const status = statusOf(block);
    if (status < 200) {
      // 1xx: consumed here; gRPC has no use for them (RFC 9113 8.1). 101 does not exist in HTTP/2.
      if (endStream || status === 101) this.#streamError(stream, ErrorCode.protocolError, 'an informational response that ends the stream');
      else if (++this.#budgets.consecutiveInformational > mostInformational * this.#streams.size) {
        this.counters.inboundEmptyFramesFlood++;
        this.#protocolError(ErrorCode.enhanceYourCalm, 'too many informational responses');
      }
      return;
    }
    this.#budgets.consecutiveInformational = 0;
    stream.headersReceived = true;
    // With 304 it is the length of what was not sent (RFC 9110 8.6).
    stream.expectedBytes = status === 304 ? -1 : contentLengthOf(block);
    if (endStream && stream.expectedBytes > 0) {
      this.#streamError(stream, ErrorCode.protocolError, 'DATA differs from content-length (RFC 9113 8.1.1)');
      return;
    }
    stream.remoteEnded = endStream;
    stream.handler.onHeaders(stream, block, endStream);
    if (endStream) this.#remoteEnd(stream);
  }

  #onTrailers(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.counters.trailers++;
    let problem = endStream ? trailersProblem(block) : 'trailers that do not end the stream (RFC 9113 8.1)';
    if (problem === undefined && stream.expectedBytes > 0) problem = 'DATA differs from content-length (RFC 9113 8.1.1)';
    if (problem === undefined && block.overflowed) problem = 'trailers are too large';
    if (problem !== undefined) {
      this.#streamError(stream, ErrorCode.protocolError, problem);
      return;
    }
    stream.remoteEnded = true;
    stream.handler.onTrailers(stream, block);
    this.#remoteEnd(stream);
  }

  #onPriority(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId === 0) this.#protocolError(ErrorCode.protocolError, 'PRIORITY on stream 0 (RFC 9113 6.3)');
    else if (end - start !== 5) this.#streamErrorById(streamId, ErrorCode.frameSizeError, 'PRIORITY must have 5 bytes (RFC 9113 6.3)');
    else if (readUint31(bytes, start) === streamId) {
      this.#streamErrorById(streamId, ErrorCode.protocolError, 'a stream depends on itself (RFC 7540 5.3.1)');
    } else if (++this.#budgets.priorityFrames > this.options.maxPriorityFramesPerStream * (1 + this.#budgets.streamsOpened)) {
      this.counters.inboundPriorityFramesFlood++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many PRIORITY frames');
    }
  }

  #onRstStream(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start !== 4) {
      this.#protocolError(ErrorCode.frameSizeError, 'RST_STREAM must have 4 bytes (RFC 9113 6.4)');
      return;
    }
    if (this.#ids.isIdle(streamId)) {
      this.#protocolError(ErrorCode.protocolError, 'RST_STREAM on an idle stream (RFC 9113 6.4)');
      return;
    }
    this.counters.rxReset++;
    const stream = this.#streams.get(streamId);
    const code = readUint32(bytes, start);
    const nowMs = this.engine.clock.now();
    // An honest caller gives up late, or at its own deadline, which the owner has told us.
    const hasty = stream !== undefined && nowMs - stream.openedAtMs < Math.min(stream.patienceMs, hastyResetMs);
    if (stream !== undefined) {
      this.#receiving.release(stream);
      this.#dropStream(stream);
      // A server that has answered in full may reset what is left of the request: that is no failure of the answer (RFC 9113 8.1).
      const answered = this.role === 'client' && stream.remoteEnded && code === ErrorCode.noError;
      if (!answered) stream.handler.onReset(stream, code, code === ErrorCode.refusedStream);
    } else if (this.#ids.isBeyondGoAway(streamId) || this.#ids.wasReset(streamId)) {
      // Many clients reset a stream whose answer came before their request was complete: that is our doing.
      return;
    }
    if (this.role === 'server' && !this.#peerResets.take(hasty ? 1 : 0.25, nowMs)) {
      this.counters.rapidReset++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many streams were reset (rapid reset)');
    }
    if (stream !== undefined) this.#settle();
  }

  #onSettings(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const isAck = (flags & Flag.ack) !== 0;
    const wrong = settingsFrameProblem(streamId, isAck, length);
    if (wrong !== undefined) {
      this.#protocolError(wrong.code, wrong.message);
      return;
    }
    if (isAck) {
      this.#onSettingsAck();
      return;
    }
    if (length > 6 * this.options.maxSettingsEntries) {
      this.counters.settingsFlood++;
      this.#protocolError(ErrorCode.enhanceYourCalm, `more than ${this.options.maxSettingsEntries} SETTINGS entries`);
      return;
    }
    const initialWindow = this.#peerInitialWindow;
    for (let at = start; at < end && !this.closed; at += 6) {
      this.#applySetting(((bytes[at] as number) << 8) | (bytes[at + 1] as number), readUint32(bytes, at + 2));
    }
    if (this.closed || !this.#admitControlFrame()) return;
    // Before anything that relies on them: the peer goes by its new values from the acknowledgement on.
    this.#writer.settingsAck();
    if (!this.ready) {
      this.ready = true;
      this.#onFirstSettings();
      this.#handler.onReady(this);
    } else if (this.role === 'client') this.#handler.onCapacity(this);
    if (this.#peerInitialWindow > initialWindow) {
      for (const stream of this.#streams.snapshot()) this.#sender.onStreamCredit(stream);
    }
    this.#sender.pump();
  }

  /** A drain that has begun meanwhile keeps its own deadline. */
  #onFirstSettings(): void {
    if (this.#phase !== 'preface') return;
    this.#phase = this.role === 'server' ? 'first-request' : 'open';
    if (this.role === 'server') this.engine.wheel.arm(this.#phaseDeadline, this.engine.clock.now() + this.options.firstRequestTimeoutMs);
    else this.engine.wheel.cancel(this.#phaseDeadline);
  }

  #onSettingsAck(): void {
    if (this.#settingsKnown) return;
    this.#settingsKnown = true;
    this.#decoder.setMaxTableBytes(this.options.headerTableBytes);
  }

  #applySetting(id: number, value: number): void {
    const wrong = settingProblem(id, value, this.role);
    if (wrong !== undefined) this.#protocolError(wrong.code, wrong.message);
    else if (id === SettingId.headerTableSize) this.#writer.setPeerMaxTableBytes(value);
    else if (id === SettingId.maxConcurrentStreams) this.peerMaxConcurrentStreams = value;
    else if (id === SettingId.initialWindowSize) this.#onPeerInitialWindow(value);
    else if (id === SettingId.maxHeaderListSize) this.peerMaxHeaderListBytes = value;
    // Our frames never exceed the smallest maximum there is, and unknown settings are ignored (RFC 9113 6.5.2).
  }

  #onPeerInitialWindow(value: number): void {
    const delta = value - this.#peerInitialWindow;
    this.#peerInitialWindow = value;
    for (const stream of this.#streams.snapshot()) {
      if (stream.sendWindow + delta > largestWindowBytes) {
        this.#protocolError(ErrorCode.flowControlError, "SETTINGS overflow a stream's window (RFC 9113 6.9.2)");
        return;
      }
      stream.sendWindow += delta;
    }
  }

  #onPing(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId !== 0) {
      this.#protocolError(ErrorCode.protocolError, 'PING on a stream (RFC 9113 6.7)');
      return;
    }
    if (end - start !== pingBytes) {
      this.#protocolError(ErrorCode.frameSizeError, 'PING must have 8 bytes (RFC 9113 6.7)');
      return;
    }
    if ((flags & Flag.ack) !== 0) {
      this.#onPingAck(bytes[start] as number, readUint32(bytes, start + 4));
      return;
    }
    if (this.#admitControlFrame()) this.#writer.pingAck(bytes, start);
  }

  #onPingAck(kind: number, sequence: number): void {
    if (kind === PingKind.owner && sequence === this.#pingSequence) {
      const onAck = this.#ownerPing;
      this.#ownerPing = undefined;
      onAck?.(this.engine.clock.now() - this.#pingSentAtMs);
    } else if (kind === PingKind.bandwidth) this.#receiving.onRoundTrip();
    else if (kind === PingKind.drain && this.#phase === 'draining') this.#finishDrain();
  }

  #onGoAway(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId !== 0) {
      this.#protocolError(ErrorCode.protocolError, 'GOAWAY on a stream (RFC 9113 6.8)');
      return;
    }
    if (end - start < 8) {
      this.#protocolError(ErrorCode.frameSizeError, 'GOAWAY must have 8 bytes at least (RFC 9113 6.8)');
      return;
    }
    this.counters.goAwayReceived++;
    const lastStreamId = readUint31(bytes, start);
    const code = readUint32(bytes, start + 4);
    const debugData = Buffer.from(bytes.subarray(start + 8, Math.min(end, start + 8 + 256))).toString('latin1');
    this.goingAway = true;
    this.#handler.onGoAway(this, lastStreamId, code, debugData);
    if (this.role === 'client') {
      for (const stream of this.#streams.snapshot()) {
        if (stream.id <= lastStreamId || stream.closed) continue;
        this.#receiving.release(stream);
        this.#dropStream(stream);
        stream.handler.onReset(stream, ErrorCode.refusedStream, true);
      }
    }
    this.#closeWhenIdle();
  }

  #onWindowUpdate(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start !== 4) {
      this.#protocolError(ErrorCode.frameSizeError, 'WINDOW_UPDATE must have 4 bytes (RFC 9113 6.9)');
      return;
    }
    this.#budgets.windowUpdates++;
    this.#budgets.dataFramesSent = this.#sender.framesSent;
    if (this.#budgets.tooManyWindowUpdates) {
      this.counters.inboundWindowUpdateFramesFlood++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many WINDOW_UPDATE frames');
      return;
    }
    const increment = readUint31(bytes, start);
    if (streamId === 0) {
      if (increment === 0) this.#protocolError(ErrorCode.protocolError, 'WINDOW_UPDATE of 0 (RFC 9113 6.9)');
      else if (!this.#sender.grow(increment))
        this.#protocolError(ErrorCode.flowControlError, "the connection's window overflows (RFC 9113 6.9.1)");
      else this.#sender.pump();
      return;
    }
    if (this.#ids.isIdle(streamId)) {
      this.#protocolError(ErrorCode.protocolError, 'WINDOW_UPDATE on an idle stream (RFC 9113 5.1)');
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (increment === 0) this.#streamError(stream, ErrorCode.protocolError, 'WINDOW_UPDATE of 0 (RFC 9113 6.9)');
    else if (stream.sendWindow + increment > largestWindowBytes) {
      this.#streamError(stream, ErrorCode.flowControlError, "the stream's window overflows (RFC 9113 6.9.1)");
    } else {
      stream.sendWindow += increment;
      this.#sender.onStreamCredit(stream);
    }
  }

  // ---- streams ----

  #addStream(id: number, handler: StreamHandler): Stream {
    const { streamWindowBytes } = this.#receiving;
    const receiveWindow = this.#settingsKnown ? streamWindowBytes : Math.max(streamWindowBytes, defaultWindowBytes);
    const stream = new Stream(this, id, handler, this.#peerInitialWindow, receiveWindow, this.engine.nowMs);
    this.#streams.add(stream);
    this.counters.streamsTotal++;
    this.counters.streamsActive++;
    return stream;
  }

  /** END_STREAM of ours is written. */
  #localEnd(stream: Stream): void {
    stream.localEnded = true;
    stream.endSent = true;
    if (stream.remoteEnded) this.#closeStream(stream);
    // RFC 9113 8.1: an answer that is complete before its request. NO_ERROR keeps the client from taking it for a failure.
    else if (this.role === 'server' && !stream.closed) this.resetStream(stream, ErrorCode.noError);
  }

  #remoteEnd(stream: Stream): void {
    if (stream.endSent) this.#closeStream(stream);
  }

  #closeStream(stream: Stream): void {
    if (stream.closed) return;
    this.#dropStream(stream);
    this.#settle();
  }

  /** What follows when a stream has gone, after its owner has heard of it: the connection's owner hears of the end of it last. */
  #settle(): void {
    if (this.goingAway) this.#closeWhenIdle();
    else if (this.role === 'client' && !this.closed) this.#handler.onCapacity(this);
  }

  /** The one place where a stream becomes closed. `#settle` follows. */
  #dropStream(stream: Stream): void {
    stream.closed = true;
    this.#streams.delete(stream.id);
    this.counters.streamsActive--;
    this.#sender.forget(stream);
    if (stream.pendingTrailers !== undefined) {
      this.engine.returnBlock(stream.pendingTrailers);
      stream.pendingTrailers = undefined;
    }
  }

  /** The peer broke a rule of one stream. */
  #streamError(stream: Stream, code: number, message: string): void {
    this.counters.rxMessagingError++;
    stream.problem = message;
    this.#receiving.release(stream);
    this.#dropStream(stream);
    stream.handler.onReset(stream, code, false);
    this.#refuse(stream.id, code);
    this.#settle();
  }

  #streamErrorById(streamId: number, code: number, message: string): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) this.#streamError(stream, code, message);
    else if (this.#ids.isIdle(streamId)) this.#protocolError(code, message);
    else this.#refuse(streamId, code);
  }

  #onFrameForClosedStream(streamId: number, frame: string): void {
    if (this.#ids.isIdle(streamId)) this.#protocolError(ErrorCode.protocolError, `${frame} on an idle stream (RFC 9113 5.1)`);
    else if (this.role === 'server' && !this.#ids.isBeyondGoAway(streamId) && !this.#ids.wasReset(streamId)) {
      this.#refuse(streamId, ErrorCode.streamClosed);
    }
  }

  /** A reset that the peer made us send: it has a budget of its own, since it costs as much as the peer's own resets. */
  #refuse(streamId: number, code: number): void {
    this.#sendReset(streamId, code);
    if (this.role === 'server' && !this.#ownResets.take(1, this.engine.clock.now())) {
      this.counters.rapidReset++;
      this.#protocolError(ErrorCode.enhanceYourCalm, 'too many streams had to be reset');
    }
  }

  // ---- output ----

  /**
   * Ours (RFC 9113 3.4). A server waits with it for the client's first bytes, which come unasked, so that a client of another protocol
   * can be answered in its own.
   */
  #sendPreface(): void {
    if (this.#prefaceSent) return;
    this.#prefaceSent = true;
    const { options } = this;
    const settings: [number, number][] = [
      [SettingId.headerTableSize, options.headerTableBytes],
      [SettingId.initialWindowSize, options.initialStreamWindowBytes],
      [SettingId.maxHeaderListSize, options.maxHeaderListBytes],
    ];
    if (this.role === 'client') settings.push([SettingId.enablePush, 0]);
    else settings.push([SettingId.maxConcurrentStreams, options.maxConcurrentStreams]);
    if (this.role === 'client') this.#writer.raw(clientPreface);
    this.#writer.settings(settings);
    this.#receiving.announce();
  }

  #sendReset(streamId: number, code: number): void {
    this.counters.txReset++;
    this.#ids.rememberReset(streamId);
    if (this.#admitControlFrame()) this.#writer.rstStream(streamId, code);
  }

  /** Acknowledgements and resets queue up while the peer does not read: beyond a bound it is an attack (CVE-2019-9512, -9515). */
  #admitControlFrame(): boolean {
    if (this.closed) return false;
    this.#output.controlFrames++;
    if (this.#output.controlFramesInFlight <= this.options.maxQueuedControlFrames) return true;
    this.counters.outboundControlFlood++;
    this.#protocolError(ErrorCode.enhanceYourCalm, 'too many control frames wait for a peer that does not read');
    return false;
  }

  #sendPing(kind: number, sequence: number): void {
    this.#sendPreface();
    this.#writer.ping(kind << 24, sequence);
  }

  #sendGoAway(lastStreamId: number, code: number, debugData: string): void {
    this.#sendPreface();
    this.counters.goAwaySent++;
    this.#writer.goAway(lastStreamId, code, debugData);
  }

  readonly #onWritten = (): void => {
    if (this.closed || this.#sender.pendingBytes === 0) return;
    this.engine.tick();
    this.#sender.pump();
  };

  /** ReceiveWindow: times one round trip. */
  measureRoundTrip(): void {
    this.#sendPing(PingKind.bandwidth, 0);
  }

  openStreams(): Iterable<Stream> {
    return this.#streams.snapshot();
  }

  // ---- the end ----

  /** The timer wheel's: what the present phase waited for has not come. */
  onPhaseDeadline(): void {
    switch (this.#phase) {
      case 'preface':
        this.counters.prefaceTimeout++;
        this.#fail({ kind: 'timeout', code: ErrorCode.settingsTimeout, message: 'the preface and first SETTINGS did not come in time' });
        break;
      case 'first-request':
        this.#fail({ kind: 'timeout', code: ErrorCode.noError, message: 'no request came in time' });
        break;
      case 'draining':
        this.#finishDrain();
        break;
      case 'closing':
        this.socket.destroy();
        break;
      default:
    }
  }

  #finishDrain(): void {
    this.engine.wheel.cancel(this.#phaseDeadline);
    this.#phase = 'open';
    this.#ids.sealed = true;
    this.#sendGoAway(this.#ids.lastOfPeer, ErrorCode.noError, this.#drainDebugData);
    this.#closeWhenIdle();
  }

  #closeWhenIdle(): void {
    if (this.closed || this.#streams.size > 0) return;
    // A server between its two GOAWAYs still awaits streams that are on their way.
    if (this.role === 'server' && this.goingAway && !this.#ids.sealed && this.#phase === 'draining') return;
    this.#end({ kind: 'local', code: ErrorCode.noError, message: 'drained' });
  }

  #protocolError(code: number, message: string): void {
    this.#fail({ kind: 'protocol', code, message: `${errorCodeName(code)}: ${message}` });
  }

  /** Says GOAWAY and ends. */
  #fail(cause: ConnectionCloseCause): void {
    if (this.closed) return;
    this.#sendGoAway(this.#ids.lastOfPeer, cause.code, cause.message);
    this.#end(cause);
  }

  /** What is written goes out; the socket has a moment to take it. */
  #end(cause: ConnectionCloseCause): void {
    if (this.closed) return;
    this.#output.flush();
    this.#phase = 'closing';
    this.engine.wheel.arm(this.#phaseDeadline, this.engine.clock.now() + closeGraceMs);
    this.#closed(cause);
    this.socket.end();
  }

  #finish(cause: ConnectionCloseCause): void {
    if (!this.closed) this.#closed(cause);
    this.engine.wheel.cancel(this.#phaseDeadline);
    this.socket.destroy();
  }

  /** The one place where the connection becomes closed. */
  #closed(cause: ConnectionCloseCause): void {
    this.closed = true;
    this.goingAway = true;
    this.#closeCause = cause;
    this.#output.close();
    // Not returned: this may happen within the callback that reads it.
    this.engine.forgetBlock();
    this.counters.connectionsActive--;
    this.#ownerPing = undefined;
    for (const stream of this.#streams.snapshot()) {
      // Its owner may have ended it on hearing of another one.
      if (stream.closed) continue;
      this.#receiving.release(stream);
      this.#dropStream(stream);
      stream.connectionLost = true;
      stream.problem = cause.message;
      stream.handler.onReset(stream, cause.code, false);
    }
    this.#handler.onClose(this, cause);
  }

  /** Why it was closed; `undefined` while it lives. */
  get closeCause(): ConnectionCloseCause | undefined {
    return this.#closeCause;
  }

  readonly #onSocketError = (error: Error): void => {
    this.engine.tick();
    this.#finish({ kind: 'error', code: ErrorCode.connectError, message: error.message });
  };

  readonly #onSocketEnd = (): void => {
    this.engine.tick();
    const message = this.ready ? 'the peer closed the connection' : 'the peer closed the connection before it said anything';
    this.#finish({ kind: 'peer', code: ErrorCode.cancel, message });
  };
}

/** A stream between its birth and the moment when the owner's `onRequest` has given it a handler. */
const unowned: StreamHandler = { onHeaders() {}, onData() {}, onTrailers() {}, onReset() {}, onSent() {} };
