import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailers, answerTrailersOnly, beginAnswer, type Handler, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

const failing =
  (count: number, fail: Handler): Handler =>
  (call, index) =>
    index < count ? fail(call, index) : answerOk(call);
const atOnce = () => 0;
const retry = (fields: string): string => `retry_policy: { num_retries: 3, ${fields} }`;
const foreign =
  (status: number, headers: Record<string, string> = {}): Handler =>
  ({ stream }) =>
    stream.respond({ ':status': status, 'content-type': 'text/html', ...headers }, { endStream: true });

test('retriable-status-codes retries the HTTP statuses that are written, and no others', async (t) => {
  const route = retry('retry_on: retriable-status-codes, retriable_status_codes: [418, 451]');
  const listed = await throughOne(t, failing(2, foreign(451)), { random: atOnce, route });
  assert.equal((await listed.client.call()).status, GrpcStatus.OK);
  const other = await throughOne(t, failing(2, foreign(503)), { random: atOnce, route });
  assert.equal((await other.client.call()).reason, 'missing_status');
  assert.equal(other.service.received.length, 1);
});

test('retriable-headers retries an answer by a header of it, wherever its status stands', async (t) => {
  const route = retry('retry_on: retriable-headers, retriable_headers: [{ name: X-Try-Again, exact_match: "yes" }]');
  const handlers: Handler[] = [
    (call) => answerTrailersOnly(call, 9, { 'x-try-again': 'yes' }),
    (call) => answerTrailers(call, 9, { 'x-try-again': 'yes' }),
    foreign(404, { 'x-try-again': 'yes' }),
  ];
  for (const handler of handlers) {
    const { client, service } = await throughOne(t, failing(1, handler), { random: atOnce, route });
    assert.equal((await client.call()).status, GrpcStatus.OK);
    assert.equal(service.received.length, 2);
  }
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 9, { 'x-try-again': 'no' }), { route });
  assert.equal((await client.call()).status, 9);
  assert.equal(service.received.length, 1);
});

test('retriable_request_headers lets only those calls be tried again that have one of them', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14), {
    random: atOnce,
    route: retry('retry_on: unavailable, retriable_request_headers: [{ name: x-safe }]'),
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  await client.call();
  assert.equal(service.received.length, 1);
  await client.call({ headers: { 'x-safe': '1' } });
  assert.equal(service.received.length, 5);
});

test('an answer that is rate limited is tried again for envoy-ratelimited alone, after the time that it names', async (t) => {
  const limited: Handler = (call) => answerTrailersOnly(call, 14, { 'x-envoy-ratelimited': 'true', 'retry-after': '3' });
  const without = await throughOne(t, failing(1, limited), { random: atOnce, route: retry('retry_on: unavailable') });
  assert.equal((await without.client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(without.service.received.length, 1);

  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, failing(1, limited), {
    clock,
    random: atOnce,
    route: retry('retry_on: envoy-ratelimited, rate_limited_retry_back_off: { reset_headers: [{ name: Retry-After }] }'),
  });
  const call = client.start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_retry') === 1, 'the decision to try again');
  await pass(clock, 2_999);
  assert.equal(service.received.length, 1);
  await pass(clock, 8);
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('no attempt begins after max_elapsed', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': '400' }), {
    clock,
    route: retry('retry_on: unavailable, max_elapsed: 1s'),
  });
  const call = client.start();
  await service.call(0);
  for (let attempt = 1; attempt <= 2; attempt++) {
    await until(() => service.received[attempt - 1]?.stream.closed === true, 'the end of an attempt');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    await pass(clock, 404);
    await service.call(attempt);
  }
  assert.equal((await call.answer).status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 3, 'the fourth would begin at 1200 ms');
});

test('an attempt that is silent for per_try_idle_timeout is given up, and the next one answers', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, failing(1, hold), {
    clock,
    random: atOnce,
    route: retry('retry_on: reset, per_try_idle_timeout: 200ms'),
  });
  const call = client.start();
  const first = await service.call(0);
  await pass(clock, 196);
  assert.equal(first.stream.closed, false);
  await pass(clock, 12);
  assert.equal(await first.closed, 8);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_idle_timeout'), 1);
});

