import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { VirtualClock } from '../../src/core/index.ts';
import type { HeaderBlock, Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { seededRandom } from '../harness/seeded-random.ts';
import {
  blockOf,
  bodyOf,
  type Fields,
  finish,
  joined,
  okTrailers,
  type Party,
  quiesce,
  requestFields,
  responseFields,
  type TestStream,
  until,
} from './http2-bench.ts';

checkLeaks();

/** Answers with the request's own bytes, in the way of a proxy: credit goes back when the bytes have left. */
const echo = (request: TestStream, stream: Stream): void => {
  request.autoConsume = false;
  request.onPiece = () => {
    const bytes = request.received.at(-1) as Buffer;
    stream.consume(stream.sendData(bytes, 0, bytes.length, false));
  };
  request.onSent = (_stream, bytes) => stream.consume(bytes);
  request.onEnded = () => stream.sendTrailers(blockOf(okTrailers));
  stream.sendHeaders(blockOf(responseFields), false);
  if (request.ended) request.onEnded();
};

const assertWindows = (...parties: readonly Party[]): void => {
  for (const { connection } of parties) {
    for (const handler of connection.handlers()) {
      const { stream } = handler as TestStream;
      if (stream === undefined) continue;
      assert.ok(stream.receiveWindow >= 0, 'a receive window is never negative');
      assert.ok(stream.sendWindow >= 0, 'a send window is never negative while SETTINGS stay');
    }
  }
};

interface Plan {
  readonly seed: number;
  readonly calls: readonly { readonly bytes: number; readonly pieces: number; readonly fate: 'end' | 'trailers' | 'reset' | 'refused' }[];
}

const anyPlan: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(),
  calls: fc.array(
    fc.record({
      bytes: fc.oneof(fc.nat(2_000), fc.nat(300_000), fc.constantFrom(0, 1, 65_535, 65_536, 131_072)),
      pieces: fc.integer({ min: 1, max: 12 }),
      fate: fc.constantFrom('end', 'end', 'trailers', 'reset', 'refused'),
    }),
    { minLength: 1, maxLength: 12 },
  ),
});

/** Any interleaving of calls over any cuts of the wire; returns when everything has come to its end. */
const runPlan = async (t: TestContext, { seed, calls }: Plan): Promise<void> => {
  const random = seededRandom(seed);
  const small = random() < 0.5;
  const cut = () => (random() < 0.3 ? 1 + random() * 12 : 1 + random() * (small ? 900 : 60_000));
  const clock = new VirtualClock();
  const { client, server } = await joined(t, { clock, cut });
  server.owner.serve = (request, stream) => {
    const fields = new Map(request.headers);
    if (fields.get('x-fate') === 'refused') {
      // A server that answers before it has read the request (RFC 9113 8.1).
      stream.sendHeaders(blockOf([...responseFields, ['grpc-status', '7']]), true);
    } else echo(request, stream);
  };
  const live = calls.map(({ bytes, pieces, fate }, i) => {
    const call = client.open(false, [...requestFields, ['x-fate', fate], ['x-number', String(i)]]);
    return { call, body: bodyOf(bytes, i), left: pieces, at: 0, fate };
  });
  const sending = [...live];
  while (sending.length > 0) {
    const i = Math.floor(random() * sending.length);
    const one = sending[i] as (typeof sending)[number];
    const stream = one.call.stream as Stream;
    one.left--;
    const to = one.left <= 0 ? one.body.length : Math.floor(one.at + random() * (one.body.length - one.at));
    const last = one.left <= 0;
    if (last && one.fate === 'reset') stream.reset();
    else if (last && one.fate === 'trailers') {
      stream.sendData(one.body, one.at, to, false);
      stream.sendTrailers(blockOf([['x-trailer', 'yes']]));
    } else stream.sendData(one.body, one.at, to, last);
    one.at = to;
    if (last) sending.splice(i, 1);
    assertWindows(client, server);
    if (random() < 0.5) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => {
    // Answers before their requests wait a moment for these.
    clock.advance(1);
    return client.connection.activeStreams === 0 && server.connection.activeStreams === 0;
  }, 'the end of all streams');
  await quiesce(20);
  for (const { call, body, fate } of live) {
    if (fate === 'reset') continue;
    if (fate === 'refused') {
      assert.deepEqual(new Map(call.headers).get('grpc-status'), '7', 'an early answer is an answer');
      assert.ok(call.ended && call.reset === undefined, 'and no failure');
      continue;
    }
    assert.equal(call.reset, undefined);
    assert.deepEqual(call.trailers, okTrailers);
    assert.ok(call.body.equals(body), 'the body comes back as it went');
  }
  for (const request of server.owner.requests) {
    const fields = new Map(request.headers);
    if (fields.get('x-fate') === 'trailers') assert.deepEqual(request.trailers, [['x-trailer', 'yes']]);
    if (fields.get('x-fate') === 'reset') assert.ok(request.reset?.code === 8 || request.ended);
  }
  client.assertQuiet();
  server.assertQuiet();
  await finish(client, server);
};

