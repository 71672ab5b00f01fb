import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { StreamQueue } from '../../src/http2/stream-queue.ts';
import { seededRandom } from '../harness/seeded-random.ts';

const streamOf = (id: number): Stream => ({ id, queued: false }) as Stream;

test('streams leave in the order in which they came, also where others leave in between', () => {
  const random = seededRandom(7);
  const queue = new StreamQueue();
  const model: Stream[] = [];
  let id = 0;
  for (let step = 0; step < 20_000; step++) {
    // Grows to hundreds and shrinks to nothing, several times.
    const growing = Math.floor(step / 2_500) % 2 === 0;
    const choice = random();
    if (choice < (growing ? 0.6 : 0.2)) {
      const stream = streamOf(++id);
      queue.push(stream);
      model.push(stream);
    } else if (model.length > 0 && choice < 0.8) {
      assert.equal(queue.shift(), model.shift());
    } else if (model.length > 0) {
      const [left] = model.splice(Math.floor(random() * model.length), 1);
      queue.remove(left as Stream);
      assert.equal(left?.queued, false);
    }
    assert.equal(queue.size, model.length);
  }
  while (model.length > 0) assert.equal(queue.shift(), model.shift());
});

test('a stream that had its turn joins at the end', () => {
  const queue = new StreamQueue();
  const [one, two] = [streamOf(1), streamOf(3)];
  queue.push(one);
  queue.push(two);
  assert.equal(queue.shift(), one);
  queue.push(one);
  assert.equal(queue.shift(), two);
  assert.equal(queue.shift(), one);
  assert.equal(queue.size, 0);
});
