import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { CollectedSpans } from './collected-spans.ts';
import { echoPolicies, startSidecar, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, hold, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';
const sampled = { traceparent: `00-${traceId}-${parent}-01` };
const unsampled = { traceparent: `00-${traceId}-${parent}-00` };

/** Trace, span and flags of what a service got. */
const contextOf = ({ headers }: ReceivedCall) => {
  const [version, trace, span, flags] = String(headers['traceparent']).split('-');
  return { version, trace, span, flags };
};

const received = (calls: readonly ReceivedCall[], at = 0): ReceivedCall => calls[at] as ReceivedCall;
const dead: Handler = (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE);
const retries = 'idempotent: true\nretry_policy: { retry_on: unavailable, num_retries: 2, retry_back_off: { base_interval: 1ms } }';
/** Nothing that fails is kept, so that only sampling decides. */
const samplingAlone = { TRACES_FAILED_PER_SECOND: '0' };

test('an outbound call that its caller wants recorded has a span, and its attempt another one, which the service continues', async (t) => {
  const spans = new CollectedSpans();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), { spans });
  await client.call({ headers: { ...sampled, tracestate: 'vendor=1', baggage: 'user=7' } });
  await until(() => spans.all.length === 2, 'two spans');
  const { attempts, call } = spans;
  assert.deepEqual([call.kind, call.traceId, call.parent, call.error], ['client', traceId, parent, false]);
  const { 'outrider.route': route, ...attributes } = call.attributes;
  assert.deepEqual(attributes, {
    'rpc.system.name': 'grpc',
    'rpc.method': 'acme.Echo/Call',
    'rpc.status_code': 'OK',
    'server.address': 'echo',
    'outrider.fate': 'ok',
    'outrider.bytes_received': 9,
    'outrider.bytes_sent': 9,
    'outrider.cluster': 'echo',
  });
  assert.equal(route, `echo-route (${outrider.policyFile}:2)`);
  const [attempt] = attempts;
  assert.equal(attempt?.parent, call.spanId);
  assert.equal(attempt?.attributes['network.peer.port'], service.port);
  const got = received(service.received);
  assert.deepEqual(contextOf(got), { version: '00', trace: traceId, span: attempt?.spanId, flags: '01' });
  assert.deepEqual([got.headers['tracestate'], got.headers['baggage'], got.headers['b3']], ['vendor=1', 'user=7', undefined]);
  assert.ok(call.startMs <= Number(attempt?.startMs) && Number(attempt?.endMs) <= call.endMs);
  assert.ok(Math.abs(call.endMs - Date.now()) < 60_000);
});

test('an inbound call has one span of kind server, which the service is told to be called by', async (t) => {
  const spans = new CollectedSpans();
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { spans, localService: service.port });
  await outrider.inboundCaller().call({ headers: sampled });
  await until(() => spans.all.length > 0, 'a span');
  assert.equal(spans.all.length, 1);
  const { call } = spans;
  assert.deepEqual([call.kind, call.parent, call.name], ['server', parent, 'acme.Echo/Call']);
  assert.equal(call.attributes['client.address'], '127.0.0.1');
  assert.deepEqual(contextOf(received(service.received)), { version: '00', trace: traceId, span: call.spanId, flags: '01' });
});

test('an outbound call with the trace of an inbound one becomes its child, which is how a trace goes through a service', async (t) => {
  const spans = new CollectedSpans();
  const bottom = await startUpstream(t, (call) => answerOk(call));
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { spans, localService: service.port, policies: echoPolicies({ endpoints: [bottom.address] }) });
  await outrider.inboundCaller().call({ headers: sampled });
  const { traceparent } = received(service.received).headers;
  await outrider.caller().call({ headers: { traceparent: String(traceparent) } });
  await until(() => spans.all.length === 3, 'three spans');
  const [server, client] = ['server', 'client'].map((kind) =>
    spans.all.find((span) => span.kind === kind && !span.name.startsWith('Attempt.')),
  );
  assert.equal(client?.parent, server?.spanId);
});

