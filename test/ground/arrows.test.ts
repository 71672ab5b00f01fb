import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { checkArrows } from '../../tasks/arrows.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

/** A tree with these files and one allowed dependency, and what the check says about it. */
const violationsOf = (files: Record<string, string>): readonly string[] => {
  using folder = temporaryFolder();
  for (const [path, text] of Object.entries({
    ...files,
    'package.json': '{ "dependencies": { "yaml": "1.0.0", "@grpc/grpc-js": "1.0.0" } }',
  })) {
    mkdirSync(dirname(join(folder.path, path)), { recursive: true });
    writeFileSync(join(folder.path, path), text);
  }
  return checkArrows(folder.path).violations;
};
const onlyViolation = (files: Record<string, string>, expected: RegExp) => {
  const violations = violationsOf(files);
  assert.equal(violations.length, 1, violations.join('\n'));
  assert.match(violations[0] ?? '', expected);
};

const core = { 'src/core/index.ts': `export { now } from './clock.ts';`, 'src/core/clock.ts': 'export const now = () => Date.now();' };
const proxy = { 'src/proxy/index.ts': 'export const proxy = 1;' };

test('the tree itself keeps the arrows', () => {
  const { files, violations } = checkArrows(resolve(import.meta.dirname, '../..'));
  assert.ok(files > 5);
  assert.deepEqual(violations, []);
});

test('a room may use the rooms before it, its own files, Node and the listed packages', () => {
  const text = `import net from 'node:net'; import { parse } from 'yaml'; import { now } from '../core/index.ts'; import './b.ts';`;
  assert.deepEqual(violationsOf({ ...core, 'src/policy/index.ts': text, 'src/policy/b.ts': '' }), []);
});

test('a room that imports a later room is found', () => {
  onlyViolation(
    { ...proxy, 'src/core/index.ts': `import { proxy } from '../proxy/index.ts';` },
    /core\/index\.ts:1: core comes before proxy/,
  );
});

for (const [how, text] of Object.entries({
  'an import of a type': `import type { A } from '../proxy/index.ts';`,
  'a type in a list of names': `import { type A } from '../proxy/index.ts';`,
  'an inline type': `type A = import('../proxy/index.ts').A;`,
  'a re-export': `export * from '../proxy/index.ts';`,
  'a re-export of a type': `export type { A } from '../proxy/index.ts';`,
  'a dynamic import': `const a = await import('../proxy/index.ts');`,
  'a dynamic import of a template': 'const a = await import(`../proxy/index.ts`);',
})) {
  test(`${how} counts as an import`, () => onlyViolation({ ...proxy, 'src/core/a.ts': text }, /core comes before proxy/));
}

test('a room is entered through its index only', () => {
  onlyViolation({ ...core, 'src/http2/a.ts': `import { now } from '../core/clock.ts';` }, /enter core through src\/core\/index\.ts/);
});

test('a cycle of imports that is there at run time is found once', () => {
  const files = { 'src/http2/a.ts': `import { type B, b } from './b.ts';`, 'src/http2/b.ts': `import { a } from './a.ts';` };
  onlyViolation(files, /a cycle of imports: http2\/a\.ts -> http2\/b\.ts -> http2\/a\.ts/);
});

test('files of one room may name types of each other', () => {
  const files = { 'src/http2/a.ts': `import type { B } from './b.ts';`, 'src/http2/b.ts': `import { a } from './a.ts';` };
  assert.deepEqual(violationsOf(files), []);
});

test('the product imports neither tests nor the bench', () => {
  onlyViolation({ 'src/core/a.ts': `import '../../test/harness/temporary-folder.ts';` }, /imports nothing outside itself/);
});

test('a package of the tests is not a package of the product', () => {
  onlyViolation({ 'src/core/a.ts': `import fc from 'fast-check';` }, /fast-check is not among the "dependencies"/);
});

test('the data path keeps to its own engine', () => {
  onlyViolation({ 'src/proxy/a.ts': `import http2 from 'node:http2';` }, /node:http2 stays off the data path/);
  onlyViolation({ 'src/http2/a.ts': `import * as grpc from '@grpc/grpc-js';` }, /grpc-js stays off the data path/);
});

for (const text of [
  'setTimeout(() => {}, 1);',
  'const later = setInterval;',
  'const t = Date.now();',
  'const t = new Date();',
  'const now = performance.now;',
  'const p = process.env["PATH"];',
  'globalThis.setTimeout(() => {}, 1);',
  `import { setTimeout } from 'node:timers/promises';`,
]) {
  test(`only core may say: ${text}`, () => {
    assert.deepEqual(violationsOf({ 'src/core/a.ts': text }), []);
    onlyViolation({ 'src/proxy/a.ts': text }, /src\/proxy\/a\.ts:1: .*core/);
  });
}

test('a method that happens to be called like a global is nobody else’s business', () => {
  assert.deepEqual(violationsOf({ 'src/proxy/a.ts': 'socket.setTimeout(5); const o = { setTimeout: 1 }; new Date(5); clock.now();' }), []);
});