test('any interleaving of streams over any cuts of the wire arrives whole, and leaves nothing held', async (t) => {
  await fc.assert(
    fc.asyncProperty(anyPlan, async (plan) => await runPlan(t, plan)),
    { numRuns: 60 },
  );
});

test('200 calls at once over a wire that gives a byte or a few at a time', async (t) => {
  const random = seededRandom(7);
  const { client, server } = await joined(t, { cut: () => 1 + random() * 40 });
  server.owner.serve = echo;
  const calls = Array.from({ length: 200 }, (_, i) => {
    const call = client.open();
    const body = bodyOf(i * 3, i);
    (call.stream as Stream).sendData(body, 0, body.length, true);
    return { call, body };
  });
  await until(() => calls.every(({ call }) => call.ended), 'all answers');
  for (const { call, body } of calls) assert.ok(call.body.equals(body));
  await finish(client, server);
});

test('trailers wait behind DATA that waits for its window', async (t) => {
  const { client, server } = await joined(t);
  const call = client.open(true);
  call.autoConsume = false;
  await until(() => server.owner.requests.length === 1, 'the request');
  const stream = server.owner.requests[0]?.stream as Stream;
  const body = bodyOf(200_000, 1);
  stream.sendHeaders(blockOf(responseFields), false);
  const sent = stream.sendData(body, 0, body.length, false);
  assert.equal(sent, 65_535, "what the caller's window admits");
  assert.equal(stream.queuedBytes, body.length - sent);
  stream.sendTrailers(blockOf(okTrailers));
  await quiesce();
  assert.equal(call.receivedBytes, 65_535);
  assert.equal(call.trailers, undefined);
  assert.equal(client.connection.heldBytes, 65_535);
  while (!call.ended) {
    (call.stream as Stream).consume((call.stream as Stream).heldBytes);
    await quiesce(5);
  }
  assert.ok(call.body.equals(body));
  assert.deepEqual(call.trailers, okTrailers);
  (call.stream as Stream).release();
  await finish(client, server);
});

