import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RequestShedding } from '../../src/http2/request-shedding.ts';
import { StreamIds } from '../../src/http2/stream-ids.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { blockOf, type Fields, okTrailers, requestFields, responseFields, type TestStream } from './http2-bench.ts';
import { ACK, END_HEADERS, END_STREAM, frame, literals, type RawOptions, rawClient, Type } from './raw-peer.ts';

checkLeaks();

/** How many of `count` requests are admitted. */
const admitted = (shedding: RequestShedding, count: number): number => {
  if (!shedding.active) return count;
  let sum = 0;
  for (let i = 0; i < count; i++) if (shedding.admits()) sum++;
  return sum;
};

/** Every 10 ms a delay is seen. */
const watch = (shedding: RequestShedding, fromMs: number, delays: readonly number[]): void => {
  delays.forEach((delayMs, i) => {
    shedding.onDelay(delayMs, fromMs + 10 * i);
  });
};

test('one long delay refuses nothing, nor do many with a short one between them', () => {
  const shedding = new RequestShedding();
  watch(shedding, 0, [900, 0, ...Array(45).fill(900), 50, ...Array(45).fill(900)]);
  assert.equal(shedding.active, false);
});

test('where every request waits too long, fewer are admitted, until they do not', () => {
  const shedding = new RequestShedding();
  watch(shedding, 0, Array(75).fill(300));
  const early = admitted(shedding, 1_000);
  assert.ok(early < 950 && early > 400, String(early));
  watch(shedding, 750, Array(100).fill(300));
  const late = admitted(shedding, 1_000);
  assert.ok(late < early / 2, `${late} after ${early}`);
  watch(shedding, 1_750, Array(100).fill(40));
  const recovered = admitted(shedding, 1_000);
  assert.ok(recovered > late * 1.5, `${recovered} after ${late}`);
  watch(shedding, 2_750, Array(1_000).fill(40));
  assert.equal(shedding.active, false);
});

test('what has waited hopelessly long is refused whole, without the share falling for it', () => {
  const shedding = new RequestShedding();
  watch(shedding, 0, Array(80).fill(300));
  const before = admitted(shedding, 1_000);
  watch(shedding, 800, Array(200).fill(800));
  assert.equal(admitted(shedding, 1_000), 0);
  shedding.onDelay(10, 2_800);
  assert.ok(admitted(shedding, 1_000) > before * 0.6);
});

test('a connection that was quiet for a while is served again, however few requests it sends', () => {
  const shedding = new RequestShedding();
  watch(shedding, 0, [...Array(150).fill(300), ...Array(20).fill(900)]);
  assert.equal(shedding.admits(), false);
  // The next one has not waited.
  shedding.onDelay(0, 6_000);
  assert.equal(shedding.active, false);
});

test('the refused are spread evenly', () => {
  const shedding = new RequestShedding();
  watch(shedding, 0, Array(170).fill(300));
  const share = admitted(shedding, 1_000) / 1_000;
  let refusedInARow = 0;
  let longest = 0;
  for (let i = 0; i < 1_000; i++) {
    refusedInARow = shedding.admits() ? 0 : refusedInARow + 1;
    longest = Math.max(longest, refusedInARow);
  }
  assert.ok(longest <= Math.ceil(1 / share), `${longest} of ${share}`);
});

