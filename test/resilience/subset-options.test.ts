import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defaultLoadBalancer,
  type EndpointMetadata,
  LoadBalancer,
  type LoadBalancerOptions,
  type PickWish,
  type PooledEndpoint,
  type SubsetOptions,
  subsetKey,
  subsetPairs,
  subsetsOfWish,
  subsetWish,
  type WantedMetadata,
  zoneShares,
} from '../../src/resilience/index.ts';
import { seededRandom } from '../harness/seeded-random.ts';

interface TestEndpoint extends PooledEndpoint {
  readonly name: string;
  healthy: boolean;
}

const endpoint = (i: number, metadata: EndpointMetadata | undefined, more: Partial<TestEndpoint> = {}): TestEndpoint => ({
  name: String(i),
  key: `10.0.0.${i}:1`,
  weight: 1,
  priority: 0,
  locality: '',
  localityWeight: undefined,
  metadata,
  healthy: true,
  sinceMs: 0,
  activeRequests: 0,
  latency: undefined,
  reportedLoad: undefined,
  ...more,
});

const balancerOf = (list: readonly TestEndpoint[], options: Partial<LoadBalancerOptions>): LoadBalancer<TestEndpoint> => {
  const balancer = new LoadBalancer<TestEndpoint>({ ...defaultLoadBalancer, ...options }, seededRandom(7));
  balancer.update(list);
  return balancer;
};

const bySubset = (list: readonly TestEndpoint[], subsets: Partial<SubsetOptions>) =>
  balancerOf(list, { subsets: { selectors: [], fallback: 'no_fallback', defaultSubset: {}, ...subsets } });

const wanting = (pairs: WantedMetadata['pairs'], ...fallbacks: WantedMetadata['fallbacks']): PickWish => ({
  hash: undefined,
  subset: subsetWish({ pairs, fallbacks }),
});

/** Whoever is picked in fifty calls. */
const picked = (balancer: LoadBalancer<TestEndpoint>, wish: PickWish | undefined): string => {
  const names = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const found = balancer.pick(undefined, 0, wish);
    if (found !== undefined) names.add(found.name);
  }
  return [...names].sort().join(' ');
};

test('a wish names what is asked for, and what is asked for in its place', () => {
  const wish = subsetWish({ pairs: { version: '1', stage: 'a' }, fallbacks: [{ version: '2' }, { stage: 'b', rack: '7' }] });
  assert.deepEqual(
    subsetsOfWish(wish).map((subset) => Object.fromEntries(subsetPairs(subset))),
    [
      { stage: 'a', version: '1' },
      { stage: 'a', version: '2' },
      { rack: '7', stage: 'b', version: '1' },
    ],
  );
  assert.equal(subsetWish({ pairs: { version: '1' }, fallbacks: [] }), subsetKey({ version: '1' }));
});

test('with list_as_any an endpoint is in the subset of each value of its list, without it in none', () => {
  const list = [
    endpoint(0, { version: ['v1', 'v2'], stage: 'prod' }),
    endpoint(1, { version: 'v2', stage: ['prod', 'test'] }),
    endpoint(2, { version: [], stage: 'prod' }),
  ];
  const selectors = [
    { keys: ['version'], fallback: undefined },
    { keys: ['stage', 'version'], fallback: undefined },
  ];
  const any = bySubset(list, { selectors, listAsAny: true });
  assert.equal(picked(any, wanting({ version: 'v1' })), '0');
  assert.equal(picked(any, wanting({ version: 'v2' })), '0 1');
  assert.equal(picked(any, wanting({ version: 'v2', stage: 'prod' })), '0 1');
  assert.equal(picked(any, wanting({ version: 'v2', stage: 'test' })), '1');
  assert.equal(any.isAvailable(list[0] as TestEndpoint, wanting({ version: 'v1' })), true);
  assert.equal(any.isAvailable(list[1] as TestEndpoint, wanting({ version: 'v1' })), false);
  const one = bySubset(list, { selectors });
  assert.equal(picked(one, wanting({ version: 'v1' })), '');
  assert.equal(picked(one, wanting({ version: 'v2' })), '1');
  const byDefault = { fallback: 'default_subset', defaultSubset: { version: 'v1' }, selectors } as const;
  assert.equal(picked(bySubset(list, { ...byDefault, listAsAny: true }), undefined), '0');
  assert.equal(picked(bySubset(list, byDefault), undefined), '');
});

test('lists of many values do not multiply without bound', () => {
  const values = Array.from({ length: 200 }, (_, i) => `v${i}`);
  const balancer = bySubset([endpoint(0, { a: values, b: values, c: values })], {
    selectors: [{ keys: ['a', 'b', 'c'], fallback: undefined }],
    listAsAny: true,
  });
  assert.ok(balancer.subsets <= 64, `${balancer.subsets}`);
});

test('with allow_redundant_keys the longest selector that has no other keys decides', () => {
  const list = [
    endpoint(0, { stage: 'prod', version: 'v1' }),
    endpoint(1, { stage: 'test', version: 'v1' }),
    endpoint(2, { version: 'v2' }),
  ];
  const selectors = [
    { keys: ['version'], fallback: undefined },
    { keys: ['stage', 'version'], fallback: undefined },
  ];
  const strict = bySubset(list, { selectors });
  assert.equal(picked(strict, wanting({ other: 'x', stage: 'prod', version: 'v1' })), '');
  const lenient = bySubset(list, { selectors, allowRedundantKeys: true });
  assert.equal(picked(lenient, wanting({ other: 'x', stage: 'prod', version: 'v1' })), '0');
  assert.equal(picked(lenient, wanting({ other: 'x', version: 'v1' })), '0 1');
  assert.equal(picked(lenient, wanting({ other: 'x', stage: 'prod', version: 'v2' })), '', 'the shorter selector is not tried after it');
  assert.equal(picked(lenient, wanting({ other: 'x' })), '');
  assert.equal(lenient.isAvailable(list[0] as TestEndpoint, wanting({ other: 'x', version: 'v1' })), true);
});

