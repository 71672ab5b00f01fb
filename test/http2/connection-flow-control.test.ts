import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import {
  blockOf,
  bodyOf,
  finish,
  joined,
  okTrailers,
  quiesce,
  requestFields,
  responseFields,
  type TestStream,
  until,
} from './http2-bench.ts';
import { END_HEADERS, END_STREAM, PADDED, type RawFrame, rawClient, rawClientBeforePreface, rawServer, Type } from './raw-peer.ts';

checkLeaks();

const bytesOf = (frames: readonly RawFrame[]) => frames.reduce((sum, { payload }) => sum + payload.length, 0);
const creditOf = (frames: readonly RawFrame[]) => frames.reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);

test('a stalled stream takes its own window and nothing from the others', async (t) => {
  const { client, server } = await joined(t, { server: { maxStreamWindowBytes: 65_535 } });
  server.owner.serve = (request, stream) => {
    if (new Map(request.headers).has('x-stall')) request.autoConsume = false;
    else request.onEnded = () => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  const body = bodyOf(400_000, 5);
  const stalled = Array.from({ length: 20 }, () => client.open(false, [...requestFields, ['x-stall', 'yes']]));
  for (const { stream } of stalled) (stream as Stream).sendData(body, 0, body.length, true);
  await until(() => server.connection.heldBytes === 20 * 65_535, 'twenty full windows');
  const others = Array.from({ length: 5 }, () => client.open());
  for (const { stream } of others) (stream as Stream).sendData(body, 0, body.length, true);
  await until(() => others.every(({ ended }) => ended), 'the answers to the others');
  assert.equal(server.engine.bufferedBytes, 20 * 65_535, 'what is held is what the stalled ones were admitted');
  for (const { stream } of stalled) (stream as Stream).reset();
  await until(() => server.connection.activeStreams === 0, 'the resets');
  await finish(client, server);
});

test('what is given as credit is what was consumed, byte by byte', async (t) => {
  // A window that cannot grow: its credit can be told from nothing else.
  const { peer, server } = await rawClient(t, { options: { maxStreamWindowBytes: 65_535 } });
  peer.headers(1, requestFields, END_HEADERS);
  await until(() => server.owner.requests.length === 1, 'the request');
  const request = server.owner.requests[0] as TestStream;
  const stream = request.stream as Stream;
  request.autoConsume = false;
  let sent = 0;
  let consumed = 0;
  for (let round = 0; round < 200; round++) {
    const room = 65_535 + creditOf(peer.seen(Type.WINDOW_UPDATE, 1)) - sent;
    const length = Math.min(room, 1 + ((round * 997) % 16_384));
    if (length > 0) peer.data(1, length);
    sent += Math.max(0, length);
    await peer.roundTrip();
    assert.equal(server.connection.heldBytes, sent - consumed);
    const taken = Math.floor((stream.heldBytes * ((round * 31) % 101)) / 100);
    stream.consume(taken);
    consumed += taken;
    assert.ok(stream.receiveWindow >= 0);
    assert.equal(stream.receiveWindow + stream.heldBytes + stream.unannouncedBytes, 65_535, 'nothing is lost or invented');
  }
  stream.consume(stream.heldBytes);
  await peer.roundTrip();
  assert.equal(creditOf(peer.seen(Type.WINDOW_UPDATE, 1)) + stream.unannouncedBytes, sent);
  assert.ok(sent > 400_000);
  stream.consume(1_000_000);
  assert.equal(stream.heldBytes, 0, 'more than was received cannot be consumed');
  stream.reset();
});

test('DATA that an honest peer may send is never refused, one byte more is', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1, requestFields, END_HEADERS);
  await until(() => server.owner.requests.length === 1, 'the request');
  (server.owner.requests[0] as TestStream).autoConsume = false;
  for (let i = 0; i < 3; i++) peer.data(1, 16_384);
  peer.data(1, 65_535 - 3 * 16_384);
  await peer.roundTrip();
  assert.equal(server.connection.heldBytes, 65_535);
  peer.data(1, 1);
  assert.equal(await peer.resetCode(1), 3);
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[0]?.reset, { code: 3, unprocessed: false });
});

test('DATA beyond the window of the connection ends it', async (t) => {
  const { peer, server } = await rawClient(t, { options: { connectionWindowBytes: 65_535, maxConnectionBufferBytes: 65_535 } });
  server.owner.serve = (request) => {
    request.autoConsume = false;
  };
  peer.headers(1, requestFields, END_HEADERS);
  peer.headers(3, requestFields, END_HEADERS);
  for (let i = 0; i < 4; i++) peer.data(1, 16_000);
  peer.data(3, 1_536);
  assert.equal((await peer.goAway()).code, 3);
});