test('without a trace a new one begins, and nobody records it who has not been chosen', async (t) => {
  const spans = new CollectedSpans();
  const environment = { OTEL_TRACES_SAMPLER_ARG: '0' };
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans, environment });
  await client.call();
  await client.call();
  const [first, second] = service.received.map(contextOf);
  assert.match(`${first?.trace} ${first?.span}`, /^[0-9a-f]{32} [0-9a-f]{16}$/);
  assert.notEqual(first?.trace, second?.trace);
  assert.equal(first?.flags, '00');
  assert.deepEqual(spans.all, []);
});

test('a share of the calls is recorded: all with 1', async (t) => {
  const spans = new CollectedSpans();
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans, environment: { OTEL_TRACES_SAMPLER_ARG: '1' } });
  await client.call();
  await until(() => spans.all.length === 2, 'two spans');
  assert.equal(spans.call.parent, undefined);
  assert.equal(contextOf(received(service.received)).flags, '01');
});

test('a share of half records about half of many', async (t) => {
  const spans = new CollectedSpans();
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), { spans, environment: { OTEL_TRACES_SAMPLER_ARG: '0.5' } });
  await Promise.all(Array.from({ length: 400 }, () => client.call()));
  const share = outrider.stat('tracing.calls_sampled') / 400;
  assert.ok(share > 0.3 && share < 0.7, `${share}`);
});

test('always_off records nothing, whatever the caller wants, where it does not go by the caller', async (t) => {
  const spans = new CollectedSpans();
  const environment = { ...samplingAlone, OTEL_TRACES_SAMPLER: 'always_off' };
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans, environment });
  await client.call({ headers: sampled });
  assert.deepEqual(spans.all, []);
  assert.deepEqual({ ...contextOf(received(service.received)), span: '' }, { version: '00', trace: traceId, span: '', flags: '00' });
});

for (const wrong of [`00-${'0'.repeat(32)}-${parent}-01`, 'nonsense', `ff-${traceId}-${parent}-01`]) {
  test(`a trace that cannot be one (${wrong}) is not continued, and its state goes with it`, async (t) => {
    const { client, service } = await throughOne(t, (call) => answerOk(call), { spans: new CollectedSpans() });
    await client.call({ headers: { traceparent: wrong, tracestate: 'vendor=1' } });
    const got = received(service.received);
    assert.match(contextOf(got).trace ?? '', /^(?!0{32})(?!4bf92f)[0-9a-f]{32}$/);
    assert.equal(got.headers['tracestate'], undefined);
  });
}

test('a caller of B3 is answered in B3, and in traceparent', async (t) => {
  const spans = new CollectedSpans();
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans });
  await client.call({ headers: { b3: `${traceId}-${parent}-1` } });
  await client.call({ headers: { 'x-b3-traceid': traceId, 'x-b3-spanid': parent, 'x-b3-parentspanid': parent, 'x-b3-sampled': '1' } });
  const [single, several] = service.received;
  const ids = contextOf(single as ReceivedCall);
  assert.equal(single?.headers['b3'], `${traceId}-${ids.span}-1`);
  assert.equal(ids.trace, traceId);
  const severalIds = contextOf(several as ReceivedCall);
  assert.deepEqual(
    ['traceid', 'spanid', 'sampled', 'parentspanid'].map((name) => several?.headers[`x-b3-${name}`]),
    [traceId, severalIds.span, '1', undefined],
  );
  assert.equal(several?.headers['b3'], undefined);
  assert.ok(spans.all.every((span) => span.traceId === traceId));
});

test('a caller of B3 that debugs a trace is recorded, and so is what follows', async (t) => {
  const spans = new CollectedSpans();
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans, environment: samplingAlone });
  await client.call({ headers: { 'x-b3-traceid': traceId, 'x-b3-spanid': parent, 'x-b3-flags': '1' } });
  await client.call({ headers: { b3: `${traceId}-${parent}-d` } });
  await until(() => spans.all.length === 4, 'two spans of each call');
  const [several, single] = service.received;
  assert.deepEqual([contextOf(received(service.received)).flags, several?.headers['x-b3-flags']], ['01', '1']);
  assert.equal(several?.headers['x-b3-sampled'], undefined);
  assert.match(String(single?.headers['b3']), /-d$/);
});

