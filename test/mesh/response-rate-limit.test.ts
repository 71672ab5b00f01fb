import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, message, startUpstream, until } from './upstream.ts';

checkLeaks();

const kib = 1_024;
/** Time passes in leaps, in which no PING is answered. */
const cluster = 'keepalive: { interval: 0s }';
const limited = (kbps: number): string => `fault: { response_rate_limit: { fixed_limit: { limit_kbps: ${kbps} } } }`;

test('an answer comes as slowly as it is told to, whole, and its status behind it', async (t) => {
  const clock = virtualClock();
  const contents = Buffer.from(Array.from({ length: 40 * kib - 5 }, (_, i) => i % 251));
  const { client, outrider } = await throughOne(t, (call) => answerOk(call, contents), { clock, cluster, route: limited(10) });
  const call = client.start();
  await call.headers;
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the answer');
  const received: number[] = [];
  for (let second = 0; second < 4; second++) {
    for (let step = 0; step < 20; step++) await pass(clock, 50);
    const expected = (second + 1) * 10 * kib;
    await until(() => call.receivedBytes >= Math.min(expected - kib, 39 * kib), `${expected} bytes`);
    received.push(call.receivedBytes);
    if (second < 3) assert.equal(call.settled, false);
  }
  for (const [i, bytes] of received.entries()) assert.ok(bytes <= (i + 1) * 10 * kib + kib, `${bytes} bytes after ${i + 1} s`);
  await pass(clock, 200);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.trailersOnly, answer.body.equals(message(contents))], [GrpcStatus.OK, false, true]);
  assert.equal(outrider.stat('http.outbound.fault.response_rl_injected'), 1);
  assert.equal(outrider.stat('http.outbound.fault.active_faults'), 0);
  assert.equal(outrider.stat('server.deadlines_armed'), 0, 'nothing is armed behind a call');
});

test('what waits is bounded by the window: the server is held up, not the memory filled', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    (call) => {
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      call.stream.write(message(Buffer.alloc(4 * kib * kib)));
    },
    { clock, cluster, route: limited(1) },
  );
  const call = client.start();
  await until(() => outrider.stat('server.buffered_bytes') >= 60 * kib, 'a full window');
  for (let turn = 0; turn < 20; turn++) await pass(clock, 50);
  assert.ok(outrider.stat('server.buffered_bytes') <= 70 * kib, `${outrider.stat('server.buffered_bytes')} bytes are held`);
  assert.ok(call.receivedBytes <= 2 * kib);
  call.cancel();
  await call.answer;
  await service.received[0]?.closed;
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is held');
  assert.deepEqual(outrider.fates(), { cancelled: 1 });
});

test('a deadline that passes meanwhile is the deadline, and says nothing about the service', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, (call) => answerOk(call, Buffer.alloc(50 * kib)), {
    clock,
    cluster: `${cluster}\ncircuit_breakers: { consecutive_failures: 1 }`,
    route: `timeout: 1s\n${limited(1)}`,
  });
  const call = client.start();
  await call.headers;
  await until(() => outrider.stat('server.buffered_bytes') > 0, 'bytes that wait');
  for (let step = 0; step < 22; step++) await pass(clock, 50);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason, answer.trailersOnly], [GrpcStatus.DEADLINE_EXCEEDED, 'route_timeout', false]);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.state'), 0);
  assert.equal(outrider.stat('http.outbound.fault.active_faults'), 0);
});

test('callers say how slow, for no larger a share than is written', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    random: () => 0.5,
    route: 'fault: { response_rate_limit: { header_limit: {}, percentage: 60 } }',
  });
  const injected = async (headers: Record<string, string>): Promise<number> => {
    const before = outrider.stat('http.outbound.fault.response_rl_injected');
    assert.equal((await client.call({ headers })).status, GrpcStatus.OK);
    return outrider.stat('http.outbound.fault.response_rl_injected') - before;
  };
  assert.equal(await injected({}), 0);
  assert.equal(await injected({ 'x-envoy-fault-throughput-response': '64' }), 1);
  assert.equal(await injected({ 'x-envoy-fault-throughput-response': '0' }), 0);
  assert.equal(await injected({ 'x-envoy-fault-throughput-response': '64', 'x-envoy-fault-throughput-response-percentage': '40' }), 0);
  assert.equal(await injected({ 'x-envoy-fault-throughput-response': '64', 'x-envoy-fault-throughput-response-percentage': '100' }), 1);
  assert.equal(service.received.at(-1)?.headers['x-envoy-fault-throughput-response'], undefined);
});

test('streams in both directions go on under it, and only so many at once', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '0' }));
    call.stream.on('data', (chunk: Buffer) => call.stream.write(chunk));
    call.stream.on('end', () => call.stream.end());
  });
  const route = 'fault: { max_active_faults: 1, response_rate_limit: { fixed_limit: { limit_kbps: 1 } } }';
  const outrider = await startSidecar(t, { clock, policies: echoPolicies({ endpoints: [service.address], cluster, route }) });
  const client = outrider.caller();
  const slow = client.start({ open: true, body: Buffer.alloc(295) });
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the first');
  assert.equal((await client.call({ body: Buffer.alloc(20 * kib) })).body.length, 20 * kib + 5, 'the second is as quick as ever');
  assert.equal(outrider.stat('http.outbound.fault.faults_overflow'), 1);
  for (let step = 0; step < 8; step++) await pass(clock, 50);
  await until(() => slow.receivedBytes === 300, 'the echo of the first message');
  slow.end();
  for (let step = 0; step < 4; step++) await pass(clock, 50);
  assert.equal((await slow.answer).status, GrpcStatus.OK);
});
