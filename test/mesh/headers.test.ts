import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { RawPeer, Type } from '../http2/raw-peer.ts';
import { atEnd } from './at-end.ts';
import { startMesh, startSidecar, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, hold, message, startUpstream, until } from './upstream.ts';

checkLeaks();

test('names that only a proxy may write are removed from what the local service sends out', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  await client.call({
    headers: {
      'x-forwarded-client-cert': 'Hash=00;URI=spiffe://mesh.local/service/admin',
      'x-forwarded-for': '10.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'bank.example',
      'x-envoy-retry-on': '5xx',
      'x-envoy-max-retries': '99',
      'x-envoy-upstream-rq-timeout-ms': '60000',
      'x-envoy-attempt-count': '7',
      'x-envoy-peer-metadata': 'made up',
      'x-outrider-reason': 'draining',
      'x-outrider-anything': 'made up',
      'x-envoyage': 'kept',
      'x-forwardedness': 'kept',
      'x-own': 'kept',
    },
  });
  const kept = Object.keys(service.received[0]?.headers ?? {}).filter((name) => name.startsWith('x-'));
  assert.deepEqual(kept.sort(), ['x-envoyage', 'x-forwardedness', 'x-own']);
});

test('x-forwarded-client-cert is rewritten from the certificate that was verified', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const mesh = await startMesh(t, { services: { echo: service.port } });
  const forged = 'Hash=00;URI=spiffe://mesh.local/service/admin';
  const outbound = await mesh.entrance.caller().call({ headers: { 'x-forwarded-client-cert': forged } });
  assert.equal(outbound.status, GrpcStatus.OK);
  const { certPem, keyPem } = await mesh.certificates.pair('intruder');
  const echo = mesh.sidecars['echo'];
  const direct = echo?.inboundCaller({ ca: mesh.certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' });
  assert.equal((await direct?.call({ headers: { 'x-forwarded-client-cert': [forged, forged] } }))?.status, GrpcStatus.OK);
  const [first, second] = service.received.map(({ headers }) => String(headers['x-forwarded-client-cert']));
  assert.match(first ?? '', /URI=spiffe:\/\/mesh\.local\/service\/caller/);
  assert.match(second ?? '', /URI=spiffe:\/\/mesh\.local\/service\/intruder/);
  for (const value of [first, second]) {
    assert.match(value ?? '', /By=spiffe:\/\/mesh\.local\/service\/echo/);
    assert.match(value ?? '', /Hash=[0-9a-f]{64}/);
    assert.doesNotMatch(value ?? '', /admin/);
  }
});

test('te: trailers is written where the caller forgot it', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  await client.call({ headers: { te: undefined } });
  await client.call();
  for (const { headers } of service.received) assert.equal(headers['te'], 'trailers');
});

test('authority, path, user agent and tracing reach the service as they came', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerOk(call));
  const headers = {
    'user-agent': 'grpc-node/1.0',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'grpc-encoding': 'gzip',
    'grpc-accept-encoding': 'identity,gzip',
    'x-repeated': ['a', 'b'],
  };
  await client.call({ authority: 'echo.default.svc.cluster.local:50051', headers });
  const seen = service.received[0]?.headers ?? {};
  assert.equal(seen[':authority'], 'echo.default.svc.cluster.local:50051');
  assert.equal(seen[':path'], '/acme.Echo/Call');
  for (const name of ['user-agent', 'traceparent', 'grpc-encoding', 'grpc-accept-encoding'] as const)
    assert.equal(seen[name], headers[name]);
  assert.equal(seen['x-repeated'], 'a, b');
});

test('metadata and messages pass byte for byte, both ways, in headers and in trailers', async (t) => {
  const { client } = await throughOne(t, (call) => {
    void call.body.then((body) => {
      const { headers, stream } = call;
      const mirrored = { 'echo-bin': String(headers['some-bin']), 'x-echo': String(headers['x-text']) };
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...mirrored }, { waitForTrailers: true });
      stream.on('wantTrailers', () =>
        stream.sendTrailers({ 'grpc-status': '0', 'trailer-bin': mirrored['echo-bin'], 'x-trailer': mirrored['x-echo'] }),
      );
      stream.end(body);
    });
  });
  const visible = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    minLength: 1,
    maxLength: 60,
  });
  const metadata = visible.map((text) => text.trim()).filter((text) => text !== '');
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), metadata, fc.uint8Array({ maxLength: 20_000 }), async (binary, text, body) => {
      const encoded = Buffer.from(binary).toString('base64');
      const bytes = Buffer.from(body);
      const answer = await client.call({ headers: { 'some-bin': encoded, 'x-text': text }, bytes });
      assert.equal(answer.status, GrpcStatus.OK);
      assert.equal(answer.headers['echo-bin'], encoded);
      assert.equal(answer.trailers['trailer-bin'], encoded);
      assert.equal(answer.headers['x-echo'], text);
      assert.equal(answer.trailers['x-trailer'], text);
      assert.deepEqual(answer.body, bytes);
    }),
    { numRuns: 60 },
  );
});

test('a status with details and a message of any language comes through untouched', async (t) => {
  const details = Buffer.from([8, 5, 18, 3, 255, 0, 128]).toString('base64');
  const { client } = await throughOne(t, (call) =>
    answerTrailersOnly(call, 5, { 'grpc-message': 'nicht%20gefunden%3A%20%C3%BC', 'grpc-status-details-bin': details }),
  );
  const answer = await client.call();
  assert.equal(answer.status, GrpcStatus.NOT_FOUND);
  assert.equal(answer.headers['grpc-message'], 'nicht%20gefunden%3A%20%C3%BC');
  assert.equal(answer.message, 'nicht gefunden: ü');
  assert.equal(answer.headers['grpc-status-details-bin'], details);
});

