import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attacks } from './catalogue/index.ts';
import { judge, mayTryAgain, type Row, rowText } from './command/judge.ts';

const [attack] = attacks;
assert.ok(attack);
const mebibyte = 1024 * 1024;
const quality = { calls: 500, failed: 0, why: undefined, p99Ms: 5, directP99Ms: 1 };
const good: Omit<Row, 'complaints'> = {
  attack: attack.name,
  wire: 'plain',
  proxy: 'outrider',
  parallel: 1,
  connections: 10,
  kilobytes: 100,
  seen: [{ variant: 'one', text: 'GOAWAY 11', ok: true }],
  counters: [['http2.rapid_reset', 10]],
  memory: { before: 100 * mebibyte, peak: 200 * mebibyte, after: 109 * mebibyte },
  cpu: { microsecondsPerKilobyte: 10, ratio: 2.9 },
  idle: quality,
  under: { ...quality, p99Ms: 14 },
  attackerCpuShare: 0.3,
  waitedMsPerSecond: 0,
  alive: true,
  left: [],
};

test('a row in which everything holds has no complaint', () => {
  assert.deepEqual(judge(attack, good), []);
  assert.match(rowText({ ...good, complaints: [] }), /\| holds$/);
});

const bad: readonly (readonly [string, Partial<Row>, RegExp])[] = [
  ['another answer', { seen: [{ variant: 'one', text: 'lives', ok: false }] }, /answer to "one": lives/],
  ['no counter', { counters: [] }, /no counter/],
  ['too much memory', { memory: { before: mebibyte, peak: 130 * mebibyte, after: mebibyte } }, /129 MiB above idle/],
  ['memory that stays', { memory: { before: 100 * mebibyte, peak: 150 * mebibyte, after: 111 * mebibyte } }, /after 11 % above/],
  ['too much CPU', { cpu: { microsecondsPerKilobyte: 10, ratio: 3.1 } }, /3\.1 x/],
  ['a failed call of the neighbour', { under: { ...quality, failed: 1, why: 'overloaded' } }, /1 of 500 calls failed \(overloaded\)/],
  ['a slow neighbour', { under: { ...quality, p99Ms: 15.5 } }, /p99 15\.5 ms, 15\.0 allowed/],
  ['a neighbour without any call', { under: { ...quality, calls: 0, p99Ms: Number.NaN } }, /0 of 0 calls/],
  ['streams left behind', { left: ['streams 3'] }, /left behind: streams 3/],
  ['a process that is gone', { alive: false }, /the process is gone/],
];

for (const [what, change, complaint] of bad) {
  test(`a row fails for ${what}`, () => {
    const row = { ...good, ...change };
    const complaints = judge(attack, row);
    assert.match(complaints.join('; '), complaint);
    assert.match(rowText({ ...row, complaints }), /FAILS/);
  });
}

test('what the neighbour loses without the sidecar is not held against it', () => {
  const under = { ...quality, p99Ms: 40, directP99Ms: 30 };
  assert.deepEqual(judge(attack, { ...good, under }), []);
  assert.equal(judge(attack, { ...good, under: { ...under, p99Ms: 45 } }).length, 1);
});

test('a row may have a limit of memory of its own', () => {
  assert.match(judge(attack, good, { mostAboveIdleBytes: 64 * mebibyte }).join(), /100 MiB above idle, 64 allowed/);
});

test('only what the machine or a first time may explain is tried again', () => {
  assert.ok(mayTryAgain(['neighbour: p99 50.0 ms, 15.0 allowed', 'memory after 11 % above the start']));
  assert.ok(!mayTryAgain(['neighbour: p99 50.0 ms, 15.0 allowed', 'no counter rose']));
  assert.ok(!mayTryAgain(['memory 129 MiB above idle, 128 allowed']));
  assert.ok(!mayTryAgain([]));
});
