import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, pass, startMesh, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, beginAnswer, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

const cancel = 8;
const timeoutMsOf = (value: unknown): number => {
  const match = /^(\d{1,8})([HMSmun])$/.exec(String(value));
  assert.ok(match, `grpc-timeout ${String(value)}`);
  const unit = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }[match[2] as 'H'];
  return Number(match[1]) * unit;
};

test('a service sees no deadline where nobody set one', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received[0]?.headers['grpc-timeout'], undefined);
});

test('time spent waiting for a stream is taken off the deadline that the service sees', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    (call, index) => {
      if (index > 0) answerOk(call);
    },
    {
      clock,
      upstream: { settings: { maxConcurrentStreams: 1 } },
      cluster: 'circuit_breakers: { thresholds: [{ max_connections: 1 }] }',
    },
  );
  client.start();
  const blocking = await service.call(0);
  const waiting = client.start({ headers: { 'grpc-timeout': '1S' } });
  await until(() => outrider.stat('cluster.echo.upstream_rq_pending_active') === 1, 'the second call in the queue');
  await pass(clock, 400);
  answerOk(blocking);
  assert.equal((await waiting.answer).status, GrpcStatus.OK);
  assert.equal(Math.round(timeoutMsOf(service.received[1]?.headers['grpc-timeout'])), 600);
});

test('each attempt sees less than the one before', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, hold, {
    clock,
    random: () => 0,
    route: 'retry_policy: { retry_on: "deadline-exceeded", num_retries: 2, per_try_timeout: 100ms }',
  });
  const call = client.start({ headers: { 'grpc-timeout': '1S' } });
  await service.call(0);
  await pass(clock, 100);
  await service.call(1);
  await pass(clock, 100);
  await service.call(2);
  const seen = service.received.map(({ headers }) => timeoutMsOf(headers['grpc-timeout']));
  assert.deepEqual(seen.map(Math.round), [1_000, 900, 800]);
  call.cancel();
});

test('the smaller of the caller’s deadline and the route’s timeout counts', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, hold, { clock, route: 'timeout: 300ms' });
  const byRoute = client.start({ headers: { 'grpc-timeout': '5S' } });
  await service.call(0);
  const byCaller = client.start({ headers: { 'grpc-timeout': '200m' } });
  await service.call(1);
  const seen = service.received.map(({ headers }) => Math.round(timeoutMsOf(headers['grpc-timeout'])));
  assert.deepEqual(seen, [300, 200]);
  await pass(clock, 204);
  assert.equal((await byCaller.answer).reason, 'caller_deadline');
  await pass(clock, 100);
  assert.equal((await byRoute.answer).reason, 'route_timeout');
});

test('a route’s timeout is forwarded where the caller has no deadline', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call), { route: 'timeout: 10s' });
  await client.call();
  const seen = timeoutMsOf(service.received[0]?.headers['grpc-timeout']);
  assert.ok(seen > 0 && seen <= 10_000);
});

test('a deadline of nothing is answered here, and the service never sees a timeout of 0', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call));
  for (const timeout of ['0n', '0m', '0H']) {
    const answer = await client.call({ headers: { 'grpc-timeout': timeout } });
    assert.equal(answer.status, GrpcStatus.DEADLINE_EXCEEDED, timeout);
    assert.equal(answer.reason, 'caller_deadline');
  }
  assert.equal(service.received.length, 0);
  assert.deepEqual(outrider.fates(), { caller_deadline: 3 });
});

test('the longest deadline there is does not become a short one', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, hold, { clock, cluster: 'keepalive: { interval: 0s }' });
  const call = client.start({ headers: { 'grpc-timeout': '99999999H' } });
  const received = await service.call(0);
  await pass(clock, 3_600_000);
  assert.equal(call.settled, false);
  assert.ok(timeoutMsOf(received.headers['grpc-timeout']) > 1e12);
  call.cancel();
});

for (const written of ['', '1', 'S', '123456789S', '-1S', '1.5S', '1s', '1S1S', ' 1S']) {
  test(`grpc-timeout "${written}" is refused with the name of the header`, async (t) => {
    const { client, outrider } = await throughOne(t, (call) => answerOk(call));
    const answer = await client.call({ headers: { 'grpc-timeout': written } });
    if (answer.status === -1) assert.equal(answer.resetCode, 1, 'malformed HTTP/2');
    else {
      assert.equal(answer.status, GrpcStatus.INTERNAL);
      assert.equal(answer.reason, 'malformed_request');
      assert.match(answer.message, /grpc-timeout/);
      assert.deepEqual(outrider.fates(), { malformed_request: 1 });
    }
    assert.equal((await client.call()).status, GrpcStatus.OK, 'others go on');
  });
}

test('at the deadline the service gets RST_STREAM(CANCEL) and the caller DEADLINE_EXCEEDED', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock });
  const call = client.start({ headers: { 'grpc-timeout': '250m' } });
  const received = await service.call(0);
  await pass(clock, 254);
  assert.equal(await received.closed, cancel);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.DEADLINE_EXCEEDED);
  assert.equal(answer.reason, 'caller_deadline');
  assert.ok(answer.trailersOnly);
  assert.match(answer.message, /caller's deadline of 250 ms .*cluster echo/);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_timeout'), 1);
});