test('DATA for streams that are gone still counts for the connection, and its credit comes back', async (t) => {
  const { peer, server } = await rawClient(t, { options: { connectionWindowBytes: 100_000 } });
  server.owner.serve = (_request, stream) => stream.reset(8);
  peer.headers(1, requestFields, END_HEADERS);
  await peer.resetCode(1);
  let sent = 0;
  for (let round = 0; round < 40; round++) {
    peer.data(1, 16_384);
    sent += 16_384;
    await peer.roundTrip();
    assert.ok(65_535 + creditOf(peer.seen(Type.WINDOW_UPDATE, 0)) - sent >= 16_384, 'room for the next frame');
  }
});

test('padding counts, and its credit goes back although nobody consumes it', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1, requestFields, END_HEADERS);
  for (let i = 0; i < 300; i++) {
    peer.send(Type.DATA, PADDED, 1, Buffer.concat([Buffer.from([255]), Buffer.from('a'), Buffer.alloc(255)]));
    await peer.roundTrip();
  }
  assert.ok(creditOf(peer.seen(Type.WINDOW_UPDATE, 1)) >= 300 * 257 - 65_535);
  assert.equal(server.owner.requests[0]?.receivedBytes, 300);
  peer.reset(1, 8);
  await peer.roundTrip();
});

test('the connection gets its credit again when streams that held it all are reset', async (t) => {
  const { peer, server } = await rawClient(t, { options: { connectionWindowBytes: 131_072, maxConnectionBufferBytes: 131_072 } });
  server.owner.serve = (request) => {
    request.autoConsume = false;
  };
  // The first SETTINGS are the only ones that this peer acknowledges: all its windows stay 64 KiB.
  let sent = 0;
  const room = (): number => 65_535 + creditOf(peer.seen(Type.WINDOW_UPDATE, 0)) - sent;
  for (let id = 1; room() > 0; id += 2) {
    peer.headers(id, requestFields, END_HEADERS);
    for (let own = 65_535; own > 0 && room() > 0; ) {
      const length = Math.min(own, room(), 16_384);
      peer.data(id, length);
      own -= length;
      sent += length;
      await peer.roundTrip();
    }
  }
  const held = server.connection.heldBytes;
  assert.ok(held <= 131_072 && held > 100_000, `${held} bytes: all that the connection may hold`);
  const before = creditOf(peer.seen(Type.WINDOW_UPDATE, 0));
  for (let id = 1; id <= 5; id += 2) peer.reset(id, 8);
  await peer.roundTrip();
  assert.equal(server.connection.heldBytes, 0);
  assert.ok(creditOf(peer.seen(Type.WINDOW_UPDATE, 0)) - before >= 65_535, 'the next call can send');
});

test('a connection whose bytes wait gets no credit while others hold everything, and gets it when they let go', async (t) => {
  const { peer, server } = await rawClient(t);
  const { engine } = server;
  const limit = engine.maxBufferedBytes;
  server.owner.serve = (request) => {
    request.autoConsume = false;
  };
  engine.bufferedBytes += limit;
  peer.headers(1, requestFields, END_HEADERS);
  for (let left = 65_535; left > 0; left -= 16_384) peer.data(1, Math.min(left, 16_384));
  await peer.roundTrip();
  assert.equal(server.connection.heldBytes, 65_535);
  assert.equal(creditOf(peer.seen(Type.WINDOW_UPDATE, 0)), 0, 'nothing beyond the 64 KiB of every connection');
  engine.unbuffer(limit);
  await peer.roundTrip();
  assert.ok(creditOf(peer.seen(Type.WINDOW_UPDATE, 0)) >= 16_384, 'the next stream can send');
  peer.reset(1, 8);
  await peer.roundTrip();
});

test('a connection whose reader keeps up goes on however much others hold', async (t) => {
  const { peer, server } = await rawClient(t);
  const { engine } = server;
  engine.bufferedBytes += engine.maxBufferedBytes;
  peer.headers(1, requestFields, END_HEADERS);
  for (let round = 0; round < 100; round++) {
    peer.data(1, 16_384);
    await peer.roundTrip();
    for (const id of [0, 1]) {
      const window = 65_535 + creditOf(peer.seen(Type.WINDOW_UPDATE, id)) - (round + 1) * 16_384;
      assert.ok(window >= 16_384, `room for the next frame on ${id}`);
    }
    assert.equal(engine.grantedBytes, 0, 'and takes nothing from what is short');
  }
  engine.unbuffer(engine.maxBufferedBytes);
  peer.reset(1, 8);
  await peer.roundTrip();
});

