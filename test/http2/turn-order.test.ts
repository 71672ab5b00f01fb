import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import { test } from 'node:test';
import { TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { ConnectionInput, type InputReader } from '../../src/http2/connection-input.ts';
import { FrameReader, type FrameSink } from '../../src/http2/frame-reader.ts';
import type { WaitingInput } from '../../src/http2/input-turns.ts';
import { Output } from '../../src/http2/output.ts';
import type { Stream } from '../../src/http2/stream.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { CountingEngine, Party, until } from './http2-bench.ts';
import { frame, RawPeer, Type } from './raw-peer.ts';

checkLeaks();

const newEngine = (): CountingEngine => {
  const clock = new VirtualClock();
  return new CountingEngine(clock, new TimerWheel(clock));
};

/** Has more to say than it may in one turn, and writes down that it was read. */
class Torrent implements InputReader, FrameSink {
  readonly engine: CountingEngine;
  readonly role;
  readonly socket = new PassThrough();
  readonly closed = false;
  readonly #log: string[];
  readonly #frames = new FrameReader(this, 16_384);
  readonly #input: ConnectionInput;

  constructor(engine: CountingEngine, role: 'client' | 'server', log: string[]) {
    this.engine = engine;
    this.role = role;
    this.#log = log;
    this.#input = new ConnectionInput(this, this.#frames);
  }

  receive(): void {
    this.engine.tick();
    const torrent = Buffer.concat(Array.from({ length: 20_000 }, () => frame(Type.PING, 0, 0, Buffer.alloc(8))));
    this.#input.receive(torrent, torrent.length);
  }

  readInput(bytes: Buffer, from: number): number {
    this.#log.push('torrent read');
    return this.#frames.read(bytes, from, bytes.length);
  }

  onFrame(): void {}
  onDataFrame(): void {}
  onDataPiece(): void {}
  onUnfinishedFrame(): void {}
  askDelay(): void {}
  onFramingError(): void {}
}

/** Writes something for somebody whose socket writes it down. */
const answerNeighbour = (engine: CountingEngine, log: string[]): void => {
  const socket = new Duplex({
    read() {},
    write: (_bytes, _encoding, done) => {
      log.push('neighbour answered');
      done();
    },
  });
  const output = new Output(engine, socket, () => {});
  output.reserve(10);
  output.length += 10;
};

for (const role of ['server', 'client'] as const) {
  test(`what others have been answered is written before more is read of a torrent, here a ${role}'s`, async () => {
    const engine = newEngine();
    const log: string[] = [];
    new Torrent(engine, role, log).receive();
    answerNeighbour(engine, log);
    assert.ok(engine.turns.waiting > 0, 'there is more to read');
    await until(() => engine.turns.waiting === 0, 'the end of the torrent');
    assert.deepEqual(log.slice(0, 3), ['torrent read', 'neighbour answered', 'torrent read']);
  });
}

test('what stands in line is read for a millisecond in each turn, and the rest in the turns that follow', async () => {
  const clock = new VirtualClock();
  const engine = new CountingEngine(clock, new TimerWheel(clock));
  const perTurn: number[] = [];
  let left = 40;
  /** Reads for a quarter of a millisecond each time that it is served. */
  const waiting: WaitingInput = {
    answers: false,
    round: 0,
    serve: () => {
      clock.advance(0.25);
      if (perTurn.length <= turns) perTurn.push(0);
      perTurn[turns] = (perTurn[turns] as number) + 1;
      if (--left > 0) engine.turns.add(waiting);
    },
    onTurnEnd: () => {},
  };
  let turns = 0;
  engine.turns.add(waiting);
  engine.tick();
  engine.beginTurn();
  while (left > 0) {
    await new Promise(setImmediate);
    turns++;
  }
  assert.deepEqual(perTurn, Array(10).fill(4));
});

test('what others have been answered is written before more owners hear that their connection is lost', async () => {
  const engine = newEngine();
  const log: string[] = [];
  // Of a stream nothing else is looked at.
  const stream = (): Stream => ({ handler: { onReset: () => log.push('told') } }) as unknown as Stream;
  engine.losses.tell(Array.from({ length: 500 }, stream), 8);
  const atOnce = log.length;
  answerNeighbour(engine, log);
  await until(() => log.length === 501, 'the last one');
  assert.equal(log.indexOf('neighbour answered'), atOnce);
});

test('of a connection that has ended no more is read in a turn than Node reads at once, and all of it', async (t) => {
  const clock = new VirtualClock();
  const sockets: net.Socket[] = [];
  const parties: Party[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    parties.push(new Party(socket, 'server', clock));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => {
    for (const socket of [client, ...sockets]) socket.destroy();
    server.close();
  });
  const peer = new RawPeer(client);
  peer.preface();
  // DATA on stream 0 is an error of the connection, and what stands behind it is for nobody.
  peer.data(0, 1);
  await until(() => parties[0]?.connection.closed === true, 'the error');
  const [socket] = sockets;
  assert.ok(socket);
  const before = socket.bytesRead;
  const flood = Buffer.alloc(8 * 1024 * 1024);
  client.write(flood);
  let mostInTurn = 0;
  for (let read = before; read < before + flood.length; read = socket.bytesRead) {
    // Once in each turn of the event loop, after sockets were read.
    await new Promise(setImmediate);
    mostInTurn = Math.max(mostInTurn, socket.bytesRead - read);
  }
  assert.ok(mostInTurn <= 65_536, `${mostInTurn} bytes in one turn`);
  await until(() => peer.seen(Type.GOAWAY).length === 1, 'GOAWAY');
});
