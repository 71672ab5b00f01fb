import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { blockOf, finish, joined, okTrailers, Party, quiesce, requestFields, responseFields, until, wire } from './http2-bench.ts';
import { ACK, END_HEADERS, RawPeer, rawClient, rawClientBeforePreface, rawServer, Type, uint32 } from './raw-peer.ts';

checkLeaks();

const answer = (stream: Stream | undefined) => (stream as Stream).sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
const goAway = (lastStreamId: number, code = 0) => Buffer.concat([uint32(lastStreamId), uint32(code)]);

// ---- beginnings ----

test('a client that says nothing is told SETTINGS_TIMEOUT and closed', async (t) => {
  const { peer, server, clock } = rawClientBeforePreface(t);
  clock.advance(4_900);
  await quiesce(5);
  assert.equal(server.connection.closed, false);
  clock.advance(200);
  assert.equal((await peer.goAway()).code, 4);
  assert.equal(peer.frames[0]?.type, Type.SETTINGS);
  assert.equal(server.counters.prefaceTimeout, 1);
  assert.equal(server.owner.causes[0]?.kind, 'timeout');
});

test('a client that dribbles its preface has no more time than another', async (t) => {
  const { peer, clock } = rawClientBeforePreface(t);
  for (const letter of 'PRI * HT') {
    peer.write(letter);
    await quiesce(3);
    clock.advance(600);
  }
  clock.advance(600);
  assert.equal((await peer.goAway()).code, 4);
});

test('a client that makes no request has 60 s, one that made one has all day', async (t) => {
  const idle = await rawClient(t);
  const busy = await rawClient(t);
  busy.peer.headers(1);
  await busy.peer.roundTrip();
  answer(busy.server.owner.requests[0]?.stream);
  idle.clock.advance(59_900);
  busy.clock.advance(10_000_000);
  await busy.peer.roundTrip();
  idle.clock.advance(200);
  assert.equal((await idle.peer.goAway()).code, 0);
  assert.equal(idle.server.counters.firstRequestTimeout, 1);
});

test('a server that never says SETTINGS is given up; one that says them late is not', async (t) => {
  const clock = new VirtualClock();
  const [peerEnd, engineEnd] = wire();
  const client = new Party(engineEnd, 'client', clock);
  peerEnd.resume();
  await quiesce(5);
  assert.equal(client.connection.canOpen, false, 'no stream before SETTINGS');
  clock.advance(5_100);
  await until(() => engineEnd.destroyed, 'the end');
  assert.equal(client.owner.causes[0]?.kind, 'timeout');
  client.assertClosed();
  const late = await rawServer(t);
  late.clock.advance(100_000);
  assert.ok(late.client.connection.canOpen);
});

test('a preface in pieces is a preface', async (t) => {
  const { peer, server } = rawClientBeforePreface(t, { cut: () => 1 });
  peer.preface();
  peer.headers(1);
  await until(() => server.owner.requests.length === 1, 'the request');
  await peer.roundTrip();
});

for (const line of [
  'GET / HTTP/1.1',
  'POST /shop.Orders/Place HTTP/1.1',
  'PUT /a HTTP/1.0',
  'OPTIONS * HTTP/1.1',
  'GET http://a/ HTTP/1.1',
]) {
  test(`"${line}" is answered in HTTP/1.1, and nothing comes before the answer`, async (t) => {
    const { peerEnd, server } = rawClientBeforePreface(t);
    peerEnd.removeAllListeners('data');
    const peer = new RawPeer(peerEnd, true);
    await quiesce(5);
    peer.write(`${line}\r\nhost: a\r\n\r\n`);
    await until(() => peer.ended, 'the end');
    assert.match(peer.text.toString(), /^HTTP\/1\.1 505 .*\r\n(.*\r\n)+\r\nThis port speaks gRPC over HTTP\/2 only/);
    assert.equal(server.owner.causes[0]?.kind, 'protocol');
  });
}

for (const garbage of [
  'INVALID CONNECTION PREFACE\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01\x00',
  '\0\0\0\0',
  'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n',
  'PRI * HTTP/1.1\r\n',
]) {
  test(`${JSON.stringify(garbage)} gets SETTINGS, GOAWAY and the end`, async (t) => {
    const { peer } = rawClientBeforePreface(t);
    peer.write(garbage);
    assert.equal((await peer.goAway()).code, 1);
    assert.equal(peer.frames[0]?.type, Type.SETTINGS);
  });
}

