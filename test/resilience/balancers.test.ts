/** One suite that every balancer passes, and after it what is special to each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type BalancerEndpoint,
  type CallHash,
  createBalancer,
  defaultBalancerOptions,
  type LbPolicy,
  lbPolicies,
} from '../../src/resilience/index.ts';
import { seededRandom } from '../harness/seeded-random.ts';

interface TestEndpoint extends BalancerEndpoint {
  readonly name: number;
}

const endpoint = (name: number, weight = 1): TestEndpoint => ({
  name,
  key: `10.0.${name >> 8}.${name & 255}:50051`,
  weight,
  activeRequests: 0,
  latency: undefined,
  reportedLoad: undefined,
});
const endpoints = (count: number): TestEndpoint[] => Array.from({ length: count }, (_, i) => endpoint(i));

/** Building a table of Envoy's size takes milliseconds, and these tests build thousands. */
const smallTables = {
  ...defaultBalancerOptions,
  maglev: { tableSize: 2_003 },
  ringHash: { ...defaultBalancerOptions.ringHash, minimumRingSize: 300 },
};

const balancerOf = (policy: LbPolicy, list: readonly TestEndpoint[], seed = 1) => {
  const balancer = createBalancer<TestEndpoint>(policy, seededRandom(seed), list.length < 100 ? smallTables : defaultBalancerOptions);
  balancer.update(list);
  return balancer;
};

const pick = (
  balancer: ReturnType<typeof balancerOf>,
  usable?: (e: TestEndpoint) => boolean,
  hash?: CallHash,
  nowMs = 0,
): TestEndpoint | undefined => balancer.pick(usable, nowMs, hash);

const countPicks = (
  balancer: ReturnType<typeof balancerOf>,
  picks: number,
  usable?: (e: TestEndpoint) => boolean,
): Map<TestEndpoint, number> => {
  const counts = new Map<TestEndpoint, number>();
  for (let i = 0; i < picks; i++) {
    const picked = pick(balancer, usable);
    if (picked !== undefined) counts.set(picked, (counts.get(picked) ?? 0) + 1);
  }
  return counts;
};

const near = (actual: number, expected: number, tolerance: number): void =>
  assert.ok(Math.abs(actual - expected) <= tolerance * expected, `${actual} is not within ${tolerance * 100} % of ${expected}`);

for (const policy of lbPolicies) {
  test(`${policy}: nothing to pick from gives nothing`, () => {
    const balancer = createBalancer<TestEndpoint>(policy, seededRandom(1));
    assert.equal(pick(balancer), undefined);
    balancer.update([]);
    assert.equal(
      pick(balancer, () => true),
      undefined,
    );
    balancer.update(endpoints(5));
    assert.equal(
      pick(balancer, () => false),
      undefined,
    );
    balancer.update([]);
    assert.equal(pick(balancer), undefined);
  });

  test(`${policy}: a single endpoint gets everything, whatever its weight`, () => {
    for (const weight of [1, 0, -1, 1e9, Number.NaN, Number.POSITIVE_INFINITY]) {
      const only = endpoint(0, weight);
      const balancer = balancerOf(policy, [only]);
      for (let i = 0; i < 20; i++) assert.equal(pick(balancer, i % 2 === 0 ? undefined : () => true), only);
    }
  });

  test(`${policy}: equal endpoints get equal shares, also where all weigh nothing`, () => {
    for (const weight of [1, 0, 7]) {
      const list = Array.from({ length: 7 }, (_, i) => endpoint(i, weight));
      const counts = countPicks(balancerOf(policy, list), 14_000);
      for (const e of list) near(counts.get(e) ?? 0, 2_000, 0.1);
    }
  });

  test(`${policy}: shares follow the weights`, () => {
    const list = [endpoint(0, 1), endpoint(1, 2), endpoint(2, 5)];
    const counts = countPicks(balancerOf(policy, list), 16_000);
    for (const e of list) near(counts.get(e) ?? 0, 2_000 * e.weight, 0.1);
  });

  test(`${policy}: a weight of nothing is hardly ever picked beside others, and found where it is the only one left`, () => {
    const list = [endpoint(0, 0), endpoint(1, 1), endpoint(2, 1)];
    const balancer = balancerOf(policy, list);
    assert.ok((countPicks(balancer, 1_000).get(list[0] as TestEndpoint) ?? 0) <= 10);
    assert.equal(pick(balancer, (e) => e.name === 0)?.name, 0);
  });

  test(`${policy}: what is not usable is never picked, and the others share its calls evenly`, () => {
    for (const weights of [
      [1, 1, 1, 1, 1, 1],
      [1, 2, 1, 2, 1, 2],
    ]) {
      const list = weights.map((weight, i) => endpoint(i, weight));
      const counts = countPicks(balancerOf(policy, list), 12_000, (e) => e.name >= 2);
      const total = weights.slice(2).reduce((a, b) => a + b, 0);
      for (const e of list) {
        if (e.name < 2) assert.equal(counts.get(e), undefined);
        else near(counts.get(e) ?? 0, (12_000 * e.weight) / total, 0.15);
      }
    }
  });

  test(`${policy}: where only few of many are usable, they share evenly`, () => {
    const list = endpoints(2_000);
    const usable = (e: TestEndpoint): boolean => e.name >= 1_000 && e.name < 1_004;
    const counts = countPicks(balancerOf(policy, list), 2_000, usable);
    assert.equal(counts.size, 4);
    for (const n of counts.values()) near(n, 500, 0.25);
  });

  test(`${policy}: the one usable endpoint among ten thousand is found every time`, () => {
    for (const weight of [1, 3]) {
      const list = endpoints(9_999);
      list.push(endpoint(9_999, weight));
      const balancer = balancerOf(policy, list);
      for (let i = 0; i < 50; i++) assert.equal(pick(balancer, (e) => e.name === 7_777)?.name, 7_777);
    }
  });

  test(`${policy}: an endpoint that is found usable exists whenever there is one, through any churn`, () => {
    const step = fc.record({ names: fc.uniqueArray(fc.nat(11), { maxLength: 12 }), bad: fc.uniqueArray(fc.nat(11)), picks: fc.nat(10) });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 12 }),
        fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 12, maxLength: 12 }),
        fc.nat(),
        (steps, weights, seed) => {
          const all = weights.map((weight, i) => endpoint(i, weight));
          const balancer = balancerOf(policy, [], seed);
          for (const { names, bad, picks } of steps) {
            const now = names.map((name) => all[name] as TestEndpoint);
            balancer.update(now);
            const usable = (e: TestEndpoint): boolean => !bad.includes(e.name);
            for (let i = 0; i < picks; i++) {
              const picked = pick(balancer, usable);
              if (picked === undefined) assert.ok(!now.some(usable));
              else {
                assert.ok(now.includes(picked) && usable(picked));
                picked.activeRequests = (picked.activeRequests + 1) % 5;
              }
              assert.equal(pick(balancer) === undefined, now.length === 0);
            }
          }
        },
      ),
    );
  });

  test(`${policy}: while endpoints come and go, those that stay keep their share and newcomers get no burst`, () => {
    const staying = endpoints(8);
    const balancer = balancerOf(policy, staying);
    const counts = new Map<TestEndpoint, number>();
    let newest = 0;
    for (let round = 0; round < 1_000; round++) {
      const newcomer = endpoint(100 + round);
      balancer.update([...staying, newcomer]);
      for (const [e, n] of countPicks(balancer, 9)) {
        counts.set(e, (counts.get(e) ?? 0) + n);
        if (e === newcomer) newest += n;
      }
    }
    for (const e of staying) near(counts.get(e) ?? 0, 1_000, 0.25);
    near(newest, 1_000, 0.35);
  });

  test(`${policy}: sidecars that start together do not all begin with the same endpoint`, () => {
    const first = new Set<number | undefined>();
    for (let seed = 0; seed < 200; seed++) first.add(balancerOf(policy, endpoints(5), seed).pick(undefined, 0, undefined)?.name);
    assert.equal(first.size, 5);
  });
}

