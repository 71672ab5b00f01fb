import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  defaultLoadBalancer,
  LoadBalancer,
  type LoadBalancerOptions,
  lbPolicies,
  type PooledEndpoint,
  type ZoneAwareOptions,
  zoneKey,
  zoneShares,
} from '../../src/resilience/index.ts';
import { seededRandom } from '../harness/seeded-random.ts';

const options: ZoneAwareOptions = { share: 1, minClusterSize: 1, forceLocalMinSize: undefined };
/** Our own zone first. */
const zones = (own: number, ...others: number[]): Map<string, number> =>
  new Map(
    [['', own], ...others.map((count, i): [string, number] => [`z${i}`, count])].filter(([, count]) => (count as number) > 0) as [
      string,
      number,
    ][],
  );
const rounded = (shares: ReadonlyMap<string, number> | undefined) =>
  shares === undefined ? undefined : [...shares].map(([zone, share]) => [zone, Math.round(share * 1_000) / 1_000]);

test('zones are compared by region and name, as far as both are known', () => {
  for (const [locality, own, expected] of [
    ['eu/a', 'eu/a', ''],
    ['eu/a/rack-7', 'eu/a', ''],
    ['/a', 'eu/a', ''],
    ['eu/a/', '/a', ''],
    ['us/a', 'eu/a', 'us/a'],
    ['eu/b', 'eu/a', 'eu/b'],
    ['eu', 'eu', ''],
    ['eu', 'us', 'eu/'],
    ['', 'eu/a', '/'],
    ['', '', '/'],
  ] as const) {
    assert.equal(zoneKey(locality, own), expected, `${locality} seen from ${own}`);
  }
});

test('all calls stay where our zone has its part of the endpoints', () => {
  assert.deepEqual(rounded(zoneShares(zones(3, 3, 3), zones(2, 2, 2), options)), [['', 1]]);
  assert.deepEqual(rounded(zoneShares(zones(6, 1), zones(1, 1), options)), [['', 1]]);
});

test('what is too much for our zone goes where there are more endpoints than callers', () => {
  // Half of the callers, a quarter of the endpoints: half of our calls stay.
  assert.deepEqual(rounded(zoneShares(zones(2, 4, 2), zones(4, 2, 2), options)), [
    ['', 0.5],
    ['z0', 0.5],
    ['z1', 0],
  ]);
  // Callers that nobody knows are taken for evenly spread.
  assert.deepEqual(rounded(zoneShares(zones(1, 3), undefined, options)), [
    ['', 0.5],
    ['z0', 0.5],
  ]);
});

test('the zone makes no difference where there is one only, none of ours, or too few endpoints', () => {
  assert.equal(zoneShares(zones(5), undefined, options), undefined);
  assert.equal(zoneShares(zones(0, 3, 3), undefined, options), undefined);
  assert.equal(zoneShares(zones(2, 3), undefined, { ...options, minClusterSize: 6 }), undefined);
  assert.deepEqual(rounded(zoneShares(zones(3, 3), undefined, { ...options, minClusterSize: 6 })), [['', 1]]);
});

test('so many endpoints of our own may be asked to carry everything', () => {
  const forced = { ...options, forceLocalMinSize: 2 };
  assert.deepEqual(rounded(zoneShares(zones(2, 10), zones(9, 1), forced)), [['', 1]]);
  assert.notDeepEqual(rounded(zoneShares(zones(1, 10), zones(9, 1), forced)), [['', 1]]);
});

test('the shares of any fleet are whole, and no zone is called above what it has where callers are alike', () => {
  const counts = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 2, maxLength: 6 });
  fc.assert(
    fc.property(counts, counts, (endpointCounts, callerCounts) => {
      const names = endpointCounts.map((_, i) => `z${i}`);
      const called = new Map<string, number>();
      const total = endpointCounts.reduce((sum, count) => sum + count, 0);
      const callers = names.map((_, i) => callerCounts[i] ?? 0);
      const callersTotal = callers.reduce((sum, count) => sum + count, 0);
      for (const [i, name] of names.entries()) {
        if (callers[i] === 0) continue;
        const view = (values: readonly number[]): Map<string, number> =>
          new Map(names.map((each, k): [string, number] => [each === name ? '' : each, values[k] ?? 0]).filter(([, count]) => count > 0));
        const shares = zoneShares(view(endpointCounts), view(callers), options);
        if (shares === undefined) return;
        const sum = [...shares.values()].reduce((all, share) => all + share, 0);
        assert.ok(Math.abs(sum - 1) < 1e-9, `${sum}`);
        for (const [zone, share] of shares) {
          assert.ok(share >= 0);
          const key = zone === '' ? name : zone;
          called.set(key, (called.get(key) ?? 0) + share * ((callers[i] ?? 0) / callersTotal));
        }
      }
      for (const [i, name] of names.entries()) {
        const part = called.get(name) ?? 0;
        assert.ok(
          part <= (endpointCounts[i] ?? 0) / total + 1e-9,
          `${name} is called with ${part} and has ${endpointCounts[i]} of ${total}`,
        );
      }
    }),
    { numRuns: 300 },
  );
});

