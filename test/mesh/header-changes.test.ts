import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { indent, startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, startUpstream, type Upstream } from './upstream.ts';

checkLeaks();

/** A sidecar with one route around further keys of the route and of its action. */
const through = async (
  t: TestContext,
  { match = '{ prefix: /acme. }', route = '', action = '' },
  upstream: Pick<Upstream, 'address'>,
): Promise<TestSidecar> =>
  await startSidecar(t, {
    policies: `routes:
  - name: echo-route
    match: ${match}
${indent(route, 4)}
    route:
      cluster: echo
${indent(action, 6)}
clusters:
  echo: { endpoints: ["${upstream.address}"], tls: { mode: disable } }
`,
  });

test('headers are removed and added on the way to the service and on the way back', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call, 'pong', { server: 'x', 'x-there': 'old', 'x-list': 'a' }));
  const outrider = await through(
    t,
    {
      route: `
request_headers_to_remove: [X-Debug, user-agent]
request_headers_to_add:
  - { header: { key: X-Tenant, value: "%REQ(x-organisation?x-user)%" } }
  - { header: { key: x-kept, value: new }, append_action: ADD_IF_ABSENT }
  - { header: { key: x-replaced, value: new }, append: false }
  - { header: { key: x-only-there, value: new }, append_action: OVERWRITE_IF_EXISTS }
  - { header: { key: x-list, value: b } }
  - { header: { key: x-about, value: "%ROUTE_NAME% of %UPSTREAM_CLUSTER% from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%, 100%%" } }
  - { header: { key: x-first, value: "%REQ(:path):6%" } }
  - { header: { key: x-nothing, value: "%REQ(x-missing)%" } }
  - { header: { key: x-empty, value: "%REQ(x-missing)%" }, keep_empty_value: true }
response_headers_to_remove: [server]
response_headers_to_add:
  - { header: { key: x-there, value: "for %REQ(x-user)%" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
  - { header: { key: x-list, value: b } }`,
    },
    service,
  );
  const answer = await outrider.caller().call({
    headers: { 'x-debug': '1', 'user-agent': 'grpc-x', 'x-user': 'u1', 'x-kept': 'old', 'x-replaced': ['one', 'two'], 'x-list': 'a' },
  });
  assert.equal(answer.status, GrpcStatus.OK);
  const seen = service.received[0]?.headers ?? assert.fail();
  assert.deepEqual(
    [
      'x-debug',
      'user-agent',
      'x-tenant',
      'x-kept',
      'x-replaced',
      'x-only-there',
      'x-list',
      'x-about',
      'x-first',
      'x-nothing',
      'x-empty',
    ].map((name) => seen[name]),
    [undefined, undefined, 'u1', 'old', 'new', undefined, 'a, b', 'echo-route of echo from 127.0.0.1, 100%', '/acme.', undefined, ''],
  );
  assert.deepEqual([answer.headers['server'], answer.headers['x-there'], answer.headers['x-list']], [undefined, 'for u1', 'a, b']);
});

test('answers of ours and answers without a body have the headers too', async (t) => {
  const route = 'response_headers_to_add: [{ header: { key: x-extra, value: here } }]';
  const failing = await startUpstream(t, (call) => answerTrailersOnly(call, GrpcStatus.NOT_FOUND));
  const trailersOnly = await (await through(t, { route }, failing)).caller().call();
  assert.deepEqual([trailersOnly.status, trailersOnly.trailersOnly, trailersOnly.headers['x-extra']], [GrpcStatus.NOT_FOUND, true, 'here']);
  const nobody = { address: `127.0.0.1:${await closedPort()}` };
  const ours = await (await through(t, { route }, nobody)).caller().call();
  assert.deepEqual([ours.reason, ours.headers['x-extra']], ['connect_failure', 'here']);
});

