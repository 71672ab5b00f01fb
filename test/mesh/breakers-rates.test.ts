import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, beginAnswer, endAnswer, type Handler, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

interface BreakerJson {
  readonly state: string;
  readonly held?: string;
  readonly window: { readonly length: string; readonly attempts: number; readonly failures: number; readonly slow_calls: number };
}

/** A service whose answers the test decides, behind a breaker written as `text`. */
const behind = async (t: Parameters<typeof throughOne>[0], text: string) => {
  const service: { answer: (call: ReceivedCall) => void } = { answer: (call) => answerOk(call) };
  const clock = virtualClock();
  const handler: Handler = (call) => service.answer(call);
  const all = await throughOne(t, handler, { clock, cluster: `circuit_breakers: { recovery_timeout: 10s, ${text} }` });
  const shown = async (): Promise<BreakerJson> => {
    const { text: body } = await all.outrider.admin('GET', '/clusters?format=json');
    const clusters = (JSON.parse(body) as { cluster_statuses: { name: string; circuit_breaker: BreakerJson }[] }).cluster_statuses;
    return clusters.find(({ name }) => name === 'echo')?.circuit_breaker ?? assert.fail();
  };
  const call = async (status: number): Promise<string | undefined> => {
    service.answer = (received) => (status === 0 ? answerOk(received) : answerTrailersOnly(received, status));
    return (await all.client.call()).reason;
  };
  /** One call whose answer begins after `ms`. */
  const callFor = async (ms: number): Promise<number> => {
    const before = all.service.received.length;
    service.answer = () => {};
    const started = all.client.start();
    const received = await all.service.call(before);
    await received.body;
    await pass(clock, ms);
    answerOk(received);
    return (await started.answer).status;
  };
  return { ...all, answers: service, clock, shown, call, callFor };
};

test('failure_rate: a share of failures opens it, and /clusters shows the window', async (t) => {
  const { call, clock, outrider, shown } = await behind(t, 'failure_rate: { percent: 50, window: 20s, minimum_requests: 6 }');
  for (const status of [0, 14, 0, 14, 0]) assert.equal(await call(status), undefined);
  assert.deepEqual((await shown()).window, {
    length: '20s',
    attempts: 5,
    successes: 3,
    failures: 2,
    slow_calls: 0,
    rejected: 0,
    failure_rate: 40,
  });
  await call(14);
  assert.equal((await shown()).state, 'OPEN');
  assert.equal(await call(0), 'circuit_open');
  assert.ok(outrider.log.some(({ msg, to, why }) => msg === 'circuit breaker changed' && to === 'OPEN' && why === 'failure_rate'));
  const { text } = await outrider.admin('GET', '/clusters');
  assert.match(text, /^echo::circuit_breaker::window_failure_rate::50$/m);
  await pass(clock, 10_000);
  assert.equal(await call(0), undefined);
  assert.equal((await shown()).state, 'CLOSED');
  for (let i = 0; i < 5; i++) assert.equal(await call(14), undefined, 'it begins anew');
});

test('failure_rate alone: failures in a row do not open it before there are enough results', async (t) => {
  const { call, shown } = await behind(t, 'failure_rate: { percent: 50, minimum_requests: 8 }');
  for (let i = 0; i < 7; i++) assert.equal(await call(14), undefined);
  assert.equal((await shown()).state, 'CLOSED');
  await call(14);
  assert.equal((await shown()).state, 'OPEN');
});

test('failure_rate by method: the share of one method opens no other', async (t) => {
  const { answers, client } = await behind(t, 'scope: method, failure_rate: { percent: 50, minimum_requests: 4 }');
  answers.answer = (call) =>
    call.headers[':path'] === '/acme.Echo/Sick' ? answerTrailersOnly(call, GrpcStatus.UNAVAILABLE) : answerOk(call);
  for (let i = 0; i < 4; i++) {
    assert.equal((await client.call({ path: '/acme.Echo/Well' })).status, GrpcStatus.OK);
    assert.equal((await client.call({ path: '/acme.Echo/Sick' })).reason, undefined);
  }
  assert.equal((await client.call({ path: '/acme.Echo/Sick' })).reason, 'circuit_open');
  assert.equal((await client.call({ path: '/acme.Echo/Well' })).status, GrpcStatus.OK);
});