test('an HTTP/1.1 server is told from one that breaks HTTP/2', async () => {
  const [peerEnd, engineEnd] = wire();
  const client = new Party(engineEnd, 'client', new VirtualClock());
  peerEnd.resume();
  peerEnd.write('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
  await until(() => client.owner.causes.length === 1, 'the end');
  assert.match(client.owner.causes[0]?.message ?? '', /is the peer an HTTP\/2 server/);
  client.connection.destroy();
  await until(() => engineEnd.destroyed, 'the end of the socket');
});

// ---- pings ----

test('a PING of the owner tells the round trip, a newer one replaces it', async (t) => {
  const { client, server, clock } = await joined(t);
  const trips: string[] = [];
  client.connection.ping((ms) => trips.push(`first ${ms}`));
  client.connection.ping((ms) => trips.push(`second ${ms}`));
  (clock as VirtualClock).advance(7);
  await until(() => trips.length > 0, 'the acknowledgement');
  await quiesce();
  assert.deepEqual(trips, ['second 7']);
  server.connection.ping(() => trips.push('server'));
  await until(() => trips.length === 2, "the server's");
  await finish(client, server);
});

test('an acknowledgement that nobody asked for is nobody’s', async (t) => {
  const { peer, client } = await rawServer(t);
  let acknowledged = 0;
  client.connection.ping(() => acknowledged++);
  const { payload } = await peer.next(Type.PING);
  const other = Buffer.from(payload);
  other[7] = (other[7] as number) + 1;
  peer.send(Type.PING, ACK, 0, other);
  await peer.roundTrip();
  assert.equal(acknowledged, 0);
  peer.send(Type.PING, ACK, 0, payload);
  peer.send(Type.PING, ACK, 0, payload);
  await peer.roundTrip();
  assert.equal(acknowledged, 1);
});

// ---- MAX_CONCURRENT_STREAMS ----

test("a client opens no more streams than the server's latest limit, and hears when it may open again", async (t) => {
  const { peer, client } = await rawServer(t, { settings: [[3, 2]] });
  const first = client.open(true);
  client.open(true);
  assert.equal(client.connection.canOpen, false);
  const before = client.owner.capacity;
  peer.headers(1, [...responseFields, ...okTrailers]);
  await until(() => first.ended, 'the first answer');
  assert.ok(client.owner.capacity > before);
  assert.ok(client.connection.canOpen);
  peer.settings([[3, 1]]);
  await peer.roundTrip();
  assert.equal(client.connection.canOpen, false, 'lowered below what is open');
  peer.settings([[3, 0]]);
  peer.settings([[3, 5]]);
  await peer.roundTrip();
  assert.ok(client.connection.canOpen);
});

test('a stream above our own limit is refused as unprocessed, and the header tables stay right', async (t) => {
  const { client, server } = await joined(t, { server: { maxConcurrentStreams: 3 } });
  assert.equal(client.connection.peerMaxConcurrentStreams, 3);
  client.connection.peerMaxConcurrentStreams = 10; // as a client that does not listen
  const calls = Array.from({ length: 5 }, (_, i) => client.open(true, [...requestFields, ['x-number', `value-${i}`]]));
  await until(() => calls.filter(({ reset }) => reset !== undefined).length === 2, 'two refusals');
  assert.deepEqual(
    calls.map(({ reset }) => reset?.unprocessed),
    [undefined, undefined, undefined, true, true],
  );
  for (const { stream } of server.owner.requests) answer(stream);
  await until(() => client.connection.activeStreams === 0, 'the answers');
  const next = client.open(true, [...requestFields, ['x-number', 'value-4']]);
  await until(() => server.owner.requests.length === 4, 'the next request');
  assert.equal(new Map(server.owner.requests[3]?.headers).get('x-number'), 'value-4');
  answer(server.owner.requests[3]?.stream);
  await until(() => next.ended, 'its answer');
  await finish(client, server);
});

// ---- endings ----

test('a drain says GOAWAY twice, serves what was on its way between the two, and ends with the last stream', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1);
  await peer.roundTrip();
  const [first] = server.owner.requests;
  server.connection.drain('maintenance');
  const goAway1 = await peer.next(Type.GOAWAY);
  assert.equal(goAway1.payload.readUInt32BE(0), 0x7fff_ffff);
  assert.equal(goAway1.payload.subarray(8).toString(), 'maintenance');
  peer.headers(3);
  const ping = peer.seen(Type.PING).find(({ flags }) => (flags & ACK) === 0);
  assert.ok(ping);
  peer.send(Type.PING, ACK, 0, ping.payload);
  await until(() => peer.seen(Type.GOAWAY).length === 2, 'the second GOAWAY');
  assert.equal(peer.seen(Type.GOAWAY)[1]?.payload.readUInt32BE(0), 3);
  assert.equal(server.owner.requests.length, 2);
  // In flight beyond the second GOAWAY: ignored, whatever it is.
  peer.headers(5, requestFields, END_HEADERS);
  peer.data(5, 100);
  peer.windowUpdate(5, 100);
  peer.data(5, 100, true);
  peer.reset(5, 8);
  await peer.roundTrip();
  assert.equal(server.owner.requests.length, 2);
  answer(first?.stream);
  await peer.roundTrip();
  assert.equal(server.connection.closed, false);
  answer(server.owner.requests[1]?.stream);
  await until(() => peer.ended, 'the end');
  assert.equal(peer.seen(Type.RST_STREAM).length, 0);
  assert.equal(peer.seen(Type.HEADERS).length, 2, 'both were answered');
  assert.equal(server.owner.causes[0]?.kind, 'local');
});

