import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VirtualClock } from '../../src/core/index.ts';
import { Breaker, type BreakerChange, type BreakerOptions, RollingWindow, statusBits } from '../../src/resilience/index.ts';

const options: BreakerOptions = { consecutiveFailures: 3, recoveryTimeoutMs: 60_000 };
const forever = Number.POSITIVE_INFINITY;

/** A breaker on a clock, with one line per thing that happens to it. */
const breakerOn = (overrides: Partial<BreakerOptions> = {}) => {
  const clock = new VirtualClock();
  const breaker = new Breaker({ ...options, ...overrides });
  const changes: string[] = [];
  breaker.onChange = ({ from, to, why }: BreakerChange) => changes.push(`${from} ${to} ${why}`);
  const enter = (): number => breaker.tryEnter(clock.now());
  const succeed = (permit = enter()): void => breaker.succeed(permit, clock.now());
  const fail = (permit = enter()): void => breaker.fail(permit, clock.now());
  const failUntilOpen = (): void => {
    while (breaker.state !== 'OPEN') fail();
  };
  return { clock, breaker, changes, enter, succeed, fail, failUntilOpen };
};

test('failures in a row open it, a success in between starts the count anew', () => {
  const { breaker, succeed, fail, enter } = breakerOn();
  fail();
  fail();
  succeed();
  fail();
  fail();
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 2]);
  fail();
  assert.deepEqual([breaker.state, breaker.consecutiveFailures, breaker.openedAtMs, breaker.opensTotal], ['OPEN', 3, 0, 1]);
  assert.equal(enter(), 0);
  assert.deepEqual([breaker.failuresTotal, breaker.rejectedTotal], [5, 1]);
});

/** As many permits as calls begin at once. */
const together = (enter: () => number, count: number): readonly number[] => Array.from({ length: count }, enter);

test('among calls that go on beside one another, so many rounds of failures open it', () => {
  const { breaker, enter, succeed, fail } = breakerOn();
  // Of 100 under way all the time, one has just succeeded: 3 rounds begin with failures 1, 101 and 201.
  const underWay = [...together(enter, 101)];
  succeed(underWay.shift());
  for (let failures = 0; failures < 200; failures++) {
    underWay.push(enter());
    fail(underWay.shift());
  }
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 200]);
  underWay.push(enter());
  fail(underWay.shift());
  assert.equal(breaker.state, 'OPEN');
});

test('some failures among many calls under way are not in a row', () => {
  const { breaker, enter, succeed, fail } = breakerOn();
  const underWay = [...together(enter, 20)];
  for (let turn = 0; turn < 300; turn++) {
    underWay.push(enter());
    if (turn % 10 === 0) succeed(underWay.shift());
    else fail(underWay.shift());
  }
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 9]);
});

test('what is lost with one connection does not open it while others succeed', () => {
  const { breaker, enter, succeed, fail, clock } = breakerOn();
  const underWay = together(enter, 51);
  succeed(underWay[0]);
  clock.advance(1_500);
  for (const permit of underWay.slice(1)) fail(permit);
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 50]);
  succeed();
  assert.equal(breaker.consecutiveFailures, 0);
});

test('each failure counts where no call was beside the last success, or there was none yet', () => {
  const quiet = breakerOn();
  quiet.succeed();
  const [first, second, third] = together(quiet.enter, 40);
  quiet.fail(first);
  quiet.fail(second);
  assert.equal(quiet.breaker.state, 'CLOSED');
  quiet.fail(third);
  assert.equal(quiet.breaker.state, 'OPEN');
  const fresh = breakerOn();
  for (const permit of together(fresh.enter, 40).slice(0, 3)) fresh.fail(permit);
  assert.equal(fresh.breaker.state, 'OPEN');
});

test('each failure counts when the last success is long ago, however many calls never end', () => {
  const { breaker, enter, succeed, fail, clock } = breakerOn();
  together(enter, 40);
  succeed();
  fail();
  fail();
  fail();
  assert.equal(breaker.state, 'CLOSED');
  clock.advance(2_999);
  fail();
  assert.equal(breaker.state, 'CLOSED');
  clock.advance(1);
  fail();
  assert.equal(breaker.state, 'OPEN');
});

