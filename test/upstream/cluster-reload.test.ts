import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { ClusterPolicy } from '../../src/policy/index.ts';
import { defaultLoadBalancer, type LbPolicy } from '../../src/resilience/index.ts';
import { type Cluster, ClusterSet } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import {
  addressOf,
  answer,
  backend,
  clusterOf,
  contextOf,
  HandSource,
  policyOf,
  startCall,
  TestCall,
  tableOf,
  until,
} from './upstream-bench.ts';

checkLeaks();

const setOf = (t: TestContext, ...policies: ClusterPolicy[]) => {
  const sources: HandSource[] = [];
  const context = contextOf(new HandSource([]), {
    createSource: (policy) => {
      const endpoints = policy.kind === 'static' ? policy.endpoints : [];
      const source = new HandSource(endpoints);
      sources.push(source);
      return source;
    },
  });
  const clusters = new ClusterSet(context);
  t.after(() => clusters.close());
  clusters.apply(tableOf(...policies));
  return { clusters, sources };
};
const at = (...ports: number[]): ClusterPolicy['endpoints'] => ({ kind: 'static', endpoints: ports.map((port) => addressOf(port)) });

test('an endpoint that joins or leaves costs the others no connection', async (t) => {
  const [one, two] = [await backend(t), await backend(t)];
  const { cluster, source } = clusterOf(t, [addressOf(one.port)]);
  const [kept] = cluster.endpoints;
  const before = await startCall(kept);
  await before.ended;
  source.become(addressOf(one.port, { weight: 3 }), addressOf(two.port));
  // They are sorted by port, which the system chose.
  assert.ok(kept !== undefined && cluster.endpoints.includes(kept));
  assert.equal(kept.weight, 3);
  await (await startCall(cluster.endpoints.find((endpoint) => endpoint !== kept))).ended;
  source.become(addressOf(two.port));
  assert.deepEqual(
    cluster.endpoints.map(({ address }) => address.port),
    [two.port],
  );
  await until(() => before.connection?.closed === true, 'the connection of the endpoint that left');
  await (await startCall(cluster.pickEndpoint())).ended;
  assert.deepEqual([one.accepted, two.accepted], [1, 1]);
  assert.equal(cluster.stats.membershipChange, 3);
});

test('calls of an endpoint that leaves finish; those that wait for it are told at once that nothing was sent', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 1 }, hold: true });
  const thresholds = { maxConnections: 1, maxPendingRequests: 10, maxRequests: 10, maxRetries: 3 };
  const { cluster, source } = clusterOf(t, [addressOf(server.port)], { thresholds });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const active = await startCall(endpoint);
  const waiting = new TestCall(endpoint);
  await until(() => server.held.length === 1, 'the stream');
  source.become();
  assert.equal(waiting.waiter.error?.reason, 'no_endpoint');
  assert.equal(waiting.waiter.error?.unprocessed, true);
  assert.equal(new TestCall(endpoint).waiter.error?.reason, 'no_endpoint', 'also for who comes late');
  answer(server.held[0]);
  assert.deepEqual(await active.ended, { kind: 'answered' });
  await until(() => cluster.limits.connections.active === 0, 'the end of the connection');
  assert.equal(cluster.pickEndpoint(), undefined);
  assert.match(cluster.unavailable().message, /cluster "learner-svc" has no endpoint/);
});

test('a reload keeps clusters, connections, breakers and budgets whose options are the same', async (t) => {
  const server = await backend(t);
  const { clusters, sources } = setOf(t, policyOf({ endpoints: at(server.port) }));
  const cluster = clusters.get('learner-svc');
  assert.ok(cluster);
  const call = await startCall(cluster.pickEndpoint());
  await call.ended;
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const breaker = cluster.breakerFor(endpoint, '/a/b');
  const { budget } = cluster;
  clusters.apply(
    tableOf(
      policyOf({ endpoints: at(server.port), connectTimeoutMs: 1, loadBalancer: { ...defaultLoadBalancer, policy: 'least_request' } }),
    ),
  );
  assert.equal(clusters.get('learner-svc'), cluster);
  assert.equal(cluster.policy.connectTimeoutMs, 1);
  assert.equal(cluster.pickEndpoint(), endpoint);
  assert.equal(cluster.breakerFor(endpoint, '/a/b'), breaker);
  assert.equal(cluster.budget, budget);
  assert.equal((await startCall(endpoint)).connection, call.connection);
  assert.equal(sources.length, 1, 'the source of endpoints goes on too');
});

