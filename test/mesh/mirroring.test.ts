import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { indent, pass, startSidecar, type TestSidecar, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, beginAnswer, closedPort, type Handler, hold, message, startUpstream, until } from './upstream.ts';

checkLeaks();

interface Mirrored {
  readonly shadow?: Handler;
  readonly main?: Handler;
  readonly action?: string;
  readonly mirror?: string;
  readonly shadowCluster?: string;
  readonly options?: Omit<Parameters<typeof startSidecar>[1], 'policies'>;
  readonly shadowAddress?: string;
}

/** A service, and another that gets copies of its calls. */
const mirrored = async (t: TestContext, options: Mirrored = {}) => {
  const {
    shadow = (call) => answerOk(call),
    main = (call) => answerOk(call),
    action = '',
    mirror = '{ cluster: shadow }',
    shadowCluster = '',
  } = options;
  const service = await startUpstream(t, main);
  const copy = await startUpstream(t, shadow);
  const outrider: TestSidecar = await startSidecar(t, {
    ...options.options,
    policies: `routes:
  - match: { prefix: / }
    route:
      cluster: echo
      request_mirror_policies: [${mirror}]
${indent(action, 6)}
clusters:
  echo: { endpoints: ["${service.address}"], tls: { mode: disable } }
  shadow: { endpoints: ["${options.shadowAddress ?? copy.address}"], tls: { mode: disable }${shadowCluster} }
`,
  });
  const stat = (name: string) => outrider.stat(`http.outbound.mirror.${name}`);
  return { service, copy, outrider, client: outrider.caller(), stat };
};

test('another cluster gets a copy of each call, and its answer goes nowhere', async (t) => {
  const { client, copy, outrider, service, stat } = await mirrored(t, {
    shadow: (call) => answerTrailersOnly(call, GrpcStatus.INTERNAL),
    action: 'regex_rewrite: { pattern: { regex: "^/" }, substitution: /v2. }',
  });
  const answer = await client.call({ path: '/acme.Echo/Call', authority: 'echo:8080', headers: { 'x-user': 'u' } });
  assert.equal(answer.status, GrpcStatus.OK);
  const seen = await copy.call(0);
  assert.deepEqual(
    [':authority', ':path', 'x-user', 'x-outrider-shadow', 'te'].map((name) => seen.headers[name]),
    ['echo-shadow:8080', '/v2.acme.Echo/Call', 'u', '1', 'trailers'],
  );
  assert.deepEqual(await seen.body, message('ping'));
  assert.deepEqual(
    [service.received[0]?.headers[':authority'], service.received[0]?.headers['x-outrider-shadow']],
    ['echo:8080', undefined],
  );
  await until(() => stat('rq_active') === 0, 'the end of the copy');
  assert.deepEqual([stat('rq_total'), stat('rq_dropped')], [1, 0]);
  assert.equal(outrider.stat('cluster.shadow.upstream_rq_total'), 1);
  assert.equal(outrider.stat('cluster.shadow.circuit_breaker.state'), 0);
  assert.deepEqual(outrider.fates(), { ok: 1 });
});

test('messages of a stream are copied as they come, also those from before the copy had its connection', async (t) => {
  const { client, copy, service } = await mirrored(t, { main: hold, shadow: (call) => void call.body.then(() => answerOk(call)) });
  const call = client.start({ open: true, body: 'one' });
  const received = await service.call(0);
  call.write('two');
  call.write('three');
  call.end();
  assert.deepEqual(await (await copy.call(0)).body, Buffer.concat([message('one'), message('two'), message('three')]));
  answerOk(received);
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('a copy that nobody reads is dropped, and the call does not wait for it', async (t) => {
  const large = Buffer.alloc(400_000);
  const { client, copy, stat, service } = await mirrored(t, {
    main: (call) => void call.body.then(() => answerOk(call)),
    shadow: ({ stream }) => stream.pause(),
  });
  const answers = await Promise.all([1, 2, 3].map(() => client.call({ body: large })));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [0, 0, 0],
  );
  for (const { bytes } of service.received) assert.equal(bytes().length, 400_005);
  await until(() => stat('rq_active') === 0, 'the end of the copies');
  assert.equal(stat('rq_dropped'), 3);
  for (const { closed } of copy.received) assert.equal(await closed, 8, 'CANCEL');
});

test('a copy that is not answered ends after a time, and the call long before', async (t) => {
  const clock = virtualClock();
  const { client, stat } = await mirrored(t, { shadow: hold, options: { clock } });
  assert.equal((await client.call()).status, GrpcStatus.OK);
  await until(() => stat('rq_total') === 1, 'the copy');
  assert.equal(stat('rq_active'), 1);
  for (let second = 0; second < 30; second++) await pass(clock, 1_000);
  assert.deepEqual([stat('rq_active'), stat('rq_dropped')], [0, 1]);
});

test('where nobody takes copies the calls do not notice', async (t) => {
  const refused = await mirrored(t, { shadowAddress: `127.0.0.1:${await closedPort()}` });
  for (let i = 0; i < 3; i++) assert.equal((await refused.client.call()).status, GrpcStatus.OK);
  await until(() => refused.stat('rq_dropped') === 3, 'the copies that were dropped');
  const missing = await mirrored(t, { mirror: '{ cluster: nobody }' });
  assert.equal((await missing.client.call()).status, GrpcStatus.OK);
  assert.equal(missing.stat('rq_dropped'), 1);
});

test("copies are bounded by their own cluster's thresholds", async (t) => {
  const { client, copy, stat } = await mirrored(t, {
    shadow: hold,
    shadowCluster: ', circuit_breakers: { thresholds: [{ max_requests: 2 }] }',
  });
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual([copy.received.length, stat('rq_dropped'), stat('rq_active')], [2, 3, 2]);
  for (const call of copy.received) answerOk(call);
  await until(() => stat('rq_active') === 0, 'the end of the copies');
});

test('only a share is copied, and each policy draws for itself', async (t) => {
  let random = 0.2;
  const { client, copy } = await mirrored(t, {
    mirror:
      '{ cluster: shadow, runtime_fraction: { default_value: { numerator: 30 } } }, { cluster: shadow, runtime_fraction: { default_value: 60 }, disable_shadow_host_suffix_append: true }',
    options: { random: () => random },
  });
  await client.call();
  random = 0.5;
  await client.call();
  random = 0.9;
  await client.call();
  await copy.call(2);
  assert.deepEqual(copy.received.map(({ headers }) => headers[':authority']).sort(), ['echo', 'echo', 'echo-shadow']);
});

test('a caller that goes away in the middle of its request ends the copy as well', async (t) => {
  const { client, copy, stat } = await mirrored(t, { main: (call) => beginAnswer(call), shadow: hold });
  client.start({ open: true, body: 'one' });
  const seen = await copy.call(0);
  // Not the stream's own close, with which this client ends the request first.
  client.session.destroy();
  assert.equal(await seen.closed, 8, 'CANCEL');
  await until(() => stat('rq_active') === 0, 'the end of the copy');
});

test('attempts are not copied: the copy is of the call', async (t) => {
  const { client, copy, service } = await mirrored(t, {
    main: (call, index) => (index < 2 ? answerTrailersOnly(call, GrpcStatus.UNAVAILABLE) : answerOk(call)),
    action: 'idempotent: true\nretry_policy: { retry_on: unavailable, num_retries: 3, retry_back_off: { base_interval: 1ms } }',
  });
  assert.equal((await client.call()).status, GrpcStatus.OK);
  await copy.call(0);
  assert.deepEqual([service.received.length, copy.received.length], [3, 1]);
});
