import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WeightedChoice } from '../../src/resilience/index.ts';

test('each is chosen for as many numbers as it weighs, and the numbers begin anew at the end', () => {
  const choice = new WeightedChoice([2, 0, 3]);
  assert.equal(choice.total, 5);
  assert.deepEqual(
    Array.from({ length: 12 }, (_, i) => choice.at(i)),
    [0, 0, 2, 2, 2, 0, 0, 2, 2, 2, 0, 0],
  );
  assert.deepEqual([choice.at(1.999), choice.at(2), choice.at(4.999)], [0, 2, 2]);
});

test('whatever the number and the weights, one that weighs something is chosen', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(1_000), { minLength: 1, maxLength: 20 }),
      fc.nat(),
      fc.double({ min: 0, max: 1, maxExcluded: true }),
      (weights, high, part) => {
        fc.pre(weights.some((weight) => weight > 0));
        const choice = new WeightedChoice(weights);
        for (const chosen of [choice.at(high), choice.at(part * choice.total), choice.ofHash(high, Math.floor(part * 2 ** 32))])
          assert.ok((weights[chosen] ?? 0) > 0);
      },
    ),
  );
});

test('hashes are spread by weight, also those that differ in a few bits', () => {
  const choice = new WeightedChoice([10, 90]);
  const counts = [0, 0];
  for (let i = 0; i < 20_000; i++) counts[choice.ofHash(i >>> 8, Math.imul(i, 0x9e37_79b1) >>> 0)]!++;
  assert.ok(Math.abs((counts[0] as number) - 2_000) < 200, String(counts));
});