test('another lb_policy takes over on the spot, with what it wants to know of the endpoints and nothing else', (t) => {
  const by = (policy: LbPolicy): ClusterPolicy => policyOf({ endpoints: at(1, 2, 3), loadBalancer: { ...defaultLoadBalancer, policy } });
  const { clusters } = setOf(t, by('peak_ewma'));
  const cluster = clusters.get('learner-svc');
  assert.ok(cluster);
  assert.ok(cluster.endpoints.every(({ latency }) => latency !== undefined));
  const hash = { high: 7, low: 9 };
  clusters.apply(tableOf(by('ring_hash')));
  assert.ok(cluster.endpoints.every(({ latency }) => latency === undefined));
  const chosen = cluster.pickEndpoint(undefined, { hash, subset: undefined });
  for (let i = 0; i < 10; i++) assert.equal(cluster.pickEndpoint(undefined, { hash, subset: undefined }), chosen);
  clusters.apply(tableOf(by('client_side_weighted_round_robin')));
  assert.ok(cluster.endpoints.every(({ reportedLoad }) => reportedLoad !== undefined));
  clusters.apply(tableOf(by('round_robin')));
  assert.ok(cluster.endpoints.every(({ reportedLoad }) => reportedLoad === undefined));
  assert.equal(new Set([1, 2, 3].map(() => cluster.pickEndpoint())).size, 3);
});

test('a call gives back to the budget that let it in, also when a reload has put another in its place', async (t) => {
  const { clusters } = setOf(t, policyOf());
  const cluster = clusters.get('learner-svc');
  assert.ok(cluster);
  const admission = cluster.admit();
  const former = cluster.budget;
  const thresholds = { ...policyOf().thresholds, maxRequests: 1, retryBudget: { percent: 50, minConcurrency: 1 } };
  clusters.apply(tableOf(policyOf({ thresholds })));
  assert.notEqual(cluster.budget, former);
  assert.equal(cluster.admit(), undefined, 'the call from before counts against the new limit');
  assert.match(cluster.tooManyRequests().message, /1 calls are in flight already \(max_requests\)/);
  admission?.release();
  assert.equal(former.active, 0);
  assert.equal(cluster.budget.active, 0);
  cluster.admit()?.release();
  assert.equal(cluster.limits.requests.active, 0);
});

test('changed TLS options drain the connections, and new calls get new ones', async (t) => {
  const server = await backend(t, { hold: true });
  const policy = policyOf({ endpoints: at(server.port) });
  const { clusters } = setOf(t, policy);
  const cluster = clusters.get('learner-svc');
  const before = await startCall(cluster?.pickEndpoint());
  await until(() => server.held.length === 1, 'the first stream');
  clusters.apply(tableOf({ ...policy, tls: { ...policy.tls, sni: 'other' } }));
  const after = await startCall(cluster?.pickEndpoint());
  assert.notEqual(after.connection, before.connection);
  answer(server.held[0]);
  assert.deepEqual(await before.ended, { kind: 'answered' });
});

