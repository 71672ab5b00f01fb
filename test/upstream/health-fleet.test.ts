/** What a fleet of sidecars asks of one server: on virtual time, over real sockets. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { silentLogger, TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { Engine } from '../../src/http2/index.ts';
import { defaultHealthCheckTimes, type HealthCheckOptions } from '../../src/resilience/index.ts';
import { Cluster } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { seededRandom } from '../harness/seeded-random.ts';
import { type HealthServer, startHealthServer } from './health-server.ts';
import { addressOf, contextOf, HandSource, policyOf, until } from './upstream-bench.ts';

checkLeaks();

const sidecars = 100;
const minutes = 5;

const checking = (watch: boolean): HealthCheckOptions => ({
  times: defaultHealthCheckTimes,
  check: { kind: 'grpc', serviceName: '', authority: '', metadata: [], watch, answersSuffice: false },
  newEndpoints: 'after_check',
  ignoreNewEndpoints: false,
  alwaysLogFailures: false,
});

/** A hundred sidecars that begin at the same moment, and call when `traffic` says so. */
const fleetOn = async (t: TestContext, server: HealthServer, watch: boolean, traffic: boolean) => {
  const clock = new VirtualClock();
  const random = seededRandom(7);
  const fleet = Array.from({ length: sidecars }, () => {
    const engine = new Engine(clock, new TimerWheel(clock));
    const context = { ...contextOf(new HandSource([addressOf(server.port)]), { clock }), engine, random, log: silentLogger };
    // PINGs are not what is counted here, and virtual time is ahead of sockets.
    return new Cluster(policyOf({ healthCheck: checking(watch), keepaliveIntervalMs: 24 * 3_600_000 }), context);
  });
  t.after(() => {
    for (const cluster of fleet) cluster.close();
  });
  const settled = (): boolean => fleet.every(({ endpoints: [endpoint] }) => endpoint?.checker?.checking === false);
  await until(settled, 'the first answers');
  if (traffic) for (const cluster of fleet) cluster.stats.upstreamRqTotal = 1;
  const perSecond: number[] = [];
  for (let second = 0; second < minutes * 60; second++) {
    const before = server.checks.length;
    clock.advance(1_000);
    await until(settled, 'the answers of this second');
    perSecond.push(server.checks.length - before);
  }
  /** Virtual time, which waits for each answer: sockets are slower. */
  const pass = async (seconds: number): Promise<void> => {
    for (let i = 0; i < seconds * 4; i++) {
      clock.advance(250);
      await new Promise((resolve) => setImmediate(resolve));
      await until(settled, 'the answers');
    }
  };
  return { clock, fleet, pass, perSecond };
};

test('a hundred sidecars that watch ask a hundred times in all, and hear of a change within the same second', async (t) => {
  const server = await startHealthServer(t);
  const { fleet, perSecond } = await fleetOn(t, server, true, true);
  assert.equal(server.checks.length, sidecars);
  assert.equal(Math.max(...perSecond), 0);
  assert.equal(server.watchers.size, sidecars);
  server.status = 'NOT_SERVING';
  await until(() => fleet.every(({ endpoints: [endpoint] }) => endpoint?.healthy === false), 'all of them');
});

test('where the server has no Watch, their checks are spread: each second has about its share of the interval', async (t) => {
  const server = await startHealthServer(t);
  server.watch = false;
  const { perSecond } = await fleetOn(t, server, true, true);
  const share = (sidecars * 1_000) / defaultHealthCheckTimes.intervalMs;
  const later = perSecond.slice(60);
  const mean = later.reduce((sum, count) => sum + count, 0) / later.length;
  assert.ok(Math.abs(mean - share) < 0.2 * share, `${mean} a second instead of ${share}`);
  assert.ok(Math.max(...later) <= 5 * share, `${Math.max(...later)} in one second`);
});

test('sidecars that send no calls ask every minute', async (t) => {
  const server = await startHealthServer(t);
  const { perSecond } = await fleetOn(t, server, false, false);
  const mean = perSecond.slice(120).reduce((sum, count) => sum + count, 0) / (perSecond.length - 120);
  assert.ok(Math.abs(mean - sidecars / 60) < 0.4, `${mean} a second`);
});

test('a server that restarts is asked once by each of them within a second, and at its interval afterwards', async (t) => {
  const server = await startHealthServer(t);
  const { fleet, pass } = await fleetOn(t, server, true, true);
  const { port } = server;
  await server.stop();
  const again = await startHealthServer(t, port);
  await pass(4);
  assert.equal(again.watchers.size, sidecars);
  assert.ok(again.checks.length <= 2 * sidecars, `${again.checks.length} requests`);
  assert.ok(fleet.every(({ endpoints: [endpoint] }) => endpoint?.healthy === true));
});

test('a server that is away for five seconds is back within twenty of its return, and one that stays away is asked ever less', async (t) => {
  const server = await startHealthServer(t);
  const { fleet, pass } = await fleetOn(t, server, true, true);
  const { port } = server;
  const attempts = (): number => fleet.reduce((sum, { health }) => sum + health.stats.attempt, 0);
  await server.stop();
  await pass(5);
  const again = await startHealthServer(t, port);
  await pass(20);
  assert.ok(fleet.every(({ endpoints: [endpoint] }) => endpoint?.healthy === true));
  await again.stop();
  await pass(120);
  const before = attempts();
  await pass(60);
  const perMinute = (attempts() - before) / sidecars;
  assert.ok(perMinute >= 1 && perMinute <= 3, `${perMinute} checks a minute of each`);
});

test('ten thousand endpoints are checked a hundred at a time, by one timer of the event loop', async (t) => {
  const server = await startHealthServer(t);
  server.mute = true;
  const clock = new VirtualClock();
  const addresses = Array.from({ length: 10_000 }, (_, i) => addressOf(server.port, { host: `127.1.${i >> 8}.${i & 255}` }));
  const { times } = checking(false);
  const healthCheck = { ...checking(false), times: { ...times, timeoutMs: 1_000 } };
  const cluster = new Cluster(policyOf({ healthCheck }), contextOf(new HandSource(addresses), { clock }));
  t.after(() => cluster.close());
  assert.equal(cluster.limits.connections.active, 100);
  assert.ok(clock.pending <= 2, `${clock.pending} timers`);
});
