import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { Caller, type WireCall } from './caller.ts';
import { pass, startSidecar, type TestSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, beginAnswer, endAnswer, type Handler, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

const mebibyte = 1024 * 1024;

/** Turns of the event loop in which whatever still moves would move. */
const settle = async (turns = 100): Promise<void> => {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** Waits until what is held has stopped growing. */
const heldBytes = async (outrider: TestSidecar): Promise<number> => {
  let before = -1;
  let held = outrider.stat('server.buffered_bytes');
  while (held !== before || held === 0) {
    before = held;
    await settle();
    held = outrider.stat('server.buffered_bytes');
  }
  return held;
};

/** In pieces, each when the one before has left: `node:http2` ends streams where it keeps too much by itself. */
const answerLarge = (call: ReceivedCall, bytes: number): void => {
  beginAnswer(call);
  let left = bytes;
  const pump = (): void => {
    while (left > 0) {
      const piece = Buffer.alloc(Math.min(left, 8_192));
      left -= piece.length;
      if (call.stream.write(piece)) continue;
      call.stream.once('drain', pump);
      return;
    }
    endAnswer(call, 0);
  };
  pump();
};

/** In steps in which PINGs are answered. */
const passSeconds = async (clock: VirtualClock, seconds: number): Promise<void> => {
  for (let i = 0; i < seconds; i++) await pass(clock, 1_000);
};

/** `x-large` asks for an answer of that many bytes, `x-ignore` for no answer to a request that nobody reads. */
const service: Handler = (call) => {
  const large = call.headers['x-large'];
  if (call.headers['x-ignore'] !== undefined) call.stream.pause();
  else if (large === undefined) answerOk(call);
  else answerLarge(call, Number(large));
};

const assertServed = async (client: Caller, calls = 10): Promise<void> => {
  for (let i = 0; i < calls; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
};

test('hundreds of callers that never read share one upstream connection with others, and stop none of them', async (t) => {
  const { client, outrider, service: upstream } = await throughOne(t, service);
  const stuck = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const stalled: WireCall[] = [];
  for (let i = 0; i < 600; i++) {
    stalled.push(stuck.start({ headers: { 'x-large': String(256 * 1024) }, paused: true }));
    if (i % 50 === 49) await settle(10);
  }
  await upstream.call(599);
  const held = await heldBytes(outrider);
  assert.ok(held <= 12 * mebibyte, `${held} bytes are held for 600 streams`);
  assert.equal(upstream.accepted, 1, 'one connection for all');
  await assertServed(client);
  assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 0);
  for (const call of stalled) call.cancel();
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is held');
  await assertServed(client);
});

test('callers that begin to read late get everything', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, service, { clock, route: 'timeout: 0s' });
  const stalled = Array.from({ length: 100 }, () => client.start({ headers: { 'x-large': '300000' }, paused: true }));
  await Promise.all(stalled.map(({ headers }) => headers));
  await heldBytes(outrider);
  await passSeconds(clock, 100);
  for (const call of stalled) call.read();
  for (const { answer } of stalled) {
    const { status, body } = await answer;
    assert.equal(status, GrpcStatus.OK);
    assert.equal(body.length, 300_000);
  }
  assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 0, 'whoever is in nobody’s way is waited for');
});

test('a service that reads no requests holds up neither its callers’ other calls nor other callers', async (t) => {
  const { client, outrider, service: upstream } = await throughOne(t, service);
  const ignored = Array.from({ length: 300 }, () =>
    client.start({ headers: { 'x-ignore': '1' }, bytes: Buffer.alloc(128 * 1024), open: true }),
  );
  await upstream.call(299);
  const held = await heldBytes(outrider);
  assert.ok(held <= 12 * mebibyte, `${held} bytes are held for 300 requests`);
  await assertServed(client);
  await assertServed(outrider.caller());
  for (const call of ignored) call.cancel();
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is held');
});

test('several connections that never read leave others their calls, and nothing behind when they go', async (t) => {
  const { client, outrider } = await throughOne(t, service);
  const stuck = Array.from({ length: 10 }, () => new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 }));
  const stalled: WireCall[] = [];
  for (let i = 0; i < 50; i++) {
    for (const caller of stuck) stalled.push(caller.start({ headers: { 'x-large': String(256 * 1024) }, paused: true }));
    await settle(4);
  }
  await until(() => outrider.stat('listener.outbound.http2.streams_active') === 500, 'all calls');
  const held = await heldBytes(outrider);
  assert.ok(held <= 12 * mebibyte, `${held} bytes`);
  await assertServed(client);
  for (const caller of stuck) caller.session.destroy();
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is held');
  await until(() => outrider.stat('server.output_bytes') === 0, 'nothing waits for a kernel');
});

