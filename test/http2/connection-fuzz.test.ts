import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { checkLeaks } from '../harness/leak-check.ts';
import { blockOf, bodyOf, type Fields, okTrailers, quiesce, requestFields, responseFields, type TestStream } from './http2-bench.ts';
import { frame, literals, type RawPeer, rawClient, rawServer, uint32 } from './raw-peer.ts';

checkLeaks();

const anyFields: fc.Arbitrary<Fields> = fc.constantFrom(
  requestFields,
  requestFields,
  responseFields,
  okTrailers,
  [[':status', '100']],
  [...requestFields, ['content-length', '5']],
  [['x-a', 'b']],
);
const anyId = fc.constantFrom(0, 1, 1, 1, 3, 3, 5, 7, 2, 0x7fff_ffff);
const anyNumber = fc.constantFrom(0, 1, 10, 16_384, 65_535, 65_536, 0x7fff_ffff, 0xffff_ffff);
const anyPayload = fc.oneof(
  { weight: 4, arbitrary: anyFields.map((fields) => literals(fields)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 60 }) },
  { weight: 2, arbitrary: anyNumber.map(uint32) },
  { weight: 1, arbitrary: fc.nat(16_384).map((length) => new Uint8Array(length)) },
  { weight: 1, arbitrary: fc.constantFrom(5, 6, 8, 9).map((length) => new Uint8Array(length)) },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.tuple(fc.nat(9), anyNumber), { maxLength: 3 })
      .map((all) => Buffer.concat(all.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), uint32(value)])))),
  },
);
/** Mostly frames that make sense somewhere, so that the connection lives long enough for the others to meet it in all its states. */
const anyFrame = fc
  .record({
    type: fc.oneof(fc.constantFrom(0, 1, 1, 3, 8), fc.nat(10)),
    flags: fc.oneof(fc.constantFrom(0, 1, 4, 4, 5, 5), fc.nat(63)),
    id: anyId,
    payload: anyPayload,
  })
  .map(({ type, flags, id, payload }) => frame(type, flags, id, payload));
const sensible = fc.oneof(
  fc.tuple(fc.constantFrom(1, 3, 5, 7), fc.constantFrom(4, 5)).map(([id, flags]) => frame(1, flags, id, literals(requestFields))),
  fc.tuple(fc.constantFrom(1, 3, 5), fc.nat(3_000), fc.nat(1)).map(([id, length, flags]) => frame(0, flags, id, new Uint8Array(length))),
  fc.tuple(fc.constantFrom(0, 1, 3), fc.integer({ min: 1, max: 50_000 })).map(([id, more]) => frame(8, 0, id, uint32(more))),
  fc.constantFrom(0, 50, 70_000).map((size) => frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(size)]))),
  fc.constantFrom(1, 3).map((id) => frame(3, 0, id, uint32(8))),
);
const anyInput = fc.record({
  frames: fc.array(fc.oneof({ weight: 3, arbitrary: sensible }, { weight: 1, arbitrary: anyFrame }), { minLength: 1, maxLength: 40 }),
  cuts: fc.integer({ min: 1, max: 3_000 }),
  acts: fc.array(fc.nat(6), { maxLength: 40 }),
});

/** What the owner of a stream may do at any moment, also when it is too late. */
const act = (one: TestStream | undefined, what: number): void => {
  const stream = one?.stream;
  if (one === undefined || stream === undefined) return;
  if (what === 0 && !stream.headersSent) stream.sendHeaders(blockOf(responseFields), false);
  else if (what === 1 && stream.headersSent) stream.sendData(bodyOf(30_000, 1), 0, 30_000, false);
  else if (what === 2 && stream.headersSent) stream.sendTrailers(blockOf(okTrailers));
  else if (what === 3) stream.reset();
  else if (what === 4) stream.consume(1_000);
  else if (what === 5) stream.release();
};

const play = async (
  peer: RawPeer,
  frames: readonly Buffer[],
  acts: readonly number[],
  streams: () => readonly TestStream[],
): Promise<void> => {
  for (const [i, bytes] of frames.entries()) {
    peer.write(bytes);
    if (i % 3 === 0) await quiesce(3);
    const all = streams();
    act(all[i % Math.max(1, all.length)], acts[i] ?? 6);
  }
  await quiesce(15);
};

/** Each property run has its own teardown, which asserts that nothing is held, armed or told twice. */
const scope = (t: TestContext) => {
  const afters: (() => unknown)[] = [];
  const inner = { after: (work: () => unknown) => afters.push(work) } as unknown as TestContext;
  assert.ok(t);
  return {
    inner,
    end: async () => {
      for (const work of afters) await work();
    },
  };
};

test('whatever a client sends and its callee does: no exception, no byte held at the end, one end for each stream', async (t) => {
  await fc.assert(
    fc.asyncProperty(anyInput, async ({ frames, cuts, acts }) => {
      const { inner, end } = scope(t);
      const { peer, server } = await rawClient(inner, { cut: () => cuts });
      server.owner.serve = (request) => {
        request.autoConsume = cuts % 2 === 0;
      };
      await play(peer, frames, acts, () => server.owner.requests);
      for (const request of server.owner.requests) request.stream?.release();
      server.connection.destroy();
      assert.equal(server.counters.streamsActive, 0);
      await end();
    }),
    { numRuns: 400 },
  );
});

test('whatever a server sends and its caller does: no exception, no byte held at the end, one end for each stream', async (t) => {
  await fc.assert(
    fc.asyncProperty(anyInput, async ({ frames, cuts, acts }) => {
      const { inner, end } = scope(t);
      const { peer, client } = await rawServer(inner, { cut: () => cuts });
      const calls = [client.open(true), client.open(false), client.open(false)];
      for (const call of calls) call.autoConsume = cuts % 2 === 0;
      await play(peer, frames, acts, () => calls);
      for (const call of calls) call.stream?.release();
      client.connection.destroy();
      assert.equal(client.counters.streamsActive, 0);
      await end();
    }),
    { numRuns: 400 },
  );
});

test('bytes that are no frames at all end the connection, or wait for the rest', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), fc.integer({ min: 1, max: 50 }), async (bytes, cuts) => {
      const { inner, end } = scope(t);
      const { peer, server } = await rawClient(inner, { cut: () => cuts });
      peer.write(bytes);
      await quiesce(20);
      server.connection.destroy();
      await end();
    }),
    { numRuns: 200 },
  );
});
