/** How the sidecar finds out how the service beside it is: by the gRPC health protocol, on the connection that calls use. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { JsonLogger, VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { Cluster, type LocalHealth, LocalServiceHealth, localServicePolicy } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { type HealthServer, startHealthServer } from './health-server.ts';
import { contextOf, HandSource, policyOf, until } from './upstream-bench.ts';

checkLeaks();

const watchLocal = (t: TestContext, port: number, clock: VirtualClock) => {
  const lines: Record<string, unknown>[] = [];
  const log = new JsonLogger(clock, (line) => void lines.push(JSON.parse(line)));
  const context = contextOf(new HandSource([{ host: '127.0.0.1', port, weight: 1 }]), { clock, log });
  const cluster = new Cluster(localServicePolicy('127.0.0.1', port, policyOf()), context);
  const health = new LocalServiceHealth({ cluster, engine: context.engine, log, intervalMs: 5_000 });
  const told: LocalHealth[] = [];
  health.subscribe((value) => void told.push(value));
  t.after(() => {
    health.close();
    cluster.close();
  });
  return { cluster, health, lines, told };
};

const start = async (t: TestContext): Promise<{ server: HealthServer; clock: VirtualClock } & ReturnType<typeof watchLocal>> => {
  const server = await startHealthServer(t);
  const clock = new VirtualClock();
  const local = watchLocal(t, server.port, clock);
  local.health.start();
  return { server, clock, ...local };
};

test('a service that says SERVING is asked every 5 s over one connection, and told of once', async (t) => {
  const { clock, health, server, told } = await start(t);
  await until(() => health.value.state === 'serving', 'the first answer');
  assert.equal(health.value.why, 'answers SERVING');
  for (let checks = 1; checks <= 4; checks++) {
    assert.equal(server.checks.length, checks);
    clock.advance(4_990);
    assert.equal(server.checks.length, checks);
    clock.advance(20);
    await until(() => server.checks.length === checks + 1 && health.stats.success === checks + 1, 'the next check');
  }
  assert.deepEqual(server.checks[0], { service: '', method: 'Check', authority: 'localhost' });
  assert.equal(server.accepted, 1);
  assert.equal(told.length, 1);
});

test('NOT_SERVING counts at once, and so does SERVING a second later', async (t) => {
  const { clock, health, lines, server, told } = await start(t);
  await until(() => health.value.state === 'serving', 'the first answer');
  server.status = 'NOT_SERVING';
  clock.advance(5_010);
  await until(() => health.value.state === 'not_serving', 'the second answer');
  assert.equal(health.value.why, 'answers NOT_SERVING');
  server.status = 'SERVING';
  clock.advance(1_010);
  await until(() => health.value.state === 'serving', 'the third answer');
  assert.deepEqual(
    told.map(({ state }) => state),
    ['serving', 'not_serving', 'serving'],
  );
  assert.deepEqual(
    lines.filter(({ msg }) => String(msg).startsWith('local service')).map(({ level, why }) => `${level} ${why}`),
    ['info answers SERVING', 'warning answers NOT_SERVING', 'info answers SERVING'],
  );
});

for (const status of [GrpcStatus.UNIMPLEMENTED, GrpcStatus.UNAUTHENTICATED, GrpcStatus.PERMISSION_DENIED]) {
  test(`a service that answers a health check with status ${status} is healthy as long as it answers`, async (t) => {
    const server = await startHealthServer(t);
    server.grpcStatus = status;
    const clock = new VirtualClock();
    const { health } = watchLocal(t, server.port, clock);
    health.start();
    await until(() => health.value.state === 'serving', 'the first answer');
    assert.match(health.value.why, /^answers, and has no grpc\.health\.v1\.Health for us: /);
    await server.stop();
    await until(() => {
      clock.advance(500);
      return health.value.state === 'not_serving';
    }, 'its end');
    assert.match(health.value.why, /connection refused/);
  });
}

test('a server that knows no gRPC at all answers, too', async (t) => {
  const server = await startHealthServer(t);
  server.httpStatus = 404;
  const { health } = watchLocal(t, server.port, new VirtualClock());
  health.start();
  await until(() => health.value.state !== 'unknown', 'the first answer');
  assert.equal(health.value.state, 'serving');
  assert.match(health.value.why, /UNIMPLEMENTED \(HTTP 404 without grpc-status\)/);
});

test('a service that is not there yet is asked every second, and is well as soon as it is', async (t) => {
  const port = await freePort();
  const clock = new VirtualClock();
  const { health, told } = watchLocal(t, port, clock);
  health.start();
  await until(() => health.value.state === 'not_serving', 'the first failure, which decides alone');
  assert.match(health.value.why, /connection refused \(ECONNREFUSED\)/);
  for (let i = 0; i < 3; i++) {
    const { failure } = health.stats;
    clock.advance(1_010);
    await until(() => health.stats.failure === failure + 1, 'another failure');
  }
  await startHealthServer(t, port);
  clock.advance(1_010);
  await until(() => health.value.state === 'serving', 'the service');
  assert.equal(told.length, 2);
});

test('a service that dies between two checks is found out before the next one is due', async (t) => {
  const { clock, health, server } = await start(t);
  await until(() => health.value.state === 'serving', 'the first answer');
  const before = clock.now();
  await server.stop();
  await until(() => {
    clock.advance(100);
    return health.value.state === 'not_serving';
  }, 'its death');
  assert.ok(clock.now() - before < 1_000, `after ${clock.now() - before} ms of virtual time`);
});

test('a service that takes connections and never answers is not healthy after two checks, each given up after 2 s', async (t) => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const clock = new VirtualClock();
  const { health } = watchLocal(t, (server.address() as net.AddressInfo).port, clock);
  health.start();
  await until(() => sockets.size === 1, 'a connection');
  clock.advance(2_010);
  await until(() => health.value.state === 'not_serving', 'the verdict');
  assert.match(health.value.why, /no (connection|answer) within 2s/);
});

test('a service that is slow keeps its connection, and the calls on it: there is no other to go to', async (t) => {
  const { clock, health, server } = await start(t);
  await until(() => health.value.state === 'serving', 'the first answer');
  server.mute = true;
  await until(() => {
    clock.advance(100);
    return health.value.state === 'not_serving';
  }, 'its silence');
  assert.equal(health.value.why, 'no answer within 2s');
  server.mute = false;
  await until(() => {
    clock.advance(100);
    return health.value.state === 'serving';
  }, 'its answer');
  assert.equal(server.accepted, 1);
});

test('nothing is asked where the interval is 0, and no timer is left after the end', async (t) => {
  const server = await startHealthServer(t);
  const clock = new VirtualClock();
  const context = contextOf(new HandSource([{ host: '127.0.0.1', port: server.port, weight: 1 }]), { clock });
  const cluster = new Cluster(localServicePolicy('127.0.0.1', server.port, policyOf()), context);
  const never = new LocalServiceHealth({ cluster, engine: context.engine, log: context.log, intervalMs: 0 });
  never.start();
  clock.advance(60_000);
  assert.equal(never.value.state, 'unknown');
  assert.equal(never.value.why, 'it is not checked');
  assert.equal(server.accepted, 0);
  const health = new LocalServiceHealth({ cluster, engine: context.engine, log: context.log, intervalMs: 5_000 });
  health.start();
  await until(() => health.value.state === 'serving', 'an answer');
  health.close();
  health.close();
  cluster.close();
  clock.advance(10_000);
  assert.equal(context.engine.wheel.armed, 0);
});