test('attempts that say nothing are not under way any more, and those of before it opened never were', () => {
  const { breaker, enter, succeed, fail, clock } = breakerOn();
  const given = together(enter, 40);
  succeed();
  for (const permit of given) breaker.neutral(permit, clock.now());
  fail();
  fail();
  fail();
  assert.equal(breaker.state, 'OPEN');
  clock.advance(60_000);
  succeed();
  assert.equal(breaker.state, 'CLOSED');
  for (const permit of given) breaker.neutral(permit, clock.now());
  const beside = enter();
  succeed();
  fail();
  fail();
  breaker.neutral(beside, clock.now());
  fail();
  assert.equal(breaker.state, 'OPEN');
});

test('after the recovery timeout one probe is let through, and its success closes it', () => {
  const { clock, breaker, enter, succeed, failUntilOpen, changes } = breakerOn();
  failUntilOpen();
  clock.advance(59_999);
  assert.equal(enter(), 0);
  clock.advance(1);
  const probe = enter();
  assert.ok(probe > 0);
  assert.deepEqual([enter(), breaker.state], [0, 'HALF_OPEN']);
  succeed(probe);
  assert.deepEqual([breaker.state, breaker.openedAtMs, breaker.consecutiveFailures], ['CLOSED', undefined, 0]);
  assert.ok(enter() > 0);
  assert.deepEqual(changes, ['CLOSED OPEN failures', 'OPEN HALF_OPEN probe_started', 'HALF_OPEN CLOSED probe_succeeded']);
});

test('a probe that was given up cannot close the breaker later', () => {
  const { clock, breaker, enter, succeed, failUntilOpen } = breakerOn();
  failUntilOpen();
  clock.advance(60_000);
  const probe = enter();
  breaker.neutral(probe, clock.now());
  succeed(probe);
  assert.equal(breaker.state, 'HALF_OPEN');
  assert.ok(enter() > 0);
});

test('a failed probe opens it for another recovery timeout', () => {
  const { clock, breaker, enter, fail, failUntilOpen } = breakerOn();
  failUntilOpen();
  clock.advance(60_000);
  fail();
  assert.deepEqual([breaker.state, breaker.openedAtMs, breaker.opensTotal], ['OPEN', 60_000, 2]);
  clock.advance(59_999);
  assert.equal(enter(), 0);
  clock.advance(1);
  assert.ok(enter() > 0);
});

test('a probe that says nothing neither closes nor opens it, and makes room for the next one', () => {
  const { clock, breaker, enter, succeed, failUntilOpen } = breakerOn();
  failUntilOpen();
  clock.advance(60_000);
  const cancelled = enter();
  breaker.neutral(cancelled, clock.now());
  assert.equal(breaker.state, 'HALF_OPEN');
  const next = enter();
  assert.ok(next > 0);
  succeed(cancelled);
  assert.equal(breaker.state, 'HALF_OPEN', 'the probe that was let go must not decide');
  succeed(next);
  assert.equal(breaker.state, 'CLOSED');
});

test('a call that says nothing does not touch the count of failures', () => {
  const { clock, breaker, enter, fail } = breakerOn();
  fail();
  breaker.neutral(enter(), clock.now());
  assert.equal(breaker.consecutiveFailures, 1);
});

test('the late success of a call from before it opened does not close it, its late failure does not open it again', () => {
  const { clock, breaker, enter, succeed, fail, failUntilOpen } = breakerOn();
  const [early, late] = [enter(), enter()];
  failUntilOpen();
  succeed(early);
  assert.equal(breaker.state, 'OPEN');
  clock.advance(60_000);
  const probe = enter();
  succeed(early);
  assert.equal(breaker.state, 'HALF_OPEN');
  succeed(probe);
  for (let i = 0; i < 5; i++) fail(late);
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 0]);
});

