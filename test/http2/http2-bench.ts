import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { type Clock, SystemClock, TimerWheel, VirtualClock } from '../../src/core/index.ts';
import {
  Connection,
  type ConnectionCloseCause,
  type ConnectionHandler,
  defaultHttp2Options,
  Engine,
  encodePlainBlock,
  HeaderBlock,
  Http2Counters,
  type Http2Options,
  type SheddingOwner,
  type Stream,
  type StreamHandler,
  Token,
} from '../../src/http2/index.ts';

/** How a wire cuts what is written: the number of bytes of the next piece. */
export type Cut = () => number;

/** One end of a wire in memory. What is written comes out at the other end in pieces, later, in order. */
class WireEnd extends Duplex {
  other: WireEnd | undefined;
  readonly #cut: Cut;
  readonly #pieces: Buffer[] = [];
  #waiting: (() => void) | undefined;
  /** While held, the kernel of this end accepts nothing. */
  #held = false;

  constructor(cut: Cut) {
    super({ allowHalfOpen: false, highWaterMark: 1 });
    this.#cut = cut;
  }

  hold(): void {
    this.#held = true;
  }

  unhold(): void {
    this.#held = false;
    setImmediate(this.#deliver);
  }

  override _read(): void {
    const { other } = this;
    if (other !== undefined) setImmediate(other.#deliver);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    for (let at = 0; at < chunk.length; ) {
      const length = Math.max(1, Math.floor(this.#cut()));
      // A copy: the engine may use its slab again from the callback on.
      this.#pieces.push(Buffer.from(chunk.subarray(at, at + length)));
      at += length;
    }
    this.#waiting = done;
    setImmediate(this.#deliver);
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { other } = this;
    this.#pieces.length = 0;
    done(error);
    if (other !== undefined && !other.destroyed) setImmediate(() => other.destroy());
  }

  readonly #deliver = (): void => {
    if (this.#held || this.destroyed) return;
    const { other } = this;
    while (this.#pieces.length > 0 && other !== undefined && !other.destroyed) {
      if (!other.push(this.#pieces.shift())) break;
    }
    if (this.#pieces.length > 0 && other !== undefined && !other.destroyed) return;
    const done = this.#waiting;
    this.#waiting = undefined;
    done?.();
  };
}

export type { WireEnd };

/** A socket pair in memory. */
export const wire = (cut: Cut = () => 65_536): readonly [WireEnd, WireEnd] => {
  const left = new WireEnd(cut);
  const right = new WireEnd(cut);
  left.other = right;
  right.other = left;
  return [left, right];
};

/** An engine that knows which slabs are out. */
export class CountingEngine extends Engine {
  readonly #lent = new Set<Buffer>();

  get slabsLent(): number {
    return this.#lent.size;
  }

  override takeSlab(bytes: number, large: boolean): Buffer {
    return this.#lend(super.takeSlab(bytes, large));
  }

  override takePieceSlab(bytes: number): Buffer {
    return this.#lend(super.takePieceSlab(bytes));
  }

  override returnSlab(slab: Buffer): void {
    assert.ok(this.#lent.delete(slab), 'a slab comes back once');
    super.returnSlab(slab);
  }

  #lend(slab: Buffer): Buffer {
    assert.ok(!this.#lent.has(slab), 'a slab has one owner');
    this.#lent.add(slab);
    return slab;
  }
}

export type Fields = readonly (readonly [name: string, value: string])[];

export const blockOf = (fields: Fields): HeaderBlock => {
  const block = new HeaderBlock();
  for (const [name, value] of fields) block.addNamed(name, value);
  return block;
};

export const requestFields: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/shop.Orders/Place'],
  [':authority', 'orders'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];
export const responseFields: Fields = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
];
export const okTrailers: Fields = [['grpc-status', '0']];

/** Keeps what a stream hears. `consume` says what becomes of received DATA: its credit goes back at once, or by hand. */
export class TestStream implements StreamHandler {
  stream: Stream | undefined;
  headers: Fields | undefined;
  trailers: Fields | undefined;
  received: Buffer[] = [];
  receivedBytes = 0;
  sentBytes = 0;
  ended = false;
  reset: { readonly code: number; readonly unprocessed: boolean } | undefined;
  autoConsume = true;
  onEnded: (() => void) | undefined;
  onPiece: ((bytes: number) => void) | undefined;

  onHeaders(_stream: Stream, block: HeaderBlock, endStream: boolean): void {
    assert.equal(this.headers, undefined, 'headers come once');
    this.headers = block.toPairs();
    if (endStream) this.#end();
  }

  onData(stream: Stream, bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    assert.ok(!this.ended && this.reset === undefined, 'no DATA after the end');
    this.received.push(Buffer.from(bytes.subarray(start, end)));
    this.receivedBytes += end - start;
    if (this.autoConsume) stream.consume(end - start);
    this.onPiece?.(end - start);
    if (endStream) this.#end();
  }

  onTrailers(_stream: Stream, block: HeaderBlock): void {
    assert.ok(!this.ended, 'one end');
    this.trailers = block.toPairs();
    this.#end();
  }

  onReset(_stream: Stream, code: number, unprocessed: boolean): void {
    assert.equal(this.reset, undefined, 'one reset');
    this.reset = { code, unprocessed };
  }

  onSent(_stream: Stream, bytes: number): void {
    this.sentBytes += bytes;
  }

  get body(): Buffer {
    return Buffer.concat(this.received);
  }

  #end(): void {
    assert.ok(!this.ended, 'one end');
    this.ended = true;
    this.onEnded?.();
  }
}

/** What a connection told its owner, in order. */
/** Refuses every request that it is asked to, and counts. */
export class TestShedding implements SheddingOwner {
  readonly refusal = encodePlainBlock([
    [':status', '200'],
    ['content-type', 'application/grpc'],
    ['grpc-status', '8'],
    ['grpc-message', 'no time'],
  ]);
  looksAtHeaders = false;
  /** Of the headers of a request: it is served all the same. */
  spared: (fields: Fields) => boolean = () => false;
  shed = 0;

  spares(block: HeaderBlock): boolean {
    return this.spared(block.toPairs());
  }

  onShed(): void {
    this.shed++;
  }
}

export class TestOwner implements ConnectionHandler {
  ready = 0;
  capacity = 0;
  causes: ConnectionCloseCause[] = [];
  goAways: { readonly lastStreamId: number; readonly code: number; readonly debugData: string }[] = [];
  requests: TestStream[] = [];
  /** Called with each request; without it requests wait. */
  serve: ((request: TestStream, stream: Stream) => void) | undefined;
  /** What becomes of requests for which there is no time. */
  readonly shedding = new TestShedding();

  onReady(): void {
    this.ready++;
  }

  onRequest(_connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean): void {
    const request = new TestStream();
    request.stream = stream;
    stream.handler = request;
    request.headers = block.toPairs();
    request.ended = endStream;
    this.requests.push(request);
    this.serve?.(request, stream);
  }

  onCapacity(): void {
    this.capacity++;
  }

  onGoAway(_connection: Connection, lastStreamId: number, code: number, debugData: string): void {
    this.goAways.push({ lastStreamId, code, debugData });
  }

  onClose(connection: Connection, cause: ConnectionCloseCause): void {
    assert.equal(connection.activeStreams, 0, 'every stream has heard of its end');
    this.causes.push(cause);
  }
}

/** One connection, its engine and its owner. */
export class Party {
  readonly engine: CountingEngine;
  readonly wheel: TimerWheel;
  readonly counters = new Http2Counters();
  readonly owner = new TestOwner();
  readonly connection: Connection;

  constructor(
    socket: Duplex,
    role: 'client' | 'server',
    clock: Clock,
    options: Partial<Http2Options> = {},
    maxBufferedBytes?: number,
    engine?: CountingEngine,
  ) {
    this.wheel = engine?.wheel ?? new TimerWheel(clock);
    this.engine = engine ?? new CountingEngine(clock, this.wheel, maxBufferedBytes);
    this.connection = new Connection(this.engine, socket, role, { ...defaultHttp2Options, ...options }, this.counters, this.owner);
  }

  /** Client role: opens a stream with a request. */
  open(endStream = false, fields: Fields = requestFields): TestStream {
    assert.ok(this.connection.canOpen);
    const call = new TestStream();
    call.stream = this.connection.open(call, blockOf(fields), endStream);
    return call;
  }

  /** Nothing is held or lent any more, and the accounts say so. */
  assertQuiet(): void {
    this.#assertIdle();
    assert.equal(this.engine.slabsLent, 0, 'slabs');
  }

  #assertIdle(): void {
    assert.equal(this.connection.activeStreams, 0, 'streams');
    assert.equal(this.connection.heldBytes, 0, 'bytes held for the connection');
    assert.equal(this.engine.bufferedBytes, 0, 'bytes held for the engine');
    assert.equal(this.counters.streamsActive, 0, 'streams counted');
  }

  /** Slabs of writes that the end of the socket has cut off are left to the collector. */
  assertClosed(): void {
    this.#assertIdle();
    assert.ok(this.connection.closed);
    assert.equal(this.owner.causes.length, 1, 'closed once');
    assert.equal(this.counters.connectionsActive, 0);
    assert.equal(this.wheel.armed, 0, 'deadlines');
  }
}

export interface JoinedOptions {
  readonly clock?: Clock;
  readonly cut?: Cut;
  readonly client?: Partial<Http2Options>;
  readonly server?: Partial<Http2Options>;
  readonly maxBufferedBytes?: number;
}

/** Two connections of the engine, joined by a wire in memory, past their SETTINGS. */
export const joined = async (t: TestContext, options: JoinedOptions = {}) => {
  const clock = options.clock ?? new VirtualClock();
  const [clientEnd, serverEnd] = wire(options.cut);
  const client = new Party(clientEnd, 'client', clock, options.client, options.maxBufferedBytes);
  const server = new Party(serverEnd, 'server', clock, options.server, options.maxBufferedBytes);
  t.after(() => {
    client.connection.destroy();
    server.connection.destroy();
  });
  await until(() => client.connection.ready && server.connection.ready, 'both SETTINGS');
  return { client, server, clock, clientEnd, serverEnd };
};

export const systemClock = new SystemClock();

/** Turns of the event loop until `condition` holds; far more of them than anything here needs, then a failure. */
export const until = async (condition: () => boolean, what: string, turns = 200_000): Promise<void> => {
  for (let turn = 0; turn < turns; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`no sign of ${what}`);
};

/** Turns enough for everything that is on its way to arrive. */
export const quiesce = async (turns = 60): Promise<void> => {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** Ends both sides in order, and asserts that nothing is left of them. */
export const finish = async (client: Party, server: Party): Promise<void> => {
  await quiesce();
  client.assertQuiet();
  server.assertQuiet();
  client.connection.drain('the test is over');
  await until(() => client.connection.closed && server.connection.closed, 'the end of both connections');
  await until(() => client.connection.socket.destroyed && server.connection.socket.destroyed, 'the end of both sockets');
  client.assertClosed();
  server.assertClosed();
};

/** Bytes that tell a wrong order or a lost piece. */
export const bodyOf = (length: number, seed: number): Buffer => {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8) * 7 + seed) & 0xff;
  return bytes;
};

export { Token };
