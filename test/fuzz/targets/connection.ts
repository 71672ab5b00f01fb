import assert from 'node:assert/strict';
import { TimerWheel, VirtualClock } from '../../../src/core/index.ts';
import { Connection, defaultHttp2Options, Http2Counters, type Http2Options } from '../../../src/http2/index.ts';
import { CountingEngine } from '../../http2/http2-bench.ts';
import { FuzzSocket } from '../fuzz-socket.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateFrames } from '../mutators/frames.ts';
import { fieldBlock } from '../mutators/hpack.ts';
import type { Random } from '../random.ts';
import { ScriptedOwner } from '../scripted-owner.ts';
import type { FuzzTarget } from '../target.ts';
import { Act, actFrame, actFrameType, readFrames, wireFrame, writeFrame, writeFrames } from '../wire-frames.ts';
import { WireObserver } from '../wire-observer.ts';

/** The first bytes of an input say how the connection is set up; frames follow. */
export const setUpBytes = 4;
const SetUp = { client: 1, consumesAtOnce: 2, smallLimits: 4, rawPreface: 8, scarceMemory: 16, oneByteAtATime: 32 } as const;

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const settings = 4;

/** Limits that a short input reaches. */
const smallLimits: Partial<Http2Options> = {
  maxConcurrentStreams: 3,
  headerTableBytes: 200,
  maxHeaderFields: 12,
  maxHeaderListBytes: 600,
  maxHeaderFrames: 3,
  initialStreamWindowBytes: 1_000,
  maxStreamWindowBytes: 8_000,
  connectionWindowBytes: 70_000,
  maxConnectionBufferBytes: 80_000,
  socketHighWaterBytes: 20_000,
  resetBurst: 4,
  resetsPerSecond: 1,
  maxQueuedControlFrames: 12,
  maxSettingsEntries: 4,
  maxPriorityFramesPerStream: 2,
  lastOwnStreamId: 9,
};
const scarceMemoryBytes = 30_000;

export class ConnectionTarget implements FuzzTarget {
  readonly name = 'connection';
  readonly longestInputBytes = 60_000;

  seeds(): readonly Buffer[] {
    return [...serverSeeds(), ...clientSeeds()];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    if (random.oneIn(12)) {
      const copy = Buffer.from(input);
      if (copy.length >= setUpBytes) copy[random.below(setUpBytes)] = random.below(256);
      return copy;
    }
    if (random.oneIn(6)) return mutateBytes(random, input, other);
    return mutateFrames(random, input, other, setUpBytes);
  }

  async run(input: Buffer): Promise<void> {
    await new Conversation(input).play();
  }
}

/** One connection from its beginning to its end, with everything that may be asked of it checked on the way. */
class Conversation {
  readonly #input: Buffer;
  readonly #flags: number;
  readonly #pieceBytes: number;
  readonly #options: Http2Options;
  readonly #clock = new VirtualClock();
  readonly #wheel = new TimerWheel(this.#clock);
  readonly #engine: CountingEngine;
  readonly #counters = new Http2Counters();
  readonly #owner: ScriptedOwner;
  readonly #observer: WireObserver;
  readonly #socket: FuzzSocket;
  readonly #connection: Connection;
  /** What an assertion within a callback of the engine found. */
  #found: unknown;

