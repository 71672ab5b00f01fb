import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, beginAnswer, endAnswer, hold, message, startUpstream, until } from './upstream.ts';

checkLeaks();

test('a request that says that it is too large reaches nobody', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), { route: 'max_request_bytes: 100' });
  const answer = await client.call({ body: Buffer.alloc(96) });
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'message_too_large']);
  assert.match(answer.message, /more than 100 bytes.*raise max_request_bytes of route echo-route \(.*policies\.yaml:2:\d+\)/);
  assert.equal(answer.trailersOnly, true);
  const byLength = await client.call({ body: Buffer.alloc(200), headers: { 'content-length': '205' } });
  assert.equal(byLength.reason, 'message_too_large');
  assert.equal(service.received.filter(({ bytes }) => bytes().length > 0).length, 0, 'nothing of it was sent on');
  assert.equal((await client.call({ body: Buffer.alloc(95) })).status, GrpcStatus.OK);
  assert.equal(outrider.stat('http.outbound.downstream_rq_too_large'), 2);
  assert.deepEqual(outrider.fates(), { message_too_large: 2, ok: 1 });
});

test('messages of a stream count together, and the server is told when they are too much', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold, { route: 'max_request_bytes: 100' });
  const call = client.start({ open: true, body: Buffer.alloc(45) });
  const received = await service.call(0);
  await until(() => received.bytes().length === 50, 'the first message');
  call.write(Buffer.alloc(45));
  await until(() => received.bytes().length === 100, 'the second message, with which the limit is reached');
  call.write(Buffer.alloc(1));
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'message_too_large']);
  assert.equal(await received.closed, 8, 'CANCEL');
  assert.deepEqual(outrider.fates(), { message_too_large: 1 });
});

test('an answer that is too large ends in trailers that say so, and is not tried again', async (t) => {
  const { client, outrider, service } = await throughOne(
    t,
    (call) => {
      if (call.headers['x-step'] === undefined) answerOk(call, Buffer.alloc(200));
      else beginAnswer(call, Buffer.alloc(60));
    },
    { route: 'max_response_bytes: 100\nretry_policy: { retry_on: "resource-exhausted", num_retries: 3 }\nidempotent: true' },
  );
  const whole = await client.call();
  assert.deepEqual([whole.status, whole.reason, whole.body.length], [GrpcStatus.RESOURCE_EXHAUSTED, 'message_too_large', 0]);
  assert.match(whole.message, /cluster echo: the answer has more than 100 bytes; .*max_response_bytes of route echo-route/);

  const call = client.start({ headers: { 'x-step': '1' } });
  await until(() => call.receivedBytes === 65, 'the first message');
  service.received[1]?.stream.write(message(Buffer.alloc(40)));
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason, answer.trailersOnly], [GrpcStatus.RESOURCE_EXHAUSTED, 'message_too_large', false]);
  assert.equal(answer.body.length, 65);
  assert.equal(service.received.length, 2);
  assert.equal(outrider.stat('http.outbound.rs_too_large'), 2);
  assert.deepEqual(outrider.fates(), { message_too_large: 2 });
});

test('what is as large as it may be passes', async (t) => {
  const { client } = await throughOne(t, (call) => answerOk(call, Buffer.alloc(95)), {
    route: 'max_request_bytes: 100\nmax_response_bytes: 100',
  });
  const answer = await client.call({ body: Buffer.alloc(95) });
  assert.deepEqual([answer.status, answer.body.length], [GrpcStatus.OK, 100]);
});

test('max_stream_duration ends a stream that is not silent, and the breaker does not count it', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call, 'first'), {
    clock,
    route: 'max_stream_duration: 10s\nidle_timeout: 4s',
    cluster: 'circuit_breakers: { consecutive_failures: 1 }',
  });
  const call = client.start({ open: true });
  const { stream } = await service.call(0);
  for (let second = 3; second < 10; second += 3) {
    const before = call.receivedBytes;
    stream.write(message('tick'));
    await until(() => call.receivedBytes > before, 'a message');
    await pass(clock, 3_000);
  }
  await pass(clock, 1_000);
  // It is over for the caller, who has not ended its request, with the reset that follows.
  await pass(clock, 104);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.DEADLINE_EXCEEDED, 'max_stream_duration']);
  assert.match(answer.message, /max_stream_duration of 10000 ms passed.*raise max_stream_duration of route echo-route/);
  assert.equal(outrider.stat('http.outbound.downstream_rq_max_duration_reached'), 1);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_timeout'), 0);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.state'), 0);
  assert.deepEqual(outrider.fates(), { max_stream_duration: 1 });
});

test("the caller's deadline and the route's timeout win over a longer max_stream_duration, and the service sees what remains", async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, hold, { clock, route: 'timeout: 2s\nmax_stream_duration: 10s' });
  const call = client.start();
  assert.equal((await service.call(0)).headers['grpc-timeout'], '2000000u');
  await pass(clock, 2_000);
  assert.equal((await call.answer).reason, 'route_timeout');
});

test('idle_timeout ends a silent stream, and is counted', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock, route: 'idle_timeout: 4s' });
  const call = client.start({ open: true });
  await service.call(0);
  await pass(clock, 4_000);
  await pass(clock, 104);
  assert.equal((await call.answer).reason, 'idle_timeout');
  assert.equal(outrider.stat('http.outbound.downstream_rq_idle_timeout'), 1);
});

test('inbound calls have limits as well', async (t) => {
  const service = await startUpstream(t, (call) => {
    beginAnswer(call, 'x');
    endAnswer(call, 0);
  });
  const outrider = await startSidecar(t, {
    localService: service.port,
    policies: 'inbound:\n  routes:\n    - match: { prefix: / }\n      route: { timeout: 0s, max_request_bytes: 50 }\n',
  });
  const answer = await outrider.inboundCaller().call({ body: Buffer.alloc(100) });
  assert.equal(answer.reason, 'message_too_large');
  assert.equal(outrider.stat('http.inbound.downstream_rq_too_large'), 1);
  assert.deepEqual(outrider.fates('inbound'), { message_too_large: 1 });
});
