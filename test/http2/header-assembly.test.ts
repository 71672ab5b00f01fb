import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Http2Options } from '../../src/http2/index.ts';
import { type Party, quiesce, requestFields, until } from './http2-bench.ts';
import { END_HEADERS, END_STREAM, literals, type RawPeer, rawClient, rawServer, Type } from './raw-peer.ts';

const ENHANCE_YOUR_CALM = 11;

/** A peer of either role that may begin a header block on a stream now. */
const beginners: Record<
  string,
  (t: TestContext, options?: Partial<Http2Options>) => Promise<{ peer: RawPeer; engine: Party; clock: { advance(ms: number): void } }>
> = {
  client: async (t, options = {}) => {
    const { peer, server, clock } = await rawClient(t, { options });
    return { peer, engine: server, clock };
  },
  server: async (t, options = {}) => {
    const { peer, client, clock } = await rawServer(t, { options });
    client.open(true);
    await peer.next(Type.HEADERS, 1);
    return { peer, engine: client, clock };
  },
};

for (const [role, begin] of Object.entries(beginners)) {
  test(`a ${role}'s header block of too many encoded bytes ends the connection at once, not only at its end`, async (t) => {
    const { peer, engine } = await begin(t, { maxHeaderListBytes: 1_000 });
    peer.send(Type.HEADERS, 0, 1, Buffer.alloc(900));
    peer.send(Type.CONTINUATION, 0, 1, Buffer.alloc(900));
    peer.send(Type.CONTINUATION, 0, 1, Buffer.alloc(201));
    const { code, debug } = await peer.goAway();
    assert.equal(code, ENHANCE_YOUR_CALM);
    assert.match(debug, /a header block of 2001 bytes and more, 1000 are allowed/);
    assert.equal(engine.counters.headerOverflow, 1);
    assert.equal(engine.counters.continuationFlood, 0);
  });

  test(`a ${role}'s header block that does not end within ten seconds ends the connection`, async (t) => {
    const { peer, engine, clock } = await begin(t);
    peer.send(Type.HEADERS, END_STREAM, 1, Buffer.alloc(0));
    await quiesce();
    clock.advance(9_000);
    // More of it is not its end.
    peer.send(Type.CONTINUATION, 0, 1, literals([['x-more', 'to come']]));
    await quiesce();
    clock.advance(1_004);
    const { code, debug } = await peer.goAway();
    assert.equal(code, ENHANCE_YOUR_CALM);
    assert.match(debug, /the end of a header block did not come within 10 s/);
    assert.equal(engine.counters.headerTimeout, 1);
  });

  test(`a ${role} that goes away in the middle of a header block leaves nothing`, async (t) => {
    const { peer, engine } = await begin(t);
    peer.send(Type.HEADERS, 0, 1, Buffer.alloc(16_000));
    await quiesce();
    peer.socket.destroy();
    await until(() => engine.connection.closed, 'the end');
    engine.assertClosed();
    assert.equal(engine.counters.headerTimeout, 0);
  });
}

test('a header block in several frames has no deadline once it is whole', async (t) => {
  const { peer, server, clock } = await rawClient(t);
  const bytes = literals(requestFields);
  peer.send(Type.HEADERS, END_STREAM, 1, bytes.subarray(0, 10));
  peer.send(Type.CONTINUATION, 0, 1, bytes.subarray(10, 10));
  peer.send(Type.CONTINUATION, END_HEADERS, 1, bytes.subarray(10));
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[0]?.headers, requestFields);
  assert.equal(server.wheel.armed, 0);
  clock.advance(60_000);
  await peer.roundTrip();
  server.owner.requests[0]?.stream?.reset();
});
