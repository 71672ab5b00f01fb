import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentMinute } from '../../src/admin/dashboard/recent-minute.ts';
import { routesSection } from '../../src/admin/dashboard/routes-section.ts';
import { coarseStepMs, fineStepMs, historyMs, TrafficHistory } from '../../src/admin/dashboard/traffic-history.ts';
import { VirtualClock } from '../../src/core/index.ts';
import { CallMetrics } from '../../src/telemetry/index.ts';
import { ViewsFixture } from './admin-fixture.ts';

const ok = 0;
const cancelled = 1;
const unavailable = 14;

test('a point every 15 s is kept at all times, for a quarter of an hour', () => {
  const clock = new VirtualClock();
  const calls = new CallMetrics();
  const history = new TrafficHistory(calls, clock);
  const metrics = calls.method('inbound', 'auth-svc', '/auth.AuthService/');
  for (let second = 0; second < 3_600; second += 0.5) {
    clock.advance(500);
    if (second % 1 === 0) metrics.record(ok, 2);
    history.keep();
  }
  const { points } = history;
  assert.equal(points.length, historyMs / coarseStepMs);
  assert.ok(points.every(({ lengthMs, inbound, outbound }) => lengthMs === 15_000 && inbound.calls === 15 && outbound.calls === 0));
  assert.equal(points.at(-1)?.atMs, clock.wallNow());
});

test('while somebody looks there are points of two seconds, and before them those of fifteen; no call is in two of them', () => {
  const clock = new VirtualClock();
  const calls = new CallMetrics();
  const history = new TrafficHistory(calls, clock);
  const metrics = calls.method('outbound', 'echo', '/acme.Echo/');
  let looks = false;
  let recorded = 0;
  for (let half = 0; half < 400; half++) {
    clock.advance(500);
    metrics.record(ok, 2);
    recorded++;
    history.keep();
    if (half === 200) looks = true;
    if (looks && half % 2 === 0) history.look();
  }
  const { points } = history;
  const fine = points.filter(({ lengthMs }) => lengthMs === fineStepMs).length;
  const coarse = points.filter(({ lengthMs }) => lengthMs === coarseStepMs).length;
  assert.ok(fine > 40 && coarse === 6, `${fine} fine, ${coarse} coarse`);
  assert.equal(points.length, fine + coarse + 1, 'one between them, from the last coarse point on');
  for (let i = 1; i < points.length; i++) {
    const [before, after] = [points[i - 1], points[i]];
    assert.ok((before?.atMs ?? 0) <= (after?.atMs ?? 0) - (after?.lengthMs ?? 0), `point ${i} begins before the last one has ended`);
  }
  const counted = points.reduce((sum, { outbound }) => sum + outbound.calls, 0);
  assert.ok(counted <= recorded && counted > recorded - 5, `${counted} of ${recorded}`);
  history.forget();
  assert.ok(history.points.every(({ lengthMs }) => lengthMs === coarseStepMs));
});

test('the last minute forgets what is older, and begins with the process', () => {
  const clock = new VirtualClock();
  const calls = new CallMetrics();
  const minute = new RecentMinute(calls, clock);
  const metrics = calls.method('outbound', 'echo', '/acme.Echo/');
  clock.advance(10_000);
  for (let i = 0; i < 100; i++) metrics.record(i < 90 ? ok : i < 95 ? cancelled : unavailable, 8);
  assert.deepEqual([minute.lengthMs, minute.of([metrics]).perSecond], [10_000, 10]);
  const { calls: all, ok: good, cancelled: gone, p50 } = minute.of([metrics]);
  assert.deepEqual([all, good, gone], [100, 90, 5]);
  assert.ok(p50 !== null && p50 > 5 && p50 <= 10, String(p50));
  for (let turn = 0; turn < 4; turn++) {
    clock.advance(15_000);
    minute.turn();
  }
  assert.equal(minute.of([metrics]).calls, 0);
  assert.equal(minute.of([metrics]).p50, null);
  assert.ok(minute.lengthMs >= 45_000 && minute.lengthMs <= 60_000);
  const late = calls.method('outbound', 'echo', '/acme.Other/');
  late.record(unavailable, 70_000);
  assert.deepEqual([minute.of([late]).calls, minute.of([late]).p99], [1, 60_000], 'beyond the last bucket it is its bound');
});

test('routes come with their place and their calls; calls without a route are not lost', () => {
  const views = new ViewsFixture();
  const minute = new RecentMinute(views.calls, views.clock);
  views.clock.advance(10_000);
  for (let i = 0; i < 20; i++) views.calls.method('outbound', 'learner-svc', '/learner.LearnerService/').record(ok, 3);
  views.calls.method('outbound', 'other', 'other').record(unavailable, 1);
  views.calls.method('outbound', 'event-collector-svc', 'other').record(ok, 1);
  views.calls.method('inbound', 'auth-svc', 'other').record(ok, 1);
  views.calls.method('outbound', 'learner-svc', '/learner.Old/').record(ok, 1);
  const { rows, totals, left } = routesSection({ policies: views.policies(), calls: views.calls, minute, serviceName: 'auth-svc' });
  assert.deepEqual(
    rows.map(({ direction, name, cluster, location, calls }) => [direction, name, cluster, location, calls].join(' ')).toSorted(),
    [
      'inbound default route local service  1',
      'outbound a route of earlier policies learner-svc  1',
      'outbound calls without a route none  1',
      'outbound default route event-collector-svc  1',
      'outbound learner-profile learner-svc policies/mesh.yaml:3:5 20',
    ],
  );
  assert.deepEqual([totals.outbound.calls, totals.inbound.calls, left], [23, 1, 0]);
  assert.equal(rows[0]?.name, 'learner-profile', 'routes first, in the order of evaluation');
  assert.equal(rows[0]?.perSecond, 2);
});
