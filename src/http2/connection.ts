import type { Duplex } from 'node:stream';
import { FrameBudgets } from './abuse-limits.ts';
import { ConnectionInput } from './connection-input.ts';
import { type ConnectionCloseCause, ConnectionLife } from './connection-life.ts';
import type { ConnectionParts } from './connection-parts.ts';
import { ConnectionStreams } from './connection-streams.ts';
import { ControlReceiver } from './control-receiver.ts';
import { ControlSender } from './control-sender.ts';
import type { Http2Counters } from './counters.ts';
import type { Engine } from './engine.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameRouter } from './frame-router.ts';
import { FrameWriter } from './frame-writer.ts';
import { defaultFrameBytes, ErrorCode, largestStreamId, largestWindowBytes } from './frames.ts';
import type { HeaderBlock } from './header-block.ts';
import { MessageReceiver } from './message-receiver.ts';
import { MessageSender } from './message-sender.ts';
import type { Http2Options } from './options.ts';
import { Output } from './output.ts';
import { OwnPings, PingKind } from './own-pings.ts';
import { type ForeignGreeting, PrefaceReader } from './preface-reader.ts';
import { ReceiveWindow } from './receive-window.ts';
import { RequestShedding, type SheddingOwner } from './request-shedding.ts';
import { SettingsReceiver } from './settings-receiver.ts';
import { readInto } from './socket-input.ts';
import type { Stream, StreamHandler } from './stream.ts';

export type { ConnectionCloseCause } from './connection-life.ts';

/** What a connection tells its owner. All calls are synchronous and must not throw. */
export interface ConnectionHandler {
  /** The peer's first SETTINGS have arrived: a new upstream connection may be used from here on. */
  onReady(connection: Connection): void;
  /** Server role: a well-formed request; the callee sets `stream.handler`. `block` is valid during the call, or kept by `keepBlock`. */
  onRequest(connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean): void;
  /** Client role: `canOpen` may have become true, or a stream has ended. */
  onCapacity(connection: Connection): void;
  onGoAway(connection: Connection, lastStreamId: number, code: number, debugData: string): void;
  /** Server role: what becomes of requests for which there is no time; left out where all are served. */
  readonly shedding?: SheddingOwner;
  /** Exactly once, after every stream heard `onReset`. */
  onClose(connection: Connection, cause: ConnectionCloseCause): void;
}

