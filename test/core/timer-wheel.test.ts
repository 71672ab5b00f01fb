import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadline, TimerWheel, VirtualClock } from '../../src/core/index.ts';

const tickMs = 4;

class Probe {
  readonly deadline = new Deadline(this);
  readonly expiredAtMs: number[] = [];
  onExpire: (() => void) | undefined;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  expire(): void {
    this.expiredAtMs.push(this.#clock.now());
    this.onExpire?.();
  }
}

const wheelAndClock = () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, tickMs);
  return { clock, wheel, probe: () => new Probe(clock) };
};

test('a deadline expires once, never early and at most one tick late', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 10_000, noNaN: true }), { minLength: 1, maxLength: 40 }), (dueTimes) => {
      const { clock, wheel, probe } = wheelAndClock();
      const probes = dueTimes.map((dueMs) => {
        const p = probe();
        wheel.arm(p.deadline, dueMs);
        return p;
      });
      clock.advance(10_000 + 2 * tickMs);
      probes.forEach((p, i) => {
        const dueMs = dueTimes[i] as number;
        assert.equal(p.expiredAtMs.length, 1);
        const atMs = p.expiredAtMs[0] as number;
        assert.ok(atMs >= dueMs && atMs <= dueMs + 2 * tickMs, `due ${dueMs}, expired ${atMs}`);
      });
      assert.equal(wheel.armed, 0);
      assert.equal(clock.pending, 0);
    }),
  );
});

type Step =
  | { readonly kind: 'arm'; readonly which: number; readonly inMs: number }
  | { readonly kind: 'cancel'; readonly which: number }
  | { readonly kind: 'advance'; readonly ms: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('arm' as const),
    which: fc.nat(7),
    inMs: fc.oneof(fc.integer({ min: -20, max: 60 }), fc.integer({ min: 0, max: 9_000 })),
  }),
  fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(7) }),
  fc.record({ kind: fc.constant('advance' as const), ms: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 5_000 })) }),
);

test('whatever is armed, moved and cancelled, the wheel agrees with a list that is looked through', () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 80 }), fc.nat(6_000), (steps, rearmMs) => {
      const { clock, wheel, probe } = wheelAndClock();
      const probes = Array.from({ length: 8 }, probe);
      const due = new Map<number, number>();
      const set = (which: number, dueMs: number): void => {
        wheel.arm((probes[which] as Probe).deadline, dueMs);
        due.set(which, Math.max(dueMs, clock.now()));
      };
      probes.forEach((p, which) => {
        p.onExpire = () => {
          const dueMs = due.get(which);
          assert.ok(dueMs !== undefined, 'expired without being armed');
          assert.ok(clock.now() >= dueMs && clock.now() <= dueMs + 2 * tickMs, `due ${dueMs}, expired ${clock.now()}`);
          due.delete(which);
          // Some cancel or arm others from within `expire`.
          if (which === 1) {
            wheel.cancel((probes[2] as Probe).deadline);
            due.delete(2);
          }
          if (which === 3) set(4, clock.now() + rearmMs);
        };
      });
      for (const step of steps) {
        if (step.kind === 'arm') set(step.which, clock.now() + step.inMs);
        else if (step.kind === 'advance') clock.advance(step.ms);
        else {
          wheel.cancel((probes[step.which] as Probe).deadline);
          due.delete(step.which);
        }
        assert.equal(wheel.armed, due.size);
        for (const dueMs of due.values()) assert.ok(clock.now() <= dueMs + 2 * tickMs, `overdue since ${dueMs} at ${clock.now()}`);
      }
    }),
  );
});

test('a deadline that arms itself again for much later does not delay one that is due sooner', () => {
  const { clock, wheel, probe } = wheelAndClock();
  const periodic = probe();
  const soon = probe();
  periodic.onExpire = () => wheel.arm(periodic.deadline, clock.now() + 1_000);
  wheel.arm(periodic.deadline, 10);
  wheel.arm(soon.deadline, 20);
  clock.advance(30);
  assert.deepEqual(soon.expiredAtMs, [20]);
});

test('one that throws while it expires keeps no other from expiring', () => {
  const { clock, wheel, probe } = wheelAndClock();
  const bad = probe();
  const good = probe();
  bad.onExpire = () => {
    throw new Error('bad');
  };
  wheel.arm(bad.deadline, 8);
  wheel.arm(good.deadline, 8);
  assert.throws(() => clock.advance(8), /bad/);
  clock.advance(2 * tickMs);
  assert.equal(good.expiredAtMs.length, 1);
  assert.equal(wheel.armed, 0);
});

test('after the event loop stood still for many turns of the wheel everything that is due expires at once', () => {
  // A clock whose timers are late, as they are behind a long task.
  let nowMs = 0;
  let fire: (() => void) | undefined;
  const stalled = {
    now: () => nowMs,
    wallNow: () => nowMs,
    setTimer: (callback: () => void) => {
      fire = callback;
      return { cancel: () => {} };
    },
  };
  const wheel = new TimerWheel(stalled, tickMs);
  const expired: number[] = [];
  class Numbered {
    readonly deadline = new Deadline(this);
    readonly dueAt: number;
    constructor(dueAt: number) {
      this.dueAt = dueAt;
    }
    expire(): void {
      expired.push(this.dueAt);
    }
  }
  const dueTimes = [5, 700, 2_047, 2_048, 2_049, 9_000, 50_000];
  for (const dueMs of dueTimes) wheel.arm(new Numbered(dueMs).deadline, dueMs);
  nowMs = 20_000;
  fire?.();
  assert.deepEqual(
    expired.sort((a, b) => a - b),
    [5, 700, 2_047, 2_048, 2_049, 9_000],
  );
  assert.equal(wheel.armed, 1);
});

test('an infinite deadline is not armed, and disarms one that was', () => {
  const { wheel, probe } = wheelAndClock();
  const p = probe();
  wheel.arm(p.deadline, 100);
  wheel.arm(p.deadline, Number.POSITIVE_INFINITY);
  assert.equal(p.deadline.armed, false);
  assert.equal(wheel.armed, 0);
});

test('an idle wheel with one far deadline wakes once a turn, not once a tick', () => {
  const { clock, wheel, probe } = wheelAndClock();
  let timersSet = 0;
  const setTimer = clock.setTimer.bind(clock);
  clock.setTimer = (fire, delayMs) => {
    timersSet++;
    return setTimer(fire, delayMs);
  };
  wheel.arm(probe().deadline, 20_000);
  clock.advance(20_000);
  assert.ok(timersSet < 15, `${timersSet} timers in ten turns`);
  assert.equal(wheel.armed, 0);
});

test('after stop nothing is left on the clock', () => {
  const { clock, wheel, probe } = wheelAndClock();
  wheel.arm(probe().deadline, 50);
  wheel.stop();
  assert.equal(clock.pending, 0);
});
