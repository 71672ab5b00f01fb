import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultHttp2Options, type Http2Counters, type Http2Options, type Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { blockOf, type Fields, okTrailers, quiesce, requestFields, responseFields, until } from './http2-bench.ts';
import { ACK, END_HEADERS, END_STREAM, frame, literals, type RawPeer, rawClient, rawServer, Type, uint32 } from './raw-peer.ts';

checkLeaks();

const ENHANCE_YOUR_CALM = 11;
const {
  maxConcurrentStreams,
  maxConsecutiveEmptyFrames,
  maxHeaderFields,
  maxHeaderFrames,
  maxHeaderListBytes,
  maxPriorityFramesPerStream,
  maxQueuedControlFrames,
  maxSettingsEntries,
  resetBurst,
} = defaultHttp2Options;

const priority = frame(Type.PRIORITY, 0, 9, Buffer.concat([uint32(0), Buffer.from([1])]));
const fieldsOf = (count: number, bytes = 1): Fields => Array.from({ length: count }, (_, i) => [`x-${i}`, 'v'.repeat(bytes)] as const);

interface Attack {
  readonly name: string;
  readonly counter: keyof Http2Counters & string;
  readonly options?: Partial<Http2Options>;
  /** Whatever the limit still admits: the connection lives afterwards. */
  readonly admitted: (peer: RawPeer) => void;
  /** One step more. */
  readonly beyond: (peer: RawPeer) => void;
}

const attacks: readonly Attack[] = [
  {
    name: 'PRIORITY frames',
    counter: 'inboundPriorityFramesFlood',
    admitted: (peer) => {
      peer.headers(1); // each stream adds as many as there were
      for (let i = 0; i < 2 * maxPriorityFramesPerStream; i++) peer.write(priority);
    },
    beyond: (peer) => peer.write(priority),
  },
  {
    name: 'WINDOW_UPDATE frames',
    counter: 'inboundWindowUpdateFramesFlood',
    admitted: (peer) => {
      peer.headers(1);
      for (let i = 0; i < 7; i++) peer.windowUpdate(0, 1);
    },
    beyond: (peer) => peer.windowUpdate(0, 1),
  },
  {
    name: 'empty DATA frames in a row',
    counter: 'inboundEmptyFramesFlood',
    admitted: (peer) => {
      peer.headers(1, requestFields, END_HEADERS);
      for (let i = 0; i < 20; i++) {
        for (let empty = 0; empty < maxConsecutiveEmptyFrames; empty++) peer.data(1, 0);
        if (i % 2 === 0) peer.data(1, 1);
        else peer.headers(3 + 2 * i);
      }
      peer.data(1, 0);
    },
    beyond: (peer) => peer.data(1, 0),
  },
  {
    name: 'SETTINGS entries',
    counter: 'settingsFlood',
    admitted: (peer) => peer.settings(Array.from({ length: maxSettingsEntries }, () => [0x99, 1])),
    beyond: (peer) => peer.settings(Array.from({ length: maxSettingsEntries + 1 }, () => [0x99, 1])),
  },
  {
    name: 'frames of a header block',
    counter: 'continuationFlood',
    admitted: (peer) => {
      const block = literals(requestFields);
      peer.send(Type.HEADERS, END_STREAM, 1, block.subarray(0, 10));
      for (let i = 2; i < maxHeaderFrames; i++) peer.send(Type.CONTINUATION, 0, 1);
      peer.send(Type.CONTINUATION, END_HEADERS, 1, block.subarray(10));
    },
    beyond: (peer) => {
      peer.send(Type.HEADERS, END_STREAM, 3);
      for (let i = 1; i <= maxHeaderFrames; i++) peer.send(Type.CONTINUATION, 0, 3);
    },
  },
  {
    name: 'resets of young streams',
    counter: 'rapidReset',
    admitted: (peer) => {
      for (let i = 0; i < resetBurst; i++) {
        peer.headers(1 + 2 * i, requestFields, END_HEADERS);
        peer.reset(1 + 2 * i, 8);
      }
    },
    beyond: (peer) => {
      peer.headers(1 + 2 * resetBurst, requestFields, END_HEADERS);
      peer.reset(1 + 2 * resetBurst, 8);
    },
  },
  {
    name: 'resets that the peer makes us send',
    counter: 'rapidReset',
    admitted: (peer) => {
      for (let i = 0; i < resetBurst; i++) peer.headers(1 + 2 * i, [['no', 'pseudo-headers']]);
    },
    beyond: (peer) => peer.headers(1 + 2 * resetBurst, [['no', 'pseudo-headers']]),
  },
  {
    name: 'fields twice over the limit',
    counter: 'headerOverflow',
    admitted: (peer) => peer.headers(1, [...requestFields, ...fieldsOf(maxHeaderFields)]),
    beyond: (peer) => peer.headers(3, [...requestFields, ...fieldsOf(2 * maxHeaderFields)]),
  },
];

