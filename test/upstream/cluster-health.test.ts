/** Health checks of a cluster against real servers: who is asked how often, and who gets calls then. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { JsonLogger, SocketBudget, VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import {
  defaultHealthCheckTimes,
  defaultOutlier,
  type GrpcHealthCheck,
  type HealthCheckOptions,
  type HealthCheckTimes,
} from '../../src/resilience/index.ts';
import type { Cluster } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { seededRandom } from '../harness/seeded-random.ts';
import { type HealthServer, startHealthServer } from './health-server.ts';
import { addressOf, clusterOf, policyOf, startCall, until } from './upstream-bench.ts';

checkLeaks();

const grpcCheck: GrpcHealthCheck = { kind: 'grpc', serviceName: '', authority: '', metadata: [], watch: false, answersSuffice: false };

const times: HealthCheckTimes = {
  ...defaultHealthCheckTimes,
  intervalMs: 1_000,
  timeoutMs: 500,
  noTrafficIntervalMs: 1_000,
  noTrafficHealthyIntervalMs: 1_000,
  unhealthyIntervalMs: 1_000,
  unhealthyEdgeIntervalMs: 1_000,
  healthyEdgeIntervalMs: 1_000,
};

const checking = (
  overrides: Partial<Omit<HealthCheckOptions, 'times'>> & { times?: Partial<HealthCheckTimes> } = {},
): HealthCheckOptions => ({
  check: grpcCheck,
  newEndpoints: 'after_check',
  ignoreNewEndpoints: false,
  alwaysLogFailures: false,
  ...overrides,
  times: { ...times, ...overrides.times },
});

const watching = { ...grpcCheck, watch: true };

// Virtual time runs ahead of sockets: no PING is to be late by that.
const keptAlive = { keepaliveIntervalMs: 10_000, keepaliveTimeoutMs: 3_600_000 };

/** A cluster on virtual time whose endpoints are the servers. */
const clusterOn = (
  t: TestContext,
  ports: readonly number[],
  healthCheck: HealthCheckOptions,
  overrides: Partial<ReturnType<typeof policyOf>> = {},
) => {
  const clock = new VirtualClock();
  const lines: Record<string, unknown>[] = [];
  const log = new JsonLogger(clock, (line) => void lines.push(JSON.parse(line)));
  const addresses = ports.map((port) => addressOf(port));
  const { cluster, source } = clusterOf(t, addresses, { healthCheck, ...overrides }, { clock, log, random: seededRandom(1) });
  return { clock, cluster, lines, source };
};

const stateOf = (cluster: Cluster, port: number): string => {
  const checker = cluster.endpoints.find(({ address }) => address.port === port)?.checker;
  if (checker === undefined) return 'none';
  return !checker.health.checked ? 'pending' : checker.health.failing ? 'unhealthy' : 'healthy';
};

/** Lets time pass in steps until `reached`. */
const passUntil = (clock: VirtualClock, reached: () => boolean, what: string): Promise<void> =>
  until(() => {
    if (reached()) return true;
    clock.advance(50);
    return false;
  }, what);

const picks = (cluster: Cluster, count = 20): ReadonlySet<number> =>
  new Set(Array.from({ length: count }, () => cluster.pickEndpoint()?.address.port ?? 0));

test('an endpoint that says NOT_SERVING gets no call after one check, and calls again after healthy_threshold of them', async (t) => {
  const [good, bad] = [await startHealthServer(t), await startHealthServer(t)];
  const { clock, cluster, lines } = clusterOn(t, [good.port, bad.port], checking({ times: { healthyThreshold: 3 } }));
  await until(() => stateOf(cluster, good.port) === 'healthy' && stateOf(cluster, bad.port) === 'healthy', 'both');
  assert.deepEqual(picks(cluster), new Set([good.port, bad.port]));
  bad.status = 'NOT_SERVING';
  await passUntil(clock, () => stateOf(cluster, bad.port) === 'unhealthy', 'the bad one');
  assert.deepEqual(picks(cluster), new Set([good.port]));
  const line = lines.find(({ msg }) => msg === 'endpoint is not healthy');
  assert.equal(line?.['endpoint'], `127.0.0.1:${bad.port}`);
  assert.equal(line?.['why'], 'answers NOT_SERVING');
  assert.equal(line?.['failure_type'], 'active');
  bad.status = 'SERVING';
  const asked = bad.checks.length;
  await passUntil(clock, () => stateOf(cluster, bad.port) === 'healthy', 'the bad one again');
  assert.equal(bad.checks.length - asked, 3);
  assert.deepEqual(picks(cluster), new Set([good.port, bad.port]));
});

