import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, hold, until } from './upstream.ts';

checkLeaks();

const route = (minRtt: string): string => `adaptive_concurrency:
  gradient_controller_config:
    concurrency_limit_params: { max_concurrency_limit: 8, concurrency_update_interval: 100ms }
    min_rtt_calc_params: ${minRtt}`;
const stats = 'http.outbound.echo-route.adaptive_concurrency.gradient_controller';

test('calls beyond the limit are refused, and those that end make room', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, {
    clock,
    route: route('{ interval: 60s, min_concurrency: 2, request_count: 3 }'),
  });
  const stat = (name: string) => outrider.stat(`${stats}.${name}`);
  const [first, second] = [client.start(), client.start()];
  await service.call(1);
  const refused = await client.call();
  assert.deepEqual([refused.status, refused.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'overloaded']);
  assert.match(refused.message, /2 calls are under way, and adaptive_concurrency of route echo-route \(.*\) allows 2 now/);
  assert.deepEqual([stat('rq_blocked'), stat('concurrency_limit'), stat('min_rtt_calculation_active')], [1, 2, 1]);
  first.cancel();
  await until(() => (outrider.fates().cancelled ?? 0) === 1, 'the cancellation');
  const third = client.start();
  answerOk(await service.call(2));
  assert.equal((await third.answer).status, GrpcStatus.OK);
  answerOk(service.received[1] ?? assert.fail());
  assert.equal((await second.answer).status, GrpcStatus.OK);
  assert.deepEqual(outrider.fates(), { overloaded: 1, cancelled: 1, ok: 2 });
});

test('the limit grows while answers are fast, and falls when they are slow', async (t) => {
  const clock = virtualClock();
  let slowMs = 0;
  const { client, outrider, service } = await throughOne(t, (call) => (slowMs === 0 ? answerOk(call) : undefined), {
    clock,
    route: route('{ fixed_value: 10ms, min_concurrency: 2 }'),
  });
  const limit = () => outrider.stat(`${stats}.concurrency_limit`);
  for (let round = 0; round < 8; round++) {
    assert.equal((await client.call()).status, GrpcStatus.OK);
    await pass(clock, 100);
  }
  await client.call();
  assert.equal(limit(), 8);
  slowMs = 200;
  for (let round = 0; round < 6; round++) {
    const before = service.received.length;
    const call = client.start();
    const received = await service.call(before);
    await pass(clock, slowMs);
    answerOk(received);
    assert.equal((await call.answer).status, GrpcStatus.OK);
  }
  assert.ok(limit() <= 4, `${limit()}`);
  assert.equal(outrider.stat(`${stats}.gradient`), 500);
});

test('failures that come fast are not taken for the service at its best', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE), {
    route: route('{ interval: 60s, request_count: 2, min_concurrency: 2 }'),
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(outrider.stat(`${stats}.min_rtt_calculation_active`), 1);
  assert.equal(outrider.stat(`${stats}.rq_blocked`), 0, 'each made room again');
});

test('a limit of the cluster holds for all its routes together', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, {
    clock,
    cluster: route('{ interval: 60s, min_concurrency: 2, request_count: 3 }'),
  });
  const stat = (name: string) => outrider.stat(`cluster.echo.adaptive_concurrency.gradient_controller.${name}`);
  const [first, second] = [client.start(), client.start({ path: '/other.Echo/Call' })];
  await service.call(1);
  const refused = await client.call();
  assert.deepEqual([refused.status, refused.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'overloaded']);
  assert.match(refused.message, /cluster "echo": 2 calls are under way, and adaptive_concurrency allows 2 now/);
  assert.deepEqual([stat('rq_blocked'), stat('concurrency_limit')], [1, 2]);
  for (const call of service.received) answerOk(call);
  for (const call of [first, second]) assert.equal((await call.answer).status, GrpcStatus.OK);
  const third = client.start();
  answerOk(await service.call(2));
  assert.equal((await third.answer).status, GrpcStatus.OK);
  assert.equal(stat('min_rtt_calculation_active'), 0, 'three answers have been measured');
  assert.deepEqual(outrider.fates(), { overloaded: 1, ok: 3 });
});