test('the state of a traceparent that is none goes, also where B3 has a trace to continue', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans: new CollectedSpans() });
  await client.call({ headers: { traceparent: 'nonsense', tracestate: 'vendor=1', b3: `${traceId}-${parent}-1` } });
  const got = received(service.received);
  assert.deepEqual([contextOf(got).trace, got.headers['tracestate']], [traceId, undefined]);
});

test('B3 is written for everybody where OTEL_PROPAGATORS says so', async (t) => {
  const environment = { OTEL_PROPAGATORS: 'tracecontext,b3,b3multi' };
  const { client, service } = await throughOne(t, (call) => answerOk(call), { spans: new CollectedSpans(), environment });
  await client.call({ headers: unsampled });
  const got = received(service.received);
  const { span } = contextOf(got);
  assert.equal(got.headers['b3'], `${traceId}-${span}-0`);
  assert.deepEqual([got.headers['x-b3-traceid'], got.headers['x-b3-spanid'], got.headers['x-b3-sampled']], [traceId, span, '0']);
});

test('each retry has a span of its own, which is the one that the service got, and the call says what was decided', async (t) => {
  const spans = new CollectedSpans();
  const { client, service } = await throughOne(t, (call, i) => (i < 2 ? dead(call, i) : answerOk(call)), { spans, route: retries });
  assert.equal((await client.call({ headers: sampled })).status, GrpcStatus.OK);
  await until(() => spans.all.length === 4, 'four spans');
  const { attempts, call } = spans;
  assert.deepEqual(
    service.received.map((got) => contextOf(got).span),
    attempts.map(({ spanId }) => spanId),
  );
  assert.equal(new Set(attempts.map(({ spanId }) => spanId)).size, 3);
  assert.deepEqual(
    attempts.map(({ error }) => error),
    [true, true, false],
  );
  assert.deepEqual(
    attempts.map(({ attributes }) => attributes['rpc.status_code']),
    ['UNAVAILABLE', 'UNAVAILABLE', 'OK'],
  );
  assert.deepEqual(
    call.events.map(({ attributes, name }) => [name, attributes['after_attempt']]),
    [
      ['outrider.retry', 1],
      ['outrider.retry', 2],
    ],
  );
  assert.deepEqual([call.error, call.attributes['outrider.attempts']], [false, 3]);
});

test('retries at the local service are events of the one span', async (t) => {
  const spans = new CollectedSpans();
  const service = await startUpstream(t, (call, i) => (i === 0 ? dead(call, i) : answerOk(call)));
  const policies = `inbound:\n  routes:\n    - match: { prefix: / }\n      route: { ${retries.replace('\n', ', ')} }\n`;
  const outrider = await startSidecar(t, { spans, localService: service.port, policies });
  await outrider.inboundCaller().call({ headers: sampled });
  await until(() => spans.all.length > 0, 'a span');
  assert.deepEqual(
    spans.call.events.map(({ name }) => name),
    ['outrider.attempt', 'outrider.retry', 'outrider.attempt'],
  );
  assert.deepEqual(
    service.received.map((got) => contextOf(got).span),
    [spans.call.spanId, spans.call.spanId],
  );
});

test('a hedged call shows both attempts, and which was given up', async (t) => {
  const spans = new CollectedSpans();
  const route = 'idempotent: true\nhedge_policy: { max_attempts: 2, hedging_delay: 10ms }';
  const { client } = await throughOne(t, (call, i) => (i === 0 ? undefined : answerOk(call)), { spans, route });
  assert.equal((await client.call({ headers: sampled })).status, GrpcStatus.OK);
  await until(() => spans.all.length === 3, 'three spans');
  const { attempts, call } = spans;
  assert.deepEqual(
    attempts.map(({ attributes }) => attributes['outrider.outcome']),
    ['cancelled', undefined],
  );
  assert.deepEqual(
    attempts.map(({ error }) => error),
    [false, false],
  );
  assert.deepEqual(
    call.events.map(({ name }) => name),
    ['outrider.hedge'],
  );
});

