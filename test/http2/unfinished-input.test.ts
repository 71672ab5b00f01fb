import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { CountingEngine, Party, quiesce, until, wire } from './http2-bench.ts';
import { ACK, END_HEADERS, END_STREAM, frame, literals, RawPeer, rawClient, rawServer, Type } from './raw-peer.ts';

checkLeaks();

const ENHANCE_YOUR_CALM = 11;

const roles = {
  client: async (t: TestContext) => {
    const { peer, server, clock } = await rawClient(t);
    return { peer, engine: server, clock };
  },
  server: async (t: TestContext) => {
    const { peer, client, clock } = await rawServer(t);
    return { peer, engine: client, clock };
  },
};

for (const [role, begin] of Object.entries(roles)) {
  for (const [name, type] of [
    ['SETTINGS', Type.SETTINGS],
    ['HEADERS', Type.HEADERS],
    ['an unknown type', 200],
  ] as const) {
    test(`a ${role}'s frame of ${name} that does not end within ten seconds ends the connection, however it comes`, async (t) => {
      const { peer, engine, clock } = await begin(t);
      const whole = frame(type, 0, 1, Buffer.alloc(600));
      peer.write(whole.subarray(0, 300));
      await quiesce();
      assert.ok(engine.engine.unfinishedBytes >= 300);
      clock.advance(9_000);
      // More of it is not its end.
      peer.write(whole.subarray(300, 500));
      await quiesce();
      clock.advance(1_004);
      const { code, debug } = await peer.goAway();
      assert.equal(code, ENHANCE_YOUR_CALM);
      assert.match(debug, /the end of a frame did not come within 10 s/);
      assert.equal(engine.counters.frameTimeout, 1);
      assert.equal(engine.counters.headerTimeout, 0);
      assert.equal(engine.engine.unfinishedBytes, 0);
    });
  }

  test(`a ${role} that goes away in the middle of a frame leaves nothing`, async (t) => {
    const { peer, engine } = await begin(t);
    peer.write(frame(200, 0, 0, Buffer.alloc(9_000)).subarray(0, 5_000));
    await quiesce();
    assert.ok(engine.engine.unfinishedBytes >= 5_000);
    peer.socket.destroy();
    await until(() => engine.connection.closed, 'the end');
    assert.equal(engine.engine.unfinishedBytes, 0);
    engine.assertClosed();
  });
}

test('a frame in pieces has no deadline once it is whole', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  const ping = frame(Type.PING, 0, 0, Buffer.alloc(8));
  peer.write(ping.subarray(0, 12));
  await quiesce();
  peer.write(ping.subarray(12));
  await peer.roundTrip();
  assert.equal(server.engine.unfinishedBytes, 0);
  clock.advance(59_000);
  await peer.roundTrip();
});

test('the time of a header block runs from the first bytes of its first frame', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  const first = frame(Type.HEADERS, END_STREAM, 1, Buffer.alloc(600));
  peer.write(first.subarray(0, 400));
  await quiesce();
  clock.advance(9_000);
  peer.write(first.subarray(400));
  await quiesce();
  clock.advance(1_004);
  assert.match((await peer.goAway()).debug, /the end of a header block did not come within 10 s/);
  assert.equal(server.counters.headerTimeout, 1);
  assert.equal(server.counters.frameTimeout, 0);
});

test('DATA may take any time: a large frame that comes byte by byte over an hour is delivered', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  peer.headers(1, undefined, END_HEADERS);
  await until(() => server.owner.requests.length === 1, 'the request');
  const body = Buffer.alloc(10_000, 7);
  const whole = frame(Type.DATA, END_STREAM, 1, body);
  for (const [from, to] of [
    [0, 3],
    [3, 9],
    [9, 10],
    [10, 6_000],
    [6_000, whole.length],
  ] as const) {
    peer.write(whole.subarray(from, to));
    await quiesce();
    assert.equal(server.engine.unfinishedBytes, 0);
    clock.advance(900_000);
  }
  assert.ok(server.owner.requests[0]?.body.equals(body));
  server.owner.requests[0]?.stream?.reset();
});