/** A server for which each request takes 10 ms, and a client that sends so many at once that they wait too long. */
const overloaded = async (t: TestContext, raw: RawOptions = {}) => {
  const both = await rawClient(t, raw);
  const { clock, peer, server } = both;
  server.owner.serve = (_request: TestStream, stream) => {
    clock.advance(10);
    stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  let nextId = 1;
  /** Sockets rest where requests are refused. */
  const roundTrip = async (): Promise<void> => {
    const acked = () => peer.seen(Type.PING).filter(({ flags }) => (flags & ACK) !== 0).length;
    const before = acked();
    peer.ping(Buffer.from('roundtrp'));
    for (let turn = 0; acked() === before; turn++) {
      assert.ok(turn < 20_000 && !peer.ended, `an acknowledgement (${peer.goAwayText})`);
      await new Promise(setImmediate);
      if (turn % 10 === 9) clock.advance(5);
    }
  };
  const send = (count: number, fields: Fields = requestFields): void => {
    const frames: Buffer[] = [];
    for (let i = 0; i < count; i++, nextId += 2) frames.push(frame(Type.HEADERS, END_HEADERS | END_STREAM, nextId, literals(fields)));
    peer.write(Buffer.concat(frames));
  };
  /** By the messages of their answers. */
  const answers = () => {
    const ends = peer.seen(Type.HEADERS).filter(({ flags }) => (flags & END_STREAM) !== 0);
    const refused = ends.filter((one) => peer.fields(one)['grpc-message'] === 'no time').map(({ id }) => id);
    return { count: ends.length, streams: new Set(ends.map(({ id }) => id)).size, refused };
  };
  /** Until it refuses some. */
  const overload = async (): Promise<void> => {
    while (server.owner.shedding.shed === 0) {
      send(500);
      await roundTrip();
      assert.ok(nextId < 20_000, 'it refuses some');
    }
  };
  return {
    ...both,
    send,
    answers,
    overload,
    roundTrip,
    get nextId() {
      return nextId;
    },
  };
};

test('a connection whose requests wait too long answers each of them once, and refuses some', async (t) => {
  const { answers, overload, peer, roundTrip, send, server } = await overloaded(t, { options: { resetBurst: 1 } });
  await overload();
  send(500);
  await roundTrip();
  const { count, refused, streams } = answers();
  assert.equal(count, streams);
  assert.equal(refused.length, server.owner.shedding.shed);
  assert.equal(server.owner.requests.length + refused.length, count);
  assert.equal(server.counters.streamsTotal, count);
  assert.deepEqual(peer.fields(peer.seen(Type.HEADERS, refused[0] as number)[0] as never), {
    ':status': '200',
    'content-type': 'application/grpc',
    'grpc-status': '8',
    'grpc-message': 'no time',
  });
  assert.equal(server.connection.activeStreams, 0);
});

/** More than twenty requests in a row that are refused, and the ids of some of them. */
const refuseAll = async (t: TestContext) => {
  const both = await overloaded(t, { options: { resetBurst: 0, resetsPerSecond: 0 } });
  await both.overload();
  return both;
};

test('the rest of a refused request is ignored, whatever it is, and where it goes on the client hears NO_ERROR', async (t) => {
  const both = await refuseAll(t);
  const { answers, clock, peer, roundTrip, server } = both;
  // Requests of which some are refused, in one piece with their bodies.
  const first = both.nextId;
  const ids = Array.from({ length: 600 }, (_, i) => first + 2 * i);
  const bodies: Record<number, Buffer[]> = {
    0: [frame(Type.DATA, END_STREAM, 0, Buffer.alloc(50))],
    1: [frame(Type.DATA, 0, 0, Buffer.alloc(50)), frame(Type.DATA, END_STREAM, 0, Buffer.alloc(50))],
    2: [frame(Type.HEADERS, END_HEADERS | END_STREAM, 0, literals([['x-trailer', 'yes']]))],
    3: [frame(Type.RST_STREAM, 0, 0, Buffer.from([0, 0, 0, 8]))],
  };
  const on = (id: number, bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32BE(id, 5);
    return copy;
  };
  server.owner.serve = (_request, stream) => {
    clock.advance(10);
    stream.handler = {
      onHeaders() {},
      onData: (_, __, start, end) => stream.consume(end - start),
      onTrailers() {},
      onReset() {},
      onSent() {},
    };
    stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  peer.write(
    Buffer.concat(
      ids.flatMap((id, i) => [
        frame(Type.HEADERS, END_HEADERS, id, literals(requestFields)),
        ...(bodies[i % 4] as Buffer[]).map((one) => on(id, one)),
      ]),
    ),
  );
  await roundTrip();
  const refused = new Set(answers().refused);
  const ofKind = (kind: number) => ids.filter((id, i) => i % 4 === kind && refused.has(id));
  for (const kind of [0, 1, 2, 3]) assert.ok(ofKind(kind).length > 0, `some of kind ${kind} are refused`);
  const resets = (id: number) => peer.seen(Type.RST_STREAM, id).map(({ payload }) => payload.readUInt32BE(0));
  for (const id of ofKind(1)) assert.deepEqual(resets(id), [0]);
  for (const kind of [0, 2, 3]) for (const id of ofKind(kind)) assert.deepEqual(resets(id), []);
  assert.equal(server.counters.rapidReset, 0);
  assert.equal(server.connection.activeStreams, 0);
});

test('of refused requests that never end as many are remembered as a client may have open; what is forgotten is named', () => {
  const ids = new StreamIds('server', 1_000);
  assert.equal(ids.wasRefused(1), false);
  for (let id = 1; id < 2_048; id += 2) assert.equal(ids.rememberRefused(id), 0);
  ids.forgetRefused(3);
  ids.forgetRefused(4_001);
  assert.deepEqual(
    [1, 3, 5, 2_047, 2_049].map((id) => ids.wasRefused(id)),
    [true, false, true, true, false],
  );
  assert.deepEqual(
    [2_049, 2_051, 2_053].map((id) => ids.rememberRefused(id)),
    [1, 0, 5],
  );
  assert.equal(ids.wasRefused(1), false);
  assert.equal(ids.wasRefused(2_049), true);
});

test('what a refused request puts into the header table is there for the next one', async (t) => {
  const both = await refuseAll(t);
  const { answers, peer, roundTrip, server } = both;
  // RFC 7541 6.2.1: a literal with incremental indexing, a new name.
  const indexed = (name: string, value: string) =>
    Buffer.concat([Buffer.from([0x40, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);
  const first = both.nextId;
  const frames: Buffer[] = [];
  for (let i = 0; i < 400; i++) {
    const block = Buffer.concat([literals(requestFields), indexed('x-number', String(i).padStart(5, '0'))]);
    // The newest entry, by its index.
    const again = Buffer.concat([literals(requestFields), Buffer.from([0x80 | 62])]);
    frames.push(frame(Type.HEADERS, END_HEADERS | END_STREAM, first + 4 * i, block));
    frames.push(frame(Type.HEADERS, END_HEADERS | END_STREAM, first + 4 * i + 2, again));
  }
  peer.write(Buffer.concat(frames));
  await roundTrip();
  const refused = new Set(answers().refused);
  let checked = 0;
  for (const { stream, headers } of server.owner.requests) {
    const id = stream?.id ?? 0;
    if (id < first) continue;
    const number = Math.floor((id - first) / 4);
    assert.deepEqual(headers?.at(-1), ['x-number', String(number).padStart(5, '0')]);
    if ((id - first) % 4 === 2 && refused.has(id - 2)) checked++;
  }
  assert.ok(checked > 0, 'some name what a refused one has brought');
});

test('requests that are spared are served while others are refused', async (t) => {
  const both = await refuseAll(t);
  const { answers, roundTrip, send, server } = both;
  const { shedding } = server.owner;
  shedding.looksAtHeaders = true;
  shedding.spared = (fields) => fields.some(([name, value]) => name === 'x-worth' && value === 'much');
  const before = server.owner.requests.length;
  const refusedBefore = answers().refused.length;
  send(300, [...requestFields, ['x-worth', 'much']]);
  await roundTrip();
  assert.equal(server.owner.requests.length, before + 300);
  assert.equal(answers().refused.length, refusedBefore);
});