test('bytes that had to wait are told by onSent, each once', async (t) => {
  const { client, server } = await joined(t);
  server.owner.serve = (request, stream) => {
    request.onEnded = () => stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  const call = client.open();
  const body = bodyOf(500_000, 3);
  const sent = (call.stream as Stream).sendData(body, 0, body.length, true);
  await until(() => call.ended, 'the answer');
  assert.equal(sent + call.sentBytes, body.length);
  assert.ok(server.owner.requests[0]?.body.equals(body));
  await finish(client, server);
});

test('a header block larger than a frame goes out with CONTINUATION and is put together, both ways', async (t) => {
  const large: Fields = Array.from({ length: 40 }, (_, i) => [`x-large-${i}`, `~${i}~`.repeat(300)] as const);
  const random = seededRandom(3);
  const { client, server } = await joined(t, { cut: () => 1 + random() * 5_000 });
  server.owner.serve = (_request, stream) => {
    stream.sendHeaders(blockOf([...responseFields, ...large]), false);
    stream.sendTrailers(blockOf([...okTrailers, ...large]));
  };
  const call = client.open(true, [...requestFields, ...large]);
  await until(() => call.ended, 'the answer');
  assert.deepEqual(server.owner.requests[0]?.headers, [...requestFields, ...large]);
  assert.deepEqual(call.headers, [...responseFields, ...large]);
  assert.deepEqual(call.trailers, [...okTrailers, ...large]);
  await finish(client, server);
});

test('a reset drops what waits, on both sides, and the owner who resets hears nothing more', async (t) => {
  const { client, server } = await joined(t);
  const call = client.open();
  const stream = call.stream as Stream;
  const body = bodyOf(300_000, 9);
  await until(() => server.owner.requests.length === 1, 'the request');
  const request = server.owner.requests[0] as TestStream;
  request.autoConsume = false;
  stream.sendData(body, 0, body.length, false);
  await until(() => request.receivedBytes === 65_535, 'a full window');
  assert.equal(server.engine.bufferedBytes, 65_535);
  stream.reset();
  await until(() => request.reset !== undefined, 'the reset');
  assert.deepEqual(request.reset, { code: 8, unprocessed: false });
  assert.equal(call.reset, undefined);
  client.assertQuiet();
  server.assertQuiet();
  assert.equal(stream.sendData(body, 0, 10, true), 10, 'sending on a closed stream does nothing, and owes nothing');
  stream.sendTrailers(blockOf(okTrailers));
  stream.reset();
  await finish(client, server);
  assert.equal(client.counters.txReset, 1);
  assert.equal(server.counters.rxReset, 1);
});

test('an answer before the end of the request is followed by RST_STREAM(NO_ERROR), and the rest of the request is dropped', async (t) => {
  const clock = new VirtualClock();
  const { client, server } = await joined(t, { clock });
  server.owner.serve = (_request, stream) => stream.sendHeaders(blockOf([...responseFields, ['grpc-status', '16']]), true);
  const call = client.open();
  const stream = call.stream as Stream;
  const body = bodyOf(60_000, 2);
  stream.sendData(body, 0, body.length, false);
  await until(() => call.ended, 'the answer');
  await quiesce();
  assert.ok(!stream.closed, 'the request may still end');
  clock.advance(104);
  await until(() => stream.closed, 'the reset');
  assert.ok(call.ended);
  assert.equal(call.reset, undefined, 'no failure: the answer is complete');
  await quiesce();
  assert.equal(server.counters.rxMessagingError, 0);
  server.assertQuiet();
  await finish(client, server);
});

test('REFUSED_STREAM says that the request was never looked at', async (t) => {
  const { client, server } = await joined(t);
  server.owner.serve = (_request, stream) => stream.reset(7);
  const call = client.open(true);
  await until(() => call.reset !== undefined, 'the reset');
  assert.deepEqual(call.reset, { code: 7, unprocessed: true });
  await finish(client, server);
});

test('an owner who sends from within onSent keeps the order: DATA, then trailers once', async (t) => {
  const { client, server } = await joined(t);
  const call = client.open(true);
  await until(() => server.owner.requests.length === 1, 'the request');
  const request = server.owner.requests[0] as TestStream;
  const stream = request.stream as Stream;
  const body = bodyOf(65_535 * 3, 4);
  let at = 65_536;
  request.onSent = () => {
    if (stream.queuedBytes > 0 || at === body.length) return;
    const sent = stream.sendData(body, at, body.length, false);
    assert.ok(sent < body.length - at, 'more than the window admits');
    at = body.length;
    stream.sendTrailers(blockOf(okTrailers));
  };
  stream.sendHeaders(blockOf(responseFields), false);
  // One byte waits; when it has left, more is sent than can leave, and trailers, before the engine looks at the queue again.
  stream.sendData(body, 0, 65_536, false);
  await until(() => call.ended, 'the answer');
  assert.ok(call.body.equals(body));
  assert.deepEqual(call.trailers, okTrailers);
  await finish(client, server);
});

test('a block that its owner keeps stays as it is while others come', async (t) => {
  const { client, server } = await joined(t);
  const kept: HeaderBlock[] = [];
  server.owner.onRequest = (connection, stream, block) => {
    assert.equal(connection.keepBlock(), block);
    kept.push(block);
    stream.sendHeaders(blockOf([...responseFields, ...okTrailers]), true);
  };
  const calls = Array.from({ length: 20 }, (_, i) => client.open(true, [...requestFields, ['x-number', String(i)]]));
  await until(() => calls.every(({ ended }) => ended), 'the answers');
  for (const [i, block] of kept.entries()) {
    assert.deepEqual(block.toPairs(), [...requestFields, ['x-number', String(i)]]);
    server.engine.returnBlock(block);
  }
  await finish(client, server);
});