test('a new endpoint gets no call before its first passing check, one that fails it never, and at_once gets them at once', async (t) => {
  const [first, second] = [await startHealthServer(t), await startHealthServer(t)];
  second.mute = true;
  const { clock, cluster, source } = clusterOn(t, [first.port], checking());
  await until(() => stateOf(cluster, first.port) === 'healthy', 'the first');
  source.become(addressOf(first.port), addressOf(second.port));
  assert.equal(stateOf(cluster, second.port), 'pending');
  assert.deepEqual(picks(cluster), new Set([first.port]));
  await passUntil(clock, () => stateOf(cluster, second.port) === 'unhealthy', 'its first check, which decides alone');
  assert.deepEqual(picks(cluster), new Set([first.port]));
  cluster.update(policyOf({ healthCheck: checking({ newEndpoints: 'at_once' }) }));
  const third = await startHealthServer(t);
  third.mute = true;
  source.become(addressOf(first.port), addressOf(third.port));
  assert.deepEqual(picks(cluster), new Set([first.port, third.port]));
  await passUntil(clock, () => stateOf(cluster, third.port) === 'unhealthy', 'the third');
  assert.deepEqual(picks(cluster), new Set([first.port]));
});

test('where all are new or ill the panic threshold sends calls to all; new ones that are to be ignored get none', async (t) => {
  const server = await startHealthServer(t);
  server.mute = true;
  const { cluster } = clusterOn(t, [server.port], checking());
  assert.deepEqual(picks(cluster), new Set([server.port]));
  assert.equal(cluster.balancer.counts.healthyPanic, 20);
  const { cluster: strict } = clusterOn(t, [server.port], checking({ ignoreNewEndpoints: true }));
  assert.deepEqual(picks(strict), new Set([0]));
  assert.match(strict.unavailable().message, /none of 1 endpoints is healthy: 1 have not passed their first one yet/);
});

test('a server that dies is left out after unhealthy_threshold checks, the first of them as soon as its connection is gone', async (t) => {
  const [good, dying] = [await startHealthServer(t), await startHealthServer(t)];
  const slow = { intervalMs: 30_000, unhealthyEdgeIntervalMs: 30_000, noTrafficIntervalMs: 60_000, noTrafficHealthyIntervalMs: 60_000 };
  const { clock, cluster, lines } = clusterOn(t, [good.port, dying.port], checking({ times: slow }));
  await until(() => stateOf(cluster, dying.port) === 'healthy', 'both');
  const before = clock.now();
  await dying.stop();
  await passUntil(clock, () => stateOf(cluster, dying.port) === 'unhealthy', 'its death');
  assert.ok(clock.now() - before <= 10_000, `after ${clock.now() - before} ms of virtual time`);
  assert.deepEqual(picks(cluster), new Set([good.port]));
  assert.equal(cluster.health.stats.networkFailure, 3);
  assert.match(String(lines.find(({ msg }) => msg === 'endpoint is not healthy')?.['why']), /connection refused/);
});

