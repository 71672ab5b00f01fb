import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import type { CallObserver, EndedCall } from '../../src/telemetry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { MeshCertificates, startSidecar, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, hold, message, startUpstream, until } from './upstream.ts';

checkLeaks();

/** What observers can ask, read while it may be asked. */
const read = (call: EndedCall) => ({
  direction: call.direction,
  fate: call.fate,
  grpcStatus: call.grpcStatus,
  startedAtMs: call.startedAtMs,
  durationMs: call.durationMs,
  path: call.path,
  authority: call.authority,
  requestId: call.header('x-request-id'),
  httpStatus: call.httpStatus,
  upstreamHttpStatus: call.upstreamHttpStatus,
  routeName: call.routeName,
  routeLocation: call.routeLocation,
  cluster: call.cluster,
  endpoint: call.endpoint,
  attempts: call.attempts,
  retriesExhausted: call.retriesExhausted,
  bytesReceived: call.bytesReceived,
  bytesSent: call.bytesSent,
  peerAddress: call.peerAddress,
  spiffeId: call.peerIdentity?.spiffeId,
  replyMessage: call.replyMessage,
  traceId: call.traceId,
  sampled: call.sampled,
});

class Listener implements CallObserver {
  readonly heard: ReturnType<typeof read>[] = [];
  last: EndedCall | undefined;

  onCallEnd(call: EndedCall): void {
    this.last = call;
    this.heard.push(read(call));
  }
}

const one = async (listener: Listener): Promise<ReturnType<typeof read>> => {
  await until(() => listener.heard.length > 0, 'a call ended');
  assert.equal(listener.heard.length, 1);
  return listener.heard[0] as ReturnType<typeof read>;
};

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

test('an observer hears of a call that succeeded, once, with all that is known of it', async (t) => {
  const listener = new Listener();
  const before = Date.now();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call, 'four'), { observers: [listener] });
  const headers = { 'x-request-id': 'a-1', traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
  assert.equal((await client.call({ body: 'ping!', headers })).status, GrpcStatus.OK);
  const call = await one(listener);
  assert.ok(call.startedAtMs >= before - 1 && call.startedAtMs <= Date.now());
  assert.ok(call.durationMs >= 0);
  const local = client.socket?.localPort;
  const { startedAtMs, durationMs, routeLocation, ...rest } = call;
  assert.deepEqual(rest, {
    direction: 'outbound',
    fate: 'ok',
    grpcStatus: 0,
    path: '/acme.Echo/Call',
    authority: 'echo',
    requestId: 'a-1',
    httpStatus: 200,
    upstreamHttpStatus: 200,
    routeName: 'echo-route',
    cluster: 'echo',
    endpoint: service.address,
    attempts: 1,
    retriesExhausted: false,
    bytesReceived: message('ping!').length,
    bytesSent: message('four').length,
    peerAddress: `127.0.0.1:${local}`,
    spiffeId: undefined,
    replyMessage: undefined,
    traceId,
    sampled: true,
  });
  assert.equal(routeLocation, `${outrider.policyFile}:2`);
});

test('of a call that failed after retries it hears the attempts, and what the caller was told', async (t) => {
  const listener = new Listener();
  const route = 'retry_policy: { retry_on: unavailable, num_retries: 2, retry_back_off: { base_interval: 1ms } }\nidempotent: true';
  const { client } = await throughOne(t, (call) => answerTrailersOnly(call, 14), { route, observers: [listener] });
  await client.call();
  const call = await one(listener);
  assert.equal(call.fate, 'app_error');
  assert.equal(call.grpcStatus, GrpcStatus.UNAVAILABLE);
  assert.equal(call.attempts, 3);
  assert.equal(call.retriesExhausted, true);
  assert.equal(call.replyMessage, undefined);
});

test('of a call that nobody took it hears our own words, and no endpoint', async (t) => {
  const listener = new Listener();
  const outrider = await startSidecar(t, { observers: [listener], policies: 'clusters: {}\n' });
  const answer = await outrider.caller().call({ authority: 'nobody' });
  const call = await one(listener);
  assert.equal(call.fate, 'no_route');
  assert.equal(call.replyMessage, answer.message);
  assert.equal(call.httpStatus, 200);
  assert.deepEqual(
    [call.routeName, call.routeLocation, call.cluster, call.endpoint, call.attempts],
    [undefined, undefined, undefined, undefined, 0],
  );
});

test('a caller that went away was sent nothing, and a request that is no gRPC 415', async (t) => {
  const listener = new Listener();
  const { client, service } = await throughOne(t, hold, { observers: [listener] });
  const under = client.start();
  await service.call(0);
  under.cancel();
  const call = await one(listener);
  assert.deepEqual([call.fate, call.httpStatus, call.upstreamHttpStatus], ['cancelled', 0, 0]);
  await client.call({ headers: { 'content-type': 'text/html' } });
  const last = listener.heard.at(-1);
  assert.deepEqual([last?.fate, last?.httpStatus], ['unsupported_content_type', 415]);
  assert.match(String(last?.replyMessage), /content-type must begin with application\/grpc/);
});

test('the path is the one that the caller wrote, whatever the route makes of it', async (t) => {
  const listener = new Listener();
  const { client, service } = await throughOne(t, (call) => answerOk(call), {
    observers: [listener],
    route: 'prefix_rewrite: /other.',
  });
  await client.call();
  assert.equal(service.received[0]?.headers[':path'], '/other.Echo/Call');
  assert.equal((await one(listener)).path, '/acme.Echo/Call');
});

test('an inbound call names its caller by the certificate', async (t) => {
  const listener = new Listener();
  const service = await startUpstream(t, (call) => answerOk(call));
  const certificates = await MeshCertificates.create(t);
  const common = { name: 'echo', localService: service.port, observers: [listener] };
  const inbound = await startSidecar(t, { ...common, certificates: await certificates.issue('echo') });
  const policies = `clusters:\n  echo: { endpoints: ["127.0.0.1:${inbound.inboundPort}"] }\n`;
  const entrance = await startSidecar(t, { policies, certificates: await certificates.issue('caller') });
  assert.equal((await entrance.caller().call()).status, GrpcStatus.OK);
  const call = await one(listener);
  assert.deepEqual([call.direction, call.spiffeId], ['inbound', 'spiffe://mesh.local/service/caller']);
});

test('after onCallEnd there is nothing to ask', async (t) => {
  const listener = new Listener();
  const { client } = await throughOne(t, (call) => answerOk(call), { observers: [listener] });
  await client.call();
  await one(listener);
  assert.throws(() => listener.last?.path, /asked after onCallEnd/);
});
