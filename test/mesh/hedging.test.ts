import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailers, answerTrailersOnly, beginAnswer, endAnswer, type Handler, hold, message, until } from './upstream.ts';

checkLeaks();

const hedging = (fields: string, more = ''): string => `idempotent: true\nhedge_policy: { ${fields} }\n${more}`;
/** The attempt number `index` is answered by `handlers[index]`, further ones by the last. */
const inTurn =
  (...handlers: readonly Handler[]): Handler =>
  (call, index) =>
    (handlers[index] ?? (handlers.at(-1) as Handler))(call, index);
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};
const fail =
  (status: number, pushback?: string): Handler =>
  (call) =>
    answerTrailersOnly(call, status, pushback === undefined ? {} : { 'grpc-retry-pushback-ms': pushback });

test('attempts follow one another by hedging_delay until one answers, and the others are cancelled', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    inTurn(hold, hold, (call) => answerOk(call)),
    {
      clock,
      route: hedging('max_attempts: 4, hedging_delay: 100ms'),
    },
  );
  const call = client.start();
  await service.call(0);
  await pass(clock, 96);
  assert.equal(service.received.length, 1);
  await pass(clock, 8);
  await service.call(1);
  await pass(clock, 104);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(answer.body.subarray(5).toString(), 'pong');
  assert.equal(await service.received[0]?.closed, 8);
  assert.equal(await service.received[1]?.closed, 8);
  assert.deepEqual(
    service.received.map(({ headers }) => headers['grpc-previous-rpc-attempts']),
    [undefined, '1', '2'],
  );
  await pass(clock, 1_000);
  assert.equal(service.received.length, 3, 'none after the answer');
  assert.equal(outrider.stat('cluster.echo.upstream_rq_hedge'), 2);
  assert.deepEqual(outrider.fates(), { ok: 1 });
  for (const received of service.received) assert.deepEqual(await Promise.race([received.body, settle()]), message('ping'));
});

test('a fast answer costs one attempt', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    route: hedging('max_attempts: 4, hedging_delay: 10s'),
  });
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 5);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_hedge'), 0);
});

test('with a delay of nothing, or initial_requests, all attempts begin at once', async (t) => {
  for (const fields of ['max_attempts: 3, hedging_delay: 0s', 'initial_requests: 3']) {
    const { client, service } = await throughOne(
      t,
      inTurn(hold, hold, (call) => answerOk(call)),
      { route: hedging(fields) },
    );
    assert.equal((await client.call()).status, GrpcStatus.OK);
    assert.equal(service.received.length, 3);
    await until(() => service.received.every(({ stream }) => stream.closed), 'the losers are cancelled');
  }
});

test('a failure that is not fatal brings the next attempt forward; a fatal one is the answer', async (t) => {
  const clock = virtualClock();
  const route = hedging('max_attempts: 3, hedging_delay: 10s, non_fatal_status_codes: [UNAVAILABLE]');
  const next = await throughOne(
    t,
    inTurn(fail(14), (call) => answerOk(call)),
    { clock, route },
  );
  assert.equal((await next.client.call()).status, GrpcStatus.OK);
  assert.equal(next.service.received.length, 2);
  const ends = await throughOne(t, inTurn(hold, fail(5)), {
    route: hedging('initial_requests: 2, max_attempts: 3, non_fatal_status_codes: [UNAVAILABLE]'),
  });
  assert.equal((await ends.client.call()).status, GrpcStatus.NOT_FOUND);
  assert.equal(await ends.service.received[0]?.closed, 8);
  assert.deepEqual(ends.outrider.fates(), { app_error: 1 });
});

test('when all attempts have failed the caller gets what the last one said', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call, index) => answerTrailers(call, 14, { 'grpc-message': `no ${index}` }), {
    route: hedging('max_attempts: 3, hedging_delay: 10s, non_fatal_status_codes: [UNAVAILABLE]'),
  });
  const answer = await client.call();
  assert.deepEqual([answer.status, answer.message], [GrpcStatus.UNAVAILABLE, 'no 2']);
  assert.equal(service.received.length, 3);
  assert.deepEqual(outrider.fates(), { app_error: 1 });
});