test('per_try_idle_timeout does not run while the caller still sends, and ends an answer that stops', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call) => beginAnswer(call, 'half'), {
    clock,
    random: atOnce,
    route: retry('retry_on: reset, per_try_idle_timeout: 200ms'),
  });
  const call = client.start({ open: true, body: 'one' });
  await until(() => call.receivedBytes === 9, 'the half of the answer');
  await pass(clock, 1_000);
  assert.equal(call.settled, false, 'the server waits for the caller');
  call.end();
  await until(() => service.received[0]?.stream.readableEnded === true, 'the end of the request');
  await pass(clock, 100);
  assert.equal(call.settled, false);
  await pass(clock, 504);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.DEADLINE_EXCEEDED, 'per_try_timeout']);
  assert.match(answer.message, /per_try_idle_timeout \(200 ms\)/);
});

test('per_try_idle_timeout counts from the end of the request on, and passes before the per-try timeout or after it', async (t) => {
  for (const perTry of ['', ', per_try_timeout: 10s']) {
    const clock = virtualClock();
    const { client, outrider, service } = await throughOne(t, hold, {
      clock,
      random: atOnce,
      route: retry(`retry_on: unavailable, per_try_idle_timeout: 200ms${perTry}`),
    });
    const call = client.start({ open: true, body: 'one' });
    await service.call(0);
    await pass(clock, 152);
    call.end();
    await until(() => service.received[0]?.stream.readableEnded === true, 'the end of the request');
    await pass(clock, 152);
    assert.equal(call.settled, false, 'the server has had the request for 152 ms');
    await pass(clock, 56);
    assert.equal((await call.answer).reason, 'per_try_timeout');
    assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_idle_timeout'), 1);
    assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_timeout'), 0);
  }
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, {
    clock,
    random: atOnce,
    route: retry('retry_on: unavailable, per_try_idle_timeout: 400ms, per_try_timeout: 200ms'),
  });
  const call = client.start();
  await service.call(0);
  await pass(clock, 208);
  assert.equal((await call.answer).reason, 'per_try_timeout');
  assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_timeout'), 1);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_idle_timeout'), 0);
});

const wishes = {
  'x-envoy-retry-grpc-on': 'unavailable',
  'x-envoy-max-retries': '2',
  'x-envoy-upstream-rq-timeout-ms': '60000',
  'x-envoy-upstream-rq-per-try-timeout-ms': '500',
};

test('our own service may ask for retries and time limits by Envoy’s headers, which go no further', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call, index) => (index === 0 ? hold(call, index) : answerTrailersOnly(call, 14)), {
    clock,
    random: atOnce,
  });
  const call = client.start({ headers: { ...wishes, 'x-envoy-retry-on': 'reset', 'x-envoy-other': '1' } });
  const { headers } = await service.call(0);
  assert.equal(headers['grpc-timeout'], '60000000u');
  assert.deepEqual(
    Object.keys(headers).filter((name) => name.startsWith('x-envoy-')),
    [],
  );
  await pass(clock, 504);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 3);
});

test('wishes that make no sense are none', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14), {
    random: atOnce,
    route: retry('retry_on: unavailable'),
  });
  await client.call({
    headers: { 'x-envoy-max-retries': '-1', 'x-envoy-upstream-rq-timeout-ms': '1e3', 'x-envoy-retry-on': 'sometimes' },
  });
  assert.equal(service.received.length, 4);
  assert.equal(service.received[0]?.headers['grpc-timeout'], undefined);
});

test('a caller from outside may ask for nothing', async (t) => {
  const service = await startUpstream(t, (call) => answerTrailersOnly(call, 14));
  const { inboundCaller } = await startSidecar(t, { localService: service.port });
  const answer = await inboundCaller().call({ headers: { ...wishes, 'x-envoy-retry-on': 'unavailable' } });
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 1);
  assert.equal(service.received[0]?.headers['grpc-timeout'], undefined);
  assert.equal(service.received[0]?.headers['x-envoy-max-retries'], undefined);
});