test('a probe that hangs counts as failed when its time is up, and after the recovery timeout there is another', () => {
  const { clock, breaker, enter, succeed, failUntilOpen, changes } = breakerOn({ probeTimeoutMs: 5_000 });
  failUntilOpen();
  clock.advance(60_000);
  const hung = enter();
  clock.advance(4_999);
  assert.equal(enter(), 0);
  assert.equal(breaker.state, 'HALF_OPEN');
  clock.advance(1);
  assert.equal(enter(), 0);
  assert.deepEqual([breaker.state, breaker.openedAtMs, changes.at(-1)], ['OPEN', 65_000, 'HALF_OPEN OPEN probe_hung']);
  clock.advance(60_000);
  const next = enter();
  assert.ok(next > 0);
  succeed(hung);
  assert.equal(breaker.state, 'HALF_OPEN');
  succeed(next);
  assert.equal(breaker.state, 'CLOSED');
});

test('a balancer that asks beforehand hears what the call would hear, also after a hung probe', () => {
  const { clock, breaker, enter, failUntilOpen } = breakerOn({ recoveryTimeoutMs: 100, probeTimeoutMs: 50 });
  const heard = (): readonly [boolean, string] => [breaker.refuses(clock.now()), breaker.stateAt(clock.now())];
  assert.deepEqual(heard(), [false, 'CLOSED']);
  failUntilOpen();
  assert.deepEqual(heard(), [true, 'OPEN']);
  clock.advance(100);
  assert.deepEqual(heard(), [false, 'HALF_OPEN']);
  enter();
  assert.deepEqual(heard(), [true, 'HALF_OPEN']);
  clock.advance(50);
  assert.deepEqual(heard(), [true, 'OPEN']);
  clock.advance(100);
  assert.deepEqual(heard(), [false, 'HALF_OPEN']);
  assert.ok(enter() > 0);
});

test('a probe may take as long as the breaker would stay open, but at least a second and at most thirty', () => {
  for (const [recoveryTimeoutMs, probeTimeoutMs] of [
    [100, 1_000],
    [5_000, 5_000],
    [60_000, 30_000],
  ] as const) {
    assert.equal(new Breaker({ consecutiveFailures: 1, recoveryTimeoutMs }).probeTimeoutMs, probeTimeoutMs);
  }
});

test('opened by hand it stays open whatever the recovery timeout says, until its time is up, then it is probed', () => {
  const { clock, breaker, enter, succeed } = breakerOn();
  breaker.hold('OPEN', 600_000, clock.now());
  clock.advance(599_999);
  assert.deepEqual([enter(), breaker.state], [0, 'OPEN']);
  clock.advance(1);
  const probe = enter();
  assert.ok(probe > 0);
  assert.deepEqual([enter(), breaker.state, breaker.currentHold], [0, 'HALF_OPEN', undefined]);
  succeed(probe);
  assert.equal(breaker.state, 'CLOSED');
});

test('closed by hand it lets everything through, whatever fails, until its time is up', () => {
  const { clock, breaker, enter, fail, failUntilOpen } = breakerOn();
  failUntilOpen();
  breaker.hold('CLOSED', 60_000, clock.now());
  for (let i = 0; i < 20; i++) fail();
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 20]);
  clock.advance(60_000);
  assert.ok(enter() > 0);
  assert.equal(breaker.consecutiveFailures, 0);
  failUntilOpen();
});

test('a reset ends a hold without end, and closes it at once', () => {
  const { clock, breaker, enter, changes } = breakerOn();
  breaker.hold('OPEN', forever, clock.now());
  clock.advance(1e9);
  assert.equal(enter(), 0);
  breaker.reset(clock.now());
  assert.deepEqual([breaker.state, breaker.currentHold, enter() > 0], ['CLOSED', undefined, true]);
  assert.deepEqual(changes, ['CLOSED OPEN held', 'OPEN CLOSED reset']);
});

test('a call under way while it is opened or reset by hand has no say in what follows', () => {
  const { clock, breaker, enter, fail, succeed } = breakerOn({ consecutiveFailures: 1 });
  const early = enter();
  breaker.hold('OPEN', forever, clock.now());
  succeed(early);
  assert.equal(breaker.state, 'OPEN');
  breaker.reset(clock.now());
  fail(early);
  assert.equal(breaker.state, 'CLOSED');
});