test('a new source of endpoints takes over when it has answered, not before', async (t) => {
  const [one, two] = [await backend(t), await backend(t)];
  const first = new HandSource([addressOf(one.port)]);
  const second = new HandSource([]);
  second.set({ endpoints: [], source: 'dns:learner', updatedAtMs: 0 });
  let made = 0;
  const clusters = new ClusterSet(contextOf(first, { createSource: () => (made++ === 0 ? first : second) }));
  t.after(() => clusters.close());
  clusters.apply(tableOf(policyOf({ endpoints: at(one.port) })));
  await clusters.resolved();
  clusters.apply(tableOf(policyOf({ endpoints: at(two.port) })));
  const cluster = clusters.get('learner-svc');
  assert.equal(cluster?.pickEndpoint()?.address.port, one.port);
  assert.equal(first.closed, true);
  assert.equal(first.listeners, 0);
  second.become(addressOf(two.port));
  assert.equal(cluster?.pickEndpoint()?.address.port, two.port);
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Ports of the members now. */
const portsOf = (cluster: Cluster): readonly number[] => cluster.endpoints.map(({ address }) => address.port);

test('thousands of endpoints that come at once are made in several turns, and what the source says meanwhile counts', async (t) => {
  const many = Array.from({ length: 3_500 }, (_, i) => addressOf(1_024 + i));
  const { cluster, source } = clusterOf(t, []);
  source.become(...many);
  const [first] = cluster.endpoints;
  assert.equal(cluster.endpoints.length, 250, 'who takes calls at once');
  await cluster.resolved;
  await until(() => cluster.endpoints.length !== 250, 'others');
  assert.equal(cluster.endpoints.length, 3_500, 'all others at once');
  assert.equal(cluster.endpoints[0], first);
  source.become();
  assert.equal(cluster.endpoints.length, 0);
  source.become(...many);
  source.become(...many.slice(0, 2));
  for (let i = 0; i < 40; i++) await turn();
  assert.deepEqual(portsOf(cluster), [1_024, 1_025]);
});

test('while thousands join and leave, calls see the members of before, and then those of after', async (t) => {
  const server = await backend(t, { hold: true });
  const before = Array.from({ length: 1_000 }, (_, i) => addressOf(1_024 + 2 * i));
  const stays = addressOf(server.port);
  const after = [...Array.from({ length: 3_000 }, (_, i) => addressOf(1_025 + 2 * i)), stays];
  const { cluster, source } = clusterOf(t, [...before, stays]);
  const known = cluster.endpoints.find(({ address }) => address.port === server.port);
  assert.ok(known);
  const call = await startCall(known);
  await until(() => server.held.length === 1, 'the stream');
  const former = cluster.endpoints;
  source.become(...after);
  assert.equal(cluster.endpoints, former);
  const picked = new Set<number>();
  let turns = 0;
  for (; cluster.endpoints === former; turns++) {
    picked.add(cluster.pickEndpoint()?.address.port ?? 0);
    await turn();
  }
  assert.ok(turns > 10, `${turns} turns`);
  assert.ok(
    [...picked].every((port) => port % 2 === 0 || port === server.port),
    'nobody is called before all are members',
  );
  assert.deepEqual(portsOf(cluster), [...new Set(after.map(({ port }) => port))].sort((a, b) => a - b)); // biome-ignore format: a list
  assert.ok(cluster.endpoints.includes(known), 'who stays is the same object');
  assert.equal(cluster.stats.membershipChange, 2);
  assert.equal(known.connections, 1);
  answer(server.held[0]);
  assert.deepEqual(await call.ended, { kind: 'answered' });
});

test('a change that overtakes another one takes over what was made for it, and leaves nobody behind', async (t) => {
  const many = (from: number, to: number, weight = 1) => Array.from({ length: to - from }, (_, i) => addressOf(from + i, { weight }));
  const { cluster, source } = clusterOf(t, many(1_024, 1_034));
  const kept = cluster.endpoints[5];
  source.become(...many(1_024, 5_000));
  await turn();
  source.become(...many(1_029, 4_000, 3));
  for (let i = 0; i < 3; i++) await turn();
  source.become(...many(1_029, 4_500, 7));
  await until(() => cluster.endpoints.length === 4_500 - 1_029, 'all of them');
  assert.ok(cluster.endpoints.every(({ weight }) => weight === 7));
  assert.equal(cluster.endpoints[0], kept);
  for (let i = 0; i < 60; i++) await turn();
  assert.equal(cluster.endpoints.length, 4_500 - 1_029);
});

test('thousands that leave drain in several turns, and a cluster that closes meanwhile ends them all', async (t) => {
  const server = await backend(t, { hold: true });
  const many = [...Array.from({ length: 1_000 }, (_, i) => addressOf(1_024 + i)), addressOf(server.port)];
  const { cluster, source } = clusterOf(t, many);
  const last = cluster.endpoints.find(({ address }) => address.port === server.port);
  const call = await startCall(last);
  source.become();
  assert.equal(cluster.pickEndpoint(), undefined);
  assert.equal(last?.removed, false, 'its turn comes later');
  cluster.close();
  assert.equal((await call.ended).kind, 'reset');
  for (let i = 0; i < 10; i++) await turn();
  assert.equal(last?.connections, 0);
});

test('a cluster that leaves the table finishes its calls, and is gone', async (t) => {
  const server = await backend(t, { hold: true });
  const { clusters, sources } = setOf(t, policyOf({ endpoints: at(server.port) }));
  const call = await startCall(clusters.get('learner-svc')?.pickEndpoint());
  await until(() => server.held.length === 1, 'the stream');
  clusters.apply(tableOf());
  assert.equal(clusters.get('learner-svc'), undefined);
  assert.equal(sources[0]?.closed, true);
  const drained = clusters.drain();
  answer(server.held[0]);
  assert.deepEqual(await call.ended, { kind: 'answered' });
  await drained;
});

test('closing ends every connection and source at once', async (t) => {
  const server = await backend(t, { hold: true });
  const { clusters, sources } = setOf(t, policyOf({ endpoints: at(server.port) }));
  const call = await startCall(clusters.get('learner-svc')?.pickEndpoint());
  clusters.close();
  assert.equal((await call.ended).kind, 'reset');
  assert.equal(clusters.size, 0);
  assert.equal(sources[0]?.closed, true);
});