test('each attempt carries the same headers, once', async (t) => {
  const service = await startUpstream(t, (call, index) => (index < 2 ? answerTrailersOnly(call, GrpcStatus.UNAVAILABLE) : answerOk(call)));
  const outrider = await through(
    t,
    {
      route: 'request_headers_to_add: [{ header: { key: x-extra, value: here } }]',
      action:
        'prefix_rewrite: /acme.v2.\nretry_policy: { retry_on: unavailable, num_retries: 3, retry_back_off: { base_interval: 1ms } }\nidempotent: true',
    },
    service,
  );
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  assert.deepEqual(
    service.received.map(({ headers }) => [headers['x-extra'], headers[':path']]),
    [1, 2, 3].map(() => ['here', '/acme.v2.Echo/Call']),
  );
});

test('the service sees the rewritten path and the one that came; routes and statistics see the one that came', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await through(t, { action: 'prefix_rewrite: /acme.billing.v2.' }, service);
  assert.equal((await outrider.caller().call({ path: '/acme.Echo/Call' })).status, GrpcStatus.OK);
  const seen = service.received[0]?.headers ?? assert.fail();
  assert.deepEqual([seen[':path'], seen['x-envoy-original-path']], ['/acme.billing.v2.Echo/Call', '/acme.Echo/Call']);
  const metrics = await outrider.admin('GET', '/metrics');
  assert.match(metrics.text, /grpc_requests_total\{[^}]*method="\/acme\."/);
});

test('what is kept of one call is not said of the next: methods that take turns are rewritten each to its own path', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const route = 'request_headers_to_add: [{ header: { key: x-route, value: "%ROUTE_NAME%, %UPSTREAM_CLUSTER%" } }]';
  const outrider = await through(t, { action: 'prefix_rewrite: /acme.v2.', route }, service);
  const client = outrider.caller();
  const methods = ['Echo/Call', 'Echo/Call', 'Echo/Cal2', 'Longer/Call', 'Echo/Call'];
  for (const method of methods) assert.equal((await client.call({ path: `/acme.${method}` })).status, GrpcStatus.OK);
  assert.deepEqual(
    service.received.map(({ headers }) => [headers[':path'], headers['x-envoy-original-path'], headers['x-route']]),
    methods.map((method) => [`/acme.v2.${method}`, `/acme.${method}`, 'echo-route, echo']),
  );
});

test('a pattern is replaced with its groups', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const action = `regex_rewrite: { pattern: { regex: '^/acme\\.(\\w+)/' }, substitution: '/beta.\\1\\1.V$1/' }`.replace('$1', '1');
  const outrider = await through(t, { action }, service);
  await outrider.caller().call();
  assert.equal(service.received[0]?.headers[':path'], '/beta.EchoEcho.V1/Call');
});

test('a path that is rewritten to none of gRPC is refused, and says by which route', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await through(t, { action: 'prefix_rewrite: /a/b/' }, service);
  const answer = await outrider.caller().call();
  assert.equal(answer.reason, 'malformed_request');
  assert.match(
    answer.message,
    /route echo-route \(.*\) rewrites \/acme\.Echo\/Call to "\/a\/b\/Echo\/Call", which is no \/package\.Service\/Method/,
  );
  assert.equal(service.received.length, 0);
  assert.deepEqual(outrider.fates(), { malformed_request: 1 });
});

test('each call has the values of its own connection and path, whichever came before', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await through(
    t,
    {
      action: 'prefix_rewrite: /v2.',
      route: `
request_headers_to_remove: [x-gone]
request_headers_to_add:
  - { header: { key: x-from, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
  - { header: { key: x-user-copy, value: "%REQ(x-user)%" } }`,
    },
    service,
  );
  const caller = outrider.caller();
  const paths = ['/acme.S/M', '/acme.S/M', '/acme.S/Longer', '/acme.S/M'];
  for (const [i, path] of paths.entries()) {
    const answer = await caller.call({ path, headers: { 'x-user': `u${i % 3}`, 'x-from': ['forged', 'twice'], 'x-gone': ['1', '2'] } });
    assert.equal(answer.status, GrpcStatus.OK);
  }
  assert.deepEqual(
    service.received.map(({ headers }) =>
      [':path', 'x-envoy-original-path', 'x-from', 'x-user-copy', 'x-gone'].map((name) => headers[name]),
    ),
    paths.map((path, i) => [path.replace('acme', 'v2'), path, '127.0.0.1', `u${i % 3}`, undefined]),
  );
});
