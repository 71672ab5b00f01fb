import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { returnStartMemory } from '../../src/cli/start-memory.ts';
import { outriderPath } from '../harness/program.ts';

const mebibyte = 2 ** 20;

test('what the start needed is given back once, all of it, where that is worth the time', () => {
  const asked: unknown[] = [];
  const collect = (options: unknown): void => void asked.push(options);
  returnStartMemory(20 * mebibyte, collect);
  assert.deepEqual(asked, []);
  returnStartMemory(40 * mebibyte, collect);
  assert.deepEqual(asked, [{ type: 'major', execution: 'sync', flavor: 'last-resort' }]);
  // Whoever runs dist/main.js by itself has none.
  returnStartMemory(40 * mebibyte, undefined);
});

test('the program is started so that it can', () => {
  assert.match(readFileSync(outriderPath, 'utf8'), /^node_flags='.*--expose-gc/m);
});
