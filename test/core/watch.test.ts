import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constantWatch, WatchSource } from '../../src/core/index.ts';

test('a listener hears later values in their order, and never the value of now', () => {
  const source = new WatchSource(1);
  const heard: number[] = [];
  source.subscribe((value) => heard.push(value));
  source.set(2);
  source.set(2);
  source.set(3);
  assert.deepEqual(heard, [2, 2, 3]);
  assert.equal(source.value, 3);
});

test('a subscription that has ended hears nothing, also when it ends within the same round', () => {
  const source = new WatchSource(0);
  const heard: string[] = [];
  let endSecond = (): void => {};
  source.subscribe(() => {
    heard.push('first');
    endSecond();
    endSecond();
  });
  endSecond = source.subscribe(() => heard.push('second'));
  source.set(1);
  assert.deepEqual(heard, ['first']);
  assert.equal(source.listeners, 1);
});

test('one function that subscribes twice has two subscriptions, which end one by one', () => {
  const source = new WatchSource(0);
  let calls = 0;
  const listener = () => void calls++;
  const end = source.subscribe(listener);
  source.subscribe(listener);
  source.set(1);
  end();
  source.set(2);
  assert.equal(calls, 3);
});

test('when a listener publishes a newer value, nobody hears the older one after it', () => {
  const source = new WatchSource(0);
  const heard: number[] = [];
  source.subscribe((value) => {
    if (value === 1) source.set(2);
  });
  source.subscribe((value) => heard.push(value));
  source.set(1);
  assert.deepEqual(heard, [2]);
});

test('a listener that throws keeps no other from hearing, and its error comes out', () => {
  const source = new WatchSource(0);
  const heard: number[] = [];
  source.subscribe(() => {
    throw new Error('broken listener');
  });
  source.subscribe((value) => heard.push(value));
  assert.throws(() => source.set(1), /broken listener/);
  assert.deepEqual(heard, [1]);
});

test('a constant never changes', () => {
  const watch = constantWatch('x');
  watch.subscribe(() => assert.fail('called'))();
  assert.equal(watch.value, 'x');
});