for (const { name, counter, options, admitted, beyond } of attacks) {
  test(`too many ${name} end the connection, and are counted`, async (t) => {
    const { peer, server } = await rawClient(t, options === undefined ? {} : { options });
    admitted(peer);
    await peer.roundTrip();
    const before = server.counters[counter] as number;
    beyond(peer);
    const { code, debug } = await peer.goAway();
    assert.equal(code, ENHANCE_YOUR_CALM);
    assert.match(debug, /^ENHANCE_YOUR_CALM: \S/);
    assert.equal(server.counters[counter], before + 1);
    assert.equal(server.owner.causes[0]?.kind, 'protocol');
  });
}

const sizesOf = (fields: number): RegExp => new RegExp(`too large: ${fields} of \\d+ bytes, ${maxHeaderFields} of \\d+ bytes are allowed`);

test('what ends a connection over its headers says how many there were, and of how many bytes', async (t) => {
  const { peer } = await rawClient(t);
  peer.headers(1, [...requestFields, ...fieldsOf(2 * maxHeaderFields)]);
  assert.match((await peer.goAway()).debug, sizesOf(requestFields.length + 2 * maxHeaderFields));
});

test('headers over the limit, not twice over, reach the owner, who can answer, and the table stays right', async (t) => {
  const { peer, server } = await rawClient(t);
  let overflowed = false;
  server.owner.onRequest = (_connection, stream, block) => {
    overflowed = block.overflowed;
    stream.sendHeaders(blockOf([...responseFields, ['grpc-status', '8']]), true);
  };
  // A field that goes to the dynamic table although it is not kept.
  const late = Buffer.concat([Buffer.from([0x40, 6]), Buffer.from('x-late'), Buffer.from([3]), Buffer.from('yes')]);
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([literals([...requestFields, ...fieldsOf(maxHeaderFields)]), late]));
  await peer.next(Type.HEADERS, 1);
  assert.ok(overflowed);
  assert.equal(server.counters.headerOverflow, 1);
  let seen: Fields = [];
  server.owner.onRequest = (_connection, stream, block) => {
    seen = block.toPairs();
    stream.reset();
  };
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 3, Buffer.concat([literals(requestFields), Buffer.from([0xbe])]));
  await peer.roundTrip();
  assert.deepEqual(seen.at(-1), ['x-late', 'yes']);
});

test('a header list of twice the allowed bytes ends the connection', async (t) => {
  const { peer, server } = await rawClient(t);
  // Small on the wire: one large field in the dynamic table, and one byte for each time it is named.
  const value = 'v'.repeat(3_900);
  const insert = Buffer.concat([
    Buffer.from([0x40, 3]),
    Buffer.from('x-a'),
    Buffer.from([0x7f, ((3_900 - 127) % 128) | 128, (3_900 - 127) >> 7]),
    Buffer.from(value),
  ]);
  const times = Math.ceil((2 * maxHeaderListBytes) / 3_900) + 1;
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([literals(requestFields), insert, Buffer.alloc(times, 0xbe)]));
  assert.equal((await peer.goAway()).code, ENHANCE_YOUR_CALM);
  assert.equal(server.counters.headerOverflow, 1);
});

const pings = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame(Type.PING, 0, 0, Buffer.alloc(8))));

