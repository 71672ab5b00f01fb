/** What a call's hash decides: the same endpoint every time, also when others come and go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Balancer, type BalancerEndpoint, createBalancer, defaultBalancerOptions, Hash64 } from '../../src/resilience/index.ts';
import { RingEntries } from '../../src/resilience/ring-entries.ts';

const endpointAt = (i: number, weight = 1): BalancerEndpoint => ({
  key: `10.0.${i >> 8}.${i & 255}:50051`,
  weight,
  activeRequests: 0,
  latency: undefined,
  reportedLoad: undefined,
});
const list = (count: number): readonly BalancerEndpoint[] => Array.from({ length: count }, (_, i) => endpointAt(i));

const hasher = new Hash64();
const hashOf = (text: string): { readonly high: number; readonly low: number } => {
  const { high, low } = hasher.xx(Buffer.from(text), 0, Buffer.byteLength(text));
  return { high, low };
};
const keys = Array.from({ length: 4_000 }, (_, i) => hashOf(`user-${i}`));

const policies = ['ring_hash', 'maglev'] as const;
const of = (policy: (typeof policies)[number], endpoints: readonly BalancerEndpoint[]): Balancer<BalancerEndpoint> => {
  const balancer = createBalancer<BalancerEndpoint>(policy, Math.random, {
    ...defaultBalancerOptions,
    ringHash: { ...defaultBalancerOptions.ringHash, minimumRingSize: 20_000 },
  });
  balancer.update(endpoints);
  return balancer;
};
const choices = (
  balancer: Balancer<BalancerEndpoint>,
  usable?: (e: BalancerEndpoint) => boolean,
): readonly (BalancerEndpoint | undefined)[] => keys.map((hash) => balancer.pick(usable, 0, hash));

// ---- the hashes ----

const mask = (1n << 64n) - 1n;
const turn = (x: bigint, bits: bigint): bigint => ((x << bits) | (x >> (64n - bits))) & mask;
const p = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n] as const;
const littleEndian = (bytes: Uint8Array, at: number, length: number): bigint => {
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i] as number);
  return value;
};

/** xxHash64 as its specification writes it, in big integers. */
const xxReference = (bytes: Uint8Array, seed: bigint): bigint => {
  const round = (sum: bigint, lane: bigint): bigint => (turn((sum + lane * p[1]) & mask, 31n) * p[0]) & mask;
  let at = 0;
  let hash: bigint;
  if (bytes.length >= 32) {
    const sums = [seed + p[0] + p[1], seed + p[1], seed, seed - p[0]].map((sum) => sum & mask);
    for (; at + 32 <= bytes.length; at += 32)
      for (let i = 0; i < 4; i++) sums[i] = round(sums[i] as bigint, littleEndian(bytes, at + 8 * i, 8));
    hash = [1n, 7n, 12n, 18n].reduce((total, bits, i) => (total + turn(sums[i] as bigint, bits)) & mask, 0n);
    for (const sum of sums) hash = ((hash ^ round(0n, sum)) * p[0] + p[3]) & mask;
  } else hash = (seed + p[4]) & mask;
  hash = (hash + BigInt(bytes.length)) & mask;
  for (; at + 8 <= bytes.length; at += 8) hash = (turn(hash ^ round(0n, littleEndian(bytes, at, 8)), 27n) * p[0] + p[3]) & mask;
  if (at + 4 <= bytes.length) {
    hash = (turn(hash ^ ((littleEndian(bytes, at, 4) * p[0]) & mask), 23n) * p[1] + p[2]) & mask;
    at += 4;
  }
  for (; at < bytes.length; at++) hash = (turn(hash ^ ((BigInt(bytes[at] as number) * p[4]) & mask), 11n) * p[0]) & mask;
  hash = ((hash ^ (hash >> 33n)) * p[1]) & mask;
  hash = ((hash ^ (hash >> 29n)) * p[2]) & mask;
  return hash ^ (hash >> 32n);
};

const bigOf = ({ high, low }: { readonly high: number; readonly low: number }): bigint => (BigInt(high) << 32n) | BigInt(low);

test('xxHash64 gives the published values, and those of its specification for anything', () => {
  const published = [
    ['', 0xef46db3751d8e999n],
    ['a', 0xd24ec4f1a98c6e5bn],
    ['abc', 0x44bc2cf5ad770999n],
  ] as const;
  for (const [text, expected] of published) assert.equal(bigOf(hashOf(text)), expected, text);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 150 }), fc.nat(5), fc.constantFrom(0, 1, 0xffff_ffff), (bytes, from, seed) => {
      const start = Math.min(from, bytes.length);
      assert.equal(bigOf(hasher.xx(bytes, start, bytes.length, seed)), xxReference(bytes.subarray(start), BigInt(seed)));
    }),
  );
});

test('MurmurHash2 gives what std::hash<std::string> of libstdc++ does', () => {
  const known = [
    ['', 0x553e93901e462a6en],
    ['a', 0x454ddee488c1ed6bn],
    ['abc', 0x32d82bf8ed3dba39n],
    ['0123456789', 0xd11d90479b4b6215n],
    ['0123456789012345678901234567890123456789', 0x1d1722f07b3ac0f1n],
  ] as const;
  for (const [text, expected] of known) assert.equal(bigOf(hasher.murmur2(Buffer.from(text), 0, text.length)), expected, text);
});

