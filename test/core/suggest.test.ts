import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { suggest } from '../../src/core/index.ts';

const keys = ['timeout', 'idle_timeout', 'cluster', 'retry_policy', 'idempotent'];

test('a slip of the finger is recognised', () => {
  for (const [typed, meant] of [
    ['timeuot', 'timeout'],
    ['Timeout', 'timeout'],
    ['idle_timout', 'idle_timeout'],
    ['retry_polcy', 'retry_policy'],
    ['clutser', 'cluster'],
    ['idempotant', 'idempotent'],
  ] as const) {
    assert.equal(suggest(typed, keys), meant);
  }
});

test('a word that resembles none gets no suggestion', () => {
  for (const word of ['hash_policy', 'x', 'weights']) assert.equal(suggest(word, keys), undefined);
});

test('a known word suggests itself, and the suggestion is always a known word', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), fc.string(), (known, word) => {
      const suggestion = suggest(word, known);
      assert.ok(suggestion === undefined || known.includes(suggestion));
      const first = known[0] as string;
      assert.equal(suggest(first, [first]), first);
    }),
  );
});