test('with a fallback list each of its entries is tried until there is an endpoint', () => {
  const list = [endpoint(0, { version: '1.0', hardware: 'c32' }), endpoint(1, { version: '3.0', hardware: 'c64' })];
  const selectors = [
    { keys: ['version'], fallback: undefined },
    { keys: ['hardware', 'version'], fallback: undefined },
  ];
  const wish = wanting({ version: '1.0' }, { version: '2.0', hardware: 'c64' }, { hardware: 'c32' }, { version: '3.0' });
  const trying = bySubset(list, { selectors, metadataFallback: true });
  assert.equal(picked(trying, wish), '0', 'the second entry, merged with what is asked for');
  assert.equal(trying.isAvailable(list[0] as TestEndpoint, wish), true);
  assert.equal(picked(trying, wanting({ version: '9' }, { version: '8' }, { version: '3.0' })), '1');
  assert.equal(picked(trying, wanting({ version: '1.0' }, { version: '8' })), '', 'what is asked for itself is only merged');
  assert.equal(picked(trying, wanting({ version: '1.0' })), '0', 'without a list it is looked for');
  const plain = bySubset(list, { selectors });
  assert.equal(picked(plain, wanting({ version: '3.0' }, { version: '1.0' })), '1', 'without the policy the list plays no part');
});

test('a selector with single_host_per_subset uses one endpoint of each value, and counts the others', () => {
  const list = [endpoint(0, { host: 'a' }), endpoint(1, { host: 'a' }), endpoint(2, { host: 'b' }), endpoint(3, { host: 'a' })];
  const balancer = bySubset(list, { selectors: [{ keys: ['host'], fallback: undefined, singleHost: true }] });
  assert.equal(picked(balancer, wanting({ host: 'a' })), '0');
  assert.equal(picked(balancer, wanting({ host: 'b' })), '2');
  assert.equal(balancer.counts.subsetsSingleHostDuplicate, 2);
  balancer.update(list.slice(1, 3));
  assert.equal(picked(balancer, wanting({ host: 'a' })), '1');
  assert.equal(balancer.counts.subsetsSingleHostDuplicate, 0);
});

test('with fail_traffic_on_panic too few healthy endpoints are none', () => {
  const zoneAware = { share: 1, minClusterSize: 6, forceLocalMinSize: undefined };
  const list = [0, 1, 2, 3].map((i) => endpoint(i, undefined));
  const balancer = balancerOf(list, { zoneAware: { ...zoneAware, failTrafficOnPanic: true } });
  assert.equal(picked(balancer, undefined), '0 1 2 3');
  for (const each of list.slice(0, 2)) each.healthy = false;
  balancer.healthChanged();
  assert.equal(picked(balancer, undefined), '2 3', 'half of them is no panic');
  assert.equal(balancer.failsForPanic, false);
  (list[2] as TestEndpoint).healthy = false;
  balancer.healthChanged();
  assert.equal(picked(balancer, undefined), '');
  assert.equal(balancer.failsForPanic, true);
  assert.deepEqual(
    list.map((each) => balancer.isAvailable(each, undefined)),
    [false, false, false, false],
  );
  const usual = balancerOf(list, { zoneAware });
  assert.equal(picked(usual, undefined), '0 1 2 3', 'elsewhere a panic calls all of them');
  assert.equal(usual.failsForPanic, false);
});

test('by weight a zone carries as much as its endpoints weigh', () => {
  const options = { share: 1, minClusterSize: 1, forceLocalMinSize: undefined };
  const endpoints = new Map([
    ['', 2],
    ['b', 2],
  ]);
  const callers = new Map([
    ['', 1],
    ['b', 1],
  ]);
  assert.deepEqual(zoneShares(endpoints, callers, options), new Map([['', 1]]));
  const shares = zoneShares(
    endpoints,
    callers,
    options,
    new Map([
      ['', 2],
      ['b', 6],
    ]),
  );
  assert.deepEqual(
    shares,
    new Map([
      ['', 0.5],
      ['b', 0.5],
    ]),
    'a quarter of the weight for half of the callers',
  );
  assert.equal(
    zoneShares(
      endpoints,
      callers,
      { ...options, minClusterSize: 5 },
      new Map([
        ['', 20],
        ['b', 60],
      ]),
    ),
    undefined,
    'endpoints are counted, not weighed',
  );
  const list = [0, 1, 2, 3].map((i) => endpoint(i, undefined, { locality: i < 2 ? 'eu/a' : 'eu/b', weight: i < 2 ? 1 : 3 }));
  const view = { own: 'eu/a', callers: () => ['eu/a', 'eu/b'] };
  const localShare = (byWeight: boolean): number => {
    const zoneAware = { ...options, byWeight };
    const balancer = new LoadBalancer<TestEndpoint>({ ...defaultLoadBalancer, zoneAware }, seededRandom(3), undefined, view);
    balancer.update(list);
    let local = 0;
    for (let i = 0; i < 1_000; i++) if (balancer.pick(undefined, 0, undefined)?.locality === 'eu/a') local++;
    return local / 1_000;
  };
  assert.equal(localShare(false), 1);
  assert.ok(Math.abs(localShare(true) - 0.5) < 0.05);
});
