import type { FrameBudgets } from './abuse-limits.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ConnectionLife } from './connection-life.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { Http2Counters } from './counters.ts';
import type { Engine } from './engine.ts';
import { defaultTableBytes, ErrorCode, Flag } from './frames.ts';
import { HeaderAssembly } from './header-assembly.ts';
import type { HeaderBlock } from './header-block.ts';
import { HpackDecoder, HpackProblem } from './hpack/decoder.ts';
import { contentLengthOf, requestProblem, responseProblem, statusOf, trailersProblem } from './message-rules.ts';
import type { Http2Options } from './options.ts';
import type { Output } from './output.ts';
import type { ReceiveWindow } from './receive-window.ts';
import { RequestRefusals } from './request-refusals.ts';
import type { RequestShedding } from './request-shedding.ts';
import type { Stream, StreamHandler } from './stream.ts';

/** Informational responses in a row, for each stream that is open. */
const mostInformational = 16;

/**
 * The receiving half of all streams: header blocks become requests, responses and trailers, DATA goes to its stream piece by piece. A
 * malformed message (RFC 9113 8.1) ends here, before its owner has heard of it.
 */
export class MessageReceiver {
  readonly options: Http2Options;
  readonly counters: Http2Counters;
  readonly engine: Engine;
  readonly assembly: HeaderAssembly;
  readonly decoder: HpackDecoder;
  readonly #connection: Connection;
  readonly #handler: ConnectionHandler;
  readonly #life: ConnectionLife;
  readonly #streams: ConnectionStreams;
  readonly #receiving: ReceiveWindow;
  readonly #budgets: FrameBudgets;
  readonly #output: Output;
  readonly #shedding: RequestShedding;
  readonly #refusals: RequestRefusals | undefined;
  #block: HeaderBlock;

  /** The DATA frame whose pieces come in. */
  #dataStream: Stream | undefined;
  #dataEndsStream = false;

  constructor(parts: ConnectionParts) {
    const { counters, engine, options } = parts.connection;
    this.options = options;
    this.counters = counters;
    this.engine = engine;
    this.assembly = new HeaderAssembly(this);
    this.decoder = new HpackDecoder(Math.max(options.headerTableBytes, defaultTableBytes));
    this.#connection = parts.connection;
    this.#handler = parts.handler;
    this.#life = parts.life;
    this.#streams = parts.streams;
    this.#receiving = parts.receiving;
    this.#budgets = parts.budgets;
    this.#output = parts.output;
    this.#block = engine.takeBlock();
    this.#shedding = parts.shedding;
    const { shedding } = parts.handler;
    this.#refusals = shedding === undefined ? undefined : new RequestRefusals(parts, shedding);
  }

  /** `Connection.keepBlock`. */
  keepBlock(): HeaderBlock {
    const kept = this.#block;
    this.#block = this.#connection.engine.takeBlock();
    return kept;
  }

  // ---- header blocks ----

  /** HeaderAssembly. */
  protocolError(code: number, message: string): void {
    this.#connection.protocolError(code, message);
  }