test('a drain does not wait for ever for its PING', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  server.connection.drain('bye');
  await peer.next(Type.GOAWAY);
  clock.advance(2_100);
  await until(() => peer.ended, 'the end');
  assert.equal(peer.seen(Type.GOAWAY).length, 2);
});

test('a drain that begins before the preface ends, too', async (t) => {
  const { peer, server } = rawClientBeforePreface(t);
  server.connection.drain('bye');
  server.connection.drain('bye');
  peer.preface();
  const first = await peer.next(Type.GOAWAY);
  assert.equal(peer.frames[0]?.type, Type.SETTINGS, 'SETTINGS before GOAWAY');
  assert.equal(first.payload.readUInt32BE(0), 0x7fff_ffff);
  const ping = await peer.next(Type.PING);
  peer.send(Type.PING, ACK, 0, ping.payload);
  await until(() => peer.ended, 'the end');
  assert.equal(peer.seen(Type.GOAWAY).length, 2);
});

test('between two engines a drain loses no call', async (t) => {
  const { client, server } = await joined(t);
  server.owner.serve = (_request, stream) => setImmediate(() => answer(stream));
  const calls = [client.open(true)];
  server.connection.drain('drain');
  while (client.connection.canOpen) {
    calls.push(client.open(true));
    await quiesce(1);
  }
  await until(() => calls.every(({ ended, reset }) => ended || reset !== undefined), 'the end of all calls');
  assert.ok(calls.every(({ ended }) => ended));
  await until(() => client.connection.closed && server.connection.closed, 'the end of both connections');
  await quiesce();
  client.assertClosed();
  server.assertClosed();
});

test('a client whose stream ids are used up drains, and its last calls end well', async (t) => {
  const { client, server } = await joined(t, { client: { lastOwnStreamId: 5 } });
  const calls = [client.open(true), client.open(true)];
  assert.ok(client.connection.canOpen);
  calls.push(client.open(true));
  assert.equal(client.connection.canOpen, false);
  assert.ok(client.connection.goingAway);
  await until(() => server.owner.requests.length === 3, 'the requests');
  for (const { stream } of server.owner.requests) answer(stream);
  await until(() => client.connection.closed && server.connection.closed, 'the end');
  assert.ok(calls.every(({ ended }) => ended));
  await quiesce();
  client.assertClosed();
  server.assertClosed();
});