test('a thousand streams that stall on one connection hold less than it may, and never stop the others', async (t) => {
  const { client, server } = await joined(t);
  server.owner.serve = (request, stream) => {
    if (new Map(request.headers).has('x-stall')) request.autoConsume = false;
    else request.onEnded = () => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  const body = bodyOf(100_000, 5);
  const stalled: TestStream[] = [];
  for (let i = 0; i < 990; i++) {
    const call = client.open(false, [...requestFields, ['x-stall', 'yes']]);
    (call.stream as Stream).sendData(body, 0, body.length, true);
    stalled.push(call);
    if (i % 30 === 0) await quiesce(4);
  }
  await quiesce(200);
  const held = server.connection.heldBytes;
  assert.ok(held <= 12 * 1024 * 1024, `${held} bytes of a thousand streams`);
  assert.ok(held > 990 * 2_000, 'each has sent what it may');
  for (let round = 0; round < 3; round++) {
    const other = client.open();
    (other.stream as Stream).sendData(body, 0, body.length, true);
    await until(() => other.ended, 'the answer to another one');
  }
  assert.equal(server.engine.bufferedBytes, held);
  assert.ok(stalled.every(({ reset }) => reset === undefined));
  // They were never ended, and go on when they are read.
  for (const request of server.owner.requests) {
    if (request.ended) continue;
    request.autoConsume = true;
    request.onEnded = () => request.stream?.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
    request.stream?.release();
  }
  await until(() => stalled.every(({ ended }) => ended), 'the answers to all of them');
  assert.ok(server.owner.requests.every(({ receivedBytes }) => receivedBytes === body.length));
  assert.equal(server.engine.bufferedBytes, 0);
  await finish(client, server);
  assert.equal(server.engine.grantedBytes, 0);
});

test('windows are lowered only by what the peer has acknowledged, and its credit never gets stuck', async (t) => {
  const { peer, server } = await rawClient(t, { options: { maxStreamWindowBytes: 65_535, maxConnectionBufferBytes: 1024 * 1024 } });
  server.owner.serve = (request) => {
    request.autoConsume = false;
  };
  const settings = () => peer.seen(Type.SETTINGS).filter(({ flags, payload }) => (flags & 1) === 0 && payload.length === 6);
  peer.headers(1, requestFields, END_HEADERS);
  await until(() => server.owner.requests.length === 1, 'the first request');
  const first = server.owner.requests[0]?.stream as Stream;
  // All of its window, of which a part is consumed that is not worth a frame.
  for (let left = 65_535; left > 0; left -= 16_384) peer.data(1, Math.min(left, 16_384));
  await peer.roundTrip();
  first.consume(30_000);
  await peer.roundTrip();
  assert.equal(creditOf(peer.seen(Type.WINDOW_UPDATE, 1)), 0);
  for (let id = 3; id < 43; id += 2) peer.headers(id, requestFields, END_HEADERS);
  await peer.roundTrip();
  const announced = settings().map(({ payload }) => payload.readUInt32BE(2));
  assert.ok(announced.length > 0 && (announced.at(-1) as number) < 32_768, `the window is lowered: ${announced}`);
  assert.equal(creditOf(peer.seen(Type.WINDOW_UPDATE, 1)), 30_000, 'what was kept back is given with it');
  // Not acknowledged yet: the old window still counts.
  for (let i = 0; i < 3; i++) peer.data(3, 16_384);
  await peer.roundTrip();
  assert.equal(server.owner.requests[1]?.receivedBytes, 3 * 16_384);
  for (let i = 0; i < announced.length; i++) peer.send(Type.SETTINGS, 1, 0);
  await peer.roundTrip();
  const window = announced.at(-1) as number;
  assert.equal(server.owner.requests[1]?.stream?.receiveWindow, window - 3 * 16_384, 'below zero by our own SETTINGS');
  peer.data(3, Buffer.alloc(0), true);
  await peer.roundTrip();
  assert.equal(server.owner.requests[1]?.ended, true, 'an end needs no window');
  peer.data(5, window);
  await peer.roundTrip();
  assert.equal(server.owner.requests[2]?.receivedBytes, window);
  peer.data(5, 1);
  assert.equal(await peer.resetCode(5), 3, 'beyond what it has acknowledged it is wrong');
  for (const { stream } of server.owner.requests) stream?.reset();
  await peer.roundTrip();
});

test('SETTINGS_INITIAL_WINDOW_SIZE in flight moves the windows of open streams, also below zero', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1);
  await until(() => server.owner.requests.length === 1, 'the request');
  const request = server.owner.requests[0] as TestStream;
  const stream = request.stream as Stream;
  const body = bodyOf(150_000, 8);
  stream.sendHeaders(blockOf(responseFields), false);
  stream.sendData(body, 0, body.length, false);
  stream.sendTrailers(blockOf(okTrailers));
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 1)), 65_535);
  peer.windowUpdate(0, 1_000_000);
  peer.settings([[4, 10]]);
  await peer.roundTrip();
  assert.equal(stream.sendWindow, 10 - 65_535);
  peer.windowUpdate(1, 65_525);
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 1)), 65_535, 'at zero nothing is sent');
  peer.windowUpdate(1, 1);
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 1)), 65_536);
  peer.settings([[4, 20_010]]);
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 1)), 85_536);
  peer.settings([[4, 0]]);
  peer.settings([[4, 1_000_000]]);
  await peer.next(Type.HEADERS, 1);
  await until(() => stream.closed, 'the end');
  await peer.roundTrip();
  assert.ok(Buffer.concat(peer.seen(Type.DATA, 1).map(({ payload }) => payload)).equals(body));
  assert.equal(peer.frames.filter(({ type, id }) => (type === Type.DATA || type === Type.HEADERS) && id === 1).at(-1)?.type, Type.HEADERS);
});

