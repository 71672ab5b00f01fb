import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterSection } from '../../src/admin/dashboard/cluster-section.ts';
import type { BreakerView, ClusterView, HostView } from '../../src/admin/index.ts';
import { clusterView } from './admin-fixture.ts';

const nowMs = Date.UTC(2026, 0, 1, 12);

const host = (last: number, more: Partial<HostView> = {}): HostView => ({
  ...(clusterView('learner-svc', []).hosts[0] as HostView),
  address: `10.0.0.${last}`,
  ...more,
});

const section = (hosts: readonly HostView[], breakers: readonly BreakerView[] = [], more: Partial<ClusterView> = {}) =>
  clusterSection({ ...clusterView('learner-svc', breakers, 'endpoint'), hosts, ...more }, nowMs);

const check = (state: 'pending' | 'healthy' | 'unhealthy', why: string) => ({ method: 'grpc', state, why, sinceMs: nowMs });

test('each endpoint says since when it is known, and in one word whether it gets calls', () => {
  const open = (endpoint: string, state: BreakerView['state']): BreakerView => ({
    state,
    consecutiveFailures: 5,
    openedAtMs: nowMs,
    endpoint,
  });
  const ejection = { type: 'consecutive_5xx', sinceMs: nowMs - 5_000, untilMs: nowMs + 25_000 };
  const { endpoints } = section(
    [
      host(1, { discoveredAtMs: nowMs - 60_000.4, instance: 'learner-1' }),
      host(2, { healthFlags: ['failed_active_hc'], healthCheck: check('unhealthy', `NOT_SERVING ${'x'.repeat(1_000)}`) }),
      host(3, { healthFlags: ['failed_active_hc', 'failed_outlier_check'], ejection }),
      host(4, { healthFlags: ['pending_active_hc'], healthCheck: check('pending', 'not checked yet') }),
      host(5, { healthFlags: ['failed_outlier_check'] }),
      host(6),
      host(7),
      host(8, { healthFlags: ['failed_outlier_check'] }),
    ],
    [
      open('10.0.0.5:50051', 'OPEN'),
      open('10.0.0.6:50051', 'HALF_OPEN'),
      { state: 'CLOSED', consecutiveFailures: 1, endpoint: '10.0.0.7:50051' },
    ],
  );
  assert.deepEqual(
    endpoints.map(({ state }) => state),
    ['healthy', 'failing', 'ejected', 'unchecked', 'breaker_open', 'breaker_half_open', 'healthy', 'breaker_open'],
  );
  assert.equal(endpoints[0]?.foundAtMs, nowMs - 60_000, 'to the second, so that a look changes nothing');
  assert.equal(endpoints[0]?.name, 'learner-1');
  assert.equal(endpoints[1]?.check?.why.length, 200);
  assert.deepEqual(endpoints[2]?.ejection, ejection);
  assert.equal(endpoints[4]?.breaker?.openedAtMs, nowMs);
  assert.equal(endpoints[6]?.breaker, undefined, 'a closed one is no news');
});

test('an endpoint that finishes what is under way is shown beside those that are listed, with the reason why it is not', () => {
  const departures = [{ instance: 'learner-9', address: '10.0.0.9:50051', why: 'in maintenance: new disk', atMs: nowMs - 3_000 }];
  const busy = (active: number): Pick<HostView, 'stats'> => ({ stats: [{ name: 'rq_active', kind: 'gauge', value: active }] });
  const { active, endpoints, size, healthy, left } = section([host(1)], [], {
    leaving: [host(9, busy(2)), host(9, busy(3)), host(1, busy(1)), ...Array.from({ length: 90 }, (_, i) => host(100 + i))],
    endpoints: { source: 'consul:learner-svc', updatedAtMs: nowMs, departures },
  });
  assert.deepEqual([size, healthy, left], [1, 1, 0], 'they do not count');
  assert.equal(active, 6, 'but for what is under way');
  assert.deepEqual(
    endpoints.slice(0, 3).map(({ key, state, active, departure }) => [key, state, active, departure]),
    [
      ['10.0.0.1:50051', 'healthy', 0, undefined],
      ['10.0.0.9:50051', 'draining', 5, { atMs: nowMs - 3_000, why: 'in maintenance: new disk' }],
      ['10.0.0.1:50051', 'draining', 1, undefined],
    ],
  );
  assert.equal(endpoints.length, 21, 'a few of many');
});

test('departures are the newest, few, and cut', () => {
  const departures = Array.from({ length: 50 }, (_, i) => ({
    instance: `id-${i} ${'i'.repeat(300)}`,
    address: `10.0.1.${i}:50051`,
    why: 'critical: '.padEnd(1_000, 'w'),
    atMs: nowMs - 50_000 + 1_000 * i,
  }));
  const shown = section([], [], { endpoints: { source: 'consul:learner-svc', updatedAtMs: nowMs, departures } }).departures;
  assert.equal(shown.length, 20);
  assert.deepEqual([shown[0]?.address, shown[19]?.address], ['10.0.1.49:50051', '10.0.1.30:50051']);
  assert.deepEqual([shown[0]?.instance.length, shown[0]?.why.length, shown[0]?.atMs], [200, 300, nowMs - 1_000]);
  assert.deepEqual(section([]).departures, []);
});

test('of many endpoints those that are not well are shown, and how many are not', () => {
  const hosts = Array.from({ length: 150 }, (_, i) => host(i, { healthFlags: i === 149 ? ['failed_active_hc'] : [] }));
  const { endpoints, left, size } = section(hosts);
  assert.deepEqual([endpoints.length, left, size, endpoints[0]?.key], [100, 50, 150, '10.0.0.149:50051']);
});
