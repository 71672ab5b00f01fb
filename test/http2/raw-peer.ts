import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import { HeaderBlock } from '../../src/http2/header-block.ts';
import { HpackDecoder, HpackProblem } from '../../src/http2/hpack/decoder.ts';
import type { Http2Options } from '../../src/http2/index.ts';
import { type Cut, type Fields, Party, quiesce, requestFields, until, wire } from './http2-bench.ts';

/** RFC 9113 in numbers of our own: a wrong constant in the engine must not be wrong here too. */
export const Type = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;
export const PADDED = 8;
export const PRIORITY = 32;

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

export const frame = (type: number, flags: number, id: number, payload: Uint8Array = Buffer.alloc(0)): Buffer => {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(id >>> 0, 5);
  return Buffer.concat([header, payload]);
};

const hpackInteger = (value: number, first: number, prefix: number): Buffer => {
  if (value < prefix) return Buffer.from([first | value]);
  const bytes = [first | prefix];
  let rest = value - prefix;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
};

/** A header block of literals without indexing and without Huffman (RFC 7541 6.2.2). */
export const literals = (fields: Fields): Buffer =>
  Buffer.concat(
    fields.flatMap(([name, value]) => [
      Buffer.from([0]),
      hpackInteger(Buffer.byteLength(name, 'latin1'), 0, 127),
      Buffer.from(name, 'latin1'),
      hpackInteger(Buffer.byteLength(value, 'latin1'), 0, 127),
      Buffer.from(value, 'latin1'),
    ]),
  );

/** Speaks HTTP/2 frame by frame, right or wrong, as the test wants it. */
export class RawPeer {
  readonly socket: Duplex;
  readonly frames: RawFrame[] = [];
  /** What came that is no frame, where the peer was told not to look for any. */
  text = Buffer.alloc(0);
  ended = false;
  readonly #decoder = new HpackDecoder();
  /** SETTINGS_HEADER_TABLE_SIZE of each SETTINGS frame that the other side has not acknowledged. */
  readonly #tableBytes: (number | undefined)[] = [];
  readonly #blocks = new Map<RawFrame, Fields>();
  #rest = Buffer.alloc(0);
  #blockParts: Buffer[] = [];
  #blockFrame: RawFrame | undefined;

  /** `skip` takes off what comes before the first frame. */
  constructor(socket: Duplex, plainText = false, skip = (bytes: Buffer) => bytes) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      if (plainText) this.text = Buffer.concat([this.text, bytes]);
      else this.#read(skip(bytes));
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
    });
    socket.on('end', () => {
      this.ended = true;
    });
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  send(type: number, flags: number, id: number, payload?: Uint8Array): void {
    this.write(frame(type, flags, id, payload));
  }

  /** The client's preface and empty SETTINGS, or others. */
  preface(settings: readonly (readonly [id: number, value: number])[] = []): void {
    this.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.settings(settings);
  }

  settings(settings: readonly (readonly [id: number, value: number])[]): void {
    this.#tableBytes.push(settings.findLast(([id]) => id === 1)?.[1]);
    this.send(
      Type.SETTINGS,
      0,
      0,
      Buffer.concat(settings.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]))),
    );
  }

  headers(id: number, fields: Fields = requestFields, flags: number = END_HEADERS | END_STREAM): void {
    this.send(Type.HEADERS, flags, id, literals(fields));
  }

  data(id: number, bytes: Uint8Array | number, endStream = false): void {
    this.send(Type.DATA, endStream ? END_STREAM : 0, id, typeof bytes === 'number' ? Buffer.alloc(bytes) : bytes);
  }

  windowUpdate(id: number, increment: number): void {
    this.send(Type.WINDOW_UPDATE, 0, id, uint32(increment));
  }

  reset(id: number, code: number): void {
    this.send(Type.RST_STREAM, 0, id, uint32(code));
  }

  ping(payload = Buffer.alloc(8)): void {
    this.send(Type.PING, 0, 0, payload);
  }

  /** Frames of that type and stream that came so far. */
  seen(type: number, id?: number): RawFrame[] {
    return this.frames.filter((one) => one.type === type && (id === undefined || one.id === id));
  }

  /** The first frame of that type, and stream, that has come or comes. */
  async next(type: number, id?: number): Promise<RawFrame> {
    await until(() => this.seen(type, id).length > 0, `a frame of type ${type} on stream ${id ?? 'any'}`);
    return this.seen(type, id)[0] as RawFrame;
  }

  /** Everything that was sent before has been read by the other side, and its answers are here. */
  async roundTrip(): Promise<void> {
    const before = this.seen(Type.PING).filter(({ flags }) => (flags & ACK) !== 0).length;
    this.ping(Buffer.from('roundtrp'));
    await until(
      () => this.ended || this.seen(Type.PING).filter(({ flags }) => (flags & ACK) !== 0).length > before,
      'a PING acknowledgement',
    );
    assert.ok(!this.ended, `the connection lives (${this.goAwayText})`);
  }

  /** The fields of a HEADERS frame that came; of a repeated one the last. */
  fields(of: RawFrame): Record<string, string> {
    return Object.fromEntries(this.fieldList(of));
  }

  /** The fields of a HEADERS frame that came, and of its CONTINUATION, in their order. */
  fieldList(of: RawFrame): Fields {
    const fields = this.#blocks.get(of);
    assert.ok(fields, 'a decoded header block');
    return fields;
  }

  /** Waits for GOAWAY and the end of the connection. */
  async goAway(): Promise<{ readonly lastStreamId: number; readonly code: number; readonly debug: string }> {
    await until(() => this.ended, 'the end of the connection');
    const last = this.seen(Type.GOAWAY).at(-1);
    assert.ok(last, 'a GOAWAY before the end');
    return { lastStreamId: last.payload.readUInt32BE(0), code: last.payload.readUInt32BE(4), debug: last.payload.subarray(8).toString() };
  }

  /** Waits for the reset of a stream and returns its code. */
  async resetCode(id: number): Promise<number> {
    await until(() => this.ended || this.seen(Type.RST_STREAM, id).length > 0, `RST_STREAM of stream ${id}`);
    const [reset] = this.seen(Type.RST_STREAM, id);
    assert.ok(reset, `a reset of the stream, not ${this.goAwayText}`);
    return reset.payload.readUInt32BE(0);
  }

  get goAwayText(): string {
    return this.seen(Type.GOAWAY)
      .map(({ payload }) => `GOAWAY ${payload.readUInt32BE(4)} ${payload.subarray(8).toString()}`)
      .join(', ');
  }

  #read(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      const one: RawFrame = {
        type: this.#rest[3] as number,
        flags: this.#rest[4] as number,
        id: this.#rest.readUInt32BE(5),
        payload: Buffer.from(this.#rest.subarray(9, 9 + length)),
      };
      this.#rest = this.#rest.subarray(9 + length);
      assert.ok(length <= 16_384, 'no frame above the smallest maximum');
      this.frames.push(one);
      if (one.type === Type.SETTINGS && (one.flags & ACK) !== 0) this.#onSettingsAck();
      if (one.type === Type.HEADERS || one.type === Type.CONTINUATION) this.#decode(one);
    }
  }

  /** From here on the other side goes by them (RFC 9113 6.5.3), and has to say that it does (RFC 7541 4.2). */
  #onSettingsAck(): void {
    const tableBytes = this.#tableBytes.shift();
    if (tableBytes !== undefined) this.#decoder.setMaxTableBytes(tableBytes);
  }

  /** The engine pads nothing and sends no priorities, so a block is the payload. */
  #decode(one: RawFrame): void {
    if (one.type === Type.HEADERS) this.#blockFrame = one;
    this.#blockParts.push(one.payload);
    if ((one.flags & END_HEADERS) === 0) return;
    const bytes = Buffer.concat(this.#blockParts);
    this.#blockParts = [];
    const block = new HeaderBlock();
    assert.equal(this.#decoder.decode(bytes, 0, bytes.length, block, 10_000, 1e9), HpackProblem.none);
    this.#blocks.set(this.#blockFrame as RawFrame, block.toPairs());
  }
}