/**
 * One HTTP/2 connection (RFC 9113) on one socket, as client or as server. What happens on a stream goes to the stream's handler, what
 * happens to the connection to `ConnectionHandler`.
 *
 * Whoever makes one hands over the socket: the connection reads it, writes it and ends it.
 *
 * Bytes go in by `receive`: `FrameReader` cuts them, `FrameRouter` hands each frame to `MessageReceiver`, `SettingsReceiver` or
 * `ControlReceiver`. Frames go out by `MessageSender` and `ControlSender` into `Output`. `ConnectionStreams` knows which streams there
 * are, `ConnectionLife` when the connection ends.
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
  /** Client role: streams below this id were opened when the peer still allowed more at once than it does now. */
  firstIdOfLimit = 1;
  /** Client role: the last stream that the peer will have looked at, as its GOAWAY said; all, before one has come. */
  lastProcessedStreamId = largestStreamId;
  /** For the owner: whatever belongs to this connection. */
  context: unknown = undefined;

  readonly #handler: ConnectionHandler;
  readonly #budgets = new FrameBudgets();
  readonly #output: Output;
  readonly #receiving: ReceiveWindow;
  readonly #control: ControlSender;
  readonly #pings: OwnPings;
  readonly #sender: MessageSender;
  readonly #streams: ConnectionStreams;
  readonly #life: ConnectionLife;
  readonly #messages: MessageReceiver;
  readonly #preface: PrefaceReader;
  readonly #shedding: RequestShedding;
  readonly #reader: FrameReader;
  readonly #input: ConnectionInput;

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
    const writer = new FrameWriter(this.#output);
    this.#receiving = new ReceiveWindow(engine, options, writer, this);
    this.#control = new ControlSender(this, this.#output, writer, this.#receiving);
    this.#pings = new OwnPings(engine.clock, this.#control);
    this.#sender = new MessageSender(this, this.#output, writer);
    this.#streams = new ConnectionStreams(this, this.#control, this.#receiving, this.#sender);
    this.#life = new ConnectionLife(this, handler, this.#output, this.#control, this.#pings, this.#streams);
    this.#shedding = new RequestShedding();
    const parts: ConnectionParts = {
      connection: this,
      handler,
      budgets: this.#budgets,
      output: this.#output,
      writer,
      receiving: this.#receiving,
      control: this.#control,
      pings: this.#pings,
      sender: this.#sender,
      streams: this.#streams,
      life: this.#life,
      shedding: this.#shedding,
    };
    this.#messages = new MessageReceiver(parts);
    const settings = new SettingsReceiver(parts, this.#messages.decoder);
    this.#reader = new FrameReader(new FrameRouter(this, this.#messages, settings, new ControlReceiver(parts)), defaultFrameBytes);
    this.#input = new ConnectionInput(this, this.#reader, handler.shedding === undefined ? undefined : this.#shedding);
    this.#preface = new PrefaceReader(role === 'server');
    counters.connectionsTotal++;
    counters.connectionsActive++;
    if (role === 'client') this.#control.preface();
    readInto(socket, engine.readBuffer, this.receive);
  }

  // ---- for the owner ----

  /** Also those that are answered, and whose clients still have to end their requests. */
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
      this.#streams.ids.nextOwn <= this.options.lastOwnStreamId
    );
  }

  /** Handlers of the streams that are open now. */
  handlers(): readonly StreamHandler[] {
    return this.#streams
      .snapshot()
      .filter(({ closed }) => !closed)
      .map(({ handler }) => handler);
  }

  /** Received DATA that waits for its way out. */
  get heldBytes(): number {
    return this.#receiving.heldBytes;
  }

  /** It holds more than three quarters of what it may. */
  get buffersShort(): boolean {
    return this.#receiving.short;
  }

  /** Why it was closed; `undefined` while it lives. */
  get closeCause(): ConnectionCloseCause | undefined {
    return this.#life.closeCause;
  }

  /** Client role, only while `canOpen`: opens a stream with its request headers. */
  open(handler: StreamHandler, block: HeaderBlock, endStream: boolean): Stream {
    const { ids } = this.#streams;
    const stream = this.#streams.add(ids.nextOwn, handler);
    ids.nextOwn += 2;
    this.#budgets.streamsOpened++;
    this.#sender.sendHeaders(stream, block, endStream);
    // At 10,000 calls a second that is after thirty hours.
    if (ids.nextOwn > this.options.lastOwnStreamId) this.drain('stream ids are used up');
    return stream;
  }

  /** Takes the block of the call that is going on. Its new owner returns it to the engine. */
  keepBlock(): HeaderBlock {
    return this.#messages.keepBlock();
  }

  /** Sends a PING and calls `onAck` with the round trip's milliseconds; a PING of the owner that is still in flight is forgotten. */
  ping(onAck: (rttMs: number) => void): void {
    this.#pings.sendForOwner(onAck);
  }

  /**
   * Ends the connection gracefully: GOAWAY that allows everything, a round trip so that streams on their way arrive, GOAWAY with
   * the real last id, then the end once all streams are done (RFC 9113 6.8). A client only stops opening streams.
   */
  drain(debugData: string): void {
    this.#life.drain(debugData);
  }

  /** Ends the connection at once: GOAWAY, what is written goes out, streams hear `onReset`. */
  goAway(code: number, debugData: string): void {
    this.#life.fail({ kind: 'local', code, message: debugData });
  }

  /** Ends the connection without a word. */
  destroy(error?: Error): void {
    this.#life.finish({ kind: 'local', code: ErrorCode.cancel, message: error?.message ?? 'closed here' });
  }

  // ---- for streams ----

  sendHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.#sender.sendHeaders(stream, block, endStream);
  }

  sendInformational(stream: Stream, block: HeaderBlock): void {
    this.#sender.sendInformational(stream, block);
  }

  sendData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): number {
    return this.#sender.sendData(stream, bytes, start, end, endStream);
  }

  sendTrailers(stream: Stream, block: HeaderBlock): void {
    this.#sender.sendTrailers(stream, block);
  }

  resetStream(stream: Stream, code: number): void {
    this.#streams.reset(stream, code);
  }

  consume(stream: Stream, bytes: number): void {
    this.#receiving.consume(stream, bytes);
  }

  // ---- input ----

  /** `bytes[0, end)` come from the socket, and belong to the next read as soon as this returns. */
  readonly receive = (bytes: Buffer, end: number): void => {
    this.engine.tick();
    if (this.closed) this.#input.discard(end);
    else this.#input.receive(bytes, end);
  };

  /** ConnectionInput. */
  readInput(bytes: Buffer, from: number, end: number): number {
    let at = from;
    if (!this.#preface.complete) {
      const read = this.#preface.read(bytes, end);
      if (typeof read !== 'number') {
        this.#refuseForeign(read);
        return end;
      }
      at = read;
      this.#control.preface();
    }
    return this.#reader.read(bytes, at, end);
  }

  /** ConnectionLife: the peer has closed its side. What it said before counts. */
  finishInput(): void {
    this.#input.finish();
  }

  /** ConnectionInput: how long does what the client sends wait before it is read? A PING's acknowledgement stands behind it. */
  askDelay(): void {
    this.#pings.send(PingKind.delay);
  }

  /** ControlReceiver: how long what is read now has waited, as far as that is known (ms). */
  get inputDelayMs(): number {
    return this.#input.delayMs;
  }

  /** ControlReceiver. */
  onDelayAnswered(): void {
    this.#input.onDelayAnswered();
  }

  /** RequestRefusals: what was read cost less than it looked like. */
  refundWork(units: number): void {
    this.#reader.workLeft += units;
  }

  #refuseForeign({ answer }: ForeignGreeting): void {
    if (answer !== undefined) {
      // Nothing of HTTP/2 may stand behind it.
      this.#output.close();
      this.socket.write(answer);
    }
    this.protocolError(ErrorCode.protocolError, 'the client did not begin with the HTTP/2 preface (RFC 9113 3.4)');
  }

  // ---- for its parts ----

  /** The peer broke a rule of the connection: GOAWAY, and the end. */
  protocolError(code: number, message: string): void {
    this.#life.protocolError(code, message);
  }

  /** The connection has ended: of what it was about to receive nothing is kept. */
  forgetInput(): void {
    this.#input.close();
    this.#messages.assembly.clear();
  }

  /** END_STREAM of ours is written. */
  onEndSent(stream: Stream): void {
    this.#streams.onLocalEnd(stream);
  }

  /** A stream has gone, and its owner has heard of it: the connection's owner hears of the end of it last. */
  onStreamGone(): void {
    if (this.goingAway) this.#life.closeWhenIdle();
    else if (this.role === 'client' && !this.closed) this.#handler.onCapacity(this);
  }

  /** ReceiveWindow: times one round trip. */
  measureRoundTrip(): void {
    this.#pings.send(PingKind.bandwidth);
  }

  /** ConnectionStreams: a PING whose acknowledgement says nothing. */
  wakePeer(): void {
    this.#pings.send(PingKind.wake);
  }

  /** ReceiveWindow. */
  openStreams(): Iterable<Stream> {
    return this.#streams.snapshot();
  }

  readonly #onWritten = (): void => {
    this.#sender.onWritten();
  };
}
