import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { indent, pass, startSidecar, type TestSidecar, virtualClock } from './mesh.ts';
import { answerOk, hold, startUpstream, type Upstream, until } from './upstream.ts';

checkLeaks();

interface Bench {
  readonly outrider: TestSidecar;
  readonly service: Upstream;
}

/** Two routes to one service, which holds its calls: `/acme.`, and `/vip.` with priority HIGH. Time passes in leaps. */
const start = async (t: TestContext, cluster: string, streams: number): Promise<Bench> => {
  const service = await startUpstream(t, hold, { settings: { maxConcurrentStreams: streams } });
  const policies = `routes:
  - match: { prefix: /vip. }
    route: { cluster: echo, timeout: 0s, priority: HIGH }
  - match: { prefix: /acme. }
    route: { cluster: echo, timeout: 0s }
clusters:
  echo:
    endpoints: ["${service.address}"]
    tls: { mode: disable }
    keepalive: { interval: 0s }
${indent(cluster, 4)}
`;
  return { service, outrider: await startSidecar(t, { policies, clock: virtualClock() }) };
};

const vip = { path: '/vip.Echo/Call' };
const stat = ({ outrider }: Bench, name: string): number => outrider.stat(`cluster.echo.${name}`);

test('calls of high priority have limits of their own', async (t) => {
  const bench = await start(
    t,
    'circuit_breakers: { thresholds: [{ max_requests: 1 }, { priority: HIGH, max_requests: 2, track_remaining: true }] }',
    100,
  );
  const client = bench.outrider.caller();
  const under = [client.start(), client.start(vip), client.start(vip)];
  await bench.service.call(2);
  const refused = await client.call();
  assert.deepEqual([refused.reason, stat(bench, 'upstream_rq_active_overflow')], ['too_many_requests', 1]);
  assert.match(refused.message, /1 calls are in flight already \(max_requests\)/);
  const refusedVip = await client.call(vip);
  assert.equal(refusedVip.reason, 'too_many_requests');
  assert.match(refusedVip.message, /2 calls are in flight already \(max_requests of priority HIGH\)/);
  assert.equal(stat(bench, 'upstream_rq_active_overflow'), 2);
  assert.deepEqual([stat(bench, 'circuit_breakers.default.rq_open'), stat(bench, 'circuit_breakers.high.rq_open')], [1, 1]);
  assert.equal(stat(bench, 'circuit_breakers.high.remaining_rq'), 0);
  for (const call of bench.service.received) answerOk(call);
  for (const call of under) assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.equal(stat(bench, 'circuit_breakers.high.remaining_rq'), 2);
});

test("without limits of their own they have Envoy's, whatever is written for the others", async (t) => {
  const bench = await start(t, 'circuit_breakers: { thresholds: [{ max_requests: 0 }] }', 100);
  const client = bench.outrider.caller();
  assert.equal((await client.call()).reason, 'too_many_requests');
  const call = client.start(vip);
  answerOk(await bench.service.call(0));
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.equal(stat(bench, 'circuit_breakers.high.rq_open'), 0);
});

test('of calls that wait those of high priority come first, and they may have a connection more', async (t) => {
  const bench = await start(
    t,
    'circuit_breakers: { thresholds: [{ max_connections: 1 }, { priority: HIGH, max_connections: 1, max_pending_requests: 1 }] }',
    1,
  );
  const client = bench.outrider.caller();
  client.start();
  await bench.service.call(0);
  const waiting = client.start({ headers: { 'x-who': 'default' } });
  await until(() => stat(bench, 'upstream_rq_pending_active') === 1, 'a call that waits');
  assert.deepEqual([bench.service.accepted, stat(bench, 'circuit_breakers.default.cx_open')], [1, 1]);
  client.start({ ...vip, headers: { 'x-who': 'first vip' } });
  await bench.service.call(1);
  assert.deepEqual([bench.service.accepted, bench.service.received[1]?.headers['x-who']], [2, 'first vip']);
  assert.equal(stat(bench, 'circuit_breakers.high.cx_open'), 1);
  const second = client.start({ ...vip, headers: { 'x-who': 'second vip' } });
  await until(() => stat(bench, 'circuit_breakers.high.rq_pending_open') === 1, 'a vip that waits');
  const third = await client.call(vip);
  assert.equal(third.reason, 'too_many_pending');
  for (const call of bench.service.received.slice(0, 1)) answerOk(call);
  assert.equal((await bench.service.call(2)).headers['x-who'], 'second vip');
  for (const call of bench.service.received.slice(1)) answerOk(call);
  assert.equal((await second.answer).status, GrpcStatus.OK);
  const last = await bench.service.call(3);
  assert.equal(last.headers['x-who'], 'default');
  answerOk(last);
  assert.equal((await waiting.answer).status, GrpcStatus.OK);
});