test('a call that an open breaker refuses has no attempt that could be shown, and says why', async (t) => {
  const spans = new CollectedSpans();
  const { client, outrider } = await throughOne(t, dead, {
    spans,
    cluster: 'circuit_breakers: { consecutive_failures: 1, recovery_timeout: 60s }',
  });
  await client.call({ headers: unsampled });
  await until(() => outrider.stat('cluster.echo.circuit_breaker.state') === 1, 'open');
  spans.all.length = 0;
  const answer = await client.call({ headers: sampled });
  await until(() => spans.all.length > 0, 'a span');
  const { attempts, call } = spans;
  assert.deepEqual(attempts, []);
  assert.deepEqual([call.error, call.message, call.attributes['error.type']], [true, answer.message, 'circuit_open']);
  assert.deepEqual(call.events, [{ name: 'outrider.refused', attributes: { reason: 'circuit_open' } }]);
});

test('an endpoint that nobody listens on is a failed attempt with its reason', async (t) => {
  const spans = new CollectedSpans();
  const policies = echoPolicies({ endpoints: [`127.0.0.1:${await closedPort()}`] });
  const outrider = await startSidecar(t, { spans, policies });
  await outrider.caller().call({ headers: sampled });
  await until(() => spans.all.length >= 2, 'spans');
  assert.equal(spans.attempts[0]?.attributes['outrider.reason'], 'connect_failure');
  assert.equal(spans.call.attributes['outrider.fate'], 'connect_failure');
});

test('faults and timeouts are told as what they are', async (t) => {
  const spans = new CollectedSpans();
  const aborted = await throughOne(t, (call) => answerOk(call), { spans, route: 'fault: { abort: { grpc_status: 8, percentage: 100 } }' });
  await aborted.client.call({ headers: sampled });
  await until(() => spans.all.length > 0, 'a span');
  assert.deepEqual(
    [spans.call.attributes['outrider.fate'], spans.call.attributes['rpc.status_code']],
    ['fault_injected', 'RESOURCE_EXHAUSTED'],
  );
  const late = new CollectedSpans();
  const slow = await throughOne(t, hold, { spans: late, route: 'timeout: 20ms' });
  const answer = await slow.client.call({ headers: sampled });
  await until(() => late.all.length === 2, 'two spans');
  assert.equal(late.attempts[0]?.attributes['outrider.outcome'], 'timeout');
  assert.deepEqual([late.call.attributes['outrider.fate'], late.call.message], ['route_timeout', answer.message]);
});

