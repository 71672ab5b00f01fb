import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Reason } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Answer } from './caller.ts';
import { echoPolicies, MeshCertificates, pass, startMesh, startSidecar, type TestSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, beginAnswer, closedPort, hold, resetWith, startTcp, startUpstream, until } from './upstream.ts';

checkLeaks();

/** What every reply of ours has in common, and the one fate of the call. */
const isReply = (answer: Answer, reason: Reason, status: number, text: readonly RegExp[], outrider?: TestSidecar): void => {
  assert.equal(answer.reason, reason, answer.message);
  assert.equal(answer.http, 200);
  assert.equal(answer.status, status);
  assert.equal(answer.headers['content-type'], 'application/grpc');
  for (const pattern of text) assert.match(answer.message, pattern);
  if (answer.trailersOnly) assert.equal(answer.resetCode, 0);
  if (outrider !== undefined) assert.deepEqual(outrider.fates(), { [reason]: 1 });
};

test('no_route: nothing matches, and the authority names no cluster', async (t) => {
  const { client, outrider } = await throughOne(t, hold);
  const answer = await client.call({ path: '/other.Service/Call', authority: 'nobody.example:443' });
  isReply(
    answer,
    'no_route',
    GrpcStatus.UNIMPLEMENTED,
    [/\/other\.Service\/Call/, /nobody\.example/, /add a route or a cluster/],
    outrider,
  );
});

test('no_cluster: a route names a cluster that does not exist', async (t) => {
  const outrider = await startSidecar(t, { policies: 'routes:\n  - name: lost\n    match: { prefix: / }\n    route: { cluster: gone }\n' });
  const answer = await outrider.caller().call();
  isReply(
    answer,
    'no_cluster',
    GrpcStatus.UNAVAILABLE,
    [/route lost \(.*policies\.yaml:2:\d+\)/, /cluster gone/, /add it under clusters/],
    outrider,
  );
});

test('no_endpoint: the cluster has none', async (t) => {
  const outrider = await startSidecar(t, { policies: 'clusters:\n  echo: { tls: { mode: disable } }\n' });
  const answer = await outrider.caller().call();
  isReply(answer, 'no_endpoint', GrpcStatus.UNAVAILABLE, [/cluster "echo"/, /check that the service runs/], outrider);
});

test('connect_failure: nobody listens', async (t) => {
  const port = await closedPort();
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [`127.0.0.1:${port}`] }) });
  const answer = await outrider.caller().call();
  isReply(
    answer,
    'connect_failure',
    GrpcStatus.UNAVAILABLE,
    [/cluster "echo"/, new RegExp(`127\\.0\\.0\\.1:${port}`), /refused/, /service is running/],
    outrider,
  );
});

test('connect_failure: the endpoint accepts and does not answer within connect_timeout', async (t) => {
  const clock = virtualClock();
  const port = await startTcp(t, () => {});
  const outrider = await startSidecar(t, {
    clock,
    policies: echoPolicies({ endpoints: [`127.0.0.1:${port}`], cluster: 'connect_timeout: 2s' }),
  });
  const call = outrider.caller().start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_pending_active') === 1, 'the call in the queue');
  await until(() => outrider.stat('cluster.echo.upstream_cx_active') === 1, 'a connection');
  await pass(clock, 2_004);
  isReply(await call.answer, 'connect_failure', GrpcStatus.UNAVAILABLE, [/within 2s \(connect_timeout\)/], outrider);
});

test('connect_failure: the endpoint speaks HTTP/1.1', async (t) => {
  const port = await startTcp(t, (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n'));
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [`127.0.0.1:${port}`] }) });
  isReply(await outrider.caller().call(), 'connect_failure', GrpcStatus.UNAVAILABLE, [/HTTP\/2/], outrider);
});

test('headers_too_large: an upstream that takes less than the caller sends is spared', async (t) => {
  const upstream = { settings: { maxHeaderListSize: 600 } };
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), { upstream });
  const answer = await client.call({ headers: { 'x-note': 'n'.repeat(800) } });
  isReply(answer, 'headers_too_large', GrpcStatus.RESOURCE_EXHAUSTED, [/cluster echo/, /600 bytes/, /less metadata/], outrider);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 1);
});

test('connection_lost: the connection breaks while the answer is awaited', async (t) => {
  const { client, outrider } = await throughOne(t, ({ stream }) => stream.session?.destroy());
  isReply(await client.call(), 'connection_lost', GrpcStatus.UNAVAILABLE, [/cluster echo/, /127\.0\.0\.1/, /no retry_policy/], outrider);
});