test('new options of a reload leave the state and the count as they are', () => {
  const { breaker, fail } = breakerOn();
  fail();
  breaker.update({ consecutiveFailures: 2, recoveryTimeoutMs: 10 });
  assert.deepEqual([breaker.state, breaker.consecutiveFailures], ['CLOSED', 1]);
  fail();
  assert.equal(breaker.state, 'OPEN');
});

type Step =
  | { readonly kind: 'enter' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'result'; readonly of: 'succeed' | 'fail' | 'neutral'; readonly which: number }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'hold'; readonly state: 'OPEN' | 'CLOSED'; readonly forMs: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Step>({ kind: 'enter' }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('result' as const),
      of: fc.constantFrom('succeed' as const, 'fail' as const, 'fail' as const, 'neutral' as const),
      which: fc.nat(20),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(1, 50, 99, 100, 101, 500, 1_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('hold' as const),
      state: fc.constantFrom('OPEN' as const, 'CLOSED' as const),
      forMs: fc.constantFrom(50, 1_000),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'reset' }) },
);

test('whatever the interleaving: one live probe at most, void results change nothing, and what is shown is what the next call meets', () => {
  const recoveryTimeoutMs = 100;
  const probeTimeoutMs = 150;
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 150 }), (steps) => {
      const clock = new VirtualClock();
      const breaker = new Breaker({ consecutiveFailures: 2, recoveryTimeoutMs, probeTimeoutMs });
      // A permit is alive from its admission to the next change of state; changes are what `onChange` says, and each reset or hold.
      let epoch = 0;
      breaker.onChange = () => epoch++;
      const permits: { permit: number; epoch: number; probe: boolean; dueMs: number; live: boolean }[] = [];
      for (const step of steps) {
        const nowMs = clock.now();
        if (step.kind === 'advance') clock.advance(step.ms);
        else if (step.kind === 'reset') {
          breaker.reset(nowMs);
          epoch++;
        } else if (step.kind === 'hold') {
          breaker.hold(step.state, nowMs + step.forMs, nowMs);
          epoch++;
        } else if (step.kind === 'enter') {
          const shown = breaker.stateAt(nowMs);
          const refuses = breaker.refuses(nowMs);
          const permit = breaker.tryEnter(nowMs);
          assert.equal(breaker.state, shown);
          assert.equal(permit === 0, refuses);
          if (permit === 0) continue;
          const probe = breaker.state === 'HALF_OPEN';
          if (probe) {
            const alive = permits.filter((p) => p.probe && p.live && p.epoch === epoch && nowMs < p.dueMs);
            assert.equal(alive.length, 0, 'two probes at once');
          }
          permits.push({ permit, epoch, probe, dueMs: nowMs + probeTimeoutMs, live: true });
        } else {
          const chosen = permits[step.which % Math.max(permits.length, 1)];
          if (chosen === undefined) continue;
          const shown = breaker.stateAt(nowMs);
          const failures = breaker.consecutiveFailures;
          const isVoid = chosen.epoch !== epoch || (chosen.probe && (!chosen.live || nowMs >= chosen.dueMs));
          breaker[step.of](chosen.permit, nowMs);
          chosen.live = chosen.live && !chosen.probe;
          if (isVoid) {
            assert.equal(breaker.stateAt(nowMs), shown, 'a void result changed the state');
            assert.ok(breaker.consecutiveFailures === failures || breaker.consecutiveFailures === 0);
          }
        }
      }
      // Whatever has happened, and although nobody reports any more, a call gets through before long.
      clock.advance(1_000 + probeTimeoutMs + recoveryTimeoutMs);
      assert.ok(breaker.tryEnter(clock.now()) > 0, 'refuses everybody');
    }),
    { numRuns: 500 },
  );
});

test('with one hung probe after another it still asks, once per recovery and probe time', () => {
  const { clock, enter, failUntilOpen } = breakerOn({ recoveryTimeoutMs: 100, probeTimeoutMs: 50 });
  failUntilOpen();
  let admitted = 0;
  for (let i = 0; i < 1_500; i++) {
    clock.advance(1);
    if (enter() > 0) admitted++;
  }
  assert.equal(admitted, 10);
});

