import assert from 'node:assert/strict';
import { test } from 'node:test';

const page = new URL('../../src/admin/dashboard/page/', import.meta.url);
// Scripts of a page, which this project's compiler does not read.
const { count, duration, percent, rate, rateTick, durationTick, span, successOf, timeOfDay } = await import(
  new URL('format.js', page).href
);
const { stateStory } = await import(new URL('endpoints.js', page).href);

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

test('why an endpoint gets calls or none is said in words, with times that do not grow', () => {
  const nowMs = Date.UTC(2026, 0, 1, 12);
  const at = (ms: number): string => timeOfDay(nowMs + ms);
  const well = { state: 'healthy', flags: [], priority: 0, active: 0 };
  const cluster = { scope: 'cluster', breakers: [{ state: 'CLOSED', failures: 0 }] };
  const story = (more: object, of: object = cluster): string => stateStory({ ...well, ...more }, of, nowMs);
  assert.equal(story({}), 'gets calls');
  assert.equal(story({ priority: 1 }), 'gets calls when those of a lower priority number cannot carry them all');
  assert.equal(story({}, { scope: 'cluster', breakers: [{ state: 'OPEN' }] }), 'no calls: the breaker of the cluster is open');
  assert.equal(
    story({}, { scope: 'cluster', breakers: [{ state: 'HALF_OPEN' }] }),
    'probes alone: the breaker of the cluster is half-open',
  );
  assert.equal(story({}, { scope: 'endpoint', breakers: [{ state: 'OPEN' }] }), 'gets calls', 'that breaker is of somebody else');
  const check = { state: 'unhealthy', method: 'grpc', why: 'NOT_SERVING' };
  assert.equal(
    story({ state: 'failing', flags: ['failed_active_hc', 'active_hc_timeout'], check }),
    'grpc: NOT_SERVING; active_hc_timeout',
  );
  assert.equal(story({ state: 'unchecked', flags: ['pending_active_hc'] }), 'pending_active_hc');
  const ejection = { type: 'consecutive_5xx', sinceMs: nowMs - 5_000, untilMs: nowMs + 25_000 };
  assert.equal(
    story({ state: 'ejected', flags: ['failed_outlier_check'], ejection }),
    `ejected (consecutive_5xx) since ${at(-5_000)} until ${at(25_000)} at least`,
  );
  const breaker = { state: 'OPEN', failures: 5, openedAtMs: nowMs - 1_000 };
  assert.equal(story({ state: 'breaker_open', breaker }), `its own breaker is open since ${at(-1_000)}`);
  assert.equal(
    story({ state: 'breaker_half_open', breaker: { ...breaker, state: 'HALF_OPEN' } }),
    `its own breaker is half-open (probes alone) since ${at(-1_000)}`,
  );
  assert.equal(
    story({ breaker: { state: 'CLOSED', failures: 0, held: 'CLOSED' } }),
    'gets calls; its own breaker is closed, held by hand until a reset',
  );
  assert.equal(story({ state: 'draining' }), 'no new calls: not listed; nothing is under way');
  assert.equal(
    story({ state: 'draining', active: 1, departure: { atMs: nowMs - 2_000, why: 'deregistered' } }),
    `no new calls: not listed since ${at(-2_000)} (deregistered); finishes what is under way`,
  );
});
