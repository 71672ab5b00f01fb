import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type EchoOptions, echoPolicies, pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import {
  answerOk,
  answerTrailersOnly,
  beginAnswer,
  closedPort,
  endAnswer,
  type Handler,
  hold,
  resetWith,
  startUpstream,
  until,
} from './upstream.ts';

checkLeaks();

const breaker = (more = ''): string => `circuit_breakers: { consecutive_failures: 3, recovery_timeout: 10s${more} }`;

/** A service that fails until the test lets it recover. */
const ailing = async (t: Parameters<typeof throughOne>[0], options: EchoOptions = {}) => {
  const health = { answer: (call: Parameters<Handler>[0]) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE) };
  const clock = virtualClock();
  const all = await throughOne(t, (call) => health.answer(call), { clock, cluster: breaker(), ...options });
  const state = async (): Promise<unknown> => {
    const { text } = await all.outrider.admin('GET', '/clusters?format=json');
    const clusters = (JSON.parse(text) as { cluster_statuses: { name: string; circuit_breaker?: { state: string } }[] }).cluster_statuses;
    return clusters.find(({ name }) => name === 'echo')?.circuit_breaker?.state;
  };
  const trip = async (): Promise<void> => {
    for (let i = 0; i < 3; i++) await all.client.call();
  };
  return { ...all, clock, health, state, trip };
};

test('an open breaker lets one probe through after recovery_timeout, and closes when it succeeds', async (t) => {
  const { client, clock, health, outrider, service, state, trip } = await ailing(t);
  await trip();
  assert.equal(await state(), 'OPEN');
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.state'), 1);
  assert.equal((await client.call()).reason, 'circuit_open');
  await pass(clock, 9_999);
  assert.equal((await client.call()).reason, 'circuit_open');
  await pass(clock, 1);
  assert.equal(await state(), 'HALF_OPEN');
  health.answer = () => {};
  const probe = client.start();
  const received = await service.call(3);
  assert.equal((await client.call()).reason, 'circuit_open', 'one probe at a time');
  answerOk(received);
  assert.equal((await probe.answer).status, GrpcStatus.OK);
  assert.equal(await state(), 'CLOSED');
  health.answer = (call) => answerOk(call);
  assert.equal((await client.call()).status, GrpcStatus.OK);
});

test('a probe that fails opens it again', async (t) => {
  const { client, clock, state, trip } = await ailing(t);
  await trip();
  await pass(clock, 10_000);
  assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(await state(), 'OPEN');
  assert.equal((await client.call()).reason, 'circuit_open');
});

test('the probe of a stream succeeds with the headers of its answer', async (t) => {
  const { client, clock, health, state, trip } = await ailing(t);
  await trip();
  await pass(clock, 10_000);
  health.answer = (call) => beginAnswer(call, 'first');
  const stream = client.start({ open: true });
  await stream.headers;
  assert.equal(await state(), 'CLOSED');
  stream.cancel();
});

test('a probe that its caller gives up says nothing, and the next one may come', async (t) => {
  const { client, clock, health, service, state, trip } = await ailing(t);
  await trip();
  await pass(clock, 10_000);
  health.answer = () => {};
  const probe = client.start();
  const received = await service.call(3);
  probe.cancel();
  await received.closed;
  health.answer = (call) => answerOk(call);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(await state(), 'CLOSED');
});

test('an admin’s POST resets it at once', async (t) => {
  const { client, health, outrider, state, trip } = await ailing(t);
  await trip();
  assert.equal((await client.call()).reason, 'circuit_open');
  health.answer = (call) => answerOk(call);
  assert.equal((await outrider.admin('POST', '/clusters/echo/circuit_breakers/reset')).status, 200);
  assert.equal(await state(), 'CLOSED');
  assert.equal((await client.call()).status, GrpcStatus.OK);
});

test('held open by hand it stays so beyond recovery_timeout, until its ttl or a reset', async (t) => {
  const { client, clock, health, outrider } = await ailing(t);
  health.answer = (call) => answerOk(call);
  assert.equal((await outrider.admin('POST', '/clusters/echo/circuit_breakers/open?ttl=60s')).status, 200);
  await pass(clock, 30_000);
  assert.equal((await client.call()).reason, 'circuit_open');
  await pass(clock, 30_004);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/open');
  assert.equal((await client.call()).reason, 'circuit_open');
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/reset');
  assert.equal((await client.call()).status, GrpcStatus.OK);
});

test('scope endpoint: an open endpoint is skipped, and circuit_open answers only when none is left', async (t) => {
  const healthy = await startUpstream(t, (call) => answerOk(call));
  const { client, outrider, service } = await ailing(t, { cluster: breaker(', scope: endpoint'), alsoAt: [healthy.address] });
  while (service.received.length < 3) await client.call();
  for (let i = 0; i < 6; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 3);
  await outrider.admin('POST', `/clusters/echo/circuit_breakers/open?endpoint=${healthy.address}`);
  const answer = await client.call();
  assert.equal(answer.reason, 'circuit_open');
  assert.match(answer.message, /Circuit breaker OPEN: cluster "echo", all endpoints/);
});

test('an instance that cannot be reached does not open the breaker of a cluster that has another', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    cluster: breaker(),
    alsoAt: [`127.0.0.1:${await closedPort()}`],
  });
  for (let i = 0; i < 12; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 12);
  assert.ok(outrider.stat('cluster.echo.upstream_cx_connect_fail') >= 3);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.opens_total'), 0);
});