test('informational answers are swallowed, the final one comes through', async (t) => {
  const { client } = await throughOne(t, (call) => {
    call.stream.additionalHeaders({ ':status': 103, 'x-hint': '1' });
    answerOk(call);
  });
  const answer = await client.call();
  assert.equal(answer.http, 200);
  assert.equal(answer.status, GrpcStatus.OK);
});

test('what RFC 9113 forbids in a request is reset, and others on the same connection go on', async (t) => {
  const { outrider, service } = await throughOne(t, (call) => answerOk(call));
  const socket = net.connect(outrider.outboundPort, '127.0.0.1');
  atEnd(t, () => socket.destroy());
  const peer = new RawPeer(socket);
  peer.preface();
  const fields = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', '/acme.Echo/Call'],
    [':authority', 'echo'],
    ['content-type', 'application/grpc'],
  ] as const;
  const forbidden = [
    ['te', 'gzip'],
    ['connection', 'close'],
    ['transfer-encoding', 'chunked'],
    ['X-Upper', 'case'],
    ['x-break', 'a\r\nb: c'],
  ] as const;
  let id = 1;
  for (const field of forbidden) {
    peer.headers(id, [...fields, field]);
    assert.equal(await peer.resetCode(id), http2.constants.NGHTTP2_PROTOCOL_ERROR, field[0]);
    id += 2;
  }
  peer.headers(id, fields);
  const answer = await peer.next(Type.HEADERS, id);
  assert.equal(peer.fields(answer)[':status'], '200');
  assert.equal(service.received.length, 1);
  assert.deepEqual(outrider.fates(), { ok: 1 });
});

const fallbackForms = [
  'echo',
  'echo:50051',
  'ECHO',
  'echo.default',
  'echo.default.svc',
  'echo.default.svc.cluster.local',
  'echo.default.svc.cluster.local:50051',
];
for (const authority of fallbackForms) {
  test(`without a route, the authority ${authority} names the cluster echo`, async (t) => {
    const { client } = await throughOne(t, (call) => answerOk(call));
    assert.equal((await client.call({ path: '/other.Service/Call', authority })).status, GrpcStatus.OK);
  });
}

test('a name that only looks like a cluster is none', async (t) => {
  const { client } = await throughOne(t, hold);
  for (const authority of [
    'echo.other',
    'echo.example.com',
    'echoes',
    '[::1]:50051',
    '127.0.0.1:50051',
    'echo.default.svc.cluster.local.example',
  ]) {
    assert.equal((await client.call({ path: '/other.Service/Call', authority })).reason, 'no_route', authority);
  }
});

test('the default action sends what nothing matches to a cluster', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    policies: `default: { action: use_cluster, use_cluster: echo }\nclusters:\n  echo: { endpoints: ["${service.address}"], tls: { mode: disable } }\n`,
  });
  assert.equal((await outrider.caller().call({ authority: 'anything.example' })).status, GrpcStatus.OK);
});

test('the first route that matches in the order of the file is taken, headers included', async (t) => {
  const named = async (name: string) => await startUpstream(t, (call) => answerTrailersOnly(call, 0, { 'x-served-by': name }));
  const [gold, exact, rest] = await Promise.all(['gold', 'exact', 'rest'].map(named));
  const outrider = await startSidecar(t, {
    policies: `routes:
  - match: { prefix: /acme., headers: [{ name: x-tier, exact_match: gold }] }
    route: { cluster: gold }
  - match: { path: /acme.Echo/Call }
    route: { cluster: exact }
  - match: { safe_regex: { regex: "/acme\\\\.(Echo|Other)/.*" } }
    route: { cluster: rest }
clusters:
  gold: { endpoints: ["${gold?.address}"], tls: { mode: disable } }
  exact: { endpoints: ["${exact?.address}"], tls: { mode: disable } }
  rest: { endpoints: ["${rest?.address}"], tls: { mode: disable } }
`,
  });
  const client = outrider.caller();
  const served = async (options: Parameters<typeof client.call>[0]): Promise<unknown> =>
    (await client.call(options)).headers['x-served-by'];
  assert.equal(await served({ headers: { 'x-tier': 'gold' } }), 'gold');
  assert.equal(await served({ headers: { 'x-tier': 'silver' } }), 'exact');
  assert.equal(await served({}), 'exact');
  assert.equal(await served({ headers: { 'x-tier': ['gold', 'silver'] } }), 'exact', 'two values are one, joined');
  assert.equal(await served({ path: '/acme.Other/Thing' }), 'rest');
  assert.equal((await client.call({ path: '/acme.Third/Thing' })).reason, 'no_route');
});

test('inbound needs no route and no name: everything is for the local service', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { localService: service.port });
  assert.equal((await outrider.inboundCaller().call({ authority: 'whatever.example', path: '/any.Service/Call' })).status, GrpcStatus.OK);
  assert.deepEqual(outrider.fates('inbound'), { ok: 1 });
});

test('the prefix of a message that is cut short is the service’s to judge', async (t) => {
  const { client, service } = await throughOne(t, (call) => {
    void call.body.then((body) => answerTrailersOnly(call, body.length === 3 ? 13 : 0));
  });
  assert.equal((await client.call({ bytes: Buffer.from([0, 0, 0]) })).status, GrpcStatus.INTERNAL);
  assert.equal((await client.call({ bytes: message('whole') })).status, GrpcStatus.OK);
  assert.equal(service.received.length, 2);
});

test('an answer that carries an unknown status comes through as it is', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => answerTrailersOnly(call, 99));
  assert.equal((await client.call()).status, 99);
  await until(() => outrider.fates().app_error === 1, 'the fate');
});
