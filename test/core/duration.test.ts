import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDurationMs, parseDurationMs } from '../../src/core/index.ts';

test('durations are read in every unit, without an error in the last digit', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['0.1s', 100],
    ['250ms', 250],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['1.001s', 1_001],
    ['0s', 0],
    ['100us', 0.1],
    ['1ns', 1e-6],
    [' 5s ', 5_000],
    ['-1s', -1_000],
  ];
  for (const [text, ms] of cases) assert.equal(parseDurationMs(text), ms, text);
});

test('what is no duration is refused', () => {
  for (const text of ['', 's', '5', '5 s', '5S', '.5s', '5.s', '1e3s', '1h30m', '+5s', '0x10s', '5s\n5s', 'Infinitys']) {
    assert.equal(parseDurationMs(text), undefined, text);
  }
});

test('durations are printed as people write them', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0s'],
    [250, '250ms'],
    [1_500, '1.5s'],
    [90_000, '90s'],
    [300_000, '5m'],
    [7_200_000, '2h'],
    [0.25, '0.25ms'],
  ];
  for (const [ms, text] of cases) assert.equal(formatDurationMs(ms), text);
});

test('whole milliseconds survive being printed and read', () => {
  fc.assert(fc.property(fc.nat(2 ** 31 - 1), (ms) => assert.equal(parseDurationMs(formatDurationMs(ms)), ms)));
});