test('a slow reader is ended while memory is short, and only then', async (t) => {
  const clock = virtualClock();
  const { outrider } = await throughOne(t, service, { clock, route: 'timeout: 0s' });
  const stuck = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const slow = stuck.start({ headers: { 'x-large': '200000' }, paused: true });
  await slow.headers;
  await heldBytes(outrider);
  await passSeconds(clock, 60);
  assert.equal(slow.settled, false, 'memory is not short');
  const { engine } = outrider.sidecar.proxy;
  const others = engine.maxBufferedBytes * 0.8;
  engine.bufferedBytes += others;
  // Something has to come before anybody looks.
  const second = stuck.start({ headers: { 'x-large': '200000' }, paused: true });
  await second.headers;
  await settle();
  await passSeconds(clock, 2);
  assert.equal((await slow.answer).resetCode, 8);
  assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 1, 'not the one that has only begun to wait');
  assert.deepEqual(outrider.fates().flush_timeout, 1);
  await passSeconds(clock, 31);
  assert.equal((await second.answer).resetCode, 8);
  assert.deepEqual(outrider.fates().flush_timeout, 2);
  engine.unbuffer(others);
  await assertServed(outrider.caller());
  assert.equal(outrider.stat('server.buffered_bytes'), 0);
});

test('a reader above 1 KiB/s is never ended, however short memory is', async (t) => {
  const clock = virtualClock();
  const { outrider } = await throughOne(t, service, { clock, route: 'timeout: 0s' });
  const caller = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const slow = caller.start({ headers: { 'x-large': '300000' }, paused: true });
  await slow.headers;
  const { engine } = outrider.sidecar.proxy;
  const others = engine.maxBufferedBytes * 0.8;
  engine.bufferedBytes += others;
  await settle();
  // Every 20 s the caller admits 45,000 bytes more.
  for (let round = 1; round <= 5; round++) {
    caller.session.settings({ initialWindowSize: round * 45_000 });
    await settle();
    await passSeconds(clock, 20);
    assert.equal(slow.settled, false, `ended in round ${round}`);
  }
  assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 0);
  engine.unbuffer(others);
  slow.read();
  caller.session.settings({ initialWindowSize: 1_000_000 });
  assert.equal((await slow.answer).body.length, 300_000);
});

test('a call whose server does not read the request ends with the reason while memory is short', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service: upstream } = await throughOne(t, service, { clock, route: 'timeout: 0s' });
  const call = client.start({ headers: { 'x-ignore': '1' }, bytes: Buffer.alloc(200_000), open: true });
  await upstream.call(0);
  await heldBytes(outrider);
  const { engine } = outrider.sidecar.proxy;
  const others = engine.maxBufferedBytes * 0.8;
  engine.bufferedBytes += others;
  client.start({ headers: { 'x-ignore': '1' }, bytes: Buffer.alloc(200_000), open: true });
  await upstream.call(1);
  await settle();
  await passSeconds(clock, 32);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.CANCELLED);
  assert.equal(answer.reason, 'flush_timeout');
  assert.match(answer.message, /took less than 1 KiB\/s of the request/);
  assert.equal(outrider.stat('cluster.echo.http2.tx_flush_timeout'), 2);
  engine.unbuffer(others);
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is held');
});

test('of attempts beside each other only the one ends whose server does not read the request', async (t) => {
  const clock = virtualClock();
  const slow = await startUpstream(t, service, { settings: { initialWindowSize: 100 } });
  const {
    client,
    outrider,
    service: quick,
  } = await throughOne(t, (call) => void call.stream.resume(), {
    clock,
    alsoAt: [slow.address],
    cluster: 'keepalive: { interval: 0s }',
    route: 'timeout: 0s\nidempotent: true\nhedge_policy: { initial_requests: 2 }',
  });
  const call = client.start({ headers: { 'x-ignore': '1' }, bytes: Buffer.alloc(20_000), open: true });
  const [waiting, refused] = await Promise.all([quick.call(0), slow.call(0)]);
  await until(() => waiting.bytes().length === 20_000, 'all of the request at the other one');
  const { engine } = outrider.sidecar.proxy;
  const others = engine.maxBufferedBytes * 0.8;
  engine.bufferedBytes += others;
  engine.slowReaders.watch();
  await settle();
  await passSeconds(clock, 32);
  await until(() => outrider.stat('cluster.echo.http2.tx_flush_timeout') === 1, 'the end of the attempt');
  assert.equal(await refused.closed, 8, 'CANCEL');
  assert.equal(call.settled, false);
  engine.unbuffer(others);
  call.end();
  answerOk(waiting);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.deepEqual(outrider.fates(), { ok: 1 });
});

test('twenty thousand messages of six bytes at once all arrive, and cost about their bytes while nobody reads', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => {
    if (call.headers['x-small'] === undefined) return answerOk(call);
    beginAnswer(call);
    const message = Buffer.from([0, 0, 0, 0, 1, 7]);
    for (let i = 0; i < 20_000; i++) call.stream.write(message);
    endAnswer(call, 0);
  });
  const call = client.start({ headers: { 'x-small': '1' }, paused: true });
  await call.headers;
  await assertServed(client);
  assert.ok((await heldBytes(outrider)) <= 120_000);
  call.read();
  const { status, body } = await call.answer;
  assert.equal(status, GrpcStatus.OK);
  assert.equal(body.length, 120_000);
});

test('connections that are gone leave no account behind', async (t) => {
  const outrider = await startSidecar(t);
  const callers = Array.from({ length: 20 }, () => outrider.caller());
  for (const caller of callers) await caller.call();
  for (const caller of callers) caller.session.destroy();
  await until(() => outrider.stat('listener.outbound.downstream_cx_active') === 0, 'no connection');
  for (const name of ['buffered_bytes', 'granted_bytes', 'output_bytes']) assert.equal(outrider.stat(`server.${name}`), 0, name);
});