test('acknowledgements that a peer does not read are bounded, in number at once and in time', async (t) => {
  for (const { count, waitMs } of [
    { count: 20 * maxQueuedControlFrames, waitMs: 0 },
    { count: 6 * maxQueuedControlFrames, waitMs: 1_004 },
  ]) {
    const { peer, server, clock, engineEnd } = await rawClient(t);
    engineEnd.hold();
    for (let i = 0; i < count && !server.connection.closed; i += 100) {
      peer.write(pings(100));
      await quiesce(3);
    }
    assert.equal(server.connection.closed, waitMs === 0);
    clock.advance(waitMs);
    peer.ping();
    await until(() => server.connection.closed, 'the end');
    assert.equal(server.counters.outboundControlFlood, 1);
    engineEnd.unhold();
  }
});

test('a burst of PINGs from a peer that reads is answered whole, also where its socket takes them a little later', async (t) => {
  const { peer, server, clock, engineEnd } = await rawClient(t);
  for (let round = 1; round <= 3; round++) {
    engineEnd.hold();
    peer.write(pings(3 * maxQueuedControlFrames));
    await quiesce();
    clock.advance(900);
    peer.ping();
    await quiesce();
    engineEnd.unhold();
    await until(
      () => server.connection.closed || peer.seen(Type.PING).length >= round * (3 * maxQueuedControlFrames + 1),
      'an answer to each',
    );
    clock.advance(1_000);
  }
  assert.equal(server.counters.outboundControlFlood, 0);
});

test('any number of PINGs is answered to a peer that reads, also beside a socket that is never empty', async (t) => {
  const { peer, server } = await rawClient(t, { settings: [[4, 100_000_000]] });
  peer.windowUpdate(0, 100_000_000);
  peer.headers(1);
  await peer.roundTrip();
  const stream = server.owner.requests[0]?.stream as Stream;
  stream.sendHeaders(blockOf(responseFields), false);
  const piece = Buffer.alloc(100_000);
  // DATA is always under way: acknowledgements of long ago must not count as queued.
  for (let i = 0; i < maxQueuedControlFrames * 3; i++) {
    if (stream.queuedBytes < 400_000) stream.sendData(piece, 0, piece.length, false);
    peer.ping();
    if (i % 50 === 0) await peer.roundTrip();
    if (i % 50 === 0) peer.frames.length = 0;
  }
  await peer.roundTrip();
  assert.equal(server.connection.closed, false);
  stream.reset();
});

test('answers that a client does not read are bounded, although each of its streams is over', async (t) => {
  const { peer, server, engineEnd } = await rawClient(t, { options: { maxConcurrentStreams: 50 } });
  server.owner.serve = (_request, stream) => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  engineEnd.hold();
  for (let id = 1; id < 100_000 && !server.connection.closed; id += 2) {
    peer.headers(id);
    if (id % 101 === 0) await quiesce(3);
  }
  assert.ok(server.connection.closed);
  assert.equal(server.counters.outboundFlood, 1);
  assert.ok(server.counters.streamsTotal < 1_000, `${server.counters.streamsTotal} streams`);
  engineEnd.unhold();
});

test('resets that cross complete answers cost nothing, one for each stream', async (t) => {
  const { peer, server } = await rawClient(t);
  server.owner.serve = (_request, stream) => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  const streams = resetBurst * 6;
  for (let i = 0; i < streams; i++) {
    peer.headers(1 + 2 * i);
    if (i % 50 === 0) await peer.roundTrip();
  }
  await peer.roundTrip();
  for (let i = 0; i < streams; i++) peer.reset(1 + 2 * i, 8);
  await peer.roundTrip();
  assert.equal(server.counters.rxReset, streams);
  assert.equal(server.connection.closed, false);
  // Beyond that they are what they look like.
  for (let i = 0; i <= 4 * resetBurst; i++) peer.reset(1, 8);
  await until(() => server.connection.closed, 'the end');
  assert.equal(server.counters.rapidReset, 1);
});

test('a client that resets at its own deadlines, or late, is honest', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  server.owner.serve = (_request, stream) => {
    stream.patienceMs = 50;
  };
  let id = 1;
  for (let batch = 0; batch < 3; batch++) {
    const ids = Array.from({ length: 250 }, () => {
      peer.headers(id, requestFields, END_HEADERS);
      id += 2;
      return id - 2;
    });
    await peer.roundTrip();
    clock.advance(60);
    for (const one of ids) peer.reset(one, 8);
    await peer.roundTrip();
  }
  assert.equal(server.counters.rxReset, 750);
  assert.equal(server.counters.rapidReset, 0);
});