  /** HeaderAssembly: a whole block, not yet decoded. */
  onHeaderBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean, selfDependent: boolean): void {
    this.#budgets.consecutiveEmptyFrames = 0;
    if (this.#shedding.active && this.#refusals?.mayRefuse(streamId) && !this.#shedding.admits()) {
      this.#refuse(streamId, bytes, start, end, endStream, selfDependent, this.#refusals);
      return;
    }
    // Also where the stream is gone: the table must stay right.
    const block = this.#decode(bytes, start, end);
    if (block === undefined) return;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      if (selfDependent) this.#streams.fail(stream, ErrorCode.protocolError, 'a stream depends on itself (RFC 7540 5.3.1)');
      else if (stream.remoteEnded) this.#streams.fail(stream, ErrorCode.streamClosed, 'HEADERS after the end of the stream (RFC 9113 5.1)');
      else if (stream.headersReceived) this.#onTrailers(stream, block, endStream);
      else this.#onResponse(stream, block, endStream);
      return;
    }
    const { ids } = this.#streams;
    if (this.#connection.role === 'client') {
      if (streamId >= ids.nextOwn) this.#connection.protocolError(ErrorCode.protocolError, 'HEADERS on a stream that was never opened');
      return;
    }
    if (streamId <= ids.lastOfPeer) {
      if (this.#refusals?.onRest(streamId, endStream)) return;
      if (!ids.wasReset(streamId)) this.#connection.protocolError(ErrorCode.streamClosed, 'HEADERS on a closed stream (RFC 9113 5.1)');
      return;
    }
    this.#onNewRequest(streamId, block, endStream, selfDependent);
  }

  /** A request too many. Its block is read as any other is, for the sake of the table: by code that is compiled already when there is no time for that. */
  #refuse(
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    selfDependent: boolean,
    refusals: RequestRefusals,
  ): void {
    const { owner } = refusals;
    const block = this.#decode(bytes, start, end);
    if (block === undefined) return;
    if (owner.looksAtHeaders && owner.spares(block)) this.#onNewRequest(streamId, block, endStream, selfDependent);
    else if (this.#beginRequest(streamId)) refusals.refuse(streamId, endStream);
  }

  /** Returns `undefined` where the connection has ended by it. */
  #decode(bytes: Buffer, start: number, end: number): HeaderBlock | undefined {
    const { maxHeaderFields, maxHeaderListBytes } = this.options;
    const block = this.#block;
    block.reset();
    const problem = this.decoder.decode(bytes, start, end, block, maxHeaderFields, maxHeaderListBytes);
    if (problem !== HpackProblem.none) {
      this.#connection.protocolError(ErrorCode.compressionError, 'a header block could not be decoded (RFC 7541)');
      return undefined;
    }
    if (!block.overflowed) return block;
    this.counters.headerOverflow++;
    if (block.listSizeBytes <= 2 * maxHeaderListBytes && block.fieldCount <= 2 * maxHeaderFields) return block;
    this.#connection.protocolError(ErrorCode.enhanceYourCalm, this.#tooLarge('headers', block));
    return undefined;
  }

  #tooLarge(what: string, { fieldCount, listSizeBytes }: HeaderBlock): string {
    const { maxHeaderFields, maxHeaderListBytes } = this.options;
    return `${what} are too large: ${fieldCount} of ${listSizeBytes} bytes, ${maxHeaderFields} of ${maxHeaderListBytes} bytes are allowed`;
  }

  #onNewRequest(streamId: number, block: HeaderBlock, endStream: boolean, selfDependent: boolean): void {
    const { maxConcurrentStreams } = this.options;
    const { ids } = this.#streams;
    if (ids.isBeyondGoAway(streamId) || !this.#beginRequest(streamId)) return;
    if (this.#streams.size >= maxConcurrentStreams) {
      this.#streams.refuse(streamId, ErrorCode.refusedStream);
      return;
    }
    let problem = selfDependent ? 'a stream depends on itself (RFC 7540 5.3.1)' : undefined;
    // A block that is too large was not kept whole: what seems to be missing may have been there. Its owner refuses it as too large.
    if (problem === undefined && !block.overflowed) problem = requestProblem(block);
    const expectedBytes = contentLengthOf(block);
    if (problem !== undefined || (endStream && expectedBytes > 0)) {
      this.counters.rxMessagingError++;
      this.#streams.refuse(streamId, ErrorCode.protocolError);
      return;
    }
    const stream = this.#streams.add(streamId, unowned);
    stream.headersReceived = true;
    stream.expectedBytes = expectedBytes;
    stream.remoteEnded = endStream;
    this.#handler.onRequest(this.#connection, stream, block, endStream);
    if (endStream) this.#streams.onRemoteEnd(stream);
  }

  /** The peer has opened a stream, whatever becomes of it. False where the connection has ended by it. */
  #beginRequest(streamId: number): boolean {
    // A client has no more answers unread than streams open, two header blocks each; one that never reads must not fill the memory.
    if (this.#output.floods(this.#output.headerBlocksInFlight, 4 * this.options.maxConcurrentStreams)) {
      this.counters.outboundFlood++;
      this.#connection.protocolError(ErrorCode.enhanceYourCalm, 'too many answers wait for a client that does not read');
      return false;
    }
    this.#streams.ids.lastOfPeer = streamId;
    this.#budgets.streamsOpened++;
    this.#life.onRequest();
    return true;
  }

  #onResponse(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    const problem = block.overflowed ? this.#tooLarge('response headers', block) : responseProblem(block);
    if (problem !== undefined) {
      this.#streams.fail(stream, ErrorCode.protocolError, problem);
      return;
    }
    const status = statusOf(block);
    if (status < 200) {
      this.#onInformational(stream, status, endStream);
      return;
    }
    this.#budgets.consecutiveInformational = 0;
    stream.headersReceived = true;
    // With 304 it is the length of what was not sent (RFC 9110 8.6).
    stream.expectedBytes = status === 304 ? -1 : contentLengthOf(block);
    if (endStream && stream.expectedBytes > 0) {
      this.#streams.fail(stream, ErrorCode.protocolError, 'DATA differs from content-length (RFC 9113 8.1.1)');
      return;
    }
    stream.remoteEnded = endStream;
    stream.handler.onHeaders(stream, block, endStream);
    if (endStream) this.#streams.onRemoteEnd(stream);
  }

  /** 1xx: consumed here; gRPC has no use for them (RFC 9113 8.1). 101 does not exist in HTTP/2. */
  #onInformational(stream: Stream, status: number, endStream: boolean): void {
    if (endStream || status === 101) {
      this.#streams.fail(stream, ErrorCode.protocolError, 'an informational response that ends the stream');
    } else if (++this.#budgets.consecutiveInformational > mostInformational * this.#streams.size) {
      this.counters.inboundEmptyFramesFlood++;
      this.#connection.protocolError(ErrorCode.enhanceYourCalm, 'too many informational responses');
    }
  }

  #onTrailers(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.counters.trailers++;
    let problem = endStream ? trailersProblem(block) : 'trailers that do not end the stream (RFC 9113 8.1)';
    if (problem === undefined && stream.expectedBytes > 0) problem = 'DATA differs from content-length (RFC 9113 8.1.1)';
    if (problem === undefined && block.overflowed) problem = this.#tooLarge('trailers', block);
    if (problem !== undefined) {
      this.#streams.fail(stream, ErrorCode.protocolError, problem);
      return;
    }
    stream.remoteEnded = true;
    if (stream.closed) {
      this.#streams.onDiscardedEnd(stream);
      return;
    }
    stream.handler.onTrailers(stream, block);
    this.#streams.onRemoteEnd(stream);
  }

  // ---- DATA ----

  /** The header of a DATA frame. What is wrong with it leaves no stream behind, so that its pieces go nowhere. */
  onDataFrame(streamId: number, flags: number, length: number, padding: number): void {
    this.#dataStream = undefined;
    if (streamId === 0) {
      this.#connection.protocolError(ErrorCode.protocolError, 'DATA on stream 0 (RFC 9113 6.1)');
      return;
    }
    if (!this.#receiving.receive(length)) {
      this.#connection.protocolError(ErrorCode.flowControlError, "DATA beyond the connection's window (RFC 9113 6.9)");
      return;
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if (length - padding > 0 || endStream) this.#budgets.consecutiveEmptyFrames = 0;
    else if (++this.#budgets.consecutiveEmptyFrames > this.options.maxConsecutiveEmptyFrames) {
      this.counters.inboundEmptyFramesFlood++;
      this.#connection.protocolError(ErrorCode.enhanceYourCalm, 'too many empty DATA frames in a row');
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#refusals?.onRest(streamId, endStream)) return;
      this.#streams.onFrameForClosed(streamId, 'DATA');
      return;
    }
    if (!this.#admitData(stream, length, padding, endStream)) return;
    if (stream.closed) {
      this.#streams.onDiscardedData(stream, length, endStream);
      return;
    }
    // Padding is never forwarded, so its credit goes back at once.
    if (padding > 0) this.#receiving.refund(stream, padding);
    this.#dataStream = stream;
    this.#dataEndsStream = endStream;
  }

  #admitData(stream: Stream, length: number, padding: number, endStream: boolean): boolean {
    if (stream.remoteEnded) {
      this.#streams.fail(stream, ErrorCode.streamClosed, 'DATA after the end of the stream (RFC 9113 5.1)');
      return false;
    }
    if (!stream.headersReceived) {
      this.#streams.fail(stream, ErrorCode.protocolError, 'DATA before HEADERS (RFC 9113 8.1)');
      return false;
    }
    stream.receiveWindow -= length;
    // Below zero by our own SETTINGS it may still end the stream (RFC 9113 6.9.2).
    if (stream.receiveWindow < 0 && length > 0) {
      this.#streams.fail(stream, ErrorCode.flowControlError, "DATA beyond the stream's window (RFC 9113 6.9)");
      return false;
    }
    if (stream.expectedBytes >= 0) {
      stream.expectedBytes -= length - padding;
      if (stream.expectedBytes < 0 || (endStream && stream.expectedBytes !== 0)) {
        this.#streams.fail(stream, ErrorCode.protocolError, 'DATA differs from content-length (RFC 9113 8.1.1)');
        return false;
      }
    }
    return true;
  }

  onDataPiece(bytes: Buffer, start: number, end: number, last: boolean): void {
    const stream = this.#dataStream;
    if (stream === undefined || stream.closed) return;
    const endStream = last && this.#dataEndsStream;
    if (start === end && !endStream) return;
    this.#receiving.hold(stream, end - start);
    if (endStream) stream.remoteEnded = true;
    stream.handler.onData(stream, bytes, start, end, endStream);
    this.#receiving.settle();
    if (endStream) this.#streams.onRemoteEnd(stream);
  }
}

/** A stream between its birth and the moment when the owner's `onRequest` has given it a handler. */
const unowned: StreamHandler = { onHeaders() {}, onData() {}, onTrailers() {}, onReset() {}, onSent() {} };
