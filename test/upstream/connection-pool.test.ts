import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { JsonLogger, VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { addressOf, answer, backend, clusterOf, listen, startCall, TestCall, TestWaiter, until } from './upstream-bench.ts';

checkLeaks();

test('a second call goes over the connection of the first', async (t) => {
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const first = await startCall(cluster.pickEndpoint());
  assert.deepEqual(await first.ended, { kind: 'answered' });
  const endpoint = cluster.pickEndpoint();
  assert.ok(endpoint);
  assert.equal(endpoint.acquire(new TestWaiter()), first.connection, 'at once, without waiting');
  assert.equal(server.accepted, 1);
});

test('calls that come while the first connection is being made share it', async (t) => {
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const calls = await Promise.all(Array.from({ length: 50 }, () => startCall(cluster.pickEndpoint())));
  for (const call of calls) assert.deepEqual(await call.ended, { kind: 'answered' });
  assert.equal(server.accepted, 1);
  assert.equal(cluster.stats.upstreamRqPendingTotal, 50);
  assert.equal(cluster.limits.pending.active, 0);
});

test("above the peer's MAX_CONCURRENT_STREAMS there is another connection", async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 2 }, hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const calls = await Promise.all(Array.from({ length: 5 }, () => startCall(cluster.pickEndpoint())));
  await until(() => server.held.length === 5, 'five streams');
  assert.equal(server.accepted, 3);
  const connections = new Set(calls.map(({ connection }) => connection));
  for (const connection of connections) assert.ok((connection?.activeStreams ?? 9) <= 2);
  for (const stream of server.held) answer(stream);
  await Promise.all(calls.map(({ ended }) => ended));
});

test("the cluster's own bound on streams holds below the peer's", async (t) => {
  const server = await backend(t, { hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)], { maxConcurrentStreams: 3 });
  await Promise.all(Array.from({ length: 6 }, () => startCall(cluster.pickEndpoint())));
  await until(() => server.held.length === 6, 'six streams');
  assert.equal(server.accepted, 2);
});

test('where no further connection is allowed, a call waits for a stream that ends', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 1 }, hold: true });
  const thresholds = { maxConnections: 1, maxPendingRequests: 10, maxRequests: 100, maxRetries: 3 };
  const { cluster } = clusterOf(t, [addressOf(server.port)], { thresholds });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  await startCall(endpoint);
  const waiting = new TestCall(endpoint);
  await until(() => server.held.length === 1, 'the first stream');
  assert.equal(waiting.connection, undefined);
  assert.equal(cluster.limits.connections.overflowTotal, 1);
  assert.equal(cluster.limits.connections.open, true);
  answer(server.held[0]);
  await waiting.started;
  assert.ok(waiting.stream);
  assert.equal(server.accepted, 1);
});

test('an endpoint that has as many connections as each may have makes its calls wait, whatever the cluster may have', async (t) => {
  const [one, two] = [
    await backend(t, { settings: { maxConcurrentStreams: 1 }, hold: true }),
    await backend(t, { settings: { maxConcurrentStreams: 1 }, hold: true }),
  ];
  const { cluster } = clusterOf(t, [addressOf(one.port), addressOf(two.port)], { maxConnectionsPerEndpoint: 2 });
  const calls = cluster.endpoints.flatMap((endpoint) => Array.from({ length: 3 }, () => new TestCall(endpoint)));
  await until(() => one.held.length === 2 && two.held.length === 2, 'two streams of each');
  assert.deepEqual([one.accepted, two.accepted], [2, 2]);
  assert.ok(cluster.limits.connections.overflowTotal >= 2);
  assert.deepEqual(
    cluster.endpoints.map(({ waiting }) => waiting),
    [1, 1],
  );
  answer(one.held[0]);
  answer(two.held[0]);
  await until(() => one.held.length === 3 && two.held.length === 3, 'the third of each');
  for (const { held } of [one, two]) for (const call of held.slice(1)) answer(call);
  await Promise.all(calls.map(({ ended }) => ended));
  assert.deepEqual([one.accepted, two.accepted], [2, 2]);
});

test('a peer that admits no stream at all gets one connection, and the calls when it admits some', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 0 } });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const calls = [new TestCall(endpoint), new TestCall(endpoint)];
  await until(() => cluster.stats.upstreamCxHttp2Total === 1, 'a connection');
  calls.push(new TestCall(endpoint));
  assert.equal(endpoint.waiting, 3);
  server.sessions[0]?.settings({ maxConcurrentStreams: 10 });
  for (const call of calls) assert.deepEqual(await call.ended, { kind: 'answered' });
  assert.equal(server.accepted, 1);
});