test('SETTINGS are acknowledged before anything that relies on them', async (t) => {
  const { peer, server } = await rawClient(t, { settings: [[4, 0]] });
  peer.headers(1);
  await until(() => server.owner.requests.length === 1, 'the request');
  const stream = server.owner.requests[0]?.stream as Stream;
  stream.sendHeaders(blockOf(responseFields), false);
  stream.sendData(bodyOf(100, 1), 0, 100, false);
  stream.sendTrailers(blockOf(okTrailers));
  await peer.roundTrip();
  assert.equal(peer.seen(Type.DATA).length, 0);
  peer.frames.length = 0;
  peer.settings([
    [4, 1_000],
    [1, 8_192],
  ]);
  await until(() => stream.closed, 'the end of the answer');
  await peer.roundTrip();
  assert.deepEqual(
    peer.frames.slice(0, 3).map(({ type }) => type),
    [Type.SETTINGS, Type.DATA, Type.HEADERS],
  );
});

test('an empty DATA frame that ends the stream needs no window', async (t) => {
  const { peer, client } = await rawServer(t, { settings: [[4, 0]] });
  const call = client.open();
  const stream = call.stream as Stream;
  stream.sendData(Buffer.alloc(0), 0, 0, true);
  assert.equal((await peer.next(Type.DATA, 1)).flags, END_STREAM);
  peer.headers(1, [...responseFields, ...okTrailers]);
  await until(() => call.ended, 'the answer');
});

test('a peer that grants one byte at a time gets one byte at a time, and everything in the end', async (t) => {
  const { peer, client } = await rawServer(t, { settings: [[4, 0]] });
  const call = client.open();
  const body = bodyOf(150, 6);
  (call.stream as Stream).sendData(body, 0, body.length, true);
  for (let i = 0; i < body.length; i++) {
    peer.windowUpdate(1, 1);
    await peer.roundTrip();
    assert.equal(bytesOf(peer.seen(Type.DATA, 1)), i + 1);
  }
  assert.ok(Buffer.concat(peer.seen(Type.DATA, 1).map(({ payload }) => payload)).equals(body));
  peer.headers(1, [...responseFields, ...okTrailers]);
  await until(() => call.ended, 'the answer');
});

test('streams that wait for the window of the connection take turns', async (t) => {
  const { peer, client } = await rawServer(t, { settings: [[4, 1_000_000]] });
  const calls = [client.open(), client.open(), client.open()];
  const body = bodyOf(100_000, 1);
  for (const { stream } of calls) (stream as Stream).sendData(body, 0, body.length, true);
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA)), 65_535);
  peer.frames.length = 0;
  peer.windowUpdate(0, 6 * 16_384);
  await peer.roundTrip();
  const ids = peer.seen(Type.DATA).map(({ id }) => id);
  for (const id of [1, 3, 5]) assert.equal(ids.filter((other) => other === id).length, 2, 'two frames each, of six');
  peer.windowUpdate(0, 1_000_000);
  await until(() => calls.every(({ stream }) => stream?.endSent === true), 'the end of the requests');
  for (const { stream } of calls) (stream as Stream).reset();
});