test('after the answer has begun, the deadline ends it in trailers', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call) => beginAnswer(call, 'part'), { clock, route: 'timeout: 1s' });
  const call = client.start();
  await call.headers;
  await until(() => call.receivedBytes > 0, 'the first message');
  await pass(clock, 1_004);
  const answer = await call.answer;
  assert.equal(answer.trailersOnly, false);
  assert.equal(answer.status, GrpcStatus.DEADLINE_EXCEEDED);
  assert.equal(answer.trailers['x-outrider-reason'], 'route_timeout');
  assert.equal(await service.received[0]?.closed, cancel);
});

test('a caller’s cancellation reaches the service at once', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock });
  const call = client.start({ headers: { 'grpc-timeout': '10S' } });
  const received = await service.call(0);
  call.cancel();
  assert.equal(await received.closed, cancel);
  assert.deepEqual(outrider.fates(), { cancelled: 1 });
});

test('a caller that is gone cancels all its calls at the service', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock });
  for (let i = 0; i < 5; i++) client.start();
  await service.call(4);
  client.session.destroy();
  for (const received of service.received) assert.equal(await received.closed, cancel);
  await until(() => outrider.fates().cancelled === 5, 'five cancelled calls');
});

test('when a cancellation races the deadline, the deadline is the fate', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock });
  const call = client.start({ headers: { 'grpc-timeout': '200m' } });
  const received = await service.call(0);
  await pass(clock, 197);
  call.cancel();
  assert.equal(await received.closed, cancel);
  await until(() => outrider.fates().caller_deadline === 1, 'the fate of a deadline');
  assert.equal(outrider.fates().cancelled, undefined);
});

test('a stream lives for hours where nobody wrote a timeout', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call) => beginAnswer(call, 'first'), { clock, cluster: 'keepalive: { interval: 0s }' });
  const call = client.start({ open: true });
  await call.headers;
  await pass(clock, 5 * 3_600_000);
  assert.equal(call.settled, false);
  assert.equal(service.received.length, 1);
  call.cancel();
});

test('an idle stream ends after idle_timeout, a busy one does not', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call), { clock, route: 'idle_timeout: 10s' });
  const call = client.start({ open: true });
  const received = await service.call(0);
  await call.headers;
  for (let i = 1; i <= 4; i++) {
    await pass(clock, 8_000);
    const before = received.bytes().length;
    if (i % 2 === 0) {
      call.write('from the caller');
      await until(() => received.bytes().length > before, 'a message at the service');
    } else {
      const had = call.receivedBytes;
      received.stream.write(Buffer.alloc(10));
      await until(() => call.receivedBytes > had, 'a message at the caller');
    }
  }
  assert.equal(call.settled, false);
  await pass(clock, 10_104);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.DEADLINE_EXCEEDED);
  assert.equal(answer.trailers['x-outrider-reason'], 'idle_timeout');
  assert.match(answer.message, /10000 ms.*idle_timeout.*echo-route/);
  assert.equal(await received.closed, cancel);
  assert.deepEqual(outrider.fates(), { idle_timeout: 1 });
});

test('an inbound route’s timeout counts for calls to the local service', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, hold);
  const policies = 'inbound:\n  routes:\n    - name: mine\n      match: { prefix: /acme. }\n      route: { timeout: 2s }\n';
  const outrider = await startSidecar(t, { clock, policies, localService: service.port });
  const call = outrider.inboundCaller().start();
  await service.call(0);
  await pass(clock, 2_004);
  const answer = await call.answer;
  assert.equal(answer.reason, 'route_timeout');
  assert.match(answer.message, /route mine \(.*policies\.yaml:3:\d+\)/);
  assert.deepEqual(outrider.fates('inbound'), { route_timeout: 1 });
});

test('a cancellation passes through two sidecars at once, and is the fate on both sides', async (t) => {
  const service = await startUpstream(t, hold);
  const mesh = await startMesh(t, { services: { echo: service.port } });
  const call = mesh.entrance.caller().start();
  const received = await service.call(0);
  call.cancel();
  assert.equal(await received.closed, cancel);
  assert.deepEqual(mesh.entrance.fates(), { cancelled: 1 });
  assert.deepEqual(mesh.sidecars['echo']?.fates('inbound'), { cancelled: 1 });
});

test('a deadline passes through two sidecars, and is the fate on both sides', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, hold);
  const mesh = await startMesh(t, { services: { echo: service.port }, clock });
  const call = mesh.entrance.caller().start({ headers: { 'grpc-timeout': '3S' } });
  const received = await service.call(0);
  assert.ok(timeoutMsOf(received.headers['grpc-timeout']) <= 3_000);
  await pass(clock, 3_004);
  assert.equal((await call.answer).status, GrpcStatus.DEADLINE_EXCEEDED);
  assert.equal(await received.closed, cancel);
  assert.deepEqual(mesh.entrance.fates(), { caller_deadline: 1 });
  await until(() => mesh.sidecars['echo']?.fates('inbound').caller_deadline === 1, 'the same fate at the service');
});

test('the first call finds the endpoints of a cluster that is found by name', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [`localhost:${service.port}`] }) });
  assert.ok((outrider.sidecar.proxy.clusters.get('echo')?.endpoints.length ?? 0) > 0, 'resolved before it is ready');
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
});