test('a client whose uploads are all answered early may still have DATA and resets of each in flight', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  // It has not read a single answer when it has sent everything: as many streams as it may have open.
  server.owner.serve = (_request, stream) => stream.sendHeaders(blockOf([...responseFields, ['grpc-status', '16']]), true);
  for (let i = 0; i < maxConcurrentStreams; i++) peer.headers(1 + 2 * i, requestFields, END_HEADERS);
  for (let i = 0; i < maxConcurrentStreams; i++) {
    peer.data(1 + 2 * i, 10);
    // Either before our own reset, or when it is on its way.
    if (i % 2 === 0) peer.reset(1 + 2 * i, 0);
  }
  await peer.roundTrip();
  assert.equal(server.connection.activeStreams, maxConcurrentStreams / 2, 'requests that are not at their end');
  clock.advance(104);
  for (let i = 1; i < maxConcurrentStreams; i += 2) {
    peer.data(1 + 2 * i, 10);
    peer.reset(1 + 2 * i, 0);
  }
  await peer.roundTrip();
  assert.equal(server.connection.activeStreams, 0);
  assert.equal(server.counters.rapidReset, 0);
  assert.equal(server.counters.txReset, maxConcurrentStreams / 2, 'one NO_ERROR each, and nothing for what was in flight');
});

test('a stream of one-byte messages is no attack, however many there are', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1, requestFields, END_HEADERS);
  await peer.roundTrip();
  const stream = server.owner.requests[0]?.stream as Stream;
  stream.sendHeaders(blockOf(responseFields), false);
  for (let i = 0; i < 20_000; i++) {
    peer.data(1, 1);
    if (i % 1_000 === 0) await peer.roundTrip();
    stream.sendData(Buffer.from([i & 255]), 0, 1, false);
  }
  await peer.roundTrip();
  assert.equal(server.owner.requests[0]?.receivedBytes, 20_000);
  assert.equal(peer.seen(Type.DATA, 1).length, 20_000);
  stream.reset();
});

test('PING, SETTINGS and WINDOW_UPDATE at any honest rate are fine: a reader may give credit for each frame twice', async (t) => {
  const { peer, server } = await rawClient(t);
  server.owner.serve = (request, stream) => {
    request.autoConsume = true;
    stream.sendHeaders(blockOf(responseFields), false);
    stream.sendData(Buffer.alloc(1_000_000), 0, 1_000_000, true);
  };
  peer.headers(1);
  let credited = 0;
  while (credited < 1_000_000 && !server.owner.requests[0]?.stream?.closed) {
    await peer.roundTrip();
    const frames = peer.seen(Type.DATA).slice();
    peer.frames.length = 0;
    for (const { payload } of frames) {
      peer.windowUpdate(1, payload.length);
      peer.windowUpdate(0, payload.length);
      credited += payload.length;
    }
    peer.settings([[3, 100]]);
  }
  assert.equal(server.counters.inboundWindowUpdateFramesFlood, 0);
});

test("a server's limits hold, too: informational responses, empty frames, CONTINUATION", async (t) => {
  const informational = await rawServer(t);
  for (let round = 0; round < 5; round++) {
    const call = informational.client.open(true);
    const id = call.stream?.id ?? 0;
    await informational.peer.next(Type.HEADERS, id);
    for (let i = 0; i < 10; i++) informational.peer.headers(id, [[':status', '102']], END_HEADERS);
    informational.peer.headers(id, [...responseFields, ...okTrailers]);
    await until(() => call.ended, 'an answer after a few informational ones');
  }
  informational.client.open(true);
  for (let i = 0; i < 20; i++) informational.peer.headers(11, [[':status', '102']], END_HEADERS);
  assert.equal((await informational.peer.goAway()).code, ENHANCE_YOUR_CALM);

  const empty = await rawServer(t);
  const call = empty.client.open(true);
  await empty.peer.next(Type.HEADERS, 1);
  empty.peer.headers(1, responseFields, END_HEADERS);
  for (let i = 0; i < 5; i++) empty.peer.data(1, 0);
  assert.equal((await empty.peer.goAway()).code, ENHANCE_YOUR_CALM);
  assert.ok(call.reset !== undefined && call.stream?.connectionLost);

  const continuation = await rawServer(t);
  continuation.client.open(true);
  await continuation.peer.next(Type.HEADERS, 1);
  continuation.peer.send(Type.HEADERS, 0, 1);
  for (let i = 0; i < 10; i++) continuation.peer.send(Type.CONTINUATION, 0, 1);
  assert.equal((await continuation.peer.goAway()).code, ENHANCE_YOUR_CALM);
  assert.equal(continuation.client.counters.continuationFlood, 1);
});

