/** Which endpoint gets a call, through a real sidecar: stickiness, priorities, subsets, slow start. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Caller, CallOptions } from './caller.ts';
import { indent, pass, type SidecarOptions, startSidecar, type TestSidecar, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, startUpstream, type Upstream } from './upstream.ts';

checkLeaks();

interface Several {
  readonly outrider: TestSidecar;
  readonly client: Caller;
  readonly services: readonly Upstream[];
  /** Calls that each service got since the last time. */
  counts(): readonly number[];
  policies(endpoints?: readonly string[]): string;
}

interface SeveralOptions extends Omit<SidecarOptions, 'policies'> {
  readonly route?: string;
  readonly cluster?: string;
  /** What is written about each endpoint, beside its address. */
  readonly endpoint?: (i: number) => string;
}

/** A client, a sidecar, and several services that answer with their number. */
const several = async (t: TestContext, count: number, options: SeveralOptions = {}): Promise<Several> => {
  const { route = '', cluster = '', endpoint = () => '', ...rest } = options;
  const services: Upstream[] = [];
  for (let i = 0; i < count; i++) services.push(await startUpstream(t, (call) => answerOk(call, String(i))));
  const written = services.map(({ address }, i) => `{ address: "${address}"${endpoint(i)} }`);
  const policies = (endpoints: readonly string[] = written): string => `routes:
  - match: { prefix: /acme. }
    route:
      cluster: echo
${indent(route, 6)}
clusters:
  echo:
    tls: { mode: disable }
    endpoints: [${endpoints.join(', ')}]
${indent(cluster, 4)}
`;
  const outrider = await startSidecar(t, { ...rest, policies: policies() });
  const seen = services.map(() => 0);
  const counts = (): readonly number[] =>
    services.map(({ received }, i) => {
      const before = seen[i] as number;
      seen[i] = received.length;
      return received.length - before;
    });
  return { outrider, client: outrider.caller(), services, counts, policies };
};

const whoAnswers = async (client: Caller, options: CallOptions = {}): Promise<string> => {
  const answer = await client.call(options);
  assert.equal(answer.status, GrpcStatus.OK, answer.message);
  return answer.body.subarray(5).toString();
};

for (const policy of ['ring_hash', 'maglev']) {
  test(`${policy}: calls with the same header go to the same endpoint, others spread out`, async (t) => {
    const { client, counts } = await several(t, 4, {
      cluster: `lb_policy: ${policy}`,
      route: 'hash_policy: [{ header: { header_name: X-User } }]',
    });
    const first = await whoAnswers(client, { headers: { 'x-user': 'ada' } });
    for (let i = 0; i < 10; i++) assert.equal(await whoAnswers(client, { headers: { 'x-user': 'ada' } }), first);
    counts();
    for (let i = 0; i < 60; i++) await whoAnswers(client, { headers: { 'x-user': `user-${i}` } });
    for (const count of counts()) assert.ok(count > 0);
    for (let i = 0; i < 40; i++) await whoAnswers(client);
    for (const count of counts()) assert.ok(count > 0, 'a call without the header has nothing to stick to');
  });
}

test('a caller without the cookie is given one, and sticks where it leads', async (t) => {
  const { client, counts } = await several(t, 4, {
    cluster: 'lb_policy: ring_hash',
    route: 'hash_policy: [{ cookie: { name: session, ttl: 1h, path: /acme } }]',
  });
  for (let i = 0; i < 12; i++) {
    const answer = await client.call();
    const [made = ''] = answer.headers['set-cookie'] ?? [];
    const [, value = ''] = /^session="([0-9a-f]{16})"; Max-Age=3600; Path=\/acme; HttpOnly$/.exec(made) ?? [];
    assert.notEqual(value, '', made);
    const chosen = answer.body.subarray(5).toString();
    const again = await client.call({ headers: { cookie: `theme=dark; session="${value}"` } });
    assert.equal(again.body.subarray(5).toString(), chosen);
    assert.equal(again.headers['set-cookie'], undefined, 'it has one');
    assert.equal(await whoAnswers(client, { headers: { cookie: ['theme=dark', `session=${value}`] } }), chosen);
  }
  assert.ok(counts().filter((count) => count > 0).length > 1);
});

