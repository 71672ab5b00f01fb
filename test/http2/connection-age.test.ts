import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { ConnectionAge, Engine } from '../../src/http2/index.ts';

const ageOf = (clock: VirtualClock, share: number, wheel = new TimerWheel(clock)) => {
  const told: number[] = [];
  const beganMs = clock.now();
  const age = new ConnectionAge(new Engine(clock, wheel), share, () => told.push(clock.now() - beganMs));
  return { age, told };
};

test('ages lie 10 % apart at most, by chance', () => {
  for (const [share, dueMs] of [
    [0, 9_000],
    [0.5, 10_000],
    [0.999, 11_000],
  ] as const) {
    const clock = new VirtualClock();
    const { age, told } = ageOf(clock, share);
    age.limit(10_000);
    clock.advance(dueMs - 8);
    assert.deepEqual(told, [], `share ${share}`);
    clock.advance(16);
    assert.equal(told.length, 1, `share ${share}`);
  }
});

test('a shorter age holds from the beginning of the connection, and does not come for all at once', () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const all = Array.from({ length: 100 }, (_, i) => ageOf(clock, i / 100, wheel));
  for (const { age } of all) age.limit(3_600_000);
  clock.advance(600_000);
  for (const { age } of all) age.limit(60_000);
  const ended = (): number => all.filter(({ told }) => told.length === 1).length;
  clock.advance(3_000);
  assert.ok(ended() > 40 && ended() < 60, `${ended()} after half of a tenth of the age`);
  clock.advance(3_100);
  assert.equal(ended(), 100);
});

test('no age, a reminder, and the end', () => {
  const clock = new VirtualClock();
  const { age, told } = ageOf(clock, 0.5);
  age.limit(1_000);
  age.limit(0);
  clock.advance(5_000);
  assert.deepEqual(told, [], 'any age again');
  age.remind(500);
  clock.advance(600);
  assert.equal(told.length, 1);
  age.limit(60_000);
  age.stop();
  clock.advance(120_000);
  assert.equal(told.length, 1);
});
