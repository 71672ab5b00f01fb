import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import type { Cluster } from '../../src/upstream/index.ts';
import { OnDemandClusters } from '../../src/upstream/on-demand-clusters.ts';

/** What the set looks at of a cluster. */
interface FakeCluster {
  readonly name: string;
  endpoints: readonly unknown[];
  readonly stats: { upstreamRqTotal: number };
  readonly limits: { readonly requests: { active: number } };
}

const make = () => {
  const clock = new VirtualClock();
  const released: string[] = [];
  const clusters = new OnDemandClusters({
    clock,
    create: (name) =>
      ({
        name,
        endpoints: [],
        stats: { upstreamRqTotal: 0 },
        limits: { requests: { active: 0 } },
      }) satisfies FakeCluster as unknown as Cluster,
    onReleased: ({ name }) => released.push(name),
  });
  const demand = (name: string): FakeCluster => {
    const cluster = clusters.demand(name);
    assert.ok(cluster !== undefined && cluster !== 'too_many', name);
    return cluster as unknown as FakeCluster;
  };
  /** One that Consul knows. */
  const known = (name: string): FakeCluster => {
    const cluster = demand(name);
    cluster.endpoints = [{}];
    return cluster;
  };
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      clock.advance(1_000);
      clusters.sweep();
    }
  };
  return { clock, clusters, demand, known, pass, released };
};

test('a name is asked for once, and what no service can be called is none', () => {
  const { clusters, demand } = make();
  assert.equal(demand('learner-svc'), demand('learner-svc'));
  for (const name of ['', '10.0.0.1', '::1', 'localhost', '-a', 'a b', 'a/b', '[x]', 'A', 'a'.repeat(129)])
    assert.equal(clusters.demand(name), undefined, name);
  assert.equal(clusters.size, 1);
});

test('a service that nobody calls is released after ten minutes, and a name that nobody knows after one', () => {
  const { clusters, demand, known, pass, released } = make();
  const busy = known('busy');
  const held = known('held');
  held.limits.requests.active = 1;
  known('idle');
  demand('unknown');
  pass(59_000);
  assert.deepEqual(released, []);
  pass(1_000);
  assert.deepEqual(released, ['unknown']);
  pass(530_000);
  busy.stats.upstreamRqTotal++;
  pass(20_000);
  assert.deepEqual(released, ['unknown', 'idle']);
  assert.deepEqual(
    Array.from(clusters, ({ name }) => name),
    ['busy', 'held'],
  );
  held.limits.requests.active = 0;
  pass(700_000);
  assert.deepEqual(released, ['unknown', 'idle', 'busy', 'held']);
});

test('new names come at a limited rate, and names that are known already at any', () => {
  const { clock, clusters, demand } = make();
  for (let i = 0; i < 256; i++) demand(`a-${i}`);
  assert.equal(clusters.demand('one-more'), 'too_many');
  assert.equal(clusters.refused, 1);
  demand('a-0');
  clock.advance(1_000);
  for (let i = 0; i < 32; i++) demand(`b-${i}`);
  assert.equal(clusters.demand('one-more'), 'too_many');
});

test('where there is no room, a name that nobody knows goes first, then the service that was not called for longest, and none under call', () => {
  const { clock, clusters, demand, known, released } = make();
  const all: FakeCluster[] = [];
  for (let i = 0; i < 512; i++) {
    clock.advance(40);
    all.push(i === 300 ? demand('unknown') : known(`service-${i}`));
  }
  for (const cluster of all.slice(0, 10)) cluster.limits.requests.active = 1;
  clock.advance(1_000);
  (all[10] as FakeCluster).stats.upstreamRqTotal++;
  for (const name of ['x', 'y']) {
    clock.advance(1_000);
    known(name);
  }
  assert.deepEqual(released, ['unknown', 'service-11']);
  assert.equal(clusters.size, 512);
  for (const cluster of clusters) (cluster as unknown as FakeCluster).limits.requests.active = 1;
  assert.equal(clusters.demand('z'), 'too_many');
});