test('a cookie without a ttl is not made, and the next policy counts', async (t) => {
  const { client } = await several(t, 4, {
    cluster: 'lb_policy: maglev',
    route: 'hash_policy: [{ cookie: { name: session }, terminal: true }, { header: { header_name: x-user } }]',
  });
  const byHeader = await client.call({ headers: { 'x-user': 'ada' } });
  assert.equal(byHeader.headers['set-cookie'], undefined);
  const chosen = byHeader.body.subarray(5).toString();
  for (let i = 0; i < 8; i++) assert.equal(await whoAnswers(client, { headers: { 'x-user': 'ada' } }), chosen);
  const byCookie = await whoAnswers(client, { headers: { cookie: 'session=s1', 'x-user': 'ada' } });
  for (let i = 0; i < 8; i++) {
    const headers = { cookie: 'session=s1', 'x-user': `someone-${i}` };
    assert.equal(await whoAnswers(client, { headers }), byCookie, 'the cookie is terminal');
  }
});

test('by source_ip all calls of one caller go to one endpoint', async (t) => {
  const { counts, outrider } = await several(t, 3, {
    cluster: 'lb_policy: maglev',
    route: 'hash_policy: [{ connection_properties: { source_ip: true } }]',
  });
  // Connections differ in their port, which is not part of the address.
  for (let i = 0; i < 12; i++) await whoAnswers(outrider.caller());
  assert.deepEqual([...counts()].sort(), [0, 0, 12]);
});

test('an answer of headers alone carries the cookie as well', async (t) => {
  const service = await startUpstream(t, (call) => answerTrailersOnly(call, GrpcStatus.NOT_FOUND));
  const outrider = await startSidecar(t, {
    policies: `routes: [{ match: { prefix: / }, route: { cluster: echo, timeout: 5s, hash_policy: [{ cookie: { name: s, ttl: 0s } }] } }]
clusters: { echo: { endpoints: ["${service.address}"], tls: { mode: disable }, lb_policy: ring_hash } }
`,
  });
  const answer = await outrider.caller().call();
  assert.equal(answer.status, GrpcStatus.NOT_FOUND);
  assert.match(String(answer.headers['set-cookie']), /^s="[0-9a-f]{16}"; HttpOnly$/);
});

test('a retry leaves the endpoint that the hash says, and takes the same other one every time', async (t) => {
  const { client, services } = await several(t, 3, {
    cluster: 'lb_policy: ring_hash',
    route: 'timeout: 5s\nhash_policy: [{ header: { header_name: x-user } }]',
  });
  const first = Number(await whoAnswers(client, { headers: { 'x-user': 'ada' } }));
  await (services[first] as Upstream).stop();
  const second = await whoAnswers(client, { headers: { 'x-user': 'ada' } });
  assert.notEqual(Number(second), first);
  for (let i = 0; i < 5; i++) assert.equal(await whoAnswers(client, { headers: { 'x-user': 'ada' } }), second);
});

test('calls go to the first priority, and spill over to the next by what it cannot carry', async (t) => {
  const clock = virtualClock();
  const { client, counts, outrider } = await several(t, 4, {
    clock,
    endpoint: (i) => `, priority: ${i < 2 ? 0 : 1}, locality: eu/${i}`,
    cluster: 'outlier_detection: { consecutive_5xx: 1, max_ejection_percent: 50 }',
  });
  for (let i = 0; i < 10; i++) await whoAnswers(client);
  assert.deepEqual(counts(), [5, 5, 0, 0]);
  const cluster = outrider.sidecar.proxy.clusters.get('echo');
  const one = cluster?.endpoints.find(({ priority }) => priority === 0);
  assert.ok(cluster !== undefined && one !== undefined);
  cluster.judge(one, 'gateway_error', clock.now());
  for (let i = 0; i < 200; i++) await whoAnswers(client);
  const spilled = counts();
  assert.equal(Math.min(...spilled.slice(0, 2)), 0, 'the one that is ejected gets nothing');
  const first = Math.max(...spilled.slice(0, 2));
  // Half of it is healthy: it carries 70 %.
  assert.ok(first > 110 && first < 170, `${first} of 200 in the first priority`);
  assert.ok(Math.min(...spilled.slice(2)) > 10);
  const { text } = await outrider.admin('GET', '/clusters?format=json');
  const hosts = JSON.parse(text).cluster_statuses[0].host_statuses;
  assert.deepEqual(hosts.map(({ priority }: { priority: number }) => priority).sort(), [0, 0, 1, 1]);
  assert.deepEqual(
    hosts.filter(({ priority }: { priority: number }) => priority === 1).map(({ locality }: { locality: unknown }) => locality).length,
    2,
  );
});