test('a Watch takes the place of checks: one request in ten minutes, and every change counts at once', async (t) => {
  const [good, bad] = [await startHealthServer(t), await startHealthServer(t)];
  const { clock, cluster } = clusterOn(t, [good.port, bad.port], checking({ check: watching }), keptAlive);
  await until(() => stateOf(cluster, good.port) === 'healthy' && stateOf(cluster, bad.port) === 'healthy', 'both');
  await startCall(cluster.pickEndpoint());
  bad.status = 'NOT_SERVING';
  await until(() => stateOf(cluster, bad.port) === 'unhealthy', 'without any time passing');
  assert.deepEqual(picks(cluster), new Set([good.port]));
  bad.status = 'SERVING';
  await passUntil(clock, () => stateOf(cluster, bad.port) === 'healthy', 'its return');
  for (let minute = 0; minute < 10; minute++) {
    for (let step = 0; step < 60; step++) {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert.deepEqual(good.checks, [{ service: '', method: 'Watch', authority: 'learner-svc' }]);
  assert.equal(bad.checks.length, 1);
  assert.equal(cluster.endpoints[0]?.checker?.method, 'grpc watch');
});

test('a server without Watch is asked by Check, and is not asked for a Watch again', async (t) => {
  const server = await startHealthServer(t);
  server.watch = false;
  const { clock, cluster } = clusterOn(t, [server.port], checking({ check: watching }), keptAlive);
  await until(() => stateOf(cluster, server.port) === 'healthy', 'it');
  await passUntil(clock, () => server.checks.length >= 5, 'more checks');
  assert.deepEqual(
    server.checks.slice(0, 4).map(({ method }) => method),
    ['Watch', 'Check', 'Check', 'Check'],
  );
});

test('without keepalive a Watch proves nothing while it is silent: the server is asked at each interval beside it', async (t) => {
  const server = await startHealthServer(t);
  const { clock, cluster } = clusterOn(t, [server.port], checking({ check: watching }), { keepaliveIntervalMs: 0 });
  await until(() => stateOf(cluster, server.port) === 'healthy', 'it');
  await passUntil(clock, () => server.checks.length >= 4, 'checks');
  assert.deepEqual(
    server.checks.slice(0, 3).map(({ method }) => method),
    ['Watch', 'Check', 'Check'],
  );
  server.mute = true;
  await passUntil(clock, () => stateOf(cluster, server.port) === 'unhealthy', 'its silence');
});

test('a Watch does not hold a server that goes away: it ends with the GOAWAY, and begins again on the next connection', async (t) => {
  const server = await startHealthServer(t);
  const { clock, cluster } = clusterOn(t, [server.port], checking({ check: watching }), keptAlive);
  await until(() => server.watchers.size === 1 && stateOf(cluster, server.port) === 'healthy', 'the Watch');
  server.sessions[0]?.goaway(0, 2 ** 31 - 1);
  await until(() => server.watchers.size === 0, 'its end');
  assert.equal(stateOf(cluster, server.port), 'healthy');
  await passUntil(clock, () => server.watchers.size === 1, 'another one');
  assert.equal(server.accepted, 2);
  assert.equal(cluster.health.stats.failure, 0);
});

test('a Watch does not keep a connection beyond its age', async (t) => {
  const server = await startHealthServer(t);
  const { clock, cluster } = clusterOn(t, [server.port], checking({ check: watching }), { ...keptAlive, maxConnectionAgeMs: 20_000 });
  await until(() => server.watchers.size === 1 && stateOf(cluster, server.port) === 'healthy', 'the Watch');
  await passUntil(
    clock,
    () => server.sessions[0]?.closed === true || server.sessions[0]?.destroyed === true,
    'the end of the first connection',
  );
  await passUntil(clock, () => server.watchers.size === 1 && server.accepted >= 2, 'another Watch');
  assert.equal(cluster.health.stats.failure, 0);
  assert.equal(stateOf(cluster, server.port), 'healthy');
});

test('an endpoint that leaves takes its Watch along, and its connection closes', async (t) => {
  const server = await startHealthServer(t);
  const { cluster, source } = clusterOn(t, [server.port], checking({ check: watching }), keptAlive);
  await until(() => server.watchers.size === 1, 'the Watch');
  source.become();
  await until(() => server.watchers.size === 0 && cluster.limits.connections.active === 0, 'the end of both');
});

test('a server that changes its mind all the time is out for at least a second each time', async (t) => {
  const [steady, flapping] = [await startHealthServer(t), await startHealthServer(t)];
  const { clock, cluster } = clusterOn(t, [steady.port, flapping.port], checking({ check: watching }), keptAlive);
  await until(() => stateOf(cluster, flapping.port) === 'healthy', 'it');
  let changes = 0;
  let last = 'healthy';
  const startedMs = clock.now();
  for (let i = 0; i < 200; i++) {
    flapping.status = i % 2 === 0 ? 'NOT_SERVING' : 'SERVING';
    clock.advance(50);
    await new Promise((resolve) => setImmediate(resolve));
    const now = stateOf(cluster, flapping.port);
    if (now !== last) changes++;
    last = now;
  }
  const seconds = (clock.now() - startedMs) / 1_000;
  assert.ok(changes > 0 && changes <= 2 * seconds + 2, `${changes} changes in ${seconds} s`);
});

test('a service that the server does not know, and one without health protocol, say what to do', async (t) => {
  const [unknown, without] = [await startHealthServer(t), await startHealthServer(t)];
  unknown.grpcStatus = GrpcStatus.NOT_FOUND;
  without.grpcStatus = GrpcStatus.UNIMPLEMENTED;
  const { cluster } = clusterOn(t, [unknown.port, without.port], checking({ check: { ...grpcCheck, serviceName: 'acme.Echo' } }));
  await until(() => stateOf(cluster, unknown.port) === 'unhealthy' && stateOf(cluster, without.port) === 'unhealthy', 'both');
  const why = (port: number) => cluster.endpoints.find(({ address }) => address.port === port)?.checker?.why;
  assert.equal(
    why(unknown.port),
    'answers NOT_FOUND for "acme.Echo": register this name in its health service, or write another service_name',
  );
  assert.match(String(why(without.port)), /^answers UNIMPLEMENTED for "acme.Echo": register grpc.health.v1.Health/);
  assert.equal(unknown.checks[0]?.service, 'acme.Echo');
});

test('SERVICE_UNKNOWN of a Watch counts as not serving until the service is there', async (t) => {
  const server = await startHealthServer(t);
  server.status = 'SERVICE_UNKNOWN';
  const { clock, cluster } = clusterOn(t, [server.port], checking({ check: watching }), keptAlive);
  await until(() => stateOf(cluster, server.port) === 'unhealthy', 'it');
  assert.equal(cluster.endpoints[0]?.checker?.why, 'answers SERVICE_UNKNOWN');
  server.status = 'SERVING';
  await passUntil(clock, () => stateOf(cluster, server.port) === 'healthy', 'it again');
});

test('a black hole times out, is left out, and gets a new connection for each further check', async (t) => {
  const sockets = new Set<net.Socket>();
  const hole = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => hole.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    hole.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = hole.address() as net.AddressInfo;
  const { clock, cluster } = clusterOn(t, [port], checking());
  await passUntil(clock, () => stateOf(cluster, port) === 'unhealthy', 'it');
  assert.equal(cluster.endpoints[0]?.checker?.why, 'no connection within 500ms');
  assert.equal(cluster.endpoints[0]?.checker?.health.failure, 'network_timeout');
  await passUntil(clock, () => sockets.size >= 3, 'more connections');
});

test('where the first check could learn nothing another one follows within seconds, whatever the interval', async (t) => {
  const server = await startHealthServer(t);
  const clock = new VirtualClock();
  const sockets = new SocketBudget(0);
  const healthCheck = checking({ times: { intervalMs: 30_000, noTrafficIntervalMs: 60_000, unhealthyIntervalMs: 30_000 } });
  const { cluster } = clusterOf(t, [addressOf(server.port)], { healthCheck }, { clock, sockets });
  assert.equal(stateOf(cluster, server.port), 'pending');
  assert.match(String(cluster.endpoints[0]?.checker?.why), /no file descriptor left/);
  Object.assign(sockets, { limit: 10 });
  await passUntil(clock, () => stateOf(cluster, server.port) === 'healthy', 'its first result');
  assert.ok(clock.now() <= 6_000, `after ${clock.now()} ms`);
});

test('a passing check ends an ejection, unless the policy says that it does not', async (t) => {
  const server = await startHealthServer(t);
  const closed = await freePort();
  const { clock, cluster } = clusterOn(t, [server.port, closed], checking());
  await until(() => stateOf(cluster, server.port) === 'healthy', 'it');
  for (const unejects of [true, false]) {
    const outlierDetection = {
      ...defaultOutlier,
      consecutive5xx: 1,
      maxEjectionPercent: 100,
      successfulActiveHealthCheckUnejectHost: unejects,
    };
    cluster.update(policyOf({ healthCheck: checking(), outlierDetection }));
    const endpoint = cluster.endpoints.find(({ address }) => address.port === server.port);
    assert.ok(endpoint?.outlier);
    cluster.judge(endpoint, 'gateway_error', clock.now());
    assert.equal(endpoint.healthy, false);
    const asked = server.checks.length;
    const passed = cluster.health.stats.success;
    await passUntil(clock, () => server.checks.length > asked && cluster.health.stats.success > passed, 'another check');
    assert.equal(endpoint.healthy, unejects);
  }
});

test('health checks take no place in the queue of calls and count as none', async (t) => {
  const servers: HealthServer[] = [];
  for (let i = 0; i < 5; i++) servers.push(await startHealthServer(t));
  const thresholds = { ...policyOf().thresholds, maxPendingRequests: 0, maxRequests: 0 };
  const { cluster } = clusterOn(
    t,
    servers.map(({ port }) => port),
    checking(),
    { thresholds },
  );
  await until(() => servers.every(({ port }) => stateOf(cluster, port) === 'healthy'), 'all');
  assert.equal(cluster.stats.upstreamRqTotal, 0);
  assert.equal(cluster.limits.pending.overflowTotal, 0);
});

test('a reload keeps what is known, and without health_checks nobody is left out', async (t) => {
  const [good, bad] = [await startHealthServer(t), await startHealthServer(t)];
  bad.status = 'NOT_SERVING';
  const { clock, cluster } = clusterOn(t, [good.port, bad.port], checking());
  await until(() => stateOf(cluster, bad.port) === 'unhealthy' && stateOf(cluster, good.port) === 'healthy', 'both');
  cluster.update(policyOf({ healthCheck: checking({ times: { intervalMs: 2_000 } }) }));
  assert.equal(stateOf(cluster, bad.port), 'unhealthy');
  assert.deepEqual(picks(cluster), new Set([good.port]));
  await passUntil(clock, () => good.checks.length > 2, 'more checks');
  cluster.update(policyOf());
  assert.equal(stateOf(cluster, bad.port), 'none');
  assert.deepEqual(picks(cluster), new Set([good.port, bad.port]));
});
