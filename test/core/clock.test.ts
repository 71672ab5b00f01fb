import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadline, SystemClock, TimerWheel, VirtualClock } from '../../src/core/index.ts';

test('a virtual clock stands still until it is told to move', () => {
  const clock = new VirtualClock(1_000);
  let fired = 0;
  clock.setTimer(() => fired++, 10);
  assert.equal(clock.now(), 0);
  clock.advance(9.5);
  assert.deepEqual([clock.now(), clock.wallNow(), fired], [9.5, 1_009.5, 0]);
  clock.advance(0.5);
  assert.equal(fired, 1);
});

test('timers fire in the order of their due time, ties in the order they were set, and see the time at which they are due', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 30 }), fc.integer({ min: 0, max: 25 }), (delays, advanceMs) => {
      const clock = new VirtualClock();
      const fired: { dueMs: number; order: number }[] = [];
      delays.forEach((dueMs, order) => {
        clock.setTimer(() => {
          assert.equal(clock.now(), dueMs);
          fired.push({ dueMs, order });
        }, dueMs);
      });
      clock.advance(advanceMs);
      const expected = delays.map((dueMs, order) => ({ dueMs, order })).filter(({ dueMs }) => dueMs <= advanceMs);
      assert.deepEqual(
        fired,
        expected.sort((a, b) => a.dueMs - b.dueMs || a.order - b.order),
      );
      assert.equal(clock.pending, delays.length - fired.length);
    }),
  );
});

test('a timer that is set while time advances fires within the same advance when it falls due there', () => {
  const clock = new VirtualClock();
  const times: number[] = [];
  const again = (): void => {
    times.push(clock.now());
    if (times.length < 3) clock.setTimer(again, 10);
  };
  clock.setTimer(again, 10);
  clock.advance(100);
  assert.deepEqual(times, [10, 20, 30]);
});

test('a cancelled timer never fires, and cancelling again or after it has fired is harmless', () => {
  const clock = new VirtualClock();
  let fired = 0;
  const cancelled = clock.setTimer(() => fired++, 5);
  const kept = clock.setTimer(() => fired++, 5);
  cancelled.cancel();
  cancelled.cancel();
  clock.advance(10);
  kept.cancel();
  assert.deepEqual([fired, clock.pending], [1, 0]);
});

test('the system clock never fires early, whatever fraction of a millisecond is asked for', async () => {
  const clock = new SystemClock();
  await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      const delayMs = (i % 20) + i / 60;
      const startedMs = clock.now();
      const hold = setTimeout(() => {}, 10_000);
      await new Promise<void>((resolve) => clock.setTimer(resolve, delayMs));
      clearTimeout(hold);
      assert.ok(clock.now() - startedMs >= delayMs, `${clock.now() - startedMs} ms instead of ${delayMs}`);
    }),
  );
});

test('a delay beyond what Node can count is clamped instead of firing at once', () => {
  const clock = new VirtualClock();
  clock.setTimer(() => assert.fail('fired'), Number.POSITIVE_INFINITY);
  clock.advance(2 ** 31 - 2);
  assert.equal(clock.pending, 1);
});

test('a wall clock that jumps moves no deadline', async (t) => {
  const clock = new SystemClock();
  const wheel = new TimerWheel(clock);
  const startMs = clock.now();
  const wallMs = Date.now();
  for (const jumpMs of [-86_400_000, 86_400_000]) {
    const jumped = t.mock.method(Date, 'now', () => wallMs + jumpMs);
    assert.equal(clock.wallNow(), wallMs + jumpMs);
    await new Promise<void>((resolve) => {
      class Near {
        readonly deadline = new Deadline(this);
        expire(): void {
          resolve();
        }
      }
      wheel.arm(new Near().deadline, clock.now() + 20);
    });
    assert.ok(clock.now() - startMs < 60_000, 'what is monotonic has not jumped');
    jumped.mock.restore();
  }
  wheel.stop();
});
