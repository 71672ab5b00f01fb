import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import type { BreakerPolicy } from '../../src/policy/index.ts';
import { subsetKey } from '../../src/resilience/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { addressOf, clusterOf, policyOf } from './upstream-bench.ts';

checkLeaks();

const breaker = (scope: BreakerPolicy['scope']): BreakerPolicy => ({ consecutiveFailures: 2, recoveryTimeoutMs: 60_000, scope });
const method = '/learner.LearnerService/GetProfile';
const statsOf = (cluster: ReturnType<typeof clusterOf>['cluster']): ReadonlyMap<string, number> => {
  const found = new Map<string, number>();
  const take = (name: string, value: number): void => {
    found.set(name, value);
  };
  cluster.collectStats({ counter: take, gauge: take });
  return found;
};

test('the next attempt avoids what the call has tried, as long as another is left', (t) => {
  const { cluster } = clusterOf(t, [addressOf(1), addressOf(2), addressOf(3)]);
  const [one, two, three] = cluster.endpoints;
  assert.ok(one && two && three);
  for (let i = 0; i < 20; i++) {
    assert.equal(cluster.pickEndpoint([one, three]), two);
    assert.ok(cluster.pickEndpoint([one, two, three]));
  }
  assert.equal(cluster.untriedEndpoints([one, three]), 1);
  assert.equal(cluster.untriedEndpoints(undefined), 3);
});

test('in scope endpoint an open endpoint is skipped, and only when all are open there is none', (t) => {
  const clock = new VirtualClock();
  const { cluster } = clusterOf(t, [addressOf(1), addressOf(2)], { breaker: breaker('endpoint') }, { clock });
  const [one, two] = cluster.endpoints;
  assert.ok(one && two);
  cluster.breakers.hold('OPEN', Number.POSITIVE_INFINITY, { endpoint: one.key });
  for (let i = 0; i < 10; i++) assert.equal(cluster.pickEndpoint(), two);
  assert.equal(cluster.pickEndpoint([two]), two, 'tried is better than open');
  assert.equal(cluster.untriedEndpoints([two]), 0);
  assert.equal(cluster.isHealthy(one), false);
  assert.equal(statsOf(cluster).get('cluster.learner-svc.membership_healthy'), 1);
  const second = cluster.breakerFor(two, method);
  for (let i = 0; i < 2; i++) second.fail(second.tryEnter(clock.now()), clock.now());
  assert.equal(cluster.pickEndpoint(), undefined);
  assert.equal(cluster.unavailable().reason, 'circuit_open');
  assert.match(cluster.unavailable().message, /^Circuit breaker OPEN: cluster "learner-svc", all endpoints/);
  clock.advance(60_000);
  assert.equal(cluster.pickEndpoint(), two, 'for its probe');
  assert.equal(cluster.breakers.reset({}), 2);
  assert.equal(cluster.isHealthy(one), true);
});

test('in scope method other methods go on, and those beyond the bound share one breaker', (t) => {
  const { cluster } = clusterOf(t, [addressOf(1)], { breaker: breaker('method') });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  assert.equal(cluster.breakers.hold('OPEN', 60_000, { method }), 1, 'also before anybody asked for it');
  const nowMs = cluster.context.engine.clock.now();
  assert.equal(cluster.breakerRefuses(method, nowMs), true);
  assert.equal(cluster.breakerRefuses('/other/Method', nowMs), false);
  for (let i = 0; i < 1_500; i++) cluster.breakerFor(endpoint, `/made.Up/M${i}`);
  assert.equal(cluster.breakerFor(endpoint, '/made.Up/M1400'), cluster.breakerFor(endpoint, '/made.Up/M1499'));
  assert.equal(cluster.breakers.views().length, 1_001);
});

