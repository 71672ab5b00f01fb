import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

test('an abort ends the call with its status, without the service, and the breaker does not count it', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    route: 'fault: { abort: { grpc_status: 14 }, headers: [{ name: x-break, present_match: true }] }',
    cluster: 'circuit_breakers: { consecutive_failures: 1 }\noutlier_detection: { consecutive_5xx: 1 }',
  });
  const headers = { 'x-break': '1' };
  for (let i = 0; i < 3; i++) {
    const answer = await client.call({ headers });
    assert.deepEqual([answer.status, answer.reason, answer.trailersOnly], [GrpcStatus.UNAVAILABLE, 'fault_injected', true]);
    assert.match(answer.message, /UNAVAILABLE was injected by fault of route echo-route \(.*policies\.yaml:2:\d+\)/);
  }
  assert.equal((await client.call()).status, GrpcStatus.OK, 'nobody else is harmed');
  assert.equal(service.received.length, 1);
  assert.equal(outrider.stat('http.outbound.fault.aborts_injected'), 3);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.state'), 0);
  assert.deepEqual(outrider.fates(), { fault_injected: 3, ok: 1 });
});

test('retries are at work: a fault is drawn for each attempt', async (t) => {
  let aborts = (): number => 0;
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    // Two aborts, then none: draws of back-off and balancer come between them and do not matter.
    random: () => (aborts() < 2 ? 0 : 0.99),
    route:
      'fault: { abort: { grpc_status: 14, percentage: 50 } }\nidempotent: true\nretry_policy: { retry_on: unavailable, num_retries: 3, retry_back_off: { base_interval: 1ms } }',
  });
  aborts = () => outrider.stat('http.outbound.fault.aborts_injected');
  const answer = await client.call();
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(service.received.length, 1);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry'), 2);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry_success'), 1);
  assert.equal(service.received[0]?.headers['grpc-previous-rpc-attempts'], '2');
});

test('where every attempt is aborted the answer says how often it was tried', async (t) => {
  const { client, outrider } = await throughOne(t, hold, {
    route:
      'fault: { abort: { http_status: 503 } }\nidempotent: true\nretry_policy: { retry_on: "5xx", num_retries: 2, retry_back_off: { base_interval: 1ms } }',
  });
  const answer = await client.call();
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.UNAVAILABLE, 'fault_injected']);
  assert.match(answer.message, /HTTP 503 \(taken as UNAVAILABLE\) was injected .*; tried 3 times/);
  assert.equal(outrider.stat('http.outbound.fault.aborts_injected'), 3);
});

test('a delay holds the attempt up, and the service sees what remains of the deadline', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    clock,
    route: 'fault: { delay: { fixed_delay: 3s } }',
  });
  const call = client.start({ headers: { 'grpc-timeout': '10S' } });
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the delay');
  await pass(clock, 2_999);
  assert.equal(service.received.length, 0);
  await pass(clock, 1);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.match(String(service.received[0]?.headers['grpc-timeout']), /^(7000000u|6999\d\d\du)$/);
  assert.deepEqual(await service.received[0]?.body.then((body) => body.length), 9, 'the request was kept');
  assert.equal(outrider.stat('http.outbound.fault.delays_injected'), 1);
  assert.equal(outrider.stat('http.outbound.fault.active_faults'), 0);
});

test('a delay and then an abort', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, hold, {
    clock,
    route: 'fault: { delay: { fixed_delay: 1s }, abort: { grpc_status: 8 } }',
  });
  const call = client.start();
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the delay');
  await pass(clock, 1_000);
  assert.deepEqual([(await call.answer).status, (await call.answer).reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'fault_injected']);
});

test('a delay beyond the time limits is met by them, and blames nobody', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    clock,
    random: () => 0,
    route:
      'timeout: 4s\nfault: { delay: { fixed_delay: 10s } }\nidempotent: true\nretry_policy: { retry_on: deadline-exceeded, num_retries: 1, per_try_timeout: 1s }',
    cluster: 'circuit_breakers: { consecutive_failures: 1 }',
  });
  const call = client.start();
  const delays = () => outrider.stat('http.outbound.fault.delays_injected');
  await until(() => delays() === 1, 'the first delay');
  await pass(clock, 1_000);
  await until(() => delays() === 2, 'the second attempt');
  await pass(clock, 1_000);
  const answer = await call.answer;
  assert.deepEqual([answer.status, answer.reason], [GrpcStatus.DEADLINE_EXCEEDED, 'per_try_timeout']);
  assert.match(
    answer.message,
    /a delay of 10000 ms, injected by fault of route echo-route .*, is longer than per_try_timeout \(1000 ms\); tried 2 times/,
  );
  assert.equal(service.received.length, 0);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.state'), 0);
});

