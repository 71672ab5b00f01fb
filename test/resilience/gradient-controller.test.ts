import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradientController, type GradientOptions } from '../../src/resilience/index.ts';

type Changes = Partial<Omit<GradientOptions, 'minRtt'>> & { readonly minRtt?: Partial<GradientOptions['minRtt']> };
const optionsWith = ({ minRtt, ...rest }: Changes = {}): GradientOptions => ({
  percentile: 0.5,
  maxLimit: 1_000,
  updateIntervalMs: 100,
  ...rest,
  minRtt: { intervalMs: 60_000, fixedMs: 0, requestCount: 10, jitter: 0, minConcurrency: 3, buffer: 0.25, ...minRtt },
});
const controllerWith = (changes?: Changes) => new GradientController(optionsWith(changes), () => 0.5, 0);

/** A service with so many places; a call takes `bestMs`, and longer where it has to wait for a place. */
const serve = (
  controller: GradientController,
  {
    fromMs,
    forMs,
    places,
    bestMs = 10,
    offered = 200,
  }: { fromMs: number; forMs: number; places: number; bestMs?: number; offered?: number },
): number => {
  const under: { start: number; end: number }[] = [];
  let done = 0;
  for (let now = fromMs; now < fromMs + forMs; now++) {
    for (let i = under.length - 1; i >= 0; i--) {
      const call = under[i] as { start: number; end: number };
      if (call.end > now) continue;
      under.splice(i, 1);
      controller.sample(call.start, now);
      done++;
    }
    while (under.length < offered && controller.tryEnter(now))
      under.push({ start: now, end: now + bestMs * Math.max(1, (under.length + 1) / places) });
  }
  for (const _ of under) controller.cancel();
  return done;
};

test('at first it measures, under the least limit', () => {
  const controller = controllerWith();
  assert.deepEqual([controller.limit, controller.measuring], [3, true]);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => controller.tryEnter(0)),
    [true, true, true, false],
  );
  assert.equal(controller.blockedTotal, 1);
  for (let i = 0; i < 3; i++) controller.sample(0, 20);
  for (let i = 0; i < 7; i++) {
    assert.ok(controller.tryEnter(20));
    controller.sample(20, 50);
  }
  assert.deepEqual([controller.measuring, controller.minRttMs, controller.active], [false, 30, 0]);
});

test('calls that began before a measurement do not count in it', () => {
  const controller = controllerWith({ minRtt: { requestCount: 2 } });
  for (let i = 0; i < 2; i++) controller.tryEnter(0);
  for (let i = 0; i < 2; i++) controller.sample(-5, 100);
  assert.ok(controller.measuring);
  for (let i = 0; i < 2; i++) controller.tryEnter(100);
  for (let i = 0; i < 2; i++) controller.sample(100, 110);
  assert.deepEqual([controller.measuring, controller.minRttMs], [false, 10]);
});

test('while the service is as fast as at its best the limit grows, up to the greatest', () => {
  const controller = controllerWith({ maxLimit: 50 });
  serve(controller, { fromMs: 0, forMs: 3_000, places: 1_000 });
  assert.equal(controller.limit, 50);
});

test('where calls have to wait the limit settles near what the service takes at once', () => {
  const controller = controllerWith();
  serve(controller, { fromMs: 0, forMs: 20_000, places: 20 });
  assert.ok(controller.limit >= 15 && controller.limit <= 45, `${controller.limit}`);
  assert.ok(controller.gradient >= 0.5 && controller.gradient <= 2);
});

test('a service that gets slower gets less, and more again when it is well', () => {
  const controller = controllerWith();
  serve(controller, { fromMs: 0, forMs: 10_000, places: 40 });
  const well = controller.limit;
  serve(controller, { fromMs: 10_000, forMs: 10_000, places: 8 });
  const ill = controller.limit;
  serve(controller, { fromMs: 20_000, forMs: 10_000, places: 40 });
  assert.ok(ill < well / 2, `${well} then ${ill}`);
  assert.ok(controller.limit > well / 2, `${controller.limit} of ${well}`);
});

test('it measures again after its interval with jitter, and goes on from the limit before', () => {
  const controller = controllerWith({ minRtt: { intervalMs: 1_000, jitter: 0.2 } });
  serve(controller, { fromMs: 0, forMs: 900, places: 1_000 });
  const before = controller.limit;
  assert.ok(before > 3 && !controller.measuring);
  controller.tryEnter(1_050);
  assert.ok(!controller.measuring, 'half of the jitter is 100 ms');
  controller.cancel();
  controller.tryEnter(1_200);
  assert.deepEqual([controller.measuring, controller.limit], [true, 3]);
  controller.cancel();
  for (let i = 0; i < 10; i++) {
    controller.tryEnter(1_200);
    controller.sample(1_200, 1_210);
  }
  assert.ok(!controller.measuring && controller.limit >= before, `${controller.limit}`);
});

test('at the least limit for long it measures anew: the best may have changed for good', () => {
  const controller = controllerWith({ minRtt: { requestCount: 3 } });
  serve(controller, { fromMs: 0, forMs: 1_000, places: 1_000, bestMs: 10 });
  assert.equal(controller.minRttMs, 10);
  serve(controller, { fromMs: 1_000, forMs: 10_000, places: 1_000, bestMs: 80 });
  assert.equal(controller.minRttMs, 80);
  assert.ok(controller.limit > 3);
});

test('with a fixed best nothing is measured', () => {
  const controller = controllerWith({ minRtt: { fixedMs: 10, minConcurrency: 5 } });
  assert.deepEqual([controller.measuring, controller.limit, controller.minRttMs], [false, 5, 10]);
  serve(controller, { fromMs: 0, forMs: 200_000, places: 1, bestMs: 100, offered: 10 });
  assert.deepEqual([controller.measuring, controller.limit], [false, 5]);
});

test('other numbers go on from the limit that is', () => {
  const controller = controllerWith();
  serve(controller, { fromMs: 0, forMs: 3_000, places: 1_000 });
  controller.update(optionsWith({ maxLimit: 40 }), 3_000);
  assert.equal(controller.limit, 40);
  controller.update(optionsWith({ maxLimit: 40, minRtt: { fixedMs: 7 } }), 3_000);
  assert.deepEqual([controller.minRttMs, controller.measuring], [7, false]);
  controller.update(optionsWith({ maxLimit: 40 }), 3_000);
  assert.equal(controller.measuring, true);
});
