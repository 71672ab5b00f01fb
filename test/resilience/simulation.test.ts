import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quickFleets } from '../../bench/simulate/fleets.ts';
import { builtInPolicies, type MeshPolicy } from '../../bench/simulate/policies.ts';
import { scenarios } from '../../bench/simulate/scenarios.ts';
import { missedTargets, type Outcome, simulate } from '../../bench/simulate/simulate.ts';

const recoveryTimeoutMs = 10_000;

/** A policy by its name, with a recovery timeout that makes a run short. */
const policy = (name: string): MeshPolicy => {
  const found = builtInPolicies.find((each) => each.name === name) ?? assert.fail(name);
  return { ...found, breaker: { ...found.breaker, recoveryTimeoutMs } };
};

const run = (scenario: string, fleet: string, name: string, seed = 1): Outcome => {
  const [what, mesh] = [scenarios.find((each) => each.name === scenario), quickFleets.find((each) => each.name === fleet)];
  if (what === undefined || mesh === undefined) assert.fail(`${scenario}, ${fleet}`);
  const warmMs = Math.max(6_000, 3 * mesh.deadlineMs);
  return simulate(what, mesh, policy(name), { seed, warmMs, tailMs: 2 * recoveryTimeoutMs + 8_000 });
};

for (const { name } of scenarios) {
  test(`${name}: retries stay within their bounds, and goodput comes back in time`, () => {
    for (const fleet of ['busy', 'wide']) {
      const outcome = run(name, fleet, 'outrider');
      assert.deepEqual(missedTargets(outcome), [], fleet);
      assert.ok(outcome.goodput.before > 0.97, 'good times are good');
      assert.ok(outcome.goodput.atEnd > 0.95);
    }
  });
}

test('chance does not decide: outages end in time whatever the seed', () => {
  for (let seed = 2; seed <= 6; seed++) assert.deepEqual(missedTargets(run('outage', 'busy', 'outrider', seed)), [], `seed ${seed}`);
});

test('what the defaults do makes neither a brown-out nor a retry storm worse than doing nothing', () => {
  for (const scenario of ['brown-out', 'retry-storm']) {
    const [defaults, nothing] = [run(scenario, 'busy', 'outrider'), run(scenario, 'busy', 'no retries')];
    const [whole, bare] = [defaults.goodput.during, nothing.goodput.during];
    assert.ok(whole > 0.95 * bare, `${scenario}: ${whole} with the defaults, ${bare} without`);
    assert.ok((defaults.recoveryMs ?? Number.POSITIVE_INFINITY) <= 2_000, `${scenario}: ${defaults.recoveryMs}`);
  }
});

test('the same seed gives the same run, another one another', () => {
  assert.deepEqual(run('brown-out', 'wide', 'outrider'), run('brown-out', 'wide', 'outrider'));
  assert.notDeepEqual(run('brown-out', 'wide', 'outrider'), run('brown-out', 'wide', 'outrider', 2));
});

test('the targets can be missed: without a budget a full outage doubles the calls', () => {
  const { amplification, inFlight } = run('outage', 'busy', 'istio');
  assert.ok(amplification.total > 1.5 && inFlight.every((calls) => calls >= 64));
  assert.notDeepEqual(missedTargets(run('outage', 'busy', 'istio')), []);
});

test('the budget and the guard alone keep a full outage within the bounds, where no breaker helps', () => {
  const { amplification, inFlight } = run('outage', 'busy', 'outrider, no breaker');
  assert.ok(inFlight.every((calls) => calls >= 64));
  assert.ok(amplification.hops.every((hop) => hop <= 1.25) && amplification.total <= 1.5, String(amplification.total));
});

test('of one call that meets a dead bottom three hops down, the guard makes as many attempts as one hop may make', () => {
  const { amplification: guarded } = run('outage', 'lone', 'outrider, no breaker');
  const { amplification: unguarded } = run('outage', 'lone', 'outrider, no breaker, no guard');
  assert.ok(Math.abs(guarded.total - 4) < 0.2, String(guarded.total));
  assert.ok(unguarded.total > 40, String(unguarded.total));
});