test('a limit that is lowered while streams are open sends the next call to another connection', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 10 }, hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const first = await startCall(cluster.pickEndpoint());
  const second = await startCall(cluster.pickEndpoint());
  await until(() => server.held.length === 2, 'two streams');
  server.sessions[0]?.settings({ maxConcurrentStreams: 1 });
  await until(() => first.connection?.peerMaxConcurrentStreams === 1, 'the lower limit');
  const third = await startCall(cluster.pickEndpoint());
  assert.equal(first.connection, second.connection);
  assert.notEqual(third.connection, first.connection);
  assert.equal(first.ending, undefined, 'what is open stays open');
});

test('after GOAWAY the next call gets a new connection, and the streams of the old one finish', async (t) => {
  const server = await backend(t, { hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const first = await startCall(cluster.pickEndpoint());
  await until(() => server.held.length === 1, 'the first stream');
  server.sessions[0]?.goaway(0, server.held[0]?.id ?? 1);
  await until(() => cluster.stats.upstreamCxCloseNotify === 1, 'the GOAWAY');
  const second = await startCall(cluster.pickEndpoint());
  assert.notEqual(second.connection, first.connection);
  for (const stream of server.held) answer(stream);
  assert.deepEqual(await first.ended, { kind: 'answered' });
  await until(() => first.connection?.closed === true, 'the end of the old connection');
});

test('a connection that is lost leaves the pool, and the next call gets a new one', async (t) => {
  const server = await backend(t, { hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const first = await startCall(cluster.pickEndpoint());
  await until(() => server.held.length === 1, 'the first stream');
  server.sessions[0]?.destroy();
  assert.equal((await first.ended).kind, 'reset');
  assert.equal(cluster.limits.connections.active, 0);
  assert.equal(cluster.stats.upstreamCxDestroyRemote, 1);
  const second = await startCall(cluster.pickEndpoint());
  assert.ok(second.stream);
});

test('a refused connection fails every call that waits for it, as never processed, and says what to do', async (t) => {
  const port = await freePort();
  const { cluster } = clusterOf(t, [addressOf(port)]);
  const calls = await Promise.all(Array.from({ length: 3 }, () => startCall(cluster.pickEndpoint())));
  for (const { waiter } of calls) {
    assert.equal(waiter.error?.reason, 'connect_failure');
    assert.equal(waiter.error?.unprocessed, true);
    assert.equal(waiter.error?.message, `cluster "learner-svc", endpoint 127.0.0.1:${port}: connection refused (ECONNREFUSED)`);
    assert.match(waiter.error?.remedy ?? '', /listens on this port/);
  }
  assert.equal(cluster.stats.upstreamCxTotal, 1, 'one attempt for the three of them');
  assert.equal(cluster.stats.upstreamCxConnectFail, 1);
  assert.equal(cluster.endpoints[0]?.stats.cxConnectFail, 1);
  assert.equal(cluster.limits.connections.active, 0);
});

test('a waiter that comes back as soon as it fails starts another attempt', async (t) => {
  const port = await freePort();
  const { cluster } = clusterOf(t, [addressOf(port)]);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const again = new TestWaiter();
  const first = new TestWaiter();
  first.onUnavailable = () => endpoint.acquire(again);
  endpoint.acquire(first);
  await again.settled;
  assert.equal(again.error?.reason, 'connect_failure');
  assert.equal(cluster.stats.upstreamCxTotal, 2);
});

test('a server that accepts and says nothing is given up after connect_timeout', async (t) => {
  const clock = new VirtualClock();
  let accepted = 0;
  const port = await listen(
    t,
    net.createServer(() => accepted++),
  );
  const { cluster } = clusterOf(t, [addressOf(port)], { connectTimeoutMs: 2_000 }, { clock });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const call = new TestCall(endpoint);
  await until(() => accepted === 1 && cluster.http2Counters.connectionsActive === 1, 'TCP');
  clock.advance(1_990);
  assert.equal(endpoint.waiting, 1);
  clock.advance(20);
  assert.equal(call.waiter.error?.reason, 'connect_failure');
  assert.match(call.waiter.error?.message ?? '', /no HTTP\/2 SETTINGS within 2s \(connect_timeout\)/);
  assert.equal(cluster.stats.upstreamCxConnectTimeout, 1);
  assert.equal(cluster.stats.upstreamCxConnectFail, 1);
  cluster.close();
  clock.advance(2_000);
  assert.equal(clock.pending, 0);
});

test('a server that speaks HTTP/1.1 is a connect failure, not a lost call', async (t) => {
  const port = await listen(
    t,
    net.createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')),
  );
  const { cluster } = clusterOf(t, [addressOf(port)]);
  const { waiter, stream } = await startCall(cluster.pickEndpoint());
  assert.equal(stream, undefined);
  assert.equal(waiter.error?.reason, 'connect_failure');
  assert.equal(waiter.error?.unprocessed, true);
  assert.match(waiter.error?.remedy ?? '', /HTTP\/2/);
});

test('the queue is bounded over all endpoints, and the refusal says so', async (t) => {
  const silent = await listen(t, net.createServer());
  const thresholds = { maxConnections: 10, maxPendingRequests: 2, maxRequests: 100, maxRetries: 3 };
  const { cluster } = clusterOf(t, [addressOf(silent)], { thresholds });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const waiting = [new TestCall(endpoint), new TestCall(endpoint)];
  const refused = new TestCall(endpoint);
  assert.equal(refused.waiter.error?.reason, 'too_many_pending', 'before acquire returned');
  assert.equal(cluster.limits.pending.overflowTotal, 1);
  assert.equal(cluster.limits.pending.open, true);
  const [first] = waiting;
  assert.ok(first);
  endpoint.cancel(first.waiter);
  assert.equal(cluster.limits.pending.open, false);
  assert.equal(new TestCall(endpoint).waiter.error, undefined, 'there is room again');
});

test('a call that is cancelled while it waits is never given a connection', async (t) => {
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const calls = Array.from({ length: 5 }, () => new TestCall(endpoint));
  const [first, , middle, , last] = calls;
  for (const call of [first, middle, last]) if (call !== undefined) endpoint.cancel(call.waiter);
  if (middle !== undefined) endpoint.cancel(middle.waiter);
  assert.equal(endpoint.waiting, 2);
  const kept = [calls[1], calls[3]];
  for (const call of kept) assert.deepEqual(await call?.ended, { kind: 'answered' });
  for (const call of [first, middle, last]) assert.equal(call?.connection, undefined);
  assert.equal(cluster.limits.pending.active, 0);
});

test('a waiter that fails may cancel another that fails with it', async (t) => {
  const { cluster } = clusterOf(t, [addressOf(await freePort())]);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const first = new TestWaiter();
  const second = new TestWaiter();
  const third = new TestWaiter();
  first.onUnavailable = () => endpoint.cancel(second);
  for (const waiter of [first, second, third]) endpoint.acquire(waiter);
  await third.settled;
  assert.equal(second.error, undefined);
  assert.equal(cluster.limits.pending.active, 0);
});

test('a full connection beside a port that stopped listening makes one attempt per call, not a storm', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 1 }, hold: true });
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  await startCall(endpoint);
  await until(() => server.held.length === 1, 'the first stream');
  await server.stopListening();
  const waiting = new TestCall(endpoint);
  await until(() => cluster.stats.upstreamCxConnectFail === 1, 'the failed attempt');
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(cluster.stats.upstreamCxTotal, 2);
  answer(server.held[0]);
  await waiting.started;
  assert.ok(waiting.stream, 'it got the stream that ended');
});

test('a connection whose stream ids are used up makes room for a new one', async (t) => {
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)]);
  const first = await startCall(cluster.pickEndpoint());
  await first.ended;
  // After 2^30 calls, which no test makes.
  Object.defineProperty(first.connection, 'canOpen', { value: false });
  const second = await startCall(cluster.pickEndpoint());
  assert.notEqual(second.connection, first.connection);
  assert.deepEqual(await second.ended, { kind: 'answered' });
  assert.equal(first.connection?.closed, true);
});

test('a dead endpoint is one line in the log for each cause, until it works again', async (t) => {
  const lines: string[] = [];
  const log = new JsonLogger(new VirtualClock(), (line) => lines.push(line), 'info');
  const { cluster } = clusterOf(t, [addressOf(await freePort())], {}, { log });
  for (let i = 0; i < 5; i++) await startCall(cluster.pickEndpoint());
  assert.equal(cluster.stats.upstreamCxConnectFail, 5);
  assert.equal(lines.length, 1);
  const line: unknown = JSON.parse(lines[0] ?? '');
  assert.ok(typeof line === 'object' && line !== null && 'reason' in line && 'remedy' in line);
  assert.equal(line.reason, 'connect_failure');
});