  constructor(input: Buffer) {
    const [flags = 0, piece = 0, reactions = 0] = input;
    this.#input = input;
    this.#flags = flags;
    this.#pieceBytes = flags & SetUp.oneByteAtATime ? 1 : piece === 0 ? 65_536 : piece * 8;
    this.#options = flags & SetUp.smallLimits ? { ...defaultHttp2Options, ...smallLimits } : defaultHttp2Options;
    this.#engine = new CountingEngine(this.#clock, this.#wheel, flags & SetUp.scarceMemory ? scarceMemoryBytes : undefined);
    const role = flags & SetUp.client ? 'client' : 'server';
    this.#owner = new ScriptedOwner(role, (flags & SetUp.consumesAtOnce) !== 0, reactions);
    this.#observer = new WireObserver(role);
    this.#socket = new FuzzSocket((bytes) => {
      try {
        this.#observer.wrote(bytes);
      } catch (error) {
        this.#found ??= error;
      }
    });
    this.#connection = new Connection(this.#engine, this.#socket, role, this.#options, this.#counters, this.#owner);
    this.#owner.connection = this.#connection;
    this.#socket.on('error', () => {});
  }

  async play(): Promise<void> {
    await turn();
    const { frames, rest } = readFrames(this.#input.subarray(setUpBytes));
    if ((this.#flags & SetUp.rawPreface) === 0) {
      const saysSettings = frames.find(({ type }) => type !== actFrameType)?.type === settings;
      const first = saysSettings ? Buffer.alloc(0) : writeFrame(wireFrame(settings, 0, 0, Buffer.alloc(0)));
      await this.#give(Buffer.concat([this.#owner.role === 'server' ? preface : Buffer.alloc(0), first]));
    }
    let pending: Buffer[] = [];
    for (const frame of frames) {
      if (frame.type !== actFrameType) {
        pending.push(writeFrame(frame));
        continue;
      }
      await this.#give(Buffer.concat(pending));
      pending = [];
      const [act = 255, a = 0, b = 0, c = 0] = frame.payload;
      await this.#act(act, a, b, c);
    }
    await this.#give(Buffer.concat([...pending, rest]));
    await turn();
    await this.#end();
  }

  async #act(act: number, a: number, b: number, c: number): Promise<void> {
    switch (act) {
      case Act.advance:
        // Up to a minute and a bit: longer than any phase of a connection.
        this.#clock.advance((b * 256 + c) % 4 === 3 ? 66_000 : b * 256 + c);
        break;
      case Act.holdSocket:
        this.#socket.hold();
        break;
      case Act.unholdSocket:
        this.#socket.unhold();
        break;
      case Act.endSocket:
        this.#socket.endInput();
        await turn();
        break;
      case Act.failSocket:
        this.#socket.destroy(new Error('read ECONNRESET'));
        await turn();
        break;
      case Act.turn:
        await turn();
        break;
      default:
        this.#owner.act(act, a, b, c);
    }
    this.#check();
  }

  /** The peer's bytes, in pieces. The engine hears of each at once, as from a socket. */
  async #give(bytes: Buffer): Promise<void> {
    for (let at = 0, given = 0; at < bytes.length; at += this.#pieceBytes) {
      if (this.#socket.destroyed || this.#socket.inputEnded) return;
      const piece = Buffer.from(bytes.subarray(at, at + this.#pieceBytes));
      this.#observer.heard(piece);
      this.#socket.push(piece);
      this.#check();
      if (++given % 40 === 0) await turn();
    }
    if (bytes.length > 0) await turn();
    this.#check();
  }

  #check(): void {
    if (this.#found !== undefined) throw this.#found;
    const { heldBytes } = this.#connection;
    let sumBytes = 0;
    let open = 0;
    let lingering = 0;
    for (const { stream } of this.#owner.streams) {
      if (stream === undefined) continue;
      assert.ok(stream.heldBytes >= 0, 'held bytes of a stream');
      assert.ok(!stream.closed || stream.queuedBytes === 0, 'a closed stream keeps nothing');
      sumBytes += stream.heldBytes;
      if (!stream.closed) open++;
      // Answered in full before its request ended: it may wait a moment for the rest, closed for its owner.
      else if (stream.endSent && !stream.remoteEnded) lingering++;
    }
    assert.equal(heldBytes, sumBytes, 'the connection holds what its streams hold');
    assert.equal(this.#engine.bufferedBytes, heldBytes, 'the engine counts what is held');
    const { activeStreams } = this.#connection;
    assert.ok(activeStreams >= open && activeStreams <= open + lingering, `${activeStreams} streams, of which ${open} are open`);
    assert.equal(this.#counters.streamsActive, activeStreams, 'streams counted');
    assert.equal(this.#counters.connectionsActive, this.#connection.closed ? 0 : 1, 'open connections counted');
    assert.ok(heldBytes <= this.#options.maxConnectionBufferBytes + this.#options.connectionWindowBytes, 'more held than any limit allows');
    if (this.#owner.role === 'server') assert.ok(activeStreams <= this.#options.maxConcurrentStreams, 'more streams than allowed');
  }

  async #end(): Promise<void> {
    this.#socket.unhold();
    await turn();
    this.#check();
    const graceful = (this.#flags & 64) !== 0;
    if (graceful) {
      this.#connection.drain('the input is over');
      for (const { stream } of this.#owner.streams) stream?.reset();
    } else if (!this.#connection.closed) this.#connection.goAway(0, 'the input is over');
    for (const one of this.#owner.streams) one.ownReset ||= graceful;
    await turn();
    // A drain's round trip, then the grace for a socket whose peer does not close.
    for (const ms of [2_100, 1_100]) {
      this.#clock.advance(ms);
      await turn();
    }
    // What came in full is its owner's until it says that it has left.
    for (const { stream } of this.#owner.streams) stream?.release();
    this.#check();
    const { socket } = this.#connection;
    assert.ok(this.#connection.closed, 'the connection has ended');
    assert.ok(socket.destroyed, 'the socket is closed once its grace is over');
    assert.equal(this.#owner.causes.length, 1, 'the owner has heard of the end');
    assert.equal(this.#connection.activeStreams, 0, 'no stream is left');
    assert.equal(this.#connection.heldBytes, 0, 'nothing is held');
    assert.equal(this.#wheel.armed, 0, 'no deadline is armed');
    for (const { stream, heardReset, ownReset, heardEnd } of this.#owner.streams) {
      if (stream === undefined) continue;
      assert.ok(stream.closed);
      assert.equal(stream.queuedBytes, 0);
      // Answered before its request ended: the engine resets the rest without a word (RFC 9113 8.1).
      const answered = stream.endSent && (heardEnd || this.#owner.role === 'server');
      // A server may reset, with NO_ERROR, the rest of a request that it has answered in full.
      const answeredEarly = this.#owner.role === 'client' && heardEnd;
      assert.ok(heardReset || ownReset || answered || answeredEarly, `stream ${stream.id} ended and nobody was told`);
    }
    this.#observer.finish(this.#owner.causes[0]?.kind !== 'protocol');
    this.#wheel.stop();
    assert.equal(this.#clock.pending, 0, 'no timer is set');
  }
}

/** Long enough for what the socket and the engine do later: its write at the end of the turn, `end` and `close`. */
const turn = async (): Promise<void> => {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
};

const request = (id: number, flags: number) =>
  wireFrame(
    1,
    flags,
    id,
    fieldBlock([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', '/acme.Echo/Call'],
      [':authority', 'echo'],
      ['te', 'trailers'],
    ]),
  );
const answer = (id: number, flags: number) =>
  wireFrame(
    1,
    flags,
    id,
    fieldBlock([
      [':status', '200'],
      ['content-type', 'application/grpc'],
    ]),
  );
const numbers = (...all: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(all.length * 4);
  for (const [i, value] of all.entries()) bytes.writeUInt32BE(value, i * 4);
  return bytes;
};

const serverSeeds = (): Buffer[] => {
  const setUp = (flags: number, reactions = 0) => Buffer.from([flags, 0, reactions, 0]);
  return [
    // The window of an open stream sinks below what it was, and below nothing.
    Buffer.concat([
      setUp(0),
      writeFrames([
        request(1, 5),
        actFrame(Act.sendHeaders),
        actFrame(Act.sendData, 0, 4, 0),
        wireFrame(settings, 0, 0, Buffer.from('00040000000a', 'hex')),
        actFrame(Act.sendData, 0, 4, 0),
        wireFrame(8, 0, 1, numbers(1_100)),
        wireFrame(settings, 0, 0, Buffer.from('000100000000', 'hex')),
        wireFrame(8, 0, 1, numbers(5_000)),
        actFrame(Act.sendTrailers),
      ]),
    ]),
    Buffer.concat([
      setUp(SetUp.consumesAtOnce),
      writeFrames([
        request(1, 4),
        wireFrame(0, 0, 1, Buffer.from('00000000046d657373', 'hex')),
        wireFrame(0, 1, 1, Buffer.alloc(0)),
        actFrame(Act.sendHeaders),
        actFrame(Act.sendData, 0, 100, 0),
        actFrame(Act.sendTrailers),
        wireFrame(8, 0, 0, numbers(65_535)),
        wireFrame(6, 0, 0, Buffer.from('12345678')),
      ]),
    ]),
    Buffer.concat([
      setUp(0, 3),
      writeFrames([
        wireFrame(settings, 0, 0, Buffer.from('000400000000', 'hex')),
        wireFrame(settings, 1, 0, Buffer.alloc(0)),
        request(1, 5),
        actFrame(Act.sendHeaders),
        actFrame(Act.sendData, 0, 255, 255),
        actFrame(Act.sendData, 0, 255, 0),
        actFrame(Act.sendTrailers),
        wireFrame(8, 0, 1, numbers(40_000)),
        wireFrame(settings, 0, 0, Buffer.from('000400010000', 'hex')),
        wireFrame(8, 0, 0, numbers(1_000_000)),
        wireFrame(8, 0, 1, numbers(1_000_000)),
      ]),
    ]),
    Buffer.concat([
      setUp(SetUp.smallLimits | 64, 9),
      writeFrames([
        request(1, 4),
        request(3, 4),
        wireFrame(0, 0, 1, Buffer.alloc(900)),
        actFrame(Act.consume, 0, 2, 200),
        wireFrame(3, 0, 3, numbers(8)),
        actFrame(Act.drain),
        request(5, 5),
        actFrame(Act.advance, 0, 10, 0),
        actFrame(Act.sendHeaders, 0, 15, 0),
      ]),
    ]),
    Buffer.concat([setUp(SetUp.rawPreface), Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n')]),
    Buffer.concat([
      setUp(SetUp.rawPreface | SetUp.oneByteAtATime),
      preface,
      writeFrames([wireFrame(settings, 0, 0, Buffer.alloc(0)), request(1, 5)]),
    ]),
    Buffer.concat([
      setUp(SetUp.scarceMemory, 1),
      writeFrames([
        request(1, 4),
        ...Array.from({ length: 5 }, () => wireFrame(0, 0, 1, Buffer.alloc(12_000))),
        actFrame(Act.release),
        actFrame(Act.holdSocket),
        wireFrame(6, 0, 0, Buffer.alloc(8)),
        actFrame(Act.unholdSocket),
      ]),
    ]),
  ];
};

const clientSeeds = (): Buffer[] => {
  const setUp = (flags: number, reactions = 0) => Buffer.from([SetUp.client | flags, 0, reactions, 0]);
  return [
    Buffer.concat([
      setUp(SetUp.consumesAtOnce),
      writeFrames([
        wireFrame(settings, 0, 0, Buffer.from('000300000064', 'hex')),
        actFrame(Act.open, 0, 0, 0),
        actFrame(Act.sendData, 0, 1, 15),
        answer(1, 4),
        wireFrame(0, 0, 1, Buffer.from('00000000046d657373', 'hex')),
        wireFrame(1, 5, 1, fieldBlock([['grpc-status', '0']])),
      ]),
    ]),
    Buffer.concat([
      setUp(0, 128 | 5),
      writeFrames([
        wireFrame(settings, 0, 0, Buffer.from('000300000002', 'hex')),
        actFrame(Act.open),
        actFrame(Act.open),
        wireFrame(3, 0, 1, numbers(7)),
        wireFrame(7, 0, 0, numbers(3, 0)),
        answer(3, 4),
        wireFrame(0, 1, 3, Buffer.alloc(5)),
      ]),
    ]),
    Buffer.concat([
      setUp(SetUp.smallLimits, 64),
      writeFrames([
        wireFrame(settings, 0, 0, Buffer.alloc(0)),
        actFrame(Act.open, 0, 1),
        actFrame(Act.ping),
        wireFrame(6, 1, 0, Buffer.from('0100000000000001', 'hex')),
        answer(1, 5),
        actFrame(Act.open),
        actFrame(Act.endSocket),
      ]),
    ]),
  ];
};
