import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatGrpcTimeout, longestGrpcTimeoutBytes, parseGrpcTimeoutMs, writeGrpcTimeout } from '../../src/grpc/index.ts';

const parse = (text: string): number => {
  const bytes = new TextEncoder().encode(`<${text}>`);
  return parseGrpcTimeoutMs(bytes, 1, bytes.length - 1);
};

test('every unit is read, fractions of a millisecond are kept', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3_000],
    ['250m', 250],
    ['1500u', 1.5],
    ['1n', 1e-6],
    ['00000005S', 5_000],
    ['99999999H', 99_999_999 * 3_600_000],
    ['0m', 0],
  ];
  for (const [text, ms] of cases) assert.equal(parse(text), ms, text);
});

test('what is malformed is said to be, and never becomes a short deadline', () => {
  for (const text of [
    '',
    'S',
    '5',
    '-5S',
    '+5S',
    '5s',
    '5h',
    '5U',
    '1.5S',
    ' 5S',
    '5S ',
    '123456789S',
    '5 S',
    '5SS',
    '0x5S',
    '5\u0000',
    '٥S',
  ]) {
    assert.equal(parse(text), -1, JSON.stringify(text));
  }
});

test('the finest unit that fits eight digits is written', () => {
  const cases: readonly (readonly [number, string])[] = [
    [1, '1000000n'],
    [99.999999, '99999999n'],
    [100, '100000u'],
    [5_000, '5000000u'],
    [99_999.999, '99999999u'],
    [100_000, '100000m'],
    [99_999_999, '99999999m'],
    [100_000_000, '100000S'],
    [1e11, '1666666M'],
    [6e12, '1666666H'],
    [Number.POSITIVE_INFINITY, '99999999H'],
  ];
  for (const [ms, text] of cases) assert.equal(formatGrpcTimeout(ms), text);
});

test('0 is never written, whatever is left', () => {
  for (const ms of [1e-9, 0, -5, Number.NaN]) assert.equal(formatGrpcTimeout(ms), '1n');
});

test('what is written is read back as no more than it was, and as less by one unit at most', () => {
  const anyMs = fc.oneof(
    fc.double({ min: 1e-6, max: 1e3, noNaN: true }),
    fc.double({ min: 1e-6, max: 1e14, noNaN: true }),
    fc.integer({ min: 1, max: 10 ** 9 }),
  );
  fc.assert(
    fc.property(anyMs, (ms) => {
      const text = formatGrpcTimeout(ms);
      const back = parse(text);
      assert.match(text, /^[1-9]\d{0,7}[HMSmun]$/);
      assert.ok(back <= ms, `${ms} became ${back}`);
      const unitMs = parse(`1${text.at(-1)}`);
      assert.ok(ms - back <= unitMs * 1.000001, `${ms} lost ${ms - back}`);
    }),
    { numRuns: 2_000 },
  );
});

test('a timeout is written in place, and the bytes around it stay', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1e13, noNaN: true }), fc.nat(10), (ms, at) => {
      const out = new Uint8Array(at + longestGrpcTimeoutBytes + 4).fill(0xee);
      const end = writeGrpcTimeout(ms, out, at);
      assert.equal(new TextDecoder().decode(out.subarray(at, end)), formatGrpcTimeout(ms));
      assert.ok(out.subarray(0, at).every((byte) => byte === 0xee) && out.subarray(end).every((byte) => byte === 0xee));
    }),
  );
});

test('any bytes at all give a number that is -1 or a duration', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const ms = parseGrpcTimeoutMs(bytes, 0, bytes.length);
      const text = String.fromCharCode(...bytes);
      assert.equal(ms >= 0, /^[0-9]{1,8}[HMSmun]$/.test(text));
    }),
  );
});
