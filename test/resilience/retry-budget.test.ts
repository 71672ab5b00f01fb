import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RetryBudget } from '../../src/resilience/index.ts';

const budgetOf = (active: number, percent = 20, minConcurrency = 3): RetryBudget => {
  const budget = new RetryBudget({ percent, minConcurrency });
  for (let i = 0; i < active; i++) budget.begin();
  return budget;
};

const takeAll = (budget: RetryBudget): number => {
  let taken = 0;
  while (budget.tryAcquire()) taken++;
  return taken;
};

test('with hardly any traffic a few retries are still allowed', () => {
  for (const active of [0, 1, 14]) assert.equal(takeAll(budgetOf(active)), 3);
});

test('with much traffic retries are the share that was configured', () => {
  assert.equal(takeAll(budgetOf(500, 25)), 125);
  assert.equal(takeAll(budgetOf(500, 0, 0)), 0);
});

test('in a full outage with 64 calls or more in flight the load grows by a quarter at most', () => {
  for (let active = 64; active < 2_000; active += 7) assert.ok((active + takeAll(budgetOf(active))) / active <= 1.25);
});

test('when traffic falls, retries under way are let finish and none starts until there is room', () => {
  const budget = budgetOf(100);
  assert.equal(takeAll(budget), 20);
  for (let i = 0; i < 90; i++) budget.end();
  assert.deepEqual([budget.active, budget.limit, budget.retrying], [10, 3, 20]);
  assert.equal(budget.tryAcquire(), false);
  for (let i = 0; i < 18; i++) budget.release();
  assert.equal(budget.tryAcquire(), true);
});

test('retries that end at once are no more than their share of the calls that begin, beyond those that are always allowed', () => {
  const budget = budgetOf(100);
  for (let i = 0; i < 3; i++) assert.equal(budget.tryAcquire(), true);
  let retries = 0;
  const retryWhilePossible = (): void => {
    while (budget.tryAcquire()) {
      retries++;
      budget.release();
    }
  };
  retryWhilePossible();
  assert.equal(retries, 17, 'what the calls in flight have saved');
  for (let call = 0; call < 1_000; call++) {
    budget.begin();
    retryWhilePossible();
    budget.end();
  }
  assert.equal(retries, 17 + 200);
  budget.release();
  assert.equal(budget.tryAcquire(), true, 'so many are always allowed at once');
});

test('whatever happens, a retry starts exactly where there is room for it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('begin', 'end', 'take', 'release'), { maxLength: 400 }),
      fc.integer({ min: 0, max: 100 }),
      fc.nat(5),
      (steps, percent, minConcurrency) => {
        const budget = new RetryBudget({ percent, minConcurrency });
        let active = 0;
        let retrying = 0;
        let savedPercent = 1_000;
        for (const step of steps) {
          if (step === 'begin') {
            budget.begin();
            active++;
            savedPercent = Math.min(savedPercent + percent, Math.max(1_000, active * percent));
          } else if (step === 'end' && active > 0) {
            budget.end();
            active--;
          } else if (step === 'release' && retrying > 0) {
            budget.release();
            retrying--;
          } else if (step === 'take') {
            const saved = savedPercent >= 100;
            const room = retrying < Math.max(minConcurrency, Math.floor((active * percent) / 100)) && (saved || retrying < minConcurrency);
            assert.equal(budget.tryAcquire(), room);
            if (room && saved) savedPercent -= 100;
            if (room) retrying++;
          }
          assert.deepEqual([budget.active, budget.retrying], [active, retrying]);
        }
      },
    ),
  );
});