test('a route’s metadata_match chooses the subset; where it has no endpoint the reply says what was asked for', async (t) => {
  const { client, counts, outrider, policies } = await several(t, 3, {
    endpoint: (i) => `, metadata: { version: v${i === 0 ? 1 : 2} }`,
    cluster: 'lb_subset_config: { subset_selectors: [{ keys: [version] }] }',
    route: 'timeout: 5s\nmetadata_match: { filter_metadata: { envoy.lb: { version: v2 } } }',
  });
  for (let i = 0; i < 10; i++) await whoAnswers(client);
  assert.deepEqual(counts(), [0, 5, 5]);
  outrider.writePolicies(policies().replace('{ version: v2 } } }', '{ version: v1 } } }'));
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  for (let i = 0; i < 4; i++) assert.equal(await whoAnswers(client), '0');
  outrider.writePolicies(policies().replace('{ version: v2 } } }', '{ version: v3 } } }'));
  await outrider.admin('POST', '/reload');
  const answer = await client.call();
  assert.deepEqual([answer.reason, answer.status], ['no_endpoint', GrpcStatus.UNAVAILABLE]);
  assert.match(answer.message, /no endpoint with version: v3/);
  assert.equal(outrider.stat('cluster.echo.lb_subsets_active'), 2);
  assert.equal(outrider.stat('cluster.echo.lb_subsets_selected'), 14);
});

test('an endpoint that joins is warmed up', async (t) => {
  const clock = virtualClock();
  const { client, counts, outrider, policies, services } = await several(t, 3, {
    clock,
    cluster: 'round_robin_lb_config: { slow_start_config: { slow_start_window: 4s } }',
  });
  const [one, two, three] = services.map(({ address }) => `"${address}"`) as [string, string, string];
  outrider.writePolicies(policies([one, two]));
  await outrider.admin('POST', '/reload');
  await pass(clock, 5_000);
  outrider.writePolicies(policies([one, two, three]));
  await outrider.admin('POST', '/reload');
  counts();
  for (let i = 0; i < 200; i++) await whoAnswers(client);
  const cold = counts()[2] as number;
  assert.ok(cold < 30, `${cold} of 200 while it is new`);
  await pass(clock, 4_000);
  for (let i = 0; i < 90; i++) await whoAnswers(client);
  assert.equal(counts()[2], 30, 'then it has its share');
});

test('peak_ewma turns away from an endpoint that answers late', async (t) => {
  const clock = virtualClock();
  const fast = await startUpstream(t, (call) => answerOk(call, 'fast'));
  const slow = await startUpstream(t, (call) => {
    // What is slow is the answer of the first call only; it counts for all that follow.
    clock.advance(500);
    answerOk(call, 'slow');
  });
  const outrider = await startSidecar(t, {
    clock,
    policies: `routes: [{ match: { prefix: / }, route: { cluster: echo, timeout: 0s } }]
clusters: { echo: { endpoints: ["${fast.address}", "${slow.address}"], tls: { mode: disable }, lb_policy: peak_ewma } }
`,
  });
  const client = outrider.caller();
  for (let i = 0; i < 40; i++) await whoAnswers(client);
  assert.ok(slow.received.length <= 3, `${slow.received.length} calls to the slow one`);
});

test('calls follow the load that services report in their trailers', async (t) => {
  const clock = virtualClock();
  const reporting = async (utilization: number): Promise<Upstream> =>
    await startUpstream(t, ({ stream }) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      const report = `TEXT application_utilization=${utilization},rps_fractional=100`;
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'endpoint-load-metrics': report }));
      stream.end();
    });
  const [idle, busy] = [await reporting(0.2), await reporting(0.8)];
  const outrider = await startSidecar(t, {
    clock,
    policies: `routes: [{ match: { prefix: / }, route: { cluster: echo, timeout: 0s } }]
clusters:
  echo:
    endpoints: ["${idle.address}", "${busy.address}"]
    tls: { mode: disable }
    lb_policy: client_side_weighted_round_robin
    client_side_weighted_round_robin_lb_config: { blackout_period: 10s }
`,
  });
  const client = outrider.caller();
  for (let i = 0; i < 20; i++) await client.call();
  assert.deepEqual([idle.received.length, busy.received.length], [10, 10], 'nothing is believed before the blackout is over');
  await pass(clock, 10_000);
  for (let i = 0; i < 100; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual([idle.received.length - 10, busy.received.length - 10], [80, 20]);
});