test('connection_lost in the middle of an answer ends it in trailers, never in a truncated OK', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call, 'part'));
  const call = client.start();
  await until(() => call.receivedBytes > 0, 'the first message');
  service.sessions[0]?.destroy();
  const answer = await call.answer;
  assert.equal(answer.trailersOnly, false);
  isReply(answer, 'connection_lost', GrpcStatus.UNAVAILABLE, [/answer had begun/], outrider);
});

test('tls_handshake_failed: the endpoint speaks no TLS', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    certificates: await certificates.issue('caller'),
    policies: echoPolicies({ endpoints: [service.address], cluster: 'tls: { mode: mutual }' }),
  });
  isReply(await outrider.caller().call(), 'tls_handshake_failed', GrpcStatus.UNAVAILABLE, [/cluster "echo"/], outrider);
});

test('tls_handshake_failed: this sidecar has no certificate at all', async (t) => {
  const service = await startUpstream(t, hold);
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [service.address], cluster: 'tls: { mode: mutual }' }) });
  isReply(await outrider.caller().call(), 'tls_handshake_failed', GrpcStatus.UNAVAILABLE, [/no certificate/, /CLIENT_CERT_PATH/], outrider);
});

test('tls_handshake_failed: the endpoint is of another mesh', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const stranger = await startMesh(t, { services: { echo: service.port } });
  const certificates = await MeshCertificates.create(t);
  const outrider = await startSidecar(t, {
    certificates: await certificates.issue('caller'),
    policies: echoPolicies({ endpoints: [stranger.endpoints['echo'] ?? ''], cluster: 'tls: { mode: mutual }' }),
  });
  isReply(await outrider.caller().call(), 'tls_handshake_failed', GrpcStatus.UNAVAILABLE, [/cluster "echo"/], outrider);
  assert.equal(service.received.length, 0);
});

test('tls_peer_not_allowed: the endpoint is another service of the same mesh', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const mesh = await startMesh(t, {
    services: { impostor: service.port },
    policies: (endpoints) => echoPolicies({ endpoints: [endpoints['impostor'] ?? ''], cluster: 'tls: { mode: mutual }' }),
  });
  isReply(await mesh.entrance.caller().call(), 'tls_peer_not_allowed', GrpcStatus.UNAVAILABLE, [/cluster "echo"/, /echo/], mesh.entrance);
  assert.equal(service.received.length, 0);
});

test('circuit_open: five failures in a row', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14));
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).reason, undefined);
  isReply(await client.call(), 'circuit_open', GrpcStatus.UNAVAILABLE, [
    /Circuit breaker OPEN/,
    /cluster "echo"/,
    /outrider breaker reset echo/,
  ]);
  assert.equal(service.received.length, 5);
  assert.deepEqual(outrider.fates(), { app_error: 5, circuit_open: 1 });
});

test('per_try_timeout, route_timeout, caller_deadline and idle_timeout are told apart', async (t) => {
  const clock = virtualClock();
  const slow = async (route: string, headers = {}): Promise<Answer> => {
    const { client, service } = await throughOne(t, hold, { clock, route });
    const call = client.start({ headers });
    await service.call(0);
    await pass(clock, 1_004);
    return call.answer;
  };
  const perTry = await slow('retry_policy: { retry_on: "connect-failure", num_retries: 1, per_try_timeout: 1s }');
  isReply(perTry, 'per_try_timeout', GrpcStatus.DEADLINE_EXCEEDED, [/per_try_timeout \(1000 ms\)/, /retry_on does not name/]);
  isReply(await slow('timeout: 1s'), 'route_timeout', GrpcStatus.DEADLINE_EXCEEDED, [/1000 ms/, /raise timeout of route echo-route/]);
  isReply(await slow('', { 'grpc-timeout': '1S' }), 'caller_deadline', GrpcStatus.DEADLINE_EXCEEDED, [/1000 ms/, /more time/]);
  isReply(await slow('idle_timeout: 1s'), 'idle_timeout', GrpcStatus.DEADLINE_EXCEEDED, [/1000 ms/, /raise idle_timeout/]);
});

test('too_many_requests: max_requests are in flight', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold, { cluster: 'circuit_breakers: { thresholds: [{ max_requests: 2 }] }' });
  const held = [client.start(), client.start()];
  await service.call(1);
  const answer = await client.call();
  isReply(
    answer,
    'too_many_requests',
    GrpcStatus.RESOURCE_EXHAUSTED,
    [/cluster "echo"/, /2 calls are in flight/, /raise max_requests/],
    outrider,
  );
  assert.equal(outrider.stat('cluster.echo.upstream_rq_active_overflow'), 1);
  assert.equal(outrider.stat('listener.outbound.downstream_rq_active'), 2);
  for (const call of held) call.cancel();
});