test('pushback delays the next attempt to the millisecond, or forbids it', async (t) => {
  const clock = virtualClock();
  const route = hedging('max_attempts: 3, hedging_delay: 60s, non_fatal_status_codes: [UNAVAILABLE]');
  const later = await throughOne(
    t,
    inTurn(fail(14, '500'), (call) => answerOk(call)),
    { clock, route },
  );
  const call = later.client.start();
  await until(() => later.service.received[0]?.stream.closed === true, 'the failure');
  await settle();
  await pass(clock, 499);
  assert.equal(later.service.received.length, 1);
  await pass(clock, 8);
  assert.equal((await call.answer).status, GrpcStatus.OK);

  const never = await throughOne(
    t,
    inTurn(fail(14, '-1'), (call) => answerOk(call)),
    { clock, route },
  );
  assert.equal((await never.client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(never.service.received.length, 1);
});

test('a late attempt goes on beside the next one where hedge_on_per_try_timeout says so', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, {
    clock,
    route: hedging('hedge_on_per_try_timeout: true', 'retry_policy: { retry_on: "unavailable", num_retries: 2, per_try_timeout: 100ms }'),
  });
  const call = client.start();
  const first = await service.call(0);
  await pass(clock, 104);
  await service.call(1);
  await pass(clock, 104);
  await service.call(2);
  await pass(clock, 504);
  assert.equal(service.received.length, 3, 'num_retries is the limit');
  assert.equal(call.settled, false);
  answerOk(first, 'late');
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.body.subarray(5).toString()], [GrpcStatus.OK, 'late']);
  assert.equal(await service.received[1]?.closed, 8);
  assert.equal(await service.received[2]?.closed, 8);
  assert.ok(outrider.stat('cluster.echo.upstream_rq_per_try_timeout') >= 2);
});

test('whichever attempt begins its answer first is the one, in streams of both directions', async (t) => {
  const { client, service } = await throughOne(t, hold, { route: hedging('initial_requests: 3') });
  const call = client.start({ open: true, body: 'one' });
  await until(() => service.received.length === 3, 'three attempts');
  call.write('two');
  await until(() => service.received.every(({ bytes }) => bytes().length === 16), 'both messages at each');
  const [first, second, third] = service.received;
  assert.ok(first && second && third);
  beginAnswer(second, 'mine');
  await until(() => call.receivedBytes === 9, 'its first message');
  assert.deepEqual([await first.closed, await third.closed], [8, 8]);
  call.write('three');
  call.end();
  assert.deepEqual(await second.body, Buffer.concat([message('one'), message('two'), message('three')]));
  endAnswer(second, 0);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.body.subarray(5).toString()], [GrpcStatus.OK, 'mine']);
});

test('a request that is too large to be kept goes on with one attempt', async (t) => {
  const { client, service } = await throughOne(t, (call) => void call.body.then(() => call.stream.destroyed || answerOk(call)), {
    route: `${hedging('initial_requests: 3')}per_request_buffer_limit_bytes: 1000`,
  });
  const call = client.start({ open: true, body: 'small' });
  await until(() => service.received.length === 3, 'three attempts');
  call.write(Buffer.alloc(100_000, 7));
  call.end();
  assert.equal((await call.answer).status, GrpcStatus.OK);
  const codes = await Promise.all(service.received.map(({ closed }) => closed));
  assert.deepEqual(codes.toSorted(), [0, 8, 8]);
  assert.equal(service.received.filter(({ bytes }) => bytes().length === 100_015).length, 1);
});

test('the caller’s cancellation and the deadline end all attempts', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock, route: hedging('initial_requests: 2', 'timeout: 1s') });
  const cancelled = client.start();
  await until(() => service.received.length === 2, 'two attempts');
  cancelled.cancel();
  assert.deepEqual([await service.received[0]?.closed, await service.received[1]?.closed], [8, 8]);
  const late = client.start();
  await until(() => service.received.length === 4, 'two more');
  await pass(clock, 1_004);
  assert.equal((await late.answer).reason, 'route_timeout');
  assert.deepEqual([await service.received[2]?.closed, await service.received[3]?.closed], [8, 8]);
  assert.deepEqual(outrider.fates(), { cancelled: 1, route_timeout: 1 });
});

test('the retry budget bounds attempts beside each other', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold, {
    route: hedging('initial_requests: 2'),
    cluster: 'circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 3 } }] }',
  });
  const calls = Array.from({ length: 10 }, () => client.start());
  await until(() => service.received.length === 13, 'ten calls and three hedges');
  await settle();
  assert.equal(service.received.length, 13);
  for (const call of calls) call.cancel();
  await until(() => service.received.every(({ stream }) => stream.closed), 'all are cancelled');
  assert.equal(outrider.stat('cluster.echo.upstream_rq_hedge'), 3);
});

test('an attempt that finds nobody leaves the call to the others', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call), {
    alsoAt: ['127.0.0.1:1'],
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
    route: hedging('initial_requests: 2'),
  });
  for (let i = 0; i < 10; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.ok(service.received.length >= 10);
});