test('streams above the GOAWAY of a server were not processed, those below go on, and the owner hears of the end last', async (t) => {
  const { peer, client } = await rawServer(t);
  const calls = [client.open(true), client.open(true), client.open(true)];
  await peer.next(Type.HEADERS, 5);
  peer.send(Type.GOAWAY, 0, 0, goAway(3));
  await until(() => calls[2]?.reset !== undefined, 'the refusal');
  assert.deepEqual(calls[2]?.reset, { code: 7, unprocessed: true });
  assert.equal(client.connection.canOpen, false);
  assert.deepEqual(client.owner.goAways, [{ lastStreamId: 3, code: 0, debugData: '' }]);
  peer.headers(1, [...responseFields, ...okTrailers]);
  await until(() => calls[0]?.ended === true, 'the answer');
  peer.send(Type.GOAWAY, 0, 0, goAway(1));
  await until(() => client.connection.closed, 'the end');
  assert.deepEqual(calls[1]?.reset, { code: 7, unprocessed: true });
});

for (const [how, end] of [
  ['RST_STREAM', (peer: RawPeer) => peer.reset(1, 8)],
  ['a malformed answer', (peer: RawPeer) => peer.headers(1, [['no', 'status']])],
  ['GOAWAY below it', (peer: RawPeer) => peer.send(Type.GOAWAY, 0, 0, goAway(0))],
] as const) {
  test(`where the last stream of a connection that goes away ends by ${how}, the stream hears it before the owner hears of the end`, async (t) => {
    const { peer, client } = await rawServer(t);
    const call = client.open(true);
    const order: string[] = [];
    call.onReset = () => order.push('stream');
    client.owner.onClose = (_connection, cause) => {
      order.push('connection');
      client.owner.causes.push(cause);
    };
    await peer.next(Type.HEADERS, 1);
    peer.send(Type.GOAWAY, 0, 0, goAway(1));
    end(peer);
    await until(() => client.connection.closed, 'the end');
    assert.deepEqual(order, ['stream', 'connection']);
  });
}

test('a lost connection resets its streams, which were perhaps processed', async (t) => {
  const { client, server } = await joined(t);
  const call = client.open(true);
  await until(() => server.owner.requests.length === 1, 'the request');
  server.connection.destroy();
  await until(() => client.connection.closed, 'the end');
  assert.equal(call.reset?.unprocessed, false);
  assert.ok(call.stream?.connectionLost);
  assert.equal(client.owner.causes[0]?.kind, 'peer');
  assert.equal(server.owner.causes[0]?.kind, 'local');
  await quiesce();
  client.assertClosed();
  server.assertClosed();
});

test('a connection that fails says why and gives a peer that does not close one second', async (t) => {
  const { peer, server, clock, engineEnd } = await rawClient(t);
  peer.socket.pause();
  server.connection.goAway(11, 'enough');
  await quiesce(10);
  assert.ok(server.connection.closed);
  clock.advance(1_100);
  await until(() => engineEnd.destroyed, 'the end of the socket');
  assert.equal(server.wheel.armed, 0);
  peer.socket.resume();
});

test('a client that cancels with NO_ERROR after its request is a client that cancels', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1);
  await peer.roundTrip();
  peer.reset(1, 0);
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[0]?.reset, { code: 0, unprocessed: false });
});

test('a server that has answered in full may reset the rest of the request: the answer stands', async (t) => {
  const { peer, client } = await rawServer(t);
  const call = client.open();
  await peer.next(Type.HEADERS, 1);
  peer.headers(1, [...responseFields, ...okTrailers]);
  peer.reset(1, 0);
  await until(() => client.connection.activeStreams === 0, 'the end');
  assert.ok(call.ended);
  assert.equal(call.reset, undefined);
});

test('one stream’s end may end another: each hears once, whatever its owner does on hearing', async (t) => {
  const { client, server } = await joined(t);
  const calls = Array.from({ length: 5 }, () => client.open());
  await until(() => server.owner.requests.length === 5, 'the requests');
  let heard = 0;
  for (const call of calls) {
    call.onReset = () => {
      heard++;
      for (const other of calls) other.stream?.reset();
    };
  }
  server.connection.destroy();
  await until(() => client.connection.closed, 'the end');
  assert.equal(heard, 1);
  await quiesce();
  client.assertClosed();
});