test('a stream that is reset while it waits, with trailers behind it, gives its turn to the next', async (t) => {
  const { peer, server } = await rawClient(t, { settings: [[4, 1_000_000]] });
  peer.headers(1);
  peer.headers(3);
  await peer.roundTrip();
  const [first, second] = server.owner.requests.map(({ stream }) => stream as Stream);
  const body = bodyOf(100_000, 1);
  for (const stream of [first, second]) {
    stream?.sendHeaders(blockOf(responseFields), false);
    stream?.sendData(body, 0, body.length, false);
    stream?.sendTrailers(blockOf(okTrailers));
  }
  assert.equal((second?.queuedBytes ?? 0) > 0, true);
  first?.reset();
  peer.windowUpdate(0, 1_000_000);
  await until(() => second?.closed === true, 'the end of the second');
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 3)), body.length);
  assert.equal(peer.seen(Type.HEADERS, 1).length, 1, 'no trailers of the first');
  assert.equal(server.engine.slabsOut, 0);
});

test('a socket that takes nothing keeps DATA in its stream, and memory within the high-water mark', async (t) => {
  const { peer, server, engineEnd } = await rawClient(t, { settings: [[4, 8_000_000]] });
  peer.windowUpdate(0, 16_000_000);
  peer.headers(1);
  await peer.roundTrip();
  const stream = server.owner.requests[0]?.stream as Stream;
  engineEnd.hold();
  stream.sendHeaders(blockOf(responseFields), false);
  const piece = bodyOf(16_384, 1);
  let sent = 0;
  for (let i = 0; i < 200; i++) sent += stream.sendData(piece, 0, piece.length, i === 199);
  assert.ok(sent <= 256 * 1024 + 3 * 16_384, `${sent} bytes at most beyond the mark`);
  assert.equal(stream.queuedBytes, 200 * 16_384 - sent);
  engineEnd.unhold();
  await until(() => stream.closed, 'the end of the answer');
  await peer.roundTrip();
  assert.equal(bytesOf(peer.seen(Type.DATA, 1)), 200 * 16_384);
});

test('windows grow while the reader keeps up, up to the largest, and the peer is told', async (t) => {
  const { client, server } = await joined(t);
  server.owner.serve = (request, stream) => {
    request.onEnded = () => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  const call = client.open();
  const piece = bodyOf(1_000_000, 3);
  let sent = 0;
  for (let i = 0; i < 20; i++) sent += (call.stream as Stream).sendData(piece, 0, piece.length, i === 19);
  await until(() => call.ended, 'the answer');
  assert.equal(sent + call.sentBytes, 20_000_000);
  const next = client.open();
  assert.equal((next.stream as Stream).sendWindow, 1024 * 1024, 'the next stream starts with the largest');
  (next.stream as Stream).reset();
  await finish(client, server);
});

test('windows do not grow for a reader that falls behind', async (t) => {
  const { client, server } = await joined(t, { server: { maxConnectionBufferBytes: 200_000 } });
  const call = client.open();
  await until(() => server.owner.requests.length === 1, 'the request');
  const request = server.owner.requests[0] as TestStream;
  request.autoConsume = false;
  const body = bodyOf(400_000, 1);
  (call.stream as Stream).sendData(body, 0, body.length, true);
  while (!request.ended) {
    await quiesce(4);
    (request.stream as Stream).consume(1_500);
  }
  const next = client.open();
  assert.ok((next.stream as Stream).sendWindow <= 65_535);
  (next.stream as Stream).reset();
  (request.stream as Stream).release();
  (request.stream as Stream).reset();
  await until(() => client.connection.activeStreams === 0, 'the end of the streams');
  await finish(client, server);
});

test('a window smaller than the default is not held against a peer that has not read of it', async (t) => {
  const { peer, server } = await rawClient(t, { options: { initialStreamWindowBytes: 1_000 } });
  // The bench has acknowledged already; a stream of before is what this is about.
  peer.headers(1, requestFields, END_HEADERS);
  peer.data(1, 1_000);
  await peer.roundTrip();
  assert.equal(server.owner.requests[0]?.receivedBytes, 1_000);
  peer.reset(1, 8);
  const early = rawClientBeforePreface(t, { options: { initialStreamWindowBytes: 1_000 } });
  early.peer.preface();
  early.peer.headers(1, requestFields, END_HEADERS);
  early.peer.data(1, 16_000, true);
  await until(() => early.server.owner.requests[0]?.ended === true, 'the whole request');
  assert.equal(early.server.owner.requests[0]?.receivedBytes, 16_000);
  early.server.owner.requests[0]?.stream?.reset();
});