test('rolling statistics count what happened within the window and forget what is older', () => {
  const window = new RollingWindow(0, { windowMs: 10_000, buckets: 10 });
  const breaker = new Breaker(options, window);
  for (let i = 0; i < 3; i++) breaker.succeed(breaker.tryEnter(10), 10);
  breaker.fail(breaker.tryEnter(5_000), 5_000);
  assert.deepEqual(breaker.rollingCounts(5_000), { attempts: 4, successes: 3, failures: 1, slow: 0, rejected: 0 });
  breaker.hold('OPEN', forever, 5_000);
  breaker.tryEnter(6_000);
  assert.deepEqual(breaker.rollingCounts(9_999), { attempts: 4, successes: 3, failures: 1, slow: 0, rejected: 1 });
  assert.deepEqual(breaker.rollingCounts(12_000), { attempts: 1, successes: 0, failures: 1, slow: 0, rejected: 1 });
  assert.deepEqual(breaker.rollingCounts(1e9), { attempts: 0, successes: 0, failures: 0, slow: 0, rejected: 0 });
});

test('the statistics of many breakers share one rotation, own no timer, and go when their breaker goes', () => {
  const timersBefore = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const window = new RollingWindow(0);
  const breakers = Array.from({ length: 200 }, () => new Breaker({ consecutiveFailures: 1, recoveryTimeoutMs: 1_000 }, window));
  breakers.forEach((breaker, i) => {
    if (i % 2 === 0) breaker.fail(breaker.tryEnter(0), 0);
    else breaker.succeed(breaker.tryEnter(0), 0);
  });
  assert.equal(window.tracked, 200);
  // One breaker's traffic turns the slices of all.
  breakers[0]?.tryEnter(9_500);
  assert.deepEqual(breakers[1]?.rollingCounts(9_500), { attempts: 1, successes: 1, failures: 0, slow: 0, rejected: 0 });
  assert.deepEqual(breakers[2]?.rollingCounts(20_000), { attempts: 0, successes: 0, failures: 0, slow: 0, rejected: 0 });
  for (const breaker of breakers) breaker.dispose();
  assert.equal(window.tracked, 0);
  assert.equal(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length, timersBefore);
});

/** A breaker that goes by a share of failures, five results at least. */
const rateBreakerOn = (overrides: Partial<BreakerOptions> = {}) => {
  const clock = new VirtualClock();
  const window = new RollingWindow(0, { windowMs: 10_000, buckets: 10 });
  const failureRate = { percent: 50, windowMs: 10_000, minimumRequests: 5 };
  const breaker = new Breaker({ consecutiveFailures: forever, recoveryTimeoutMs: 1_000, failureRate, ...overrides }, window);
  const attempt = (result: 'succeed' | 'fail' | 'failSlowly'): void => {
    const permit = breaker.tryEnter(clock.now());
    if (permit > 0) breaker[result](permit, clock.now());
  };
  const several = (count: number, result: 'succeed' | 'fail' | 'failSlowly'): void => {
    for (let i = 0; i < count; i++) attempt(result);
  };
  return { clock, breaker, window, attempt, several };
};

test('a share of failures opens it, once there are enough results to speak of a share', () => {
  const { breaker, attempt, several } = rateBreakerOn();
  several(4, 'fail');
  assert.equal(breaker.state, 'CLOSED', 'four results are too few');
  several(6, 'succeed');
  attempt('fail');
  assert.equal(breaker.state, 'CLOSED', 'five of eleven are less than half');
  attempt('fail');
  assert.equal(breaker.state, 'OPEN', 'six of twelve are half');
});

test('results older than the window do not count towards the share', () => {
  const { clock, breaker, attempt, several } = rateBreakerOn();
  several(20, 'succeed');
  clock.advance(5_000);
  several(10, 'fail');
  assert.equal(breaker.state, 'CLOSED');
  clock.advance(5_500);
  attempt('fail');
  assert.equal(breaker.state, 'OPEN');
});

