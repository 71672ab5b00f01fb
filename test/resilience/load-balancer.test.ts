/** Above the balancers: priorities, localities, subsets, health, panic and slow start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  defaultLoadBalancer,
  LoadBalancer,
  type LoadBalancerOptions,
  lbPolicies,
  type PickWish,
  type PooledEndpoint,
  priorityLoads,
  subsetKey,
  warmth,
} from '../../src/resilience/index.ts';
import { seededRandom } from '../harness/seeded-random.ts';

interface TestEndpoint extends PooledEndpoint {
  readonly name: number;
  healthy: boolean;
}

const endpoint = (name: number, more: Partial<TestEndpoint> = {}): TestEndpoint => ({
  name,
  key: `10.0.${name >> 8}.${name & 255}:50051`,
  weight: 1,
  activeRequests: 0,
  latency: undefined,
  reportedLoad: undefined,
  priority: 0,
  locality: '',
  localityWeight: undefined,
  metadata: undefined,
  healthy: true,
  sinceMs: 0,
  ...more,
});
const endpoints = (count: number, more: (i: number) => Partial<TestEndpoint> = () => ({})): TestEndpoint[] =>
  Array.from({ length: count }, (_, i) => endpoint(i, more(i)));

const balancerOf = (list: readonly TestEndpoint[], options: Partial<LoadBalancerOptions> = {}, seed = 1): LoadBalancer<TestEndpoint> => {
  const small = { maglev: { tableSize: 2_003 }, ringHash: { ...defaultLoadBalancer.ringHash, minimumRingSize: 300 } };
  const balancer = new LoadBalancer<TestEndpoint>({ ...defaultLoadBalancer, ...small, ...options }, seededRandom(seed));
  balancer.update(list);
  return balancer;
};

/** Part of the picks that each group of endpoints gets. */
const shares = (
  balancer: LoadBalancer<TestEndpoint>,
  groupOf: (e: TestEndpoint) => string | number,
  {
    picks = 4_000,
    nowMs = 0,
    wish,
    usable,
  }: { picks?: number; nowMs?: number; wish?: PickWish; usable?: (e: TestEndpoint) => boolean } = {},
): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {};
  for (let i = 0; i < picks; i++) {
    const picked = balancer.pick(usable, nowMs, wish);
    const group = picked === undefined ? 'none' : groupOf(picked);
    counts[group] = (counts[group] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).map(([group, count]) => [group, count / picks]));
};
const near = (actual: number | undefined, expected: number, tolerance = 0.03): void =>
  assert.ok(Math.abs((actual ?? 0) - expected) <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);
const spoil = (balancer: LoadBalancer<TestEndpoint>, list: readonly TestEndpoint[]): void => {
  for (const each of list) each.healthy = false;
  balancer.healthChanged();
};

test('priorities share the calls as the tables of Envoy’s documentation say', () => {
  const tables: readonly (readonly [healthy: readonly number[], loads: readonly number[]])[] = [
    [[100], [100]],
    [
      [100, 100],
      [100, 0],
    ],
    [
      [72, 72],
      [100, 0],
    ],
    [
      [71, 71],
      [99.4, 0.6],
    ],
    [
      [50, 50],
      [70, 30],
    ],
    [
      [25, 100],
      [35, 65],
    ],
    [
      [25, 25],
      [50, 50],
    ],
    [
      [0, 100],
      [0, 100],
    ],
    [
      [25, 25, 100],
      [35, 35, 30],
    ],
    [
      [25, 25, 20],
      [35.7, 35.7, 28.6],
    ],
    [
      [0, 0, 100],
      [0, 0, 100],
    ],
  ];
  for (const [healthy, loads] of tables) {
    const got = priorityLoads(
      healthy.map((percent) => ({ total: 100, healthy: percent })),
      140,
      0,
    );
    got.forEach(({ load }, i) => {
      near(load * 100, loads[i] as number, 0.1);
    });
  }
});

test('panic is looked at only where all priorities together cannot carry everything, and total panic goes by size', () => {
  const panicsOf = (threshold: number, ...healthy: number[]): readonly boolean[] =>
    priorityLoads(
      healthy.map((percent) => ({ total: 100, healthy: percent })),
      140,
      threshold,
    ).map(({ panic }) => panic);
  assert.deepEqual(panicsOf(50, 49), [true]);
  assert.deepEqual(panicsOf(50, 50), [false]);
  assert.deepEqual(panicsOf(50, 10, 100), [false, false], 'the other one carries all');
  assert.deepEqual(panicsOf(50, 10, 55), [true, false]);
  assert.deepEqual(panicsOf(0, 0), [false], 'a threshold of 0 is none');
  const total = priorityLoads(
    [
      { total: 30, healthy: 0 },
      { total: 10, healthy: 0 },
    ],
    140,
    50,
  );
  assert.deepEqual(total, [
    { load: 0.75, panic: true },
    { load: 0.25, panic: true },
  ]);
});