test('too_many_pending: the queue for a connection is full', async (t) => {
  const clock = virtualClock();
  const port = await startTcp(t, () => {});
  const cluster = 'circuit_breakers: { thresholds: [{ max_pending_requests: 2 }] }';
  const outrider = await startSidecar(t, { clock, policies: echoPolicies({ endpoints: [`127.0.0.1:${port}`], cluster }) });
  const client = outrider.caller();
  const held = [client.start(), client.start()];
  await until(() => outrider.stat('cluster.echo.upstream_rq_pending_active') === 2, 'two calls in the queue');
  const answer = await client.call();
  isReply(answer, 'too_many_pending', GrpcStatus.RESOURCE_EXHAUSTED, [/2 calls wait/, /max_pending_requests/], outrider);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_pending_overflow'), 1);
  for (const call of held) call.cancel();
});

test('headers_too_large: more metadata than anybody needs, and the connection lives', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call));
  const large = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`x-large-${i}`, 'v'.repeat(7_700)]));
  const many = Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-many-${i}`, 'v']));
  const answer = await client.call({ headers: large });
  isReply(answer, 'headers_too_large', GrpcStatus.RESOURCE_EXHAUSTED, [/\d+ bytes in \d+ fields/, /less metadata/], outrider);
  isReply(await client.call({ headers: many }), 'headers_too_large', GrpcStatus.RESOURCE_EXHAUSTED, [/in 12\d fields/]);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 1);
});

test('missing_status: the answer has no grpc-status, and the HTTP status tells which one it means', async (t) => {
  const byHttp: readonly (readonly [number, number])[] = [
    [200, GrpcStatus.UNKNOWN],
    [400, GrpcStatus.INTERNAL],
    [401, GrpcStatus.UNAUTHENTICATED],
    [403, GrpcStatus.PERMISSION_DENIED],
    [404, GrpcStatus.UNIMPLEMENTED],
    [429, GrpcStatus.UNAVAILABLE],
    [431, GrpcStatus.INTERNAL],
    [500, GrpcStatus.UNKNOWN],
    [502, GrpcStatus.UNAVAILABLE],
    [503, GrpcStatus.UNAVAILABLE],
    [504, GrpcStatus.UNAVAILABLE],
  ];
  const { client, outrider } = await throughOne(
    t,
    ({ headers, stream }) => {
      stream.respond({ ':status': Number(headers['x-want']), 'content-type': 'text/html' });
      stream.end('<h1>error page</h1>');
    },
    { cluster: 'circuit_breakers: { consecutive_failures: 1000 }' },
  );
  for (const [http, status] of byHttp) {
    const answer = await client.call({ headers: { 'x-want': String(http) } });
    isReply(answer, 'missing_status', status, [new RegExp(`HTTP ${http}`), /cluster echo/]);
    assert.equal(answer.body.length, 0, 'nothing of the error page');
  }
  assert.deepEqual(outrider.fates(), { missing_status: byHttp.length });
});

test('missing_status: a gRPC answer that ends without trailers', async (t) => {
  const { client, outrider } = await throughOne(t, ({ stream }) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.end(Buffer.from([0, 0, 0, 0, 1, 9]));
  });
  const answer = await client.call();
  assert.equal(answer.trailersOnly, false);
  assert.deepEqual(answer.body, Buffer.from([0, 0, 0, 0, 1, 9]));
  isReply(answer, 'missing_status', GrpcStatus.UNKNOWN, [/without grpc-status/], outrider);
});

test('a status that is there wins over the HTTP status', async (t) => {
  const { client } = await throughOne(t, ({ stream }) =>
    stream.respond({ ':status': 503, 'content-type': 'application/grpc', 'grpc-status': '9' }, { endStream: true }),
  );
  assert.equal((await client.call()).status, GrpcStatus.FAILED_PRECONDITION);
});

test('unsupported_content_type: a text for whoever points a browser here', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold);
  for (const type of ['text/plain', 'application/json', 'application/grpc-web', 'application/grpcx', undefined]) {
    const answer = await client.call({ headers: { 'content-type': type } });
    assert.equal(answer.http, 415);
    assert.match(String(answer.headers['content-type']), /^text\/plain/);
    assert.match(answer.body.toString(), /content-type must begin with application\/grpc/);
    assert.equal(answer.headers['x-outrider-reason'], 'unsupported_content_type');
  }
  assert.equal(service.received.length, 0);
  assert.deepEqual(outrider.fates(), { unsupported_content_type: 5 });
});

test('content types of gRPC reach the service as they came', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  const types = [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc;charset=utf-8',
    'Application/gRPC',
  ];
  for (const type of types) assert.equal((await client.call({ headers: { 'content-type': type } })).status, GrpcStatus.OK);
  assert.deepEqual(
    service.received.map(({ headers }) => headers['content-type']),
    types,
  );
});

test('upstream_reset: the status says which reset it was', async (t) => {
  const byCode: readonly (readonly [number, number, string])[] = [
    [1, GrpcStatus.INTERNAL, 'PROTOCOL_ERROR'],
    [2, GrpcStatus.INTERNAL, 'INTERNAL_ERROR'],
    [7, GrpcStatus.UNAVAILABLE, 'REFUSED_STREAM'],
    [8, GrpcStatus.CANCELLED, 'CANCEL'],
    [11, GrpcStatus.RESOURCE_EXHAUSTED, 'ENHANCE_YOUR_CALM'],
    [12, GrpcStatus.PERMISSION_DENIED, 'INADEQUATE_SECURITY'],
  ];
  const { client, outrider } = await throughOne(t, (call) => resetWith(call, Number(call.headers['x-want'])), {
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  for (const [code, status, name] of byCode) {
    isReply(await client.call({ headers: { 'x-want': String(code) } }), 'upstream_reset', status, [new RegExp(name), /cluster echo/]);
  }
  assert.deepEqual(outrider.fates(), { upstream_reset: byCode.length });
});

test('upstream_reset in the middle of an answer comes as trailers', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call, 'part'));
  const call = client.start();
  await until(() => call.receivedBytes > 0, 'the first message');
  service.received[0]?.stream.close(2);
  const answer = await call.answer;
  assert.equal(answer.trailersOnly, false);
  assert.equal(answer.resetCode, 0);
  isReply(answer, 'upstream_reset', GrpcStatus.INTERNAL, [/INTERNAL_ERROR/], outrider);
});

test('malformed_request: a path or a method that is none of gRPC', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold);
  const wrong = [
    { path: '/' },
    { path: '/acme.Echo' },
    { path: '/acme.Echo/Call/More' },
    { path: '/acme.Echo/Call?x=1' },
    { path: '/acme.Echo/%43all' },
    { path: '/acme.Echo//Call' },
    { path: '/../acme.Echo/Call' },
    { path: '*' },
  ];
  for (const options of wrong) {
    const answer = await client.call(options);
    isReply(answer, 'malformed_request', GrpcStatus.INTERNAL, [/:path must have the form \/package\.Service\/Method/]);
  }
  const put = await client.call({ method: 'PUT' });
  isReply(put, 'malformed_request', GrpcStatus.INTERNAL, [/POST/]);
  assert.equal(service.received.length, 0);
  assert.deepEqual(outrider.fates(), { malformed_request: wrong.length + 1 });
});

test('draining: what is asked of a sidecar that is closing its connections', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold);
  const call = client.start();
  await service.call(0);
  await outrider.sidecar.proxy.drain({ delayMs: 0, timeoutMs: 1 });
  isReply(await call.answer, 'draining', GrpcStatus.UNAVAILABLE, [/DRAIN_TIMEOUT/, /shutting down/], outrider);
});

test('overloaded: more request bytes wait than the process keeps', async (t) => {
  const clock = virtualClock();
  const port = await startTcp(t, () => {});
  const cluster = 'connect_timeout: 60s\ncircuit_breakers: { thresholds: [{ max_requests: 5000, max_pending_requests: 5000 }] }';
  const outrider = await startSidecar(t, { clock, policies: echoPolicies({ endpoints: [`127.0.0.1:${port}`], cluster }) });
  // A connection's streams together may hold only a part of what the process keeps.
  const clients = Array.from({ length: 32 }, () => outrider.caller());
  const calls = clients.flatMap((client) => Array.from({ length: 100 }, () => client.start({ body: Buffer.alloc(65_000), open: true })));
  await until(() => (outrider.fates().overloaded ?? 0) > 0, 'a refusal');
  // It is over for the caller, who has not ended its request, with the reset that follows.
  await pass(clock, 104);
  const refused = await Promise.race(calls.map(({ answer }) => answer));
  isReply(refused, 'overloaded', GrpcStatus.RESOURCE_EXHAUSTED, [/too many request bytes/]);
  for (const call of calls) if (!call.settled) call.cancel();
});