test('failure_rate by endpoint: the one that fails is left out, and the others go on', async (t) => {
  const sick = await startUpstream(t, (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE));
  const { outrider, service, client } = await throughOne(t, (call) => answerOk(call), {
    clock: virtualClock(),
    cluster: 'circuit_breakers: { scope: endpoint, failure_rate: { percent: 50, minimum_requests: 4 } }',
    alsoAt: [sick.address],
  });
  for (let i = 0; i < 20; i++) await client.call();
  assert.deepEqual([sick.received.length, service.received.length], [4, 16]);
  const { text } = await outrider.admin('GET', '/clusters?format=json');
  const shown = (
    JSON.parse(text) as { cluster_statuses: { name: string; circuit_breakers: (BreakerJson & { endpoint: string })[] }[] }
  ).cluster_statuses
    .find(({ name }) => name === 'echo')
    ?.circuit_breakers.map(({ endpoint, state, window }) => [endpoint, state, window.failures]);
  assert.deepEqual(new Set(shown?.map(String)), new Set([`${service.address},CLOSED,0`, `${sick.address},OPEN,4`]));
});

test('failure_statuses: what they name counts, and what they leave out does not', async (t) => {
  const { call, shown } = await behind(t, 'consecutive_failures: 2, failure_statuses: [INTERNAL, resource-exhausted]');
  for (let i = 0; i < 4; i++) assert.equal(await call(GrpcStatus.UNAVAILABLE), undefined);
  assert.equal((await shown()).state, 'CLOSED');
  await call(GrpcStatus.INTERNAL);
  await call(GrpcStatus.RESOURCE_EXHAUSTED);
  assert.equal((await shown()).state, 'OPEN');
});

test('/config_dump shows what a breaker goes by', async (t) => {
  const { outrider } = await behind(
    t,
    'failure_rate: { percent: 50, window: 20s }, failure_statuses: [unavailable, INTERNAL], slow_call_duration: 800ms, success_threshold: 2',
  );
  const { text } = await outrider.admin('GET', '/config_dump');
  const dump = JSON.parse(text) as { configs: { static_clusters?: { cluster: { name: string; circuit_breakers: object } }[] }[] };
  const cluster = dump.configs.flatMap(({ static_clusters = [] }) => static_clusters).find((each) => each.cluster.name === 'echo')?.cluster;
  const { thresholds: _, ...shown } = { thresholds: [], ...cluster?.circuit_breakers };
  assert.deepEqual(shown, {
    consecutive_failures: 4_294_967_295,
    recovery_timeout: '10s',
    success_threshold: 2,
    failure_rate: { percent: 50, window: '20s', minimum_requests: 20 },
    slow_call_duration: '0.8s',
    failure_statuses: ['INTERNAL', 'UNAVAILABLE'],
    scope: 'cluster',
  });
});

test('failure_statuses see a status in trailers, after a message', async (t) => {
  const { answers, client, shown } = await behind(t, 'consecutive_failures: 2, failure_statuses: [UNKNOWN]');
  answers.answer = (call) => {
    beginAnswer(call, 'first');
    endAnswer(call, GrpcStatus.UNKNOWN);
  };
  for (let i = 0; i < 2; i++) assert.equal((await client.call()).status, GrpcStatus.UNKNOWN);
  assert.equal((await shown()).state, 'OPEN');
});

test('failure_statuses: what has no answer counts whatever they name', async (t) => {
  const { answers, client, shown } = await behind(t, 'consecutive_failures: 2, failure_statuses: []');
  answers.answer = (call) => call.stream.close(2);
  for (let i = 0; i < 2; i++) await client.call();
  assert.equal((await shown()).state, 'OPEN');
});

test('slow_call_duration: good answers that come late open it, and a late probe opens it again', async (t) => {
  const { callFor, clock, outrider, shown } = await behind(t, 'consecutive_failures: 2, slow_call_duration: 1s');
  assert.equal(await callFor(1_010), GrpcStatus.OK);
  assert.equal(await callFor(500), GrpcStatus.OK);
  assert.equal(await callFor(1_010), GrpcStatus.OK);
  assert.equal((await shown()).state, 'CLOSED', 'a fast one came in between');
  assert.equal(await callFor(1_010), GrpcStatus.OK);
  const { state, window } = await shown();
  assert.deepEqual([state, window.attempts, window.failures, window.slow_calls], ['OPEN', 4, 3, 3]);
  assert.equal(outrider.stat('cluster.echo.circuit_breaker.slow_total'), 3);
  await pass(clock, 10_000);
  await callFor(1_010);
  assert.equal((await shown()).state, 'OPEN');
  await pass(clock, 10_000);
  await callFor(10);
  assert.equal((await shown()).state, 'CLOSED');
});

