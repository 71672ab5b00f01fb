import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, beginAnswer, endAnswer, startUpstream, until } from './upstream.ts';

checkLeaks();

/** Answers at once, or holds the answer open where it is asked to. */
const answerOrHold = (call: Parameters<typeof answerOk>[0]): void => {
  if (call.headers['x-hold'] === undefined) answerOk(call);
  else beginAnswer(call, 'first');
};

/** Time passes in leaps, in which no PING is answered. */
const quiet = 'keepalive: { interval: 0s }';
const held = { headers: { 'x-hold': '1' } };

test('a client that has been connected for long is sent away in two steps, and no call of it fails', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, answerOrHold);
  const policies = `max_connection_age: 60s\n${echoPolicies({ endpoints: [service.address], cluster: quiet })}`;
  const outrider = await startSidecar(t, { policies, clock, random: () => 0.5 });
  const client = outrider.caller();
  const stream = client.start(held);
  await until(() => stream.receivedBytes > 0, 'the beginning of the answer');
  await pass(clock, 59_900);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(client.goAways.length, 0);

  await pass(clock, 200);
  await until(() => client.goAways.length === 2, 'both steps');
  assert.deepEqual(
    client.goAways.map(({ code, debug, lastStreamId }) => [code, debug, lastStreamId > 1_000]),
    [
      [0, 'max_age', true],
      [0, 'max_age', false],
    ],
  );
  assert.equal(outrider.stat('listener.outbound.downstream_cx_max_duration_reached'), 1);

  await pass(clock, 3_600_000);
  assert.equal(stream.settled, false, 'what is under way goes on');
  endAnswer(await service.call(0), 0);
  assert.equal((await stream.answer).status, GrpcStatus.OK);
  await client.closed;
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  assert.deepEqual(outrider.fates(), { ok: 3 });
});

test('with a grace what goes on too long is told so', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, answerOrHold);
  const policies = `max_connection_age: 60s\nmax_connection_age_grace: 10s\n${echoPolicies({ endpoints: [service.address], cluster: quiet })}`;
  const outrider = await startSidecar(t, { policies, clock, random: () => 0.5 });
  const client = outrider.caller();
  const stream = client.start(held);
  await until(() => stream.receivedBytes > 0, 'the beginning of the answer');
  await pass(clock, 60_100);
  await until(() => client.goAways.length === 2, 'both steps');
  await pass(clock, 9_800);
  assert.equal(stream.settled, false);
  await pass(clock, 300);
  const answer = await stream.answer;
  assert.deepEqual([answer.status, answer.reason, answer.trailersOnly], [GrpcStatus.UNAVAILABLE, 'draining', false]);
  assert.match(answer.message, /max_connection_age_grace has passed/);
  await client.closed;
  assert.deepEqual(outrider.fates(), { draining: 1 });
});

test('the inbound listener may have an age of its own, also by a reload, for connections that live', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call) => answerOk(call));
  const text = 'max_connection_age: 10h\ninbound: { common_http_protocol_options: { max_connection_duration: 30s } }\nroutes: []\n';
  const outrider = await startSidecar(t, { policies: 'routes: []\n', clock, random: () => 0.5, localService: service.port });
  const inbound = outrider.inboundCaller();
  const outbound = outrider.caller();
  assert.equal((await inbound.call()).status, GrpcStatus.OK);
  await outbound.call();
  outrider.writePolicies(text);
  await outrider.admin('POST', '/reload');
  await pass(clock, 30_100);
  await inbound.closed;
  assert.equal(inbound.goAways.at(-1)?.debug, 'max_age');
  assert.deepEqual(outbound.goAways, []);
  assert.equal(outrider.stat('listener.inbound.downstream_cx_max_duration_reached'), 1);
});

test('an upstream connection is replaced: the new one is there before the old one goes, and calls on it go on', async (t) => {
  const clock = virtualClock();
  const over: unknown[] = [];
  const { client, outrider, service } = await throughOne(
    t,
    (call) => {
      over.push(call.stream.session);
      answerOrHold(call);
    },
    {
      clock,
      random: () => 0.5,
      cluster: `max_connection_age: 60s\n${quiet}`,
    },
  );
  const stream = client.start(held);
  await until(() => stream.receivedBytes > 0, 'the beginning of the answer');
  await pass(clock, 59_900);
  assert.equal(service.accepted, 1);
  await pass(clock, 200);
  await until(() => outrider.stat('cluster.echo.upstream_cx_max_duration_reached') === 1, 'the replacement');
  assert.equal(service.accepted, 2);
  for (let i = 0; i < 3; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.ok(
    over.slice(1).every((session) => session === service.sessions[1]),
    'calls go over the new one',
  );
  assert.equal(service.sessions[0]?.destroyed, false, 'the old one has a call');
  endAnswer(await service.call(0), 0);
  assert.equal((await stream.answer).status, GrpcStatus.OK);
  await until(() => outrider.stat('cluster.echo.upstream_cx_active') === 1, 'the end of the old one');
  assert.deepEqual(outrider.fates(), { ok: 4 });
});

test('an upstream connection that cannot be replaced stays, and is replaced later', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    clock,
    random: () => 0.5,
    policies: echoPolicies({
      endpoints: [service.address],
      cluster: `common_http_protocol_options: { max_connection_duration: 60s }\n${quiet}`,
    }),
  });
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  // It takes no new connections, and serves those that it has.
  service.stopListening();
  await pass(clock, 60_100);
  await until(() => outrider.stat('cluster.echo.upstream_cx_connect_fail') === 1, 'the attempt');
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(outrider.stat('cluster.echo.upstream_cx_max_duration_reached'), 0);
  const again = await startUpstream(t, (call) => answerOk(call), { port: service.port });
  await pass(clock, 6_100);
  await until(() => outrider.stat('cluster.echo.upstream_cx_max_duration_reached') === 1, 'the replacement');
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual([service.received.length, again.received.length], [2, 1]);
  assert.deepEqual(outrider.fates(), { ok: 3 });
});

test('under steady calls with a short age no call fails on either side', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const cluster = 'max_connection_age: 30ms';
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [service.address], cluster }) });
  const client = outrider.caller();
  let calls = 0;
  const run = async (): Promise<void> => {
    while (outrider.stat('cluster.echo.upstream_cx_max_duration_reached') < 10) {
      const answer = await client.call();
      assert.equal(answer.status, GrpcStatus.OK, answer.message);
      calls++;
    }
  };
  await Promise.all(Array.from({ length: 8 }, run));
  assert.deepEqual(outrider.fates(), { ok: calls });
});
