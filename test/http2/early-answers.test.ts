import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { blockOf, okTrailers, requestFields, responseFields } from './http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, type RawOptions, rawClient, Type } from './raw-peer.ts';

/** An answer that is complete before its request (RFC 9113 8.1), in either of its shapes. */
const shapes: Record<string, (stream: Stream) => void> = {
  'without a body': (stream) => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true),
  'with trailers': (stream) => {
    stream.sendHeaders(blockOf(responseFields), false);
    stream.sendData(Buffer.from('enough'), 0, 6, false);
    stream.sendTrailers(blockOf(okTrailers));
  },
};

const lingerMs = 100;

for (const [shape, serve] of Object.entries(shapes)) {
  const answering = async (t: TestContext, raw?: RawOptions) => {
    const both = await rawClient(t, raw);
    both.server.owner.serve = (_request, stream) => serve(stream);
    const { peer } = both;
    const isAnswered = async (id: number): Promise<void> => {
      await peer.roundTrip();
      assert.equal(peer.seen(Type.HEADERS, id).filter(({ flags }) => (flags & END_STREAM) !== 0).length, 1, 'the whole answer');
    };
    /** Nothing more is heard of any stream. */
    const isOver = (resets: readonly number[]): void => {
      assert.equal(both.server.connection.activeStreams, 0);
      assert.equal(both.server.counters.streamsActive, 0);
      assert.equal(both.server.wheel.armed, 0, 'deadlines');
      assert.deepEqual(
        peer.seen(Type.RST_STREAM).map(({ id, payload }) => [id, payload.readUInt32BE(0)]),
        resets.map((id) => [id, 0]),
      );
      for (const request of both.server.owner.requests) {
        assert.deepEqual(
          [request.receivedBytes, request.trailers, request.reset],
          [0, undefined, undefined],
          'its owner hears nothing more',
        );
      }
      assert.equal(both.server.counters.rapidReset, 0);
    };
    return { ...both, isAnswered, isOver };
  };

  test(`an early answer ${shape}: a request that ends meanwhile ends its stream without a reset`, async (t) => {
    const { peer, server, clock, isAnswered, isOver } = await answering(t);
    // In one piece with the headers, later as DATA, later as trailers.
    peer.write(
      Buffer.concat([frame(Type.HEADERS, END_HEADERS, 1, literals(requestFields)), frame(Type.DATA, END_STREAM, 1, Buffer.alloc(50))]),
    );
    await isAnswered(1);
    isOver([]);
    for (const id of [3, 5]) peer.headers(id, requestFields, END_HEADERS);
    await isAnswered(5);
    assert.equal(server.connection.activeStreams, 2, 'they count as open');
    peer.data(3, 100);
    peer.data(3, 0, true);
    peer.data(5, 100);
    peer.headers(5, [['x-trailer', 'yes']]);
    await peer.roundTrip();
    assert.equal(server.connection.activeStreams, 0);
    assert.equal(server.counters.rxMessagingError, 0);
    // curl 7.88 notices the end of its stream with the next frame; one for all that ended meanwhile.
    const wakes = () => peer.seen(Type.PING).filter(({ flags }) => flags === 0).length;
    assert.equal(wakes(), 1);
    clock.advance(lingerMs + 4);
    await peer.roundTrip();
    assert.equal(wakes(), 2);
    isOver([]);
    assert.equal(peer.seen(Type.WINDOW_UPDATE).filter(({ id }) => id !== 0).length, 0, 'no credit for what nobody reads');
  });

  test(`an early answer ${shape}: RST_STREAM(NO_ERROR) follows where the request does not end, in the order of the answers`, async (t) => {
    const { peer, server, clock, isAnswered, isOver } = await answering(t);
    peer.headers(1, requestFields, END_HEADERS);
    await isAnswered(1);
    clock.advance(lingerMs / 2);
    peer.headers(3, requestFields, END_HEADERS);
    await isAnswered(3);
    clock.advance(lingerMs / 2 + 4);
    assert.equal(await peer.resetCode(1), 0);
    await peer.roundTrip();
    assert.equal(server.connection.activeStreams, 1, 'the other has as much time');
    assert.equal(peer.seen(Type.RST_STREAM, 3).length, 0);
    clock.advance(lingerMs / 2);
    assert.equal(await peer.resetCode(3), 0);
    isOver([1, 3]);
    // What was on its way when the reset came is nobody's fault.
    peer.data(1, 10, true);
    peer.windowUpdate(1, 10);
    peer.reset(3, 8);
    await peer.roundTrip();
    isOver([1, 3]);
  });

  test(`an early answer ${shape}: whoever goes on sending is reset after 64 KiB, and the connection has its credit back`, async (t) => {
    const { peer, server, isAnswered, isOver } = await answering(t, { options: { initialStreamWindowBytes: 1 << 20 } });
    for (let id = 1; id < 400; id += 2) {
      peer.headers(id, requestFields, END_HEADERS);
      for (let sent = 0; sent < 5; sent++) peer.data(id, 16_000);
      await isAnswered(id);
    }
    isOver(Array.from({ length: 200 }, (_, i) => 1 + 2 * i));
    assert.equal(server.connection.heldBytes, 0);
  });

  test(`an early answer ${shape}: a client that resets the rest of its request is no attacker, however often it does`, async (t) => {
    const { peer, server, isAnswered, isOver } = await answering(t);
    for (let id = 1; id < 1_000; id += 2) {
      peer.headers(id, requestFields, END_HEADERS);
      peer.reset(id, 8);
    }
    await isAnswered(999);
    isOver([]);
    assert.equal(server.counters.rxReset, 500);
  });

  test(`an early answer ${shape}: what is wrong with the rest of the request is said, and charged, and its owner does not hear of it`, async (t) => {
    const { peer, server, isAnswered } = await answering(t, { options: { resetBurst: 5, resetsPerSecond: 0 } });
    const wrong: readonly ((id: number) => void)[] = [
      (id) => peer.data(id, 11),
      (id) => peer.data(id, 5, true),
      (id) => peer.headers(id, [['x-trailer', 'yes']], END_HEADERS),
      (id) => peer.windowUpdate(id, 0),
      (id) => peer.send(Type.PRIORITY, 0, id, Buffer.alloc(4)),
      (id) => peer.windowUpdate(id, 0x7fff_ffff),
    ];
    for (const [i, act] of wrong.entries()) {
      const id = 1 + 2 * i;
      peer.headers(id, [...requestFields, ['content-length', '10']], END_HEADERS);
      await isAnswered(id);
      act(id);
      if (i < 5) assert.notEqual(await peer.resetCode(id), 0);
    }
    const { code, debug } = await peer.goAway();
    assert.equal(code, 11);
    assert.match(debug, /too many streams had to be reset/);
    assert.equal(server.counters.rapidReset, 1);
    for (const { reset } of server.owner.requests) assert.equal(reset, undefined);
  });

  test(`an early answer ${shape}: streams that linger count against the client's limit`, async (t) => {
    const { peer, clock, isAnswered, isOver } = await answering(t, { options: { maxConcurrentStreams: 3 } });
    for (const id of [1, 3, 5]) peer.headers(id, requestFields, END_HEADERS);
    await isAnswered(5);
    peer.headers(7, requestFields, END_HEADERS);
    assert.equal(await peer.resetCode(7), 7, 'REFUSED_STREAM');
    peer.frames.length = 0;
    clock.advance(lingerMs + 4);
    await peer.roundTrip();
    isOver([1, 3, 5]);
    peer.headers(9, requestFields, END_HEADERS);
    await isAnswered(9);
    peer.data(9, 0, true);
    await peer.roundTrip();
    isOver([1, 3, 5]);
  });

  test(`an early answer ${shape}: a drain waits for it no longer than that, and a lost connection not at all`, async (t) => {
    const drained = await answering(t);
    drained.peer.headers(1, requestFields, END_HEADERS);
    await drained.isAnswered(1);
    drained.server.connection.drain('drain');
    await drained.peer.roundTrip();
    drained.peer.send(Type.PING, 1, 0, Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]));
    await drained.peer.roundTrip();
    assert.equal(drained.peer.seen(Type.GOAWAY).length, 2);
    assert.ok(!drained.server.connection.closed);
    drained.clock.advance(lingerMs + 4);
    await drained.peer.goAway();
    assert.equal(await drained.peer.resetCode(1), 0);
    drained.clock.advance(2_000);
    drained.server.assertClosed();

    const lost = await answering(t);
    lost.peer.headers(1, requestFields, END_HEADERS);
    await lost.isAnswered(1);
    lost.server.connection.destroy();
    lost.server.assertClosed();
    assert.equal(lost.server.owner.requests[0]?.reset, undefined);
  });
}