test('slow_call_duration: a caller that gives up after it has waited longer tells of a slow service', async (t) => {
  const { answers, client, clock, service, shown } = await behind(t, 'consecutive_failures: 2, slow_call_duration: 1s');
  answers.answer = () => {};
  for (const [index, waitMs] of [500, 1_010, 1_010].entries()) {
    const call = client.start();
    const received = await service.call(index);
    await received.body;
    await pass(clock, waitMs);
    call.cancel();
    await received.closed;
    assert.equal((await shown()).state, index === 2 ? 'OPEN' : 'CLOSED');
  }
});

test('slow_call_duration: a stream that lasts is not slow, and nor is one whose caller sends for long', async (t) => {
  const { answers, client, clock, service, shown } = await behind(t, 'consecutive_failures: 1, slow_call_duration: 1s');
  answers.answer = (call) => beginAnswer(call, 'first');
  const lasting = client.start();
  await lasting.headers;
  await pass(clock, 4_000);
  endAnswer((await service.call(0)) as ReceivedCall, 0);
  assert.equal((await lasting.answer).status, GrpcStatus.OK);
  answers.answer = () => {};
  const upload = client.start({ open: true, body: 'part' });
  const received = await service.call(1);
  await pass(clock, 4_000);
  upload.write('last part');
  upload.end();
  await received.body;
  answerOk(received);
  assert.equal((await upload.answer).status, GrpcStatus.OK);
  assert.equal((await shown()).state, 'CLOSED');
});

test('success_threshold: so many probes have to succeed, one at a time', async (t) => {
  const { answers, call, client, clock, service, shown } = await behind(t, 'consecutive_failures: 1, success_threshold: 3');
  await call(14);
  await pass(clock, 10_000);
  for (let probe = 0; probe < 3; probe++) {
    assert.equal((await shown()).state, 'HALF_OPEN');
    const before = service.received.length;
    answers.answer = () => {};
    const started = client.start();
    const received = await service.call(before);
    assert.equal((await client.call()).reason, 'circuit_open');
    answerOk(received);
    assert.equal((await started.answer).status, GrpcStatus.OK);
  }
  assert.equal((await shown()).state, 'CLOSED');
});

test('who holds a breaker by hand leaves a line in the log, with what and until when', async (t) => {
  const { clock, outrider } = await behind(t, 'consecutive_failures: 1');
  const lines = () => outrider.log.filter(({ msg }) => msg === 'circuit breaker set by hand');
  const until = new Date(clock.wallNow() + 60_000).toISOString();
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/open?ttl=60s');
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/close');
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/reset');
  const told = lines().map(({ cluster, by, action, until, breakers }) => ({ cluster, by, action, until, breakers }));
  assert.deepEqual(told, [
    { cluster: 'echo', by: 'admin', action: 'open', until, breakers: 1 },
    { cluster: 'echo', by: 'admin', action: 'close', until: 'reset', breakers: 1 },
    { cluster: 'echo', by: 'admin', action: 'reset', until: undefined, breakers: 1 },
  ]);
});

test('held open for all methods, also those are refused that nobody had called before, until the ttl has passed', async (t) => {
  const { client, clock, outrider } = await behind(t, 'scope: method');
  assert.equal((await client.call({ path: '/acme.Echo/Known' })).status, GrpcStatus.OK);
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/open?ttl=60s');
  for (const path of ['/acme.Echo/Known', '/acme.Echo/New']) assert.equal((await client.call({ path })).reason, 'circuit_open', path);
  await pass(clock, 60_004);
  assert.equal((await client.call({ path: '/acme.Echo/New' })).status, GrpcStatus.OK);
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/open');
  await outrider.admin('POST', '/clusters/echo/circuit_breakers/reset');
  assert.equal((await client.call({ path: '/acme.Echo/Later' })).status, GrpcStatus.OK);
});

test('the window begins anew with a reload that changes its length, and the state stays', async (t) => {
  const { call, outrider, shown } = await behind(t, 'failure_rate: { percent: 50, window: 20s, minimum_requests: 2 }');
  await call(14);
  await call(14);
  assert.equal((await shown()).state, 'OPEN');
  outrider.writePolicies(readFileSync(outrider.policyFile, 'utf8').replace('window: 20s', 'window: 60s'));
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  await until(() => outrider.stat('cluster.echo.circuit_breaker.state') === 1, 'still open');
  const { state, window } = await shown();
  assert.deepEqual([state, window.length, window.attempts], ['OPEN', '60s', 0]);
});
