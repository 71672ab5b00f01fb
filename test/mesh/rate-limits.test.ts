import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Caller, CallOptions } from './caller.ts';
import { echoPolicies, MeshCertificates, pass, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const limit = (keys: string): string => `local_rate_limit: { stat_prefix: p, ${keys} }`;

/** The statuses of so many calls, one after the other. */
const statuses = async (client: Caller, count: number, options: CallOptions = {}): Promise<readonly number[]> => {
  const seen: number[] = [];
  for (let i = 0; i < count; i++) seen.push((await client.call(options)).status);
  return seen;
};

test('calls beyond the bucket are refused at once, told when to come again, and pass when it has filled', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    clock,
    random: () => 0.5,
    route: `${limit('token_bucket: { max_tokens: 2, tokens_per_fill: 1, fill_interval: 10s }')}
retry_policy: { retry_on: resource-exhausted, num_retries: 5 }
idempotent: true`,
  });
  assert.deepEqual(await statuses(client, 2), [GrpcStatus.OK, GrpcStatus.OK]);
  await pass(clock, 4_000);
  const refused = await client.call();
  assert.deepEqual([refused.status, refused.reason, refused.trailersOnly], [GrpcStatus.RESOURCE_EXHAUSTED, 'rate_limited', true]);
  assert.match(refused.message, /local_rate_limit of route echo-route \(.*policies\.yaml:2:\d+\) allows; .* call again in \d+ ms/);
  const pushbackMs = Number(refused.headers['grpc-retry-pushback-ms']);
  assert.ok(
    pushbackMs > 5_000 && pushbackMs <= 15_000,
    `a token comes within the fill, and callers are spread over one more: ${pushbackMs}`,
  );
  await pass(clock, 6_000);
  assert.deepEqual(await statuses(client, 2), [GrpcStatus.OK, GrpcStatus.RESOURCE_EXHAUSTED]);
  assert.equal(service.received.length, 3, 'what is refused is not tried again');
  const stat = (name: string) => outrider.stat(`p.http_local_rate_limit.${name}`);
  assert.deepEqual(['enabled', 'ok', 'rate_limited', 'enforced'].map(stat), [5, 3, 2, 2]);
  assert.deepEqual(outrider.fates(), { ok: 3, rate_limited: 2 });
});

test('each value of a header has a bucket, and calls without the header only the common one', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), {
    clock,
    route: limit(
      'token_bucket: { max_tokens: 100, fill_interval: 1s }, rate_limits: [{ actions: [{ request_headers: { header_name: x-tenant, descriptor_key: tenant } }] }], descriptors: [{ entries: [{ key: tenant }], token_bucket: { max_tokens: 1, fill_interval: 1s } }, { entries: [{ key: tenant, value: big }], token_bucket: { max_tokens: 3, fill_interval: 1s } }]',
    ),
  });
  const of = async (tenant: string, count: number) =>
    (await statuses(client, count, { headers: { 'x-tenant': tenant } })).filter((status) => status === GrpcStatus.OK).length;
  assert.deepEqual([await of('a', 3), await of('b', 3), await of('big', 5)], [1, 1, 3]);
  assert.deepEqual(await statuses(client, 3), [0, 0, 0]);
  assert.equal(outrider.stat('p.http_local_rate_limit.dynamic_descriptors'), 2);
});

test('inbound, callers are told apart by their certificates', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const certificates = await MeshCertificates.create(t);
  const outrider = await startSidecar(t, {
    name: 'callee',
    localService: service.port,
    certificates: await certificates.issue('callee'),
    policies: `inbound:
  routes:
    - match: { prefix: / }
      route:
        timeout: 0s
        local_rate_limit:
          token_bucket: { max_tokens: 100, fill_interval: 1h }
          rate_limits: [{ actions: [{ caller_identity: {} }] }]
          descriptors:
            - { entries: [{ key: caller_identity }], token_bucket: { max_tokens: 2, fill_interval: 1h } }
            - { entries: [{ key: caller_identity, value: "spiffe://mesh.local/service/importer" }], token_bucket: { max_tokens: 4, fill_interval: 1h } }
`,
  });
  const callerOf = async (name: string) => {
    const { certPem, keyPem } = await certificates.pair(name);
    return outrider.inboundCaller({ cert: certPem, key: keyPem, ca: certificates.authority.certPem, servername: 'callee' });
  };
  const passed = async (client: Caller) => (await statuses(client, 5)).filter((status) => status === GrpcStatus.OK).length;
  const first = await callerOf('reader');
  const again = await callerOf('reader');
  const writer = await callerOf('writer');
  const importer = await callerOf('importer');
  assert.deepEqual([await passed(first), await passed(again), await passed(writer), await passed(importer)], [2, 0, 2, 4]);
  assert.deepEqual(outrider.fates('inbound'), { ok: 8, rate_limited: 12 });
});