// ---- the tables ----

for (const policy of policies) {
  test(`${policy}: the same hash gives the same endpoint, whatever the order of the list`, () => {
    const endpoints = list(20);
    const first = choices(of(policy, endpoints));
    assert.deepEqual(choices(of(policy, endpoints)), first);
    assert.deepEqual(choices(of(policy, endpoints.toReversed())), first);
  });

  test(`${policy}: an endpoint that leaves takes its own calls with it and hardly another`, () => {
    const endpoints = list(20);
    const before = choices(of(policy, endpoints));
    const after = choices(of(policy, endpoints.slice(1)));
    let moved = 0;
    const heirs = new Set<BalancerEndpoint | undefined>();
    before.forEach((endpoint, i) => {
      if (endpoint === after[i]) return;
      if (endpoint === endpoints[0]) heirs.add(after[i]);
      else moved++;
    });
    // With one endpoint less each has more places on the ring, as in Envoy.
    assert.ok(moved <= keys.length * 0.05, `${moved} calls of others moved`);
    assert.ok(heirs.size > 12, `its calls went to ${heirs.size} others`);
  });

  test(`${policy}: an endpoint that joins takes about its share, one n-th`, () => {
    const endpoints = list(20);
    const before = choices(of(policy, endpoints.slice(1)));
    const after = choices(of(policy, endpoints));
    const moved = before.filter((endpoint, i) => endpoint !== after[i]).length;
    assert.ok(moved <= keys.length * 0.1 && moved >= keys.length * 0.02, `${moved} of ${keys.length} moved`);
  });

  test(`${policy}: calls of one that is not usable spread out, the others stay, and all come back`, () => {
    const endpoints = list(20);
    const balancer = of(policy, endpoints);
    const before = choices(balancer);
    const without = choices(balancer, (endpoint) => endpoint !== endpoints[3]);
    const heirs = new Set<BalancerEndpoint | undefined>();
    before.forEach((endpoint, i) => {
      if (endpoint === endpoints[3]) heirs.add(without[i]);
      else assert.equal(without[i], endpoint);
    });
    assert.ok(heirs.size > 12 && !heirs.has(endpoints[3]) && !heirs.has(undefined));
    assert.deepEqual(choices(balancer), before);
    assert.deepEqual(
      choices(balancer, (endpoint) => endpoint !== endpoints[3]),
      without,
      'the same way every time',
    );
  });

  test(`${policy}: shares of the hashes follow the weights`, () => {
    const endpoints = [endpointAt(0, 1), endpointAt(1, 2), endpointAt(2, 5)];
    const picked = choices(of(policy, endpoints));
    for (const endpoint of endpoints) {
      const share = picked.filter((each) => each === endpoint).length / keys.length;
      assert.ok(Math.abs(share - endpoint.weight / 8) < 0.04, `${endpoint.key} with weight ${endpoint.weight} got ${share}`);
    }
  });

  test(`${policy}: where one in a thousand is usable, a hash still goes to the same one`, () => {
    const endpoints = list(3_000);
    const balancer = of(policy, endpoints);
    const few = new Set([endpoints[5], endpoints[1_500], endpoints[2_999]]);
    const usable = (endpoint: BalancerEndpoint): boolean => few.has(endpoint);
    for (const hash of keys.slice(0, 50)) {
      const found = balancer.pick(usable, 0, hash);
      assert.ok(found !== undefined && few.has(found));
      assert.equal(balancer.pick(usable, 0, hash), found);
    }
  });
}

test('ring_hash: by murmur_hash_2 it is another ring', () => {
  const endpoints = list(20);
  const balancer = createBalancer<BalancerEndpoint>('ring_hash', Math.random, {
    ...defaultBalancerOptions,
    ringHash: { ...defaultBalancerOptions.ringHash, hashFunction: 'murmur_hash_2' },
  });
  balancer.update(endpoints);
  const other = choices(of('ring_hash', endpoints));
  const same = choices(balancer).filter((endpoint, i) => endpoint === other[i]).length;
  assert.ok(same < keys.length / 4);
});

test('ring_hash: the entry at or after a hash is found, however the hashes are spread', () => {
  const half = fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0xffff_ffff, 0x8000_0000));
  const hash = fc.record({ high: half, low: half });
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 60 }), fc.array(hash, { maxLength: 20 }), (placed, asked) => {
      const entries = new RingEntries(placed.length);
      placed.forEach(({ high, low }, i) => {
        entries.add(high, low, i);
      });
      const ring = entries.sorted();
      const inOrder = placed
        .map((entry, i) => ({ value: bigOf(entry), i }))
        .sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : a.i - b.i));
      assert.deepEqual(
        [...ring.owner],
        inOrder.map(({ i }) => i),
      );
      for (const each of [...asked, ...placed]) {
        const expected = inOrder.findIndex(({ value }) => value >= bigOf(each));
        assert.equal(ring.successor(each.high, each.low), Math.max(expected, 0));
      }
    }),
  );
});