test('what opened it does not count once it has closed again', () => {
  const { clock, breaker, attempt, several } = rateBreakerOn();
  several(5, 'fail');
  assert.equal(breaker.state, 'OPEN');
  clock.advance(1_000);
  attempt('succeed');
  assert.equal(breaker.state, 'CLOSED');
  several(4, 'fail');
  assert.equal(breaker.state, 'CLOSED', 'the five of before are still in the window, and are forgotten');
  assert.deepEqual(breaker.rollingCounts(clock.now()), { attempts: 4, successes: 0, failures: 4, slow: 0, rejected: 0 });
  attempt('fail');
  assert.equal(breaker.state, 'OPEN');
});

test('a void result is not in the window', () => {
  const { clock, breaker, several, attempt } = rateBreakerOn();
  const early = [1, 2, 3, 4, 5, 6].map(() => breaker.tryEnter(clock.now()));
  several(5, 'fail');
  clock.advance(1_000);
  attempt('succeed');
  for (const permit of early) breaker.fail(permit, clock.now());
  assert.equal(breaker.state, 'CLOSED');
  assert.equal(breaker.rollingCounts(clock.now())?.failures, 0);
});

test('held closed by hand no share opens it', () => {
  const { clock, breaker, several } = rateBreakerOn();
  breaker.hold('CLOSED', forever, clock.now());
  several(50, 'fail');
  assert.equal(breaker.state, 'CLOSED');
});

test('a reload with another window begins it anew, and the state stays', () => {
  const { breaker, window, several } = rateBreakerOn();
  several(4, 'fail');
  const longer = new RollingWindow(0, { windowMs: 60_000, buckets: 10 });
  const failureRate = { percent: 50, windowMs: 60_000, minimumRequests: 5 };
  breaker.update({ consecutiveFailures: forever, recoveryTimeoutMs: 1_000, failureRate }, longer);
  assert.deepEqual([window.tracked, longer.tracked, breaker.windowMs], [0, 1, 60_000]);
  several(4, 'fail');
  assert.equal(breaker.state, 'CLOSED');
  several(1, 'fail');
  assert.equal(breaker.state, 'OPEN');
  breaker.dispose();
  assert.equal(longer.tracked, 0);
});

test('slow answers are failures, in a row and in the share, and are counted apart', () => {
  const { breaker, several, clock } = rateBreakerOn({ slowCallDurationMs: 200 });
  assert.deepEqual(
    [0, 200, 200.5].map((elapsedMs) => breaker.isSlow(elapsedMs)),
    [false, false, true],
  );
  several(5, 'failSlowly');
  assert.deepEqual([breaker.state, breaker.slowTotal, breaker.failuresTotal], ['OPEN', 5, 5]);
  assert.deepEqual(breaker.rollingCounts(clock.now()), { attempts: 5, successes: 0, failures: 5, slow: 5, rejected: 0 });
  assert.equal(new Breaker(options).isSlow(1e9), false, 'nothing is slow where nobody said what is');
});

test('which statuses are failures is said by failureStatuses, UNAVAILABLE where it is left out', () => {
  const failuresOf = (breaker: Breaker): readonly number[] =>
    Array.from({ length: 64 }, (_, status) => status).filter((s) => breaker.isFailure(s));
  assert.deepEqual(failuresOf(new Breaker(options)), [14]);
  assert.deepEqual(failuresOf(new Breaker({ ...options, failureStatuses: statusBits([13, 2]) })), [2, 13]);
  assert.deepEqual(failuresOf(new Breaker({ ...options, failureStatuses: statusBits([]) })), []);
});

test('with a success threshold it takes so many probes, one after another, and one that fails opens it again', () => {
  const { clock, breaker, enter, succeed, fail, failUntilOpen } = breakerOn({ successThreshold: 3 });
  failUntilOpen();
  clock.advance(60_000);
  for (let i = 0; i < 2; i++) {
    const probe = enter();
    assert.equal(enter(), 0, 'one probe at a time');
    succeed(probe);
    succeed(probe);
    assert.equal(breaker.state, 'HALF_OPEN');
  }
  fail();
  assert.equal(breaker.state, 'OPEN');
  clock.advance(60_000);
  for (let i = 0; i < 3; i++) succeed();
  assert.equal(breaker.state, 'CLOSED');
});
