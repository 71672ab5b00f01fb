import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { SystemClock, TimerWheel } from '../../src/core/index.ts';
import { ConnectionInput, type InputReader } from '../../src/http2/connection-input.ts';
import { Engine } from '../../src/http2/engine.ts';
import { FrameReader, type FrameSink } from '../../src/http2/frame-reader.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { frame, Type } from './raw-peer.ts';

checkLeaks();

/** One connection without a protocol: writes down which of its PINGs was read when. */
class Reader implements InputReader, FrameSink {
  readonly engine: Engine;
  readonly role;
  readonly socket = new PassThrough();
  closed = false;
  read = 0;
  /** Closes itself on the frame of that number. */
  closesAt = Number.POSITIVE_INFINITY;
  readonly input: ConnectionInput;
  readonly #frames = new FrameReader(this, 16_384);
  readonly #log: string[];
  readonly #name: string;

  constructor(engine: Engine, name: string, log: string[], role: 'client' | 'server' = 'server') {
    this.engine = engine;
    this.role = role;
    this.#name = name;
    this.#log = log;
    this.input = new ConnectionInput(this, this.#frames);
  }

  receive(bytes: Buffer): void {
    this.engine.tick();
    this.input.receive(bytes, bytes.length);
  }

  readInput(bytes: Buffer, from: number, end: number): number {
    return this.#frames.read(bytes, from, end);
  }

  onFrame(): void {
    this.read++;
    if (this.#log.at(-1) !== this.#name) this.#log.push(this.#name);
    if (this.read < this.closesAt) return;
    this.closed = true;
    this.input.close();
  }

  onDataFrame(): void {}
  onDataPiece(): void {}
  onUnfinishedFrame(): void {}
  askDelay(): void {}
  onFramingError(): void {
    assert.fail();
  }
}

const pings = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame(Type.PING, 0, 0, Buffer.alloc(8))));
/** More than a connection may make others do in one round. */
const torrent = pings(30_000);

const ground = () => {
  const clock = new SystemClock();
  const engine = new Engine(clock, new TimerWheel(clock));
  const log: string[] = [];
  return { engine, log, reader: (name: string, role?: 'client' | 'server') => new Reader(engine, name, log, role) };
};

const idle = async (engine: Engine): Promise<void> => {
  while (engine.turns.waiting > 0) await new Promise(setImmediate);
};

test('who sends more than its share is read piece by piece, whole and in order', async () => {
  const { engine, reader } = ground();
  const flooder = reader('flooder');
  flooder.receive(torrent);
  assert.ok(flooder.read < 10_000, `${flooder.read} frames at once`);
  assert.equal(engine.turns.waiting, 1);
  // What comes meanwhile stands behind it.
  flooder.receive(torrent);
  await idle(engine);
  assert.equal(flooder.read, 60_000);
});

test('who sends little is read at once while others wait', async () => {
  const { engine, log, reader } = ground();
  const flooders = ['a', 'b', 'c'].map((name) => reader(name));
  for (const flooder of flooders) flooder.receive(torrent);
  const neighbour = reader('neighbour');
  neighbour.receive(pings(3));
  assert.equal(neighbour.read, 3);
  await new Promise(setImmediate);
  neighbour.receive(pings(3));
  assert.equal(neighbour.read, 6, 'its share of this round is not used up');
  await idle(engine);
  assert.deepEqual(
    flooders.map(({ read }) => read),
    [30_000, 30_000, 30_000],
  );
  // They took turns.
  assert.ok(log.filter((name) => name === 'a').length > 3, log.join(' '));
});

test('answers have a larger share', () => {
  const { reader } = ground();
  const server = reader('server');
  const client = reader('client', 'client');
  server.receive(torrent);
  client.receive(torrent);
  assert.equal(client.read, 16 * server.read);
});

test('a connection that ends while it waits is read no further', async () => {
  const { engine, reader } = ground();
  const ending = reader('ending');
  ending.closesAt = 9_000;
  ending.receive(torrent);
  await idle(engine);
  assert.equal(ending.read, 9_000);
});

test('what came before the peer closed its side is read whole', () => {
  const { reader } = ground();
  const closing = reader('closing');
  closing.receive(torrent);
  closing.input.finish();
  assert.equal(closing.read, 30_000);
});