test('answers with too many fields fail their call only', async (t) => {
  const { peer, client } = await rawServer(t);
  const call = client.open(true);
  await peer.next(Type.HEADERS, 1);
  peer.headers(1, [...responseFields, ...fieldsOf(maxHeaderFields)], END_HEADERS);
  assert.equal(await peer.resetCode(1), 1);
  assert.match(call.stream?.problem ?? '', sizesOf(responseFields.length + maxHeaderFields));
  await peer.roundTrip();
  assert.equal(client.counters.headerOverflow, 1);
});

test('a smaller header table of ours is announced, and held to from its acknowledgement on', async (t) => {
  const { peer, server } = await rawClient(t, { options: { headerTableBytes: 100 } });
  peer.send(Type.SETTINGS, ACK, 0);
  // A size update to 100 first (RFC 7541 4.2), then a field, then the same by its index.
  const update = Buffer.from([0x3f, 100 - 31]);
  const insert = Buffer.concat([Buffer.from([0x40, 3]), Buffer.from('x-a'), Buffer.from([3]), Buffer.from('yes')]);
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([update, literals(requestFields), insert]));
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 3, Buffer.concat([literals(requestFields), Buffer.from([0xbe])]));
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[1]?.headers?.at(-1), ['x-a', 'yes']);
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 5, Buffer.concat([Buffer.from([0x3f, 101 - 31]), literals(requestFields)]));
  assert.equal((await peer.goAway()).code, 9);
});

test('an initial window that changes again and again while streams are open ends the connection, one without streams may', async (t) => {
  const { peer, server } = await rawClient(t);
  for (let i = 0; i < 500; i++) peer.settings([[4, 1_000 + i]]);
  await peer.roundTrip();
  peer.headers(1, requestFields, END_HEADERS);
  for (let i = 0; i < 100; i++) {
    peer.settings([
      [4, 2_000 + i],
      [4, 1_000 + i],
      [4, 3_000 + i],
    ]);
  }
  await peer.roundTrip();
  assert.equal(server.owner.requests[0]?.stream?.sendWindow, 3_099, 'the last of each frame');
  peer.settings([[4, 1]]);
  const { code, debug } = await peer.goAway();
  assert.equal(code, ENHANCE_YOUR_CALM);
  assert.match(debug, /SETTINGS_INITIAL_WINDOW_SIZE changes too often/);
  assert.equal(server.counters.settingsFlood, 1);
});

test('a window that overflows between two entries of one SETTINGS frame has overflowed', async (t) => {
  const { peer } = await rawClient(t);
  peer.headers(1, requestFields, END_HEADERS);
  peer.windowUpdate(1, 1);
  await peer.roundTrip();
  peer.settings([
    [4, 0x7fff_ffff],
    [4, 65_535],
  ]);
  assert.equal((await peer.goAway()).code, 3);
});

test('a server that makes us reset a stream that is over, again and again, loses the connection', async (t) => {
  const { peer, client } = await rawServer(t);
  const call = client.open(true);
  await peer.next(Type.HEADERS, 1);
  peer.headers(1, [...responseFields, ...okTrailers]);
  await until(() => call.ended, 'the answer');
  for (let i = 0; i < resetBurst; i++) peer.send(Type.PRIORITY, 0, 1, Buffer.alloc(4));
  await peer.roundTrip();
  assert.equal(client.counters.txReset, resetBurst);
  peer.send(Type.PRIORITY, 0, 1, Buffer.alloc(4));
  const { code, debug } = await peer.goAway();
  assert.equal(code, ENHANCE_YOUR_CALM);
  assert.match(debug, /too many streams had to be reset/);
  assert.equal(client.counters.rapidReset, 1);
});