test('instances of which none can be reached open it', async (t) => {
  const dead = [`127.0.0.1:${await closedPort()}`, `127.0.0.1:${await closedPort()}`];
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: dead, cluster: breaker() }) });
  const client = outrider.caller();
  for (let i = 0; i < 3; i++) assert.equal((await client.call()).reason, 'connect_failure');
  assert.equal((await client.call()).reason, 'circuit_open');
});

test('scope method: other methods go on', async (t) => {
  const { client, health, outrider } = await ailing(t, { cluster: breaker(', scope: method') });
  health.answer = (call) =>
    call.headers[':path'] === '/acme.Echo/Sick' ? answerTrailersOnly(call, GrpcStatus.UNAVAILABLE) : answerOk(call);
  for (let i = 0; i < 3; i++) await client.call({ path: '/acme.Echo/Sick' });
  const answer = await client.call({ path: '/acme.Echo/Sick' });
  assert.equal(answer.reason, 'circuit_open');
  assert.match(answer.message, /method \/acme\.Echo\/Sick/);
  assert.equal((await client.call({ path: '/acme.Echo/Call' })).status, GrpcStatus.OK);
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/reset?method=/acme.Echo/Sick');
  assert.equal((await client.call({ path: '/acme.Echo/Sick' })).reason, undefined);
});

test('its state survives a reload, also one that changes its numbers', async (t) => {
  const { client, outrider, service, state, trip } = await ailing(t);
  await trip();
  outrider.writePolicies(
    echoPolicies({ endpoints: [service.address], route: 'timeout: 3s', cluster: breaker(', scope: cluster').replace('10s', '20s') }),
  );
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  assert.equal(await state(), 'OPEN');
  assert.equal((await client.call()).reason, 'circuit_open');
});

test('what counts: deadlines of the route, resets and lost connections', async (t) => {
  const reset = await ailing(t);
  reset.health.answer = (call) => resetWith(call, 2);
  await reset.trip();
  assert.equal(await reset.state(), 'OPEN');
  const lost = await ailing(t);
  lost.health.answer = (call) => call.stream.session?.destroy();
  await lost.trip();
  assert.equal(await lost.state(), 'OPEN');
  const slow = await ailing(t, { route: 'timeout: 1s' });
  slow.health.answer = hold as (call: Parameters<Handler>[0]) => void;
  for (let i = 0; i < 3; i++) {
    const call = slow.client.start();
    await slow.service.call(i);
    await pass(slow.clock, 1_004);
    assert.equal((await call.answer).reason, 'route_timeout');
  }
  assert.equal(await slow.state(), 'OPEN');
});

test('what does not count: the application’s own statuses, rate limits, cancellations, and the caller’s deadline', async (t) => {
  const { client, clock, health, service, state } = await ailing(t);
  for (const status of [1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 16]) {
    health.answer = (call) => answerTrailersOnly(call, status);
    for (let i = 0; i < 4; i++) assert.equal((await client.call()).status, status);
  }
  health.answer = () => {};
  for (let i = 0; i < 4; i++) {
    const before = service.received.length;
    const cancelled = client.start();
    const received = await service.call(before);
    cancelled.cancel();
    await received.closed;
    const late = client.start({ headers: { 'grpc-timeout': '100m' } });
    await service.call(before + 1);
    await pass(clock, 104);
    assert.equal((await late.answer).reason, 'caller_deadline');
  }
  assert.equal(await state(), 'CLOSED');
});

test('a success in between begins the count anew', async (t) => {
  const { client, health, state } = await ailing(t);
  for (let round = 0; round < 3; round++) {
    health.answer = (call) => answerTrailersOnly(call, 14);
    await client.call();
    await client.call();
    health.answer = (call) => answerOk(call);
    await client.call();
  }
  assert.equal(await state(), 'CLOSED');
});

test('when it opens in the middle of a call, no further attempts are made', async (t) => {
  const { client, outrider, service, state } = await ailing(t, {
    random: () => 0,
    route: 'retry_policy: { retry_on: "unavailable", num_retries: 10 }',
  });
  const answer = await client.call();
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 3);
  assert.equal(await state(), 'OPEN');
  assert.deepEqual(outrider.fates(), { app_error: 1 });
});

test('a late success of a call from before does not close it', async (t) => {
  const { client, health, service, state, trip } = await ailing(t);
  const fail = health.answer;
  health.answer = () => {};
  const old = client.start();
  const received = await service.call(0);
  health.answer = fail;
  await trip();
  assert.equal(await state(), 'OPEN');
  beginAnswer(received, 'late');
  endAnswer(received, 0);
  assert.equal((await old.answer).status, GrpcStatus.OK);
  assert.equal(await state(), 'OPEN');
});

test('a cluster that nobody wrote a breaker for has one: five failures, sixty seconds', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, (call) => answerTrailersOnly(call, 14), { clock });
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).reason, undefined);
  assert.equal((await client.call()).reason, 'circuit_open');
  await pass(clock, 60_000);
  assert.equal((await client.call()).reason, undefined);
  await until(() => outrider.stat('cluster.echo.circuit_breaker.state') === 1, 'open again');
});
