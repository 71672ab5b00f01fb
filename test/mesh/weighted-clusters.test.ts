import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { indent, startSidecar } from './mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, startUpstream, until } from './upstream.ts';

checkLeaks();

interface Split {
  readonly action: string;
  readonly handlers?: readonly Handler[];
  readonly random?: () => number;
  /** Further keys of both clusters. */
  readonly cluster?: string;
}

const policiesOf = (action: string, addresses: readonly string[], cluster = ''): string => `routes:
  - name: split
    match: { prefix: /acme. }
    route:
${indent(action, 6)}
clusters:
${addresses.map((address, i) => `  ${'abc'[i]}: { endpoints: ["${address}"], tls: { mode: disable }${cluster} }`).join('\n')}
`;

/** Clusters `a` and `b`, each with one service that says its name. */
const split = async (t: TestContext, { action, handlers, random, cluster }: Split) => {
  const services = await Promise.all(
    ['a', 'b'].map((name, i) => startUpstream(t, handlers?.[i] ?? ((call) => answerOk(call, 'pong', { 'x-name': name })))),
  );
  const addresses = services.map(({ address }) => address);
  const outrider = await startSidecar(t, { policies: policiesOf(action, addresses, cluster), ...(random === undefined ? {} : { random }) });
  return { outrider, client: outrider.caller(), services, counts: () => services.map(({ received }) => received.length), addresses };
};

