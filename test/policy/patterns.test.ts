import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatProblem, loadPolicies } from '../../src/policy/index.ts';
import { patternFiles, patternHead } from '../mesh/pattern.ts';
import { readPolicyDocument } from './policy-document.ts';

const policies = new URL('../../policies/', import.meta.url);
const runs = new URL('../mesh/', import.meta.url);

/** What a check says of the only pattern that is not of our own writing. */
const expected: Readonly<Record<string, readonly RegExp[]>> = {
  'envoy-snippets.yaml': [/5xx does not see gRPC statuses/, /idempotent is left out/],
};

test('every pattern says when to use it, what is seen when it acts, and how to try it', () => {
  for (const file of patternFiles()) {
    const { comments, seen } = patternHead(file);
    assert.ok(comments.length >= 3 && comments.length <= 6, `${file}: ${comments.length} lines of comment at its top, not 3 to 6`);
    for (const word of ['# When: ', '# Seen: ', '# Try: '])
      assert.equal(comments.filter((line) => line.startsWith(word)).length, 1, `${file} has one line "${word}"`);
    assert.ok(seen.length > 0, `${file} names no statistics`);
    for (const name of seen)
      assert.match(name, /^[\w.-]+\.[\w.-]+$/, `${file}: "# Seen:" is names of statistics with a comma and a blank between them`);
    assert.equal(readFileSync(new URL(file, policies), 'utf8').split('\n')[0], '# yaml-language-server: $schema=./outrider.schema.json');
  }
});

for (const file of readdirSync(policies).filter((name) => name !== 'outrider.schema.json')) {
  test(`the pattern ${file} is right`, () => {
    const { table, problems } = loadPolicies([new URL(file, policies).pathname]);
    const lines = problems.map(formatProblem);
    assert.ok(table, lines.join('\n'));
    const known = expected[file] ?? [];
    assert.equal(lines.length, known.length, lines.join('\n'));
    for (const [i, line] of known.entries()) assert.match(lines[i] ?? '', line);
    assert.ok(table.outbound.routes.length + table.inbound.routes.length + table.clusters.size > 0);
  });
}

test('every pattern is run through a sidecar, and the document names it', () => {
  const tests = readdirSync(runs)
    .filter((name) => /^patterns-.*\.test\.ts$/.test(name))
    .map((name) => readFileSync(new URL(name, runs), 'utf8'))
    .join('');
  const document = readPolicyDocument();
  for (const file of patternFiles()) {
    assert.ok(tests.includes(`startPattern(t, '${file}'`), `no test in test/mesh/patterns-*.test.ts starts ${file}`);
    assert.ok(document.includes(`(../policies/${file})`), `docs/policies.md does not name ${file}`);
  }
});