/** Clients of one process, past their prefaces. */
const clientsOf = async (t: TestContext, engine: CountingEngine, count: number): Promise<{ peers: RawPeer[]; parties: Party[] }> => {
  const peers: RawPeer[] = [];
  const parties: Party[] = [];
  for (let i = 0; i < count; i++) {
    const [peerEnd, engineEnd] = wire();
    const party = new Party(engineEnd, 'server', engine.clock, {}, undefined, engine);
    const peer = new RawPeer(peerEnd);
    t.after(() => {
      party.connection.destroy();
      peerEnd.destroy();
    });
    peer.preface();
    peer.send(Type.SETTINGS, ACK, 0);
    peers.push(peer);
    parties.push(party);
  }
  await until(() => parties.every(({ connection }) => connection.ready), 'all SETTINGS');
  return { peers, parties };
};

test('halves of header blocks and frames over all connections stay within one budget, and small ones are never refused', async (t) => {
  const clock = new VirtualClock();
  const maxBufferedBytes = 4 * 1024 * 1024;
  const engine = new CountingEngine(clock, new TimerWheel(clock), maxBufferedBytes);
  const budgetBytes = maxBufferedBytes / 4;
  assert.equal(engine.maxUnfinishedBytes, budgetBytes);
  const { peers, parties } = await clientsOf(t, engine, 40);
  let mostBytes = 0;
  for (const peer of peers) {
    peer.send(Type.HEADERS, END_STREAM, 1, Buffer.alloc(16_000));
    for (let i = 0; i < 6; i++) peer.send(Type.CONTINUATION, 0, 1, Buffer.alloc(16_000));
    // The last one does not end, either.
    peer.write(frame(Type.CONTINUATION, 0, 1, Buffer.alloc(8_000)).subarray(0, 5_000));
    await quiesce(10);
    mostBytes = Math.max(mostBytes, engine.unfinishedBytes);
  }
  const ended = parties.filter(({ connection }) => connection.closed);
  assert.ok(ended.length > 20 && ended.length < 40, `${ended.length} of them ended`);
  assert.ok(mostBytes <= budgetBytes, `${mostBytes} bytes were kept`);
  for (const { counters } of ended) assert.equal(counters.unfinishedOverflow, 1);
  const refused = peers[parties.indexOf(ended[0] as Party)] as RawPeer;
  const { code, debug } = await refused.goAway();
  assert.equal(code, ENHANCE_YOUR_CALM);
  assert.match(debug, /\d+ bytes of a frame or header block wait for its end, beside \d+ of other connections/);

  // An honest client meanwhile, with headers as large as servers take and a frame that a packet has cut.
  const { peers: honest, parties: served } = await clientsOf(t, engine, 1);
  const [peer, party] = [honest[0] as RawPeer, served[0] as Party];
  const fields = literals([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', '/a.B/C'],
    [':authority', 'a'],
    ['x-large', 'v'.repeat(7_000)],
  ]);
  const whole = Buffer.concat([
    frame(Type.HEADERS, END_STREAM, 1, fields.subarray(0, 3_000)),
    frame(Type.CONTINUATION, END_HEADERS, 1, fields.subarray(3_000)),
  ]);
  peer.write(whole.subarray(0, 2_000));
  await quiesce();
  peer.write(whole.subarray(2_000, 4_500));
  await quiesce();
  peer.write(whole.subarray(4_500));
  await peer.roundTrip();
  assert.equal(party.owner.requests.length, 1);
  party.owner.requests[0]?.stream?.reset();

  clock.advance(10_004);
  await until(() => parties.every(({ connection }) => connection.closed), 'the end of all halves');
  assert.equal(engine.unfinishedBytes, 0, 'nothing is kept');
});