test('round_robin: in one round everybody has exactly one turn', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(), (count, seed) => {
      const balancer = balancerOf('round_robin', endpoints(count), seed);
      for (let round = 0; round < 3; round++) assert.equal(countPicks(balancer, count).size, count);
    }),
  );
});

test('round_robin: turns of a heavy endpoint are spread out', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 10 }), fc.nat(), (weights, seed) => {
      const list = weights.map((weight, i) => endpoint(i, weight));
      const total = weights.reduce((a, b) => a + b, 0);
      const balancer = balancerOf('round_robin', list, seed);
      const counts = new Map<TestEndpoint, number>();
      for (let n = 1; n <= 3 * total; n++) {
        const picked = pick(balancer) as TestEndpoint;
        counts.set(picked, (counts.get(picked) ?? 0) + 1);
        // At every moment, not only at the end of a round, each is within two turns of its share.
        for (const e of list) assert.ok(Math.abs((counts.get(e) ?? 0) - (n * e.weight) / total) < 2 + 1e-9);
      }
    }),
  );
});

test('round_robin: an endpoint that was not usable for long gets no burst when it comes back', () => {
  const list = endpoints(4);
  const balancer = balancerOf('round_robin', list);
  countPicks(balancer, 10_000, (e) => e.name !== 0);
  assert.equal(countPicks(balancer, 40).get(list[0] as TestEndpoint), 10);
});

test('least_request: of two endpoints the one with less to do is picked', () => {
  const [idle, busy] = [endpoint(0), endpoint(1)];
  busy.activeRequests = 10;
  assert.equal(countPicks(balancerOf('least_request', [busy, idle]), 200).get(idle), 200);
});

test('least_request: a slow endpoint gets less by itself, with equal and with unequal weights', () => {
  for (const weight of [1, 1.5]) {
    const list = [...endpoints(9), endpoint(9, weight)];
    const slow = list[9] as TestEndpoint;
    const balancer = balancerOf('least_request', list);
    const underWay: TestEndpoint[] = [];
    let slowPicks = 0;
    for (let i = 0; i < 5_000; i++) {
      const picked = pick(balancer) as TestEndpoint;
      picked.activeRequests++;
      // The slow one never answers; the others do after ten more calls.
      if (picked === slow) slowPicks++;
      else underWay.push(picked);
      if (underWay.length > 10) (underWay.shift() as TestEndpoint).activeRequests--;
    }
    assert.ok(slowPicks < 150, `${slowPicks} calls to an endpoint that never answers`);
  }
});