test('a limit that is not enforced counts only', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), {
    route: limit('token_bucket: { max_tokens: 1, fill_interval: 1h }, filter_enforced: { default_value: 0 }'),
  });
  assert.deepEqual(await statuses(client, 3), [0, 0, 0]);
  const stat = (name: string) => outrider.stat(`p.http_local_rate_limit.${name}`);
  assert.deepEqual(['enabled', 'ok', 'rate_limited', 'enforced'].map(stat), [3, 1, 2, 0]);
});

test('a reload keeps what was taken, and a route that is written no more forgets it', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const policies = (tokens: number, timeout: string) =>
    echoPolicies({
      endpoints: [service.address],
      route: `timeout: ${timeout}${tokens === 0 ? '' : `\n${limit(`token_bucket: { max_tokens: ${tokens}, fill_interval: 1h }`)}`}`,
    });
  const outrider = await startSidecar(t, { policies: policies(2, '10s') });
  const client = outrider.caller();
  const reload = async (text: string): Promise<void> => {
    const before = outrider.sidecar.proxy.clusters;
    const version = async () => JSON.parse((await outrider.admin('GET', '/routes')).text).version as string;
    const was = await version();
    outrider.writePolicies(text);
    let now = was;
    while (now === was) now = await version();
    assert.equal(outrider.sidecar.proxy.clusters, before);
  };
  assert.deepEqual(await statuses(client, 3), [0, 0, GrpcStatus.RESOURCE_EXHAUSTED]);
  await reload(policies(2, '20s'));
  assert.deepEqual(await statuses(client, 1), [GrpcStatus.RESOURCE_EXHAUSTED]);
  await reload(policies(3, '20s'));
  assert.deepEqual(await statuses(client, 2), [0, GrpcStatus.RESOURCE_EXHAUSTED]);
  assert.equal(outrider.stat('p.http_local_rate_limit.ok'), 3);
  await reload(policies(0, '20s'));
  assert.deepEqual(await statuses(client, 2), [0, 0]);
});

test('calls that are refused hold nothing', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), {
    route: limit('token_bucket: { max_tokens: 1, fill_interval: 1h }'),
  });
  await client.call();
  const before = outrider.stat('server.header_blocks_out');
  const answers = await Promise.all(Array.from({ length: 50 }, () => client.call({ body: Buffer.alloc(10_000) })));
  assert.equal(answers.filter(({ status }) => status === GrpcStatus.RESOURCE_EXHAUSTED).length, 50);
  await until(() => outrider.stat('server.header_blocks_out') === before, 'all blocks given back');
});

test('limits that share a prefix are added up, so that each name occurs once', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const limited = 'local_rate_limit: { token_bucket: { max_tokens: 9, fill_interval: 1h } }';
  const outrider = await startSidecar(t, {
    localService: service.port,
    policies: `routes: [{ match: { prefix: / }, route: { cluster: echo, timeout: 5s, ${limited} } }]
inbound: { routes: [{ match: { prefix: / }, route: { timeout: 5s, ${limited} } }] }
clusters: { echo: { endpoints: ["${service.address}"], tls: { mode: disable } } }
`,
  });
  await statuses(outrider.caller(), 2);
  await statuses(outrider.inboundCaller(), 3);
  const { text } = await outrider.admin('GET', '/stats?filter=http_local_rate_limit.ok');
  assert.equal(text, 'prefix_/.http_local_rate_limit.ok: 5\n');
});