for (const policy of lbPolicies) {
  test(`${policy}: calls spill over to the next priority by what the first can carry, and come back`, () => {
    const list = endpoints(20, (i) => ({ priority: i < 10 ? 0 : 1 }));
    const balancer = balancerOf(list, { policy });
    assert.deepEqual(
      shares(balancer, (e) => e.priority, { picks: 200 }),
      { 0: 1 },
    );
    spoil(balancer, list.slice(0, 5));
    const half = shares(balancer, (e) => (e.healthy ? e.priority : 'unhealthy'));
    near(half[0], 0.7);
    near(half[1], 0.3);
    assert.equal(half['unhealthy'], undefined);
    spoil(balancer, list.slice(0, 10));
    near(shares(balancer, (e) => e.priority)[1], 1, 0);
    for (const each of list) each.healthy = true;
    balancer.healthChanged();
    near(shares(balancer, (e) => e.priority, { picks: 200 })[0], 1, 1e-9);
  });

  test(`${policy}: what is ejected is not picked, until so few are left that it is a panic`, () => {
    const list = endpoints(10);
    const balancer = balancerOf(list, { policy });
    spoil(balancer, list.slice(0, 5));
    assert.deepEqual(
      shares(balancer, (e) => String(e.healthy)),
      { true: 1 },
    );
    assert.equal(balancer.counts.healthyPanic, 0);
    spoil(balancer, list.slice(0, 6));
    const panicking = shares(balancer, (e) => String(e.healthy), { picks: 1_000 });
    near(panicking['false'], 0.6, 0.08);
    assert.equal(balancer.counts.healthyPanic, 1_000);
    for (const each of list) assert.ok(balancer.isAvailable(each, undefined));
  });

  test(`${policy}: without panic, endpoints of which most are ejected still share evenly, and none left is none`, () => {
    const list = endpoints(40);
    const balancer = balancerOf(list, { policy, panicThreshold: 0 });
    spoil(balancer, list.slice(4));
    const few = shares(balancer, (e) => e.name);
    for (let i = 0; i < 4; i++) near(few[i], 0.25, policy === 'ring_hash' ? 0.25 : 0.06);
    assert.equal(few['none'], undefined);
    spoil(balancer, list);
    assert.equal(balancer.pick(undefined, 0, undefined), undefined);
    (list[7] as TestEndpoint).healthy = true;
    balancer.healthChanged();
    assert.equal(balancer.pick(undefined, 0, undefined)?.name, 7);
  });

  test(`${policy}: through any churn of health, priorities and tries, it finds one that may be picked wherever there is one`, () => {
    const step = fc.record({
      present: fc.uniqueArray(fc.nat(9), { maxLength: 10 }),
      ill: fc.uniqueArray(fc.nat(9)),
      tried: fc.uniqueArray(fc.nat(9)),
      late: fc.nat(3_000),
    });
    const shape = fc.record({
      panicThreshold: fc.constantFrom(0, 50, 100),
      localityWeighted: fc.boolean(),
      slowStart: fc.constantFrom(
        { windowMs: 0, aggression: 1, minWeightPercent: 10 },
        { windowMs: 1_000, aggression: 2, minWeightPercent: 0 },
      ),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 8 }),
        shape,
        fc.array(fc.nat(2), { minLength: 10, maxLength: 10 }),
        fc.nat(),
        (steps, options, places, seed) => {
          const all = endpoints(10, (i) => ({
            priority: places[i] as number,
            locality: `eu/${i % 3}`,
            weight: 1 + (i % 2),
            sinceMs: i * 200,
          }));
          const balancer = balancerOf([], { policy, ...options }, seed);
          for (const { present, ill, tried, late } of steps) {
            const now = present.map((name) => all[name] as TestEndpoint);
            for (const each of all) each.healthy = !ill.includes(each.name);
            balancer.update(now);
            const usable = (e: TestEndpoint): boolean => !tried.includes(e.name);
            for (let i = 0; i < 5; i++) {
              const wish = i % 2 === 0 ? undefined : { hash: { high: seed >>> 0, low: (seed * i) >>> 0 }, subset: undefined };
              const picked = balancer.pick(usable, late, wish);
              const possible = now.filter((e) => usable(e) && balancer.isAvailable(e, undefined));
              if (picked === undefined) assert.deepEqual(possible, []);
              else assert.ok(possible.includes(picked));
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
}

test('where the preferred priority has nobody left to try, the next one is asked', () => {
  const list = endpoints(4, (i) => ({ priority: i < 2 ? 0 : 1 }));
  const balancer = balancerOf(list);
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick((e) => e.name >= 2, 0, undefined)?.priority, 1);
});

test('priority health may go by weight', () => {
  const list = [endpoint(0, { weight: 9 }), endpoint(1), endpoint(2, { priority: 1 })];
  const byWeight = balancerOf(list, { weightedPriorityHealth: true });
  spoil(byWeight, list.slice(1, 2));
  near(shares(byWeight, (e) => e.priority)[0], 1, 1e-9);
  near(shares(balancerOf(list), (e) => e.priority)[0], 0.7);
});

test('localities share by their weights, whatever the number of their endpoints, and less where they are ill', () => {
  for (const policy of ['round_robin', 'least_request', 'ring_hash', 'maglev'] as const) {
    const list = endpoints(11, (i) => (i < 1 ? { locality: 'eu/a', localityWeight: 3 } : { locality: 'eu/b', localityWeight: 1 }));
    const balancer = balancerOf(list, { policy, localityWeighted: true, panicThreshold: 0 });
    const whole = shares(balancer, (e) => e.locality);
    near(whole['eu/a'], 0.75, 0.04);
    near(whole['eu/b'], 0.25, 0.04);
    if (policy === 'ring_hash' || policy === 'maglev') continue;
    spoil(balancer, list.slice(1, 7));
    // 4 of 10 are healthy: they carry 56 % of a weight of 1.
    near(shares(balancer, (e) => e.locality)['eu/b'], 0.56 / 3.56, 0.03);
    spoil(balancer, list.slice(0, 1));
    assert.equal(shares(balancer, (e) => e.locality)['eu/a'] ?? 0, 0);
  }
});

test('localities without a written weight weigh what their endpoints do; without locality_weighted_lb_config all are one pool', () => {
  const list = endpoints(4, (i) => ({ locality: i === 0 ? 'eu/a' : 'eu/b', localityWeight: i === 0 ? 100 : undefined }));
  near(shares(balancerOf(list), (e) => e.locality)['eu/a'], 0.25);
  const unwritten = endpoints(4, (i) => ({ locality: i === 0 ? 'eu/a' : 'eu/b', weight: i === 0 ? 3 : 1 }));
  near(shares(balancerOf(unwritten, { localityWeighted: true }), (e) => e.locality)['eu/a'], 0.5);
});

// ---- bounded load ----

for (const policy of ['ring_hash', 'maglev'] as const) {
  test(`${policy}: with hash_balance_factor one user who calls a lot does not drown one endpoint`, () => {
    const list = endpoints(5, (i) => ({ weight: i === 4 ? 2 : 1 }));
    const wish = { hash: { high: 123_456, low: 654_321 }, subset: undefined };
    const most = (hashBalanceFactor: number): readonly number[] => {
      for (const each of list) each.activeRequests = 0;
      const balancer = balancerOf(list, { policy, hashBalanceFactor });
      for (let i = 0; i < 120; i++) (balancer.pick(undefined, 0, wish) as TestEndpoint).activeRequests++;
      return list.map(({ activeRequests }) => activeRequests);
    };
    assert.equal(Math.max(...most(0)), 120, 'without a bound all calls go to one');
    most(150).forEach((calls, i) => {
      assert.ok(calls <= Math.ceil((1.5 * 120 * (list[i] as TestEndpoint).weight) / 6), `${calls} calls`);
    });
    for (const each of list) each.activeRequests = 0;
    const quiet = balancerOf(list, { policy, hashBalanceFactor: 150 });
    const first = quiet.pick(undefined, 0, wish);
    for (let i = 0; i < 20; i++) assert.equal(quiet.pick(undefined, 0, wish), first, 'as long as it has room they stay together');
    assert.equal(quiet.pick((e) => e !== first, 0, wish) === first, false);
  });
}

// ---- slow start ----

const slowStart = { windowMs: 10_000, aggression: 1, minWeightPercent: 10 };

test('the warmth of a new endpoint is Envoy’s formula', () => {
  assert.equal(warmth(slowStart, 0), 0.1);
  assert.equal(warmth(slowStart, 500), 0.1);
  assert.equal(warmth(slowStart, 5_000), 0.5);
  assert.equal(warmth(slowStart, 10_000), 1);
  assert.equal(warmth({ ...slowStart, aggression: 2 }, 2_500), 0.5);
  assert.equal(warmth({ ...slowStart, windowMs: 0 }, 0), 1);
});

for (const policy of ['round_robin', 'least_request'] as const) {
  test(`${policy}: an endpoint that joins gets its share little by little`, () => {
    const list = endpoints(4);
    const balancer = balancerOf(list, { policy, slowStart });
    const newcomer = endpoint(9, { sinceMs: 100_000 });
    balancer.update([...list, newcomer]);
    const shareAt = (nowMs: number): number => shares(balancer, (e) => e.name, { nowMs })[9] ?? 0;
    near(shareAt(100_000), 0.1 / 4.1, 0.015);
    near(shareAt(105_000), 0.5 / 4.5, 0.035);
    near(shareAt(110_000), 0.2, 0.03);
  });
}

test('where all endpoints are new, none waits for another', () => {
  const list = endpoints(3, () => ({ sinceMs: 5_000 }));
  const balancer = balancerOf(list, { slowStart });
  for (const share of Object.values(shares(balancer, (e) => e.name, { nowMs: 5_000 }))) near(share, 1 / 3);
});

test('a new endpoint is picked at once where no other may be', () => {
  const list = [endpoint(0), endpoint(1, { sinceMs: 1_000 })];
  const balancer = balancerOf(list, { slowStart: { ...slowStart, minWeightPercent: 0 } });
  for (let i = 0; i < 50; i++) assert.equal(balancer.pick((e) => e.name === 1, 1_000, undefined)?.name, 1);
});

// ---- subsets ----

const versions = (
  fallback: 'no_fallback' | 'any_endpoint' | 'default_subset',
  more: Partial<TestEndpoint> = {},
): LoadBalancer<TestEndpoint> =>
  balancerOf(
    endpoints(6, (i) => ({ metadata: { version: i < 2 ? 'v1' : 'v2', stage: i % 2 === 0 ? 'prod' : 'test' }, ...more })),
    {
      subsets: {
        selectors: [
          { keys: ['version'], fallback: undefined },
          { keys: ['stage', 'version'], fallback: 'any_endpoint' },
        ],
        fallback,
        defaultSubset: { stage: 'prod' },
      },
    },
  );
const wishFor = (metadata: Readonly<Record<string, string>>): PickWish => ({ hash: undefined, subset: subsetKey(metadata) });
const namesFor = (balancer: LoadBalancer<TestEndpoint>, wish: PickWish | undefined): string =>
  Object.keys(shares(balancer, (e) => e.name, { picks: 200, ...(wish === undefined ? {} : { wish }) }))
    .sort()
    .join(' ');

test('a subset is the endpoints with the metadata that the route asks for', () => {
  const balancer = versions('no_fallback');
  assert.equal(namesFor(balancer, wishFor({ version: 'v1' })), '0 1');
  assert.equal(namesFor(balancer, wishFor({ version: 'v2', stage: 'test' })), '3 5');
  assert.equal(balancer.subsets, 6);
  assert.equal(balancer.counts.subsetsSelected, 400);
});

test('where there is no such subset the fallback says who serves: nobody, anybody, or the default subset', () => {
  const unknown = wishFor({ version: 'v9' });
  assert.equal(namesFor(versions('no_fallback'), unknown), 'none');
  assert.equal(namesFor(versions('no_fallback'), undefined), 'none');
  assert.equal(namesFor(versions('no_fallback'), wishFor({ stage: 'prod' })), 'none', 'there is no selector for it');
  assert.equal(namesFor(versions('any_endpoint'), unknown), '0 1 2 3 4 5');
  assert.equal(namesFor(versions('default_subset'), unknown), '0 2 4');
  assert.equal(namesFor(versions('no_fallback'), wishFor({ version: 'v9', stage: 'x' })), '0 1 2 3 4 5', 'by the selector’s own');
});

test('subsets follow the endpoints', () => {
  const balancer = versions('no_fallback');
  balancer.update([endpoint(7, { metadata: { version: 'v3' } }), endpoint(8)]);
  assert.equal(namesFor(balancer, wishFor({ version: 'v3' })), '7');
  assert.equal(namesFor(balancer, wishFor({ version: 'v1' })), 'none');
  assert.deepEqual([balancer.counts.subsetsCreated, balancer.counts.subsetsRemoved], [7, 6]);
  const [inside, outside] = [endpoint(7, { metadata: { version: 'v3' } }), endpoint(8)];
  assert.equal(balancer.isAvailable(inside, wishFor({ version: 'v3' })), true);
  assert.equal(balancer.isAvailable(outside, wishFor({ version: 'v3' })), false);
});

test('health and panic are looked at within the subset', () => {
  const list = endpoints(6, (i) => ({ metadata: { version: i < 2 ? 'v1' : 'v2' } }));
  const balancer = balancerOf(list, {
    subsets: { selectors: [{ keys: ['version'], fallback: undefined }], fallback: 'no_fallback', defaultSubset: {} },
  });
  spoil(balancer, list.slice(0, 1));
  assert.equal(namesFor(balancer, wishFor({ version: 'v1' })), '1');
  spoil(balancer, list.slice(0, 2));
  assert.equal(namesFor(balancer, wishFor({ version: 'v1' })), '0 1', 'panic');
  assert.equal(namesFor(balancer, wishFor({ version: 'v2' })), '2 3 4 5');
});

test('a fallback by fewer keys goes on until there is such a subset', () => {
  const list = endpoints(6, (i) => ({ metadata: { version: `v${i % 2}`, stage: i < 3 ? 'prod' : 'canary' } }));
  const balancer = balancerOf(list, {
    subsets: {
      selectors: [
        { keys: ['stage', 'version'], fallback: 'keys_subset', fallbackKeys: ['stage'] },
        { keys: ['stage'], fallback: 'keys_subset', fallbackKeys: [] },
      ],
      fallback: 'any_endpoint',
      defaultSubset: {},
    },
  });
  assert.equal(namesFor(balancer, wishFor({ stage: 'prod', version: 'v1' })), '1');
  assert.equal(namesFor(balancer, wishFor({ stage: 'prod', version: 'v9' })), '0 1 2', 'by the stage alone');
  assert.equal(namesFor(balancer, wishFor({ stage: 'test', version: 'v1' })), '0 1 2 3 4 5', 'by nothing: what holds for the cluster');
  assert.equal(balancer.isAvailable(list[0] as TestEndpoint, wishFor({ stage: 'prod', version: 'v9' })), true);
  assert.equal(balancer.isAvailable(list[5] as TestEndpoint, wishFor({ stage: 'prod', version: 'v9' })), false);
});

test('with panic_mode_any a fallback without an endpoint is no end', () => {
  const subsets = { selectors: [{ keys: ['version'], fallback: undefined }], defaultSubset: { version: 'gone' } };
  const list = endpoints(3, () => ({ metadata: { version: 'v1' } }));
  for (const fallback of ['default_subset', 'no_fallback'] as const) {
    const strict = balancerOf(list, { subsets: { ...subsets, fallback } });
    assert.equal(strict.pick(undefined, 0, wishFor({ version: 'v2' })), undefined);
    assert.equal(strict.isAvailable(list[0] as TestEndpoint, wishFor({ version: 'v2' })), false);
    const lenient = balancerOf(list, { subsets: { ...subsets, fallback, panicModeAny: true } });
    assert.equal(namesFor(lenient, wishFor({ version: 'v2' })), '0 1 2');
    assert.ok(lenient.counts.subsetsFallbackPanic > 0);
    assert.equal(lenient.isAvailable(list[0] as TestEndpoint, wishFor({ version: 'v2' })), true);
  }
});

test('in a subset a locality has as much of its weight as it has of its endpoints, where that is asked for', () => {
  // Of locality a one of four is v1, of b all four are.
  const list = endpoints(8, (i) => ({
    locality: i < 4 ? 'a' : 'b',
    localityWeight: 1,
    metadata: { version: i === 0 || i >= 4 ? 'v1' : 'v2' },
  }));
  const subsets = { selectors: [{ keys: ['version'], fallback: undefined }], fallback: 'no_fallback', defaultSubset: {} } as const;
  const byLocality = (e: TestEndpoint): string => e.locality;
  const wish = wishFor({ version: 'v1' });
  const plain = shares(balancerOf(list, { localityWeighted: true, subsets }), byLocality, { wish });
  assert.ok(Math.abs((plain['a'] ?? 0) - 0.5) < 0.02, `${plain['a']}`);
  const scaled = shares(balancerOf(list, { localityWeighted: true, subsets: { ...subsets, scaleLocalityWeight: true } }), byLocality, {
    wish,
  });
  assert.ok(Math.abs((scaled['a'] ?? 0) - 0.2) < 0.02, `${scaled['a']}`);
});