test('an endpoint that comes back begins with a breaker of its own', (t) => {
  const { cluster, source } = clusterOf(t, [addressOf(1), addressOf(2)], { breaker: breaker('endpoint') });
  source.become(addressOf(2));
  source.become(addressOf(1), addressOf(2));
  assert.deepEqual(
    cluster.breakers
      .views()
      .map(({ endpoint }) => endpoint)
      .sort(),
    ['127.0.0.1:1', '127.0.0.1:2'],
  );
  const [one] = cluster.endpoints;
  assert.ok(one?.breaker);
  assert.equal(cluster.breakers.views({ endpoint: one.key })[0]?.breaker, one.breaker);
});

test("the cluster's numbers have Envoy's names", (t) => {
  const { cluster } = clusterOf(t, [addressOf(1), addressOf(2)]);
  const admission = cluster.admit();
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  endpoint.begin();
  cluster.stats.upstreamRqRetry++;
  const during = statsOf(cluster);
  const of = (stats: ReadonlyMap<string, number>, name: string) => stats.get(`cluster.learner-svc.${name}`);
  assert.equal(of(during, 'upstream_rq_total'), 1);
  assert.equal(of(during, 'upstream_rq_active'), 1);
  assert.equal(of(during, 'upstream_rq_retry'), 1);
  assert.equal(of(during, 'membership_total'), 2);
  assert.equal(of(during, 'circuit_breakers.default.remaining_rq'), 99);
  assert.equal(of(during, 'circuit_breakers.default.rq_open'), 0);
  assert.equal(of(during, 'circuit_breaker.state'), 0);
  for (const name of ['upstream_cx_active', 'upstream_cx_overflow', 'upstream_rq_pending_active', 'upstream_rq_pending_overflow']) {
    assert.equal(of(during, name), 0, name);
  }
  endpoint.end('timeout');
  admission?.release();
  cluster.breakers.hold('OPEN', 60_000, {});
  const after = statsOf(cluster);
  assert.equal(of(after, 'upstream_rq_active'), 0);
  assert.equal(of(after, 'circuit_breaker.state'), 1);
  assert.equal(of(after, 'circuit_breaker.opens_total'), 1);
  assert.deepEqual(Object.fromEntries(endpoint.stats.entries()), {
    cx_active: 0,
    cx_connect_fail: 0,
    cx_total: 0,
    rq_active: 0,
    rq_error: 1,
    rq_success: 0,
    rq_timeout: 1,
    rq_total: 1,
  });
});

test('what a source says of endpoints that stay changes who is chosen, and no endpoint', (t) => {
  const subsets = {
    selectors: [{ keys: ['version'], fallback: 'no_fallback' as const, fallbackKeys: [] }],
    fallback: 'no_fallback' as const,
    defaultSubset: {},
  };
  const loadBalancer = { ...policyOf().loadBalancer, policy: 'round_robin' as const, subsets };
  const versioned = (port: number, version: string, weight = 1) => addressOf(port, { metadata: { version }, weight });
  const { cluster, source } = clusterOf(t, [versioned(1, 'v1'), versioned(2, 'v2')], { loadBalancer });
  const [one, two] = cluster.endpoints;
  assert.ok(one && two);
  const chosen = (version: string) => cluster.pickEndpoint(undefined, { hash: undefined, subset: subsetKey({ version }) });
  assert.deepEqual([chosen('v1'), chosen('v2')], [one, two]);
  source.become(versioned(1, 'v2'), versioned(2, 'v1'));
  assert.deepEqual([chosen('v1'), chosen('v2')], [two, one]);
  assert.deepEqual(cluster.endpoints, [one, two]);
  assert.equal(cluster.stats.membershipChange, 1);
  source.become(versioned(1, 'v1', 3), versioned(2, 'v1', 1));
  const picks = Array.from({ length: 40 }, () => chosen('v1'));
  assert.deepEqual(
    [one, two].map((endpoint) => picks.filter((pick) => pick === endpoint).length),
    [30, 10],
  );
  assert.equal(cluster.stats.membershipChange, 1);
});