test('chance divides the calls by weight, and each cluster counts its own', async (t) => {
  let drawn = 0;
  const { client, counts, outrider } = await split(t, {
    action: 'weighted_clusters: [{ name: a, weight: 3 }, { name: b, weight: 1 }]',
    // The balancers of single endpoints draw nothing.
    random: () => (drawn++ % 8) / 8,
  });
  for (let i = 0; i < 16; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual(counts(), [12, 4]);
  assert.deepEqual([outrider.stat('cluster.a.upstream_rq_total'), outrider.stat('cluster.b.upstream_rq_total')], [12, 4]);
  const { text } = await outrider.admin('GET', '/metrics');
  assert.match(text, /grpc_requests_total\{service="b",method="\/acme\.",status="OK"\} 4/);
});

test('a weight of 0 gets nothing', async (t) => {
  const { client, counts } = await split(t, { action: 'weighted_clusters: [{ name: a, weight: 0 }, { name: b, weight: 1 }]' });
  for (let i = 0; i < 8; i++) await client.call();
  assert.deepEqual(counts(), [0, 8]);
});

test('by hash_policy a user stays with one cluster, also where that balances by the same hash', async (t) => {
  const { client, counts } = await split(t, {
    action: `hash_policy: [{ header: { header_name: x-user } }]
weighted_clusters: { use_hash_policy: true, clusters: [{ name: a, weight: 50 }, { name: b, weight: 50 }] }`,
    cluster: ', lb_policy: ring_hash',
  });
  const homes = new Set<unknown>();
  for (let user = 0; user < 12; user++) {
    const headers = { 'x-user': `user-${user}` };
    const first = (await client.call({ headers })).headers['x-name'];
    homes.add(first);
    for (let i = 0; i < 3; i++) assert.equal((await client.call({ headers })).headers['x-name'], first);
  }
  assert.equal(homes.size, 2, 'users of both');
  assert.equal(
    counts().reduce((sum, count) => sum + count),
    48,
  );
});

test('by a cookie that is made on the way, one cookie decides cluster and endpoint', async (t) => {
  const { client } = await split(t, {
    action: `hash_policy: [{ cookie: { name: s, ttl: 0s } }]
weighted_clusters: { use_hash_policy: true, clusters: [{ name: a, weight: 50 }, { name: b, weight: 50 }] }`,
    cluster: ', lb_policy: maglev',
  });
  const first = await client.call();
  const cookies = first.headers['set-cookie'] ?? [];
  assert.equal(cookies.length, 1);
  const cookie = String(cookies[0]).split(';')[0] as string;
  for (let i = 0; i < 6; i++) {
    const next = await client.call({ headers: { cookie } });
    assert.deepEqual([next.headers['x-name'], next.headers['set-cookie']], [first.headers['x-name'], undefined]);
  }
});

test('by a header the number in it decides', async (t) => {
  const { client, counts } = await split(t, {
    action: 'weighted_clusters: { header_name: x-number, clusters: [{ name: a, weight: 5 }, { name: b, weight: 5 }] }',
  });
  for (const number of [0, 4, 10, 14, 5, 9, 19]) await client.call({ headers: { 'x-number': String(number) } });
  assert.deepEqual(counts(), [4, 3]);
});

test('attempts of one call go to the same cluster', async (t) => {
  let random = 0;
  const { client, counts } = await split(t, {
    action:
      'weighted_clusters: [{ name: a, weight: 1 }, { name: b, weight: 1 }]\nidempotent: true\nretry_policy: { retry_on: unavailable, num_retries: 2, retry_back_off: { base_interval: 1ms } }',
    handlers: [
      (call) => {
        random = 0.9;
        answerTrailersOnly(call, GrpcStatus.UNAVAILABLE);
      },
      (call) => answerOk(call),
    ],
    random: () => random,
  });
  assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.deepEqual(counts(), [3, 0]);
});

test("headers of a cluster come before those of the route, and a cluster's are its own", async (t) => {
  const { client, services } = await split(t, {
    action: `weighted_clusters:
  - { name: a, weight: 1, request_headers_to_add: [{ header: { key: x-to, value: "%UPSTREAM_CLUSTER%" } }], response_headers_to_add: [{ header: { key: x-by, value: first } }] }
  - { name: b, weight: 0 }`,
  });
  const answer = await client.call();
  assert.deepEqual([services[0]?.received[0]?.headers['x-to'], answer.headers['x-by']], ['a', 'first']);
});

test('a cluster that is not there says so for its share only', async (t) => {
  let random = 0;
  const { client, outrider } = await split(t, {
    action: 'weighted_clusters: [{ name: a, weight: 1 }, { name: gone, weight: 1 }]',
    random: () => random,
  });
  assert.equal((await client.call()).status, GrpcStatus.OK);
  random = 0.5;
  const lost = await client.call();
  assert.deepEqual([lost.reason, lost.status], ['no_cluster', GrpcStatus.UNAVAILABLE]);
  assert.match(lost.message, /route split .* names cluster gone/);
  assert.deepEqual(outrider.fates(), { ok: 1, no_cluster: 1 });
});

test('new weights keep what clusters have counted and whom they are connected to', async (t) => {
  const nobody = `127.0.0.1:${await closedPort()}`;
  const { client, counts, outrider, addresses, services } = await split(t, {
    action: 'weighted_clusters: [{ name: a, weight: 1 }, { name: b, weight: 0 }]',
  });
  await client.call();
  outrider.writePolicies(
    policiesOf('weighted_clusters: [{ name: a, weight: 1 }, { name: b, weight: 0 }, { name: c, weight: 0 }]', [...addresses, nobody]),
  );
  await until(() => outrider.sidecar.proxy.clusters.get('c') !== undefined, 'the new policies');
  await client.call();
  assert.deepEqual(counts(), [2, 0]);
  assert.deepEqual([outrider.stat('cluster.a.upstream_rq_total'), services[0]?.accepted], [2, 1]);
});

test('a route with runtime_fraction takes its share of the calls by chance, and leaves the others to those that follow', async (t) => {
  let drawn = 0;
  const [a, b] = await Promise.all(['a', 'b'].map(() => startUpstream(t, (call) => answerOk(call, 'pong'))));
  const outrider = await startSidecar(t, {
    policies: `routes:
  - { name: canary, match: { prefix: /acme., runtime_fraction: { default_value: { numerator: 25 } } }, route: { cluster: b } }
  - { name: rest, match: { prefix: /acme. }, route: { cluster: a } }
clusters:
  a: { endpoints: ["${a?.address}"], tls: { mode: disable } }
  b: { endpoints: ["${b?.address}"], tls: { mode: disable } }
`,
    random: () => (drawn++ % 8) / 8,
  });
  const client = outrider.caller();
  for (let i = 0; i < 16; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual([a?.received.length, b?.received.length], [12, 4]);
  const { text } = await outrider.admin('GET', '/routes');
  assert.match(text, /"runtime_fraction":\s*\{\s*"default_value":\s*\{\s*"numerator":\s*250000,\s*"denominator":\s*"MILLION"/);
});
