import assert from 'node:assert/strict';
import { test } from 'node:test';

const page = new URL('../../src/admin/dashboard/page/', import.meta.url);
// Scripts of a page, which this project's compiler does not read.
const { count, duration, percent, rate, rateTick, durationTick, span, successOf } = await import(new URL('format.js', page).href);

test('success is never rounded up to all, nor down to nothing', () => {
  assert.equal(percent(null), '–');
  assert.equal(percent(1), '100 %');
  assert.equal(percent(0.999999), '99.99 %');
  assert.equal(percent(0.9512), '95.1 %');
  assert.equal(percent(0.0123), '1.23 %');
  assert.equal(percent(0), '0 %');
});

test('calls that were cancelled count neither as good nor as bad', () => {
  assert.equal(successOf({ calls: 10, ok: 8, cancelled: 2 }), 1);
  assert.equal(successOf({ calls: 10, ok: 4, cancelled: 2 }), 0.5);
  assert.equal(successOf({ calls: 2, ok: 0, cancelled: 2 }), null);
  assert.equal(successOf({ calls: 0, ok: 0, cancelled: 0 }), null);
});

test('figures are as long as one can read', () => {
  assert.deepEqual([rate(0), rate(0.123), rate(12.34), rate(1_234.5)], ['0', '0.12', '12.3', '1,235']);
  assert.deepEqual(
    [duration(null), duration(0.123), duration(1.23), duration(123.4), duration(1_234), duration(60_000)],
    ['–', '0.12 ms', '1.2 ms', '123 ms', '1.23 s', '60.0 s'],
  );
  assert.deepEqual([count(1_234), count(1_234_567), count(2.5e9)], ['1,234', '1.23M', '2.50G']);
  assert.deepEqual([span(-5), span(4_000), span(300_000), span(7_200_000), span(10 * 86_400_000)], ['0 s', '4 s', '5 min', '2 h', '10 d']);
  assert.deepEqual([rateTick(0), rateTick(0.5), rateTick(20_000)], ['0', '0.5', '20k']);
  assert.deepEqual([durationTick(0), durationTick(0.5), durationTick(1_500)], ['0', '0.5 ms', '1.5 s']);
});
