import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Stream } from '../../src/http2/index.ts';
import { StreamTable } from '../../src/http2/stream-table.ts';

/** The table looks at nothing but the id. */
const streamOf = (id: number): Stream => ({ id }) as Stream;

test('a stream is found until it is deleted', () => {
  const table = new StreamTable();
  table.add(streamOf(1));
  table.add(streamOf(3));
  assert.equal(table.get(3)?.id, 3);
  table.delete(3);
  assert.equal(table.get(3), undefined);
  assert.equal(table.get(1)?.id, 1);
  assert.equal(table.size, 1);
});

test('deleting what is not there changes nothing', () => {
  const table = new StreamTable();
  table.add(streamOf(5));
  table.delete(7);
  assert.equal(table.size, 1);
});

test('an old stream stays beside thousands that come and go', () => {
  const table = new StreamTable();
  table.add(streamOf(1));
  for (let id = 3; id < 20_003; id += 2) {
    table.add(streamOf(id));
    if (id > 200) table.delete(id - 198);
  }
  assert.equal(table.get(1)?.id, 1);
});

test('the snapshot is in the order of the ids', () => {
  const table = new StreamTable();
  for (const id of [33, 1, 65, 2_147_483_647, 17]) table.add(streamOf(id));
  assert.deepEqual(
    table.snapshot().map(({ id }) => id),
    [1, 17, 33, 65, 2_147_483_647],
  );
});

test('whatever comes and goes, the table holds what a map would', () => {
  const id = fc.integer({ min: 0, max: 300 }).map((n) => n * 2 + 1);
  const step = fc.record({ id, add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 2_000 }), (steps) => {
      const table = new StreamTable();
      const model = new Map<number, Stream>();
      for (const { id, add } of steps) {
        if (!add) {
          table.delete(id);
          model.delete(id);
        } else if (!model.has(id)) {
          const stream = streamOf(id);
          table.add(stream);
          model.set(id, stream);
        }
        assert.equal(table.get(id), model.get(id));
      }
      assert.equal(table.size, model.size);
      for (const [known, stream] of model) assert.equal(table.get(known), stream);
      assert.equal(table.snapshot().length, model.size);
    }),
  );
});
