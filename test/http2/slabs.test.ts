import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Slabs } from '../../src/http2/slabs.ts';

const slabBytes = 16 * 1024;
const inRegion = 16;

const take = (slabs: Slabs, count: number): Buffer[] => Array.from({ length: count }, () => slabs.take());
const memoriesOf = (some: readonly Buffer[]): Set<ArrayBufferLike> => new Set(some.map(({ buffer }) => buffer));
/** What was detached has no length, and neither has what lies in it. */
const detached = (some: readonly Buffer[]): number => some.filter(({ length }) => length === 0).length;

test('slabs of the pool stay, however often they come and go', () => {
  const slabs = new Slabs(slabBytes, 64);
  const first = take(slabs, 64);
  for (const slab of first) slabs.give(slab);
  const again = take(slabs, 64);
  assert.deepEqual(memoriesOf(again), memoriesOf(first));
  for (const slab of again) slabs.give(slab);
  assert.equal(detached(first), 0);
  assert.equal(slabs.out, 0);
});

test('what a peak needed is freed when it is over, up to a little that waits for the next one', () => {
  const slabs = new Slabs(slabBytes, 64);
  const peak = take(slabs, 1_000);
  assert.equal(slabs.out, 1_000);
  for (const slab of peak) slabs.give(slab);
  assert.equal(slabs.out, 0);
  assert.ok(1_000 - detached(peak) <= 64 + 2 * inRegion, `${1_000 - detached(peak)} slabs are left`);
});

test('a region lives as long as one of its slabs is in use, and gives the others again', () => {
  const slabs = new Slabs(slabBytes, 0);
  const peak = take(slabs, 10 * inRegion);
  const [kept] = peak as [Buffer, ...Buffer[]];
  kept.fill(7);
  for (const slab of peak.slice(1)) slabs.give(slab);
  assert.ok(kept.equals(Buffer.alloc(slabBytes, 7)));
  const more = take(slabs, inRegion - 1);
  assert.equal(memoriesOf([kept, ...more]).size, 1, 'the oldest region with room comes first');
  for (const slab of [kept, ...more]) slabs.give(slab);
  assert.equal(slabs.out, 0);
});

test('memory that a socket may still look at is never detached, and its slabs are not given again', () => {
  const slabs = new Slabs(slabBytes, 0);
  const peak = take(slabs, 4 * inRegion);
  const [forgotten] = peak as [Buffer, ...Buffer[]];
  slabs.forget(forgotten);
  for (const slab of peak.slice(1)) slabs.give(slab);
  assert.equal(slabs.out, 0);
  assert.equal(forgotten.length, slabBytes);
  assert.ok(!take(slabs, 8 * inRegion).includes(forgotten));
});

test('a pool of which slabs were forgotten fills up again', () => {
  const slabs = new Slabs(slabBytes, 32);
  for (let round = 0; round < 5; round++) for (const slab of take(slabs, 32)) slabs.forget(slab);
  const pool = take(slabs, 32);
  for (const slab of pool) slabs.give(slab);
  assert.deepEqual(memoriesOf(take(slabs, 32)), memoriesOf(pool));
});

test('whatever is taken, given back and forgotten: a slab has one owner, its whole size, and bytes of its own', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('take', 'take', 'give', 'forget'), fc.nat()), { maxLength: 400 }), (steps) => {
      const slabs = new Slabs(64 * 1024, 8);
      const owned: Buffer[] = [];
      for (const [i, [step, chance]] of steps.entries()) {
        if (step === 'take') {
          const slab = slabs.take();
          assert.equal(slab.length, 64 * 1024);
          slab.writeUInt32BE(i, 0);
          slab.writeUInt32BE(i, slab.length - 4);
          owned.push(slab);
        } else if (owned.length > 0) {
          const [slab] = owned.splice(chance % owned.length, 1) as [Buffer];
          assert.equal(slab.readUInt32BE(0), slab.readUInt32BE(slab.length - 4), 'nobody else has written to it');
          if (step === 'give') slabs.give(slab);
          else slabs.forget(slab);
        }
        assert.equal(slabs.out, owned.length);
      }
      for (const slab of owned) assert.equal(slab.readUInt32BE(0), slab.readUInt32BE(slab.length - 4));
    }),
    { numRuns: 60 },
  );
});