interface TestEndpoint extends PooledEndpoint {
  healthy: boolean;
}

const endpointsIn = (...localities: readonly string[]): TestEndpoint[] =>
  localities.map((locality, i) => ({
    key: `10.0.0.${i}:1`,
    weight: 1,
    activeRequests: 0,
    latency: undefined,
    reportedLoad: undefined,
    priority: 0,
    locality,
    localityWeight: undefined,
    metadata: undefined,
    healthy: true,
    sinceMs: 0,
  }));

const balancerOf = (list: readonly TestEndpoint[], more: Partial<LoadBalancerOptions> = {}, callers?: readonly string[]) => {
  const view = { own: 'eu/a', callers: () => callers };
  const balancer = new LoadBalancer<TestEndpoint>(
    { ...defaultLoadBalancer, zoneAware: options, ...more },
    seededRandom(7),
    undefined,
    view,
  );
  balancer.update(list);
  return balancer;
};

const sharesOf = (balancer: LoadBalancer<TestEndpoint>, usable?: (each: TestEndpoint) => boolean): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (let i = 0; i < 2_000; i++) {
    const { locality = 'none' } = balancer.pick(usable, 0, { hash: undefined, subset: undefined }) ?? {};
    counts[locality] = (counts[locality] ?? 0) + 1 / 2_000;
  }
  return Object.fromEntries(Object.entries(counts).map(([zone, share]) => [zone, Math.round(share * 20) / 20]));
};

for (const policy of lbPolicies.filter((each) => each !== 'ring_hash' && each !== 'maglev')) {
  test(`${policy}: calls stay in our zone, spill over by need, and leave it when it is ill`, () => {
    const list = endpointsIn('eu/a', 'eu/a', 'eu/b', 'eu/b');
    const balancer = balancerOf(list, { policy });
    assert.deepEqual(sharesOf(balancer), { 'eu/a': 1 });
    assert.ok(balancer.counts.zoneRoutingAllDirectly > 0);
    (list[0] as TestEndpoint).healthy = false;
    balancer.healthChanged();
    // One of three healthy ones for half of the callers.
    const spilled = sharesOf(balancer);
    assert.ok(Math.abs((spilled['eu/a'] ?? 0) - 0.65) < 0.06, JSON.stringify(spilled));
    assert.ok(balancer.counts.zoneRoutingSampled > 0 && balancer.counts.zoneRoutingCrossZone > 0);
    (list[1] as TestEndpoint).healthy = false;
    balancer.healthChanged();
    assert.deepEqual(sharesOf(balancer), { 'eu/b': 1 });
  });
}

test('where no endpoint of our zone is usable others are, although they have no share', () => {
  const balancer = balancerOf(endpointsIn('eu/a', 'eu/a', 'eu/b', 'eu/b'));
  assert.deepEqual(
    sharesOf(balancer, ({ locality }) => locality !== 'eu/a'),
    { 'eu/b': 1 },
  );
});

test('for a part of the calls, in hash balancers, in a panic and without a place of our own zones do not count', () => {
  const list = endpointsIn('eu/a', 'eu/b', 'eu/b', 'eu/b');
  const half = sharesOf(balancerOf(list, { zoneAware: { ...options, share: 0 } }));
  assert.deepEqual(half, { 'eu/a': 0.25, 'eu/b': 0.75 });
  const ring = balancerOf(list, { policy: 'ring_hash' });
  assert.equal(ring.counts.zoneRoutingAllDirectly, 0);
  const nowhere = new LoadBalancer<TestEndpoint>({ ...defaultLoadBalancer, zoneAware: options }, seededRandom(1));
  nowhere.update(list);
  assert.deepEqual(sharesOf(nowhere), { 'eu/a': 0.25, 'eu/b': 0.75 });
  const ill = endpointsIn('eu/a', 'eu/a', 'eu/b', 'eu/b', 'eu/b', 'eu/b');
  const panicking = balancerOf(ill);
  for (const each of ill.slice(1, 5)) each.healthy = false;
  panicking.healthChanged();
  const all = sharesOf(panicking);
  assert.ok((all['eu/b'] ?? 0) > 0.6, JSON.stringify(all));
});

test('callers that are known decide', () => {
  const list = endpointsIn('eu/a', 'eu/b', 'eu/b', 'eu/b');
  const few = sharesOf(balancerOf(list, {}, ['eu/a', 'eu/b', 'eu/b', 'eu/b']));
  assert.deepEqual(few, { 'eu/a': 1 });
  const many = sharesOf(balancerOf(list, {}, ['eu/a', 'eu/a', 'eu/a', 'eu/b']));
  assert.ok(Math.abs((many['eu/a'] ?? 0) - 1 / 3) < 0.06, JSON.stringify(many));
});
