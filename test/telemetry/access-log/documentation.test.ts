import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fates } from '../../../src/core/index.ts';
import { accessLogOperators } from '../../../src/policy/index.ts';
import { defaultFields } from '../../../src/telemetry/access-log/log-format.ts';
import { AccessLogStats } from '../../../src/telemetry/access-log/log-writer.ts';
import { envoyEnds } from '../../../src/telemetry/access-log/response-flags.ts';

// docs/access-log.md says what the program does.

const text = readFileSync(new URL('../../../docs/access-log.md', import.meta.url), 'utf8');
const sectionOf = (title: string): string => text.split(/^## /m).find((section) => section.startsWith(`${title}\n`)) ?? '';
const codesIn = (line: string): readonly string[] => [...line.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);

test('it names every operator, and no other', () => {
  const named = new Set([...sectionOf('Operators').matchAll(/%([A-Z][A-Z_0-9]+)(?:\([^)]*\))?%/g)].map(([, name]) => name));
  // "the three with DOWNSTREAM_DIRECT_".
  const known = Object.keys(accessLogOperators).filter((name) => !name.startsWith('DOWNSTREAM_DIRECT_'));
  assert.deepEqual([...named].sort(), known.sort());
});

test('it has every field of a line, in order, and its line is one', () => {
  const keys = defaultFields.map(({ key }) => key);
  const rows = sectionOf('Fields')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) => codesIn(row.split('|')[1] ?? ''));
  assert.deepEqual([...named].sort(), [...keys].sort());
  const example = JSON.parse(/```json\n(.*)\n```/.exec(text)?.[1] ?? 'null') as object;
  assert.deepEqual(Object.keys(example), keys);
});

test('it says of every fate which flag it has', () => {
  const rows = sectionOf('Response flags')
    .split('\n')
    .filter((line) => /^\| (`|none)/.test(line));
  const flagsOf = new Map<string, readonly string[]>();
  for (const row of rows) {
    const [, flags = '', found = ''] = row.split('|');
    for (const fate of codesIn(found)) flagsOf.set(fate, codesIn(flags));
  }
  for (const fate of fates) {
    const { flag } = envoyEnds[fate];
    const written = flagsOf.get(fate);
    assert.ok(written !== undefined, `${fate} is not there`);
    if (flag === undefined) assert.deepEqual(written, [], fate);
    else assert.ok(written.includes(flag), `${fate} is ${flag}`);
  }
  assert.equal(flagsOf.size, fates.length);
});

test('it has every counter', () => {
  const named = codesIn(sectionOf('Where lines go')).filter((code) => code.startsWith('access_log.'));
  const counted = Object.keys(new AccessLogStats()).map(
    (name) => `access_log.${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`,
  );
  assert.deepEqual([...named].sort(), [...counted, 'access_log.waiting_bytes'].sort());
});