export interface RawOptions {
  readonly options?: Partial<Http2Options>;
  readonly cut?: Cut;
  readonly clock?: VirtualClock;
  /** The peer's first SETTINGS. */
  readonly settings?: readonly (readonly [id: number, value: number])[];
}

const party = (t: TestContext, role: 'client' | 'server', { options, cut, clock = new VirtualClock() }: RawOptions) => {
  const [peerEnd, engineEnd] = wire(cut);
  const engine = new Party(engineEnd, role, clock, options);
  t.after(async () => {
    engine.connection.destroy();
    peerEnd.destroy();
    await quiesce(5);
    assert.equal(engine.connection.heldBytes, 0, 'bytes held');
    assert.equal(engine.engine.bufferedBytes, 0, 'bytes buffered');
    assert.equal(engine.engine.blocksOut, 0, 'header blocks out of their pool');
    assert.equal(engine.wheel.armed, 0, 'deadlines');
    assert.equal(engine.owner.causes.length, 1, 'closed once');
  });
  return { peerEnd, engineEnd, engine, clock };
};

/** A server of the engine, and a raw client before its preface. */
export const rawClientBeforePreface = (t: TestContext, raw: RawOptions = {}) => {
  const { peerEnd, engineEnd, engine, clock } = party(t, 'server', raw);
  return { peer: new RawPeer(peerEnd), server: engine, clock, peerEnd, engineEnd };
};

/** A server of the engine, and a raw client that has said its preface. */
export const rawClient = async (t: TestContext, raw: RawOptions = {}) => {
  const both = rawClientBeforePreface(t, raw);
  both.peer.preface(raw.settings);
  await both.peer.next(Type.SETTINGS);
  both.peer.send(Type.SETTINGS, ACK, 0);
  await until(() => both.server.connection.ready, 'the first SETTINGS');
  return both;
};

/** A client of the engine, and a raw server that has said its SETTINGS. */
export const rawServer = async (t: TestContext, raw: RawOptions = {}) => {
  const { peerEnd, engineEnd, engine, clock } = party(t, 'client', raw);
  // The preface is no frame: cut off before the frames are read.
  let skipped = 0;
  const peer = new RawPeer(peerEnd, false, (bytes) => {
    const skip = Math.min(24 - skipped, bytes.length);
    skipped += skip;
    return bytes.subarray(skip);
  });
  peer.settings(raw.settings ?? []);
  await until(() => engine.connection.ready, 'the first SETTINGS');
  peer.send(Type.SETTINGS, ACK, 0);
  return { peer, client: engine, clock, peerEnd, engineEnd };
};