test('a caller that gives up, a deadline and a drain end a delay', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, hold, { clock, route: 'timeout: 20s\nfault: { delay: { fixed_delay: 60s } }' });
  const active = (count: number) => until(() => outrider.stat('http.outbound.fault.active_faults') === count, `${count} active faults`);
  const cancelled = client.start();
  await active(1);
  cancelled.cancel();
  await active(0);
  const late = client.start();
  await active(1);
  await pass(clock, 20_000);
  assert.equal((await late.answer).reason, 'route_timeout');
  const drained = client.start();
  await active(1);
  const drain = outrider.sidecar.proxy.drain({ delayMs: 0, timeoutMs: 1 });
  await pass(clock, 1);
  assert.equal((await drained.answer).reason, 'draining');
  await drain;
  assert.equal(outrider.stat('http.outbound.fault.active_faults'), 0);
});

test('no more attempts are held up at once than max_active_faults', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), {
    clock,
    route: 'fault: { delay: { fixed_delay: 5s }, max_active_faults: 1 }',
  });
  const held = client.start();
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the delay');
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(outrider.stat('http.outbound.fault.faults_overflow'), 1);
  await pass(clock, 5_000);
  assert.equal((await held.answer).status, GrpcStatus.OK);
});

test('callers ask for faults by headers where the route listens, for no larger a share than it says', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    clock,
    random: () => 0.5,
    route: 'fault: { delay: { header_delay: {} }, abort: { header_abort: {} } }',
  });
  const abort = await client.call({ headers: { 'x-envoy-fault-abort-grpc-request': '8' } });
  assert.deepEqual([abort.status, abort.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'fault_injected']);
  assert.equal((await client.call({ headers: { 'x-envoy-fault-abort-request': '503' } })).status, GrpcStatus.UNAVAILABLE);
  const rare = { 'x-envoy-fault-abort-grpc-request': '8', 'x-envoy-fault-abort-request-percentage': '20' };
  assert.equal((await client.call({ headers: rare })).status, GrpcStatus.OK);
  for (const wrong of ['17', '0', '-1', 'x', '']) {
    assert.equal((await client.call({ headers: { 'x-envoy-fault-abort-grpc-request': wrong } })).status, GrpcStatus.OK, wrong);
  }
  const delayed = client.start({ headers: { 'x-envoy-fault-delay-request': '300' } });
  await until(() => outrider.stat('http.outbound.fault.active_faults') === 1, 'the delay');
  await pass(clock, 300);
  assert.equal((await delayed.answer).status, GrpcStatus.OK);
  for (const { headers } of service.received) assert.ok(!Object.keys(headers).some((name) => name.startsWith('x-envoy-fault')));
});

test('headers of callers do nothing where no route listens to them', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    localService: service.port,
    policies: echoPolicies({ endpoints: [service.address], route: 'fault: { abort: { grpc_status: 14, percentage: 0 } }' }),
  });
  const headers = { 'x-envoy-fault-abort-grpc-request': '8', 'x-envoy-fault-delay-request': '100000' };
  assert.equal((await outrider.caller().call({ headers })).status, GrpcStatus.OK);
  assert.equal((await outrider.inboundCaller().call({ headers })).status, GrpcStatus.OK);
});

test('faults for one cluster of several', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  let random = 0;
  const outrider = await startSidecar(t, {
    random: () => random,
    policies: `routes:
  - match: { prefix: / }
    route: { timeout: 5s, weighted_clusters: [{ name: a, weight: 1 }, { name: b, weight: 1 }], fault: { abort: { grpc_status: 14 }, upstream_cluster: b } }
clusters:
  a: { endpoints: ["${service.address}"], tls: { mode: disable } }
  b: { endpoints: ["${service.address}"], tls: { mode: disable } }
`,
  });
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  random = 0.7;
  assert.equal((await client.call()).reason, 'fault_injected');
});