test('calls that fail are kept though nobody has chosen them, so many in a second and no more', async (t) => {
  const spans = new CollectedSpans();
  const environment = { TRACES_FAILED_PER_SECOND: '2' };
  // One after the other, and the same second for all of them.
  const { client, outrider } = await throughOne(t, dead, {
    spans,
    environment,
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  const before = outrider.clock.now();
  for (let i = 0; i < 6; i++) await client.call({ headers: unsampled });
  const kept = outrider.stat('tracing.calls_kept_failed');
  assert.equal(kept + outrider.stat('tracing.calls_failed_dropped'), 6);
  assert.ok(kept >= 2 && kept <= 2 * (2 + Math.floor((outrider.clock.now() - before) / 1_000)), `${kept}`);
  assert.equal(spans.all.length, 2 * kept);
  assert.equal(spans.all[0]?.attributes['outrider.kept'], 'failed');
});

test('what the caller gave up, and answers about what was asked, are no failures that are kept', async (t) => {
  const spans = new CollectedSpans();
  const notFound = await throughOne(t, (call) => answerTrailersOnly(call, GrpcStatus.NOT_FOUND), { spans });
  await notFound.client.call({ headers: unsampled });
  const held = await throughOne(t, hold, { spans });
  const under = held.client.start({ headers: unsampled });
  await held.service.call(0);
  under.cancel();
  await until(() => held.outrider.fates().cancelled === 1, 'cancelled');
  assert.deepEqual(spans.all, []);
});

test('failures are not kept with TRACES_FAILED_PER_SECOND=0', async (t) => {
  const spans = new CollectedSpans();
  const { client, outrider } = await throughOne(t, dead, { spans, environment: samplingAlone });
  await client.call({ headers: unsampled });
  assert.deepEqual([spans.all, outrider.stat('tracing.calls_failed_dropped')], [[], 0]);
});

/** Calls of both kinds on a route with that `tracing`: how many spans of calls each made, and what the service was told. */
const onRoute = async (t: Parameters<typeof throughOne>[0], tracing: string, answer: Handler = (call) => answerOk(call)) => {
  const spans = new CollectedSpans();
  const service = await startUpstream(t, answer);
  const policies = echoPolicies({ endpoints: [service.address] }).replace('    route:\n', `    tracing: ${tracing}\n    route:\n`);
  const outrider = await startSidecar(t, { spans, policies, environment: { OTEL_TRACES_SAMPLER_ARG: '0' } });
  const client = outrider.caller();
  await client.call({ headers: sampled });
  const wanted = spans.all.length;
  await client.call();
  return { wanted, unasked: spans.all.length - wanted, flags: service.received.map((got) => contextOf(got).flags) };
};

test('a route says how many of its calls are recorded', async (t) => {
  assert.deepEqual(await onRoute(t, '{ random_sampling: 100 }'), { wanted: 2, unasked: 2, flags: ['01', '01'] });
  assert.deepEqual(await onRoute(t, '{ client_sampling: 0, random_sampling: 100 }'), { wanted: 0, unasked: 2, flags: ['00', '01'] });
  assert.deepEqual(await onRoute(t, '{ random_sampling: 100, overall_sampling: 0 }'), { wanted: 0, unasked: 0, flags: ['00', '00'] });
});

test('of a route whose overall_sampling is 0 not even failures are kept', async (t) => {
  assert.deepEqual(await onRoute(t, '{ overall_sampling: 0 }', dead), { wanted: 0, unasked: 0, flags: ['00', '00'] });
});

test('a call that ends before it has a route has a span, and a name that nobody can make up', async (t) => {
  const spans = new CollectedSpans();
  const outrider = await startSidecar(t, { spans, policies: 'clusters: {}\n' });
  await outrider.caller().call({ path: '/made.Up/ByNobody', authority: 'nobody', headers: sampled });
  await until(() => spans.all.length > 0, 'a span');
  assert.equal(spans.call.name, 'grpc');
  assert.deepEqual([spans.call.attributes['rpc.method'], spans.call.attributes['rpc.method_original']], ['_OTHER', 'made.Up/ByNobody']);
  assert.equal(spans.call.parent, parent);
});

test('copies of a call hang below it', async (t) => {
  const spans = new CollectedSpans();
  const [service, shadow] = [await startUpstream(t, (call) => answerOk(call)), await startUpstream(t, (call) => answerOk(call))];
  const more = `  shadow: { endpoints: ["${shadow.address}"], tls: { mode: disable } }\n`;
  const policies = echoPolicies({ endpoints: [service.address], route: 'request_mirror_policies: [{ cluster: shadow }]' }) + more;
  const outrider = await startSidecar(t, { spans, policies });
  await outrider.caller().call({ headers: sampled });
  await until(() => spans.all.length === 2 && shadow.received.length === 1, 'the call and its copy');
  assert.equal(contextOf(received(shadow.received)).span, spans.call.spanId);
  assert.equal(contextOf(received(service.received)).span, spans.attempts[0]?.spanId);
});

test('nothing is made for what cannot be sent', async (t) => {
  const spans = new CollectedSpans();
  spans.hasRoom = false;
  const { client } = await throughOne(t, (call) => answerOk(call), { spans });
  await client.call({ headers: sampled });
  await until(() => spans.dropped > 0, 'dropped');
  assert.deepEqual([spans.all, spans.dropped], [[], 2]);
});

test('without traces what callers say of them passes through as it came', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  const headers = { traceparent: 'whatever', tracestate: 'a=b', b3: '0' };
  await client.call({ headers });
  await client.call();
  const [with_, without] = service.received;
  assert.deepEqual([with_?.headers['traceparent'], with_?.headers['tracestate'], with_?.headers['b3']], ['whatever', 'a=b', '0']);
  assert.equal(without?.headers['traceparent'], undefined);
});