test('a call waits for a connection as long as it may, and is told why it got none', async (t) => {
  const bench = await start(t, 'circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_duration: 500ms }] }', 1);
  const clock = bench.outrider.clock as ReturnType<typeof virtualClock>;
  const client = bench.outrider.caller();
  const first = client.start();
  await bench.service.call(0);
  const late = client.start();
  await until(() => stat(bench, 'upstream_rq_pending_active') === 1, 'a call that waits');
  await pass(clock, 300);
  const later = client.start();
  await until(() => stat(bench, 'upstream_rq_pending_active') === 2, 'another one');
  await pass(clock, 204);
  const answer = await late.answer;
  assert.deepEqual([answer.status, answer.reason, answer.trailersOnly], [GrpcStatus.RESOURCE_EXHAUSTED, 'too_many_pending', true]);
  assert.match(answer.message, /cluster "echo", endpoint .*: no connection had room for the call within 500ms \(max_pending_duration\)/);
  assert.deepEqual([stat(bench, 'upstream_rq_pending_timeout'), stat(bench, 'upstream_rq_pending_active')], [1, 1]);
  answerOk(bench.service.received[0] ?? assert.fail());
  assert.equal((await first.answer).status, GrpcStatus.OK);
  answerOk(await bench.service.call(1));
  assert.equal((await later.answer).status, GrpcStatus.OK);
  assert.equal(bench.outrider.stat('server.deadlines_armed'), 0);
});

test('the newest goes first once calls have been waiting for as long as they may; before, the oldest', async (t) => {
  const bench = await start(t, 'circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_duration: 1s }] }', 1);
  const clock = bench.outrider.clock as ReturnType<typeof virtualClock>;
  const client = bench.outrider.caller();
  const begin = async (who: string): Promise<void> => {
    const pending = stat(bench, 'upstream_rq_pending_active');
    client.start({ headers: { 'x-who': who } });
    if (who !== 'a') await until(() => stat(bench, 'upstream_rq_pending_active') === pending + 1, who);
  };
  const served = async (index: number): Promise<unknown> => (await bench.service.call(index)).headers['x-who'];
  const next = (index: number): void => answerOk(bench.service.received[index] ?? assert.fail());
  await begin('a');
  await bench.service.call(0);
  await begin('b');
  await begin('c');
  await pass(clock, 600);
  next(0);
  assert.equal(await served(1), 'b', 'a burst: in order');
  await begin('d');
  await pass(clock, 300);
  await begin('e');
  await pass(clock, 104);
  assert.equal(stat(bench, 'upstream_rq_pending_timeout'), 1, 'c has waited for too long');
  next(1);
  assert.equal(await served(2), 'e', 'somebody has been waiting all the time: the newest');
  next(2);
  assert.equal(await served(3), 'd');
  next(3);
  await until(() => (bench.outrider.fates().ok ?? 0) === 4, 'all answers');
  assert.deepEqual(bench.outrider.fates(), { ok: 4, too_many_pending: 1 });
});

test('another limit of time holds for calls that wait already', async (t) => {
  const bench = await start(t, 'circuit_breakers: { thresholds: [{ max_connections: 1 }] }', 1);
  const clock = bench.outrider.clock as ReturnType<typeof virtualClock>;
  const client = bench.outrider.caller();
  client.start();
  await bench.service.call(0);
  const waiting = client.start();
  await until(() => stat(bench, 'upstream_rq_pending_active') === 1, 'a call that waits');
  await pass(clock, 2_000);
  assert.equal(waiting.settled, false);
  bench.outrider.writePolicies(`routes:
  - match: { prefix: /acme. }
    route: { cluster: echo, timeout: 0s }
clusters:
  echo:
    endpoints: ["${bench.service.address}"]
    tls: { mode: disable }
    keepalive: { interval: 0s }
    circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_duration: 3s }] }
`);
  await bench.outrider.admin('POST', '/reload');
  await pass(clock, 900);
  assert.equal(waiting.settled, false);
  await pass(clock, 110);
  assert.equal((await waiting.answer).reason, 'too_many_pending');
  answerOk(bench.service.received[0] ?? assert.fail());
});
