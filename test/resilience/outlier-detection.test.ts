import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  defaultOutlier,
  OutlierDetection,
  type OutlierHost,
  type OutlierKind,
  type OutlierOptions,
  type OutlierResult,
  outlierResultOfHttp,
  outlierResultOfStatus,
} from '../../src/resilience/index.ts';

/** A machine with `count` endpoints, and everything that it told, as lines. */
const detectionOf = (count: number, options: Partial<OutlierOptions> = {}, random: () => number = () => 0) => {
  const told: string[] = [];
  const listener = {
    onEjection: (key: number, _host: OutlierHost, kind: OutlierKind, enforced: boolean) =>
      void told.push(`${key} ${enforced ? 'ejected' : 'found'} by ${kind}`),
    onReturn: (key: number, _host: OutlierHost, why: string) => void told.push(`${key} returns by ${why}`),
  };
  const all = { ...defaultOutlier, maxEjectionPercent: 100, ...options };
  const detection = new OutlierDetection<number>(all, listener, random);
  const hosts = Array.from({ length: count }, (_, i) => detection.admit(i));
  const report = (key: number, results: readonly OutlierResult[] | OutlierResult, times = 1, nowMs = 0): void => {
    for (let i = 0; i < times; i++)
      for (const result of typeof results === 'string' ? [results] : results)
        detection.report(key, hosts[key] as OutlierHost, result, nowMs);
  };
  return { detection, hosts, report, told };
};

test('five failures in a row eject, of whatever kind; a success in between begins anew', () => {
  for (const failure of ['server_error', 'gateway_error', 'local_origin_failure'] as const) {
    const { report, told } = detectionOf(10);
    report(3, failure, 4);
    report(3, 'success');
    report(3, failure, 4);
    assert.deepEqual(told, []);
    report(3, failure);
    assert.deepEqual(told, ['3 ejected by consecutive_5xx']);
    report(3, failure, 20);
    assert.equal(told.length, 1, 'what is ejected is not ejected again');
  }
});

test('gateway failures in a row eject where that is enforced, and other server errors break the row', () => {
  const { detection, report, told } = detectionOf(10, {
    consecutive5xx: 100,
    consecutiveGatewayFailure: 3,
    enforcing: { ...defaultOutlier.enforcing, consecutive_gateway_failure: 100 },
  });
  report(0, ['gateway_error', 'gateway_error', 'server_error', 'gateway_error', 'gateway_error']);
  assert.deepEqual(told, []);
  report(0, 'gateway_error');
  report(1, ['gateway_error', 'gateway_error', 'local_origin_failure']);
  assert.deepEqual(told, ['0 ejected by consecutive_gateway_failure', '1 ejected by consecutive_gateway_failure']);
  assert.equal(detection.active, 2);
});

test('failures without an answer can be counted apart', () => {
  const { report, told } = detectionOf(10, { splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 3 });
  report(0, 'local_origin_failure', 2);
  report(0, 'server_error');
  report(0, 'local_origin_failure', 2);
  assert.deepEqual(told, [], 'an answer of whatever kind shows that it can be reached');
  report(0, 'local_origin_failure');
  assert.deepEqual(told, ['0 ejected by consecutive_local_origin_failure']);
  report(1, ['server_error', 'server_error', 'server_error', 'server_error', 'local_origin_failure', 'server_error']);
  assert.deepEqual(told[1], '1 ejected by consecutive_5xx', 'they do not break the row of the others');
});

test('an ejection lasts the longer the more there were, up to the limit, and each interval outside takes one off', () => {
  const { detection, hosts, report, told } = detectionOf(10, { baseEjectionTimeMs: 30_000, maxEjectionTimeMs: 70_000 });
  const lasts = (fromMs: number): number => {
    report(0, 'gateway_error', 5, fromMs);
    let nowMs = fromMs;
    do {
      nowMs += 10_000;
      detection.sweep(nowMs);
    } while ((hosts[0] as OutlierHost).ejected);
    return nowMs - fromMs;
  };
  assert.deepEqual([lasts(0), lasts(100_000), lasts(300_000), lasts(500_000)], [30_000, 60_000, 70_000, 70_000]);
  for (let i = 0; i < 10; i++) detection.sweep(700_000 + i * 10_000);
  assert.equal(lasts(1_000_000), 30_000);
  assert.equal(told.filter((line) => line.endsWith('returns by time')).length, 5);
});

test('jitter is added, at random', () => {
  const { hosts, report } = detectionOf(10, { maxEjectionTimeJitterMs: 1_000 }, () => 0.75);
  report(0, 'gateway_error', 5, 5);
  assert.equal((hosts[0] as OutlierHost).returnsAtMs, 30_755);
});

test('no more than max_ejection_percent are ejected; the others are counted', () => {
  const { detection, report } = detectionOf(20, { maxEjectionPercent: 10 });
  for (let key = 0; key < 5; key++) report(key, 'gateway_error', 5);
  assert.equal(detection.active, 2);
  assert.equal(detection.counts.ejectionsOverflow, 3);
  assert.equal(detection.counts.detected.consecutive_5xx, 5);
  assert.equal(detection.counts.enforced.consecutive_5xx, 2);
  assert.equal(detection.counts.ejectionsEnforcedTotal, 2);
});

test('of three endpoints 10 % are none, and always_eject_one_host lets one go', () => {
  const none = detectionOf(3, { maxEjectionPercent: 10 });
  none.report(0, 'gateway_error', 5);
  assert.deepEqual(none.told, []);
  const one = detectionOf(3, { maxEjectionPercent: 10, alwaysEjectOneHost: true });
  one.report(0, 'gateway_error', 5);
  one.report(1, 'gateway_error', 5);
  assert.deepEqual(one.told, ['0 ejected by consecutive_5xx']);
});

test('enforcing is a chance: what is not enforced is told and stays', () => {
  const { detection, report, told } = detectionOf(10, {}, () => 0.5);
  report(0, 'gateway_error', 5);
  assert.deepEqual(told, ['0 ejected by consecutive_5xx'], 'a kind that is switched off says nothing');
  assert.equal(detection.counts.detected.consecutive_gateway_failure, 1);
  detection.update({ ...detection.options, enforcing: { ...defaultOutlier.enforcing, consecutive_5xx: 50 } });
  report(1, 'server_error', 5);
  assert.equal(told.at(-1), '1 found by consecutive_5xx');
});

test('success rate: who is far below the mean of all is ejected at the end of the interval', () => {
  const { detection, hosts, report, told } = detectionOf(6, { consecutive5xx: 1_000 });
  for (let key = 0; key < 6; key++) {
    const failures = key === 5 ? 40 : key;
    report(key, 'success', 100 - failures);
    report(key, 'server_error', failures);
  }
  detection.sweep(10_000);
  assert.deepEqual(told, ['5 ejected by success_rate']);
  // (100 + 99 + 98 + 97 + 96 + 60) / 6, and 1.9 standard deviations below it.
  assert.ok(Math.abs(detection.successRateAverage - 91.667) < 0.001);
  assert.ok(Math.abs(detection.successRateThreshold - 64.648) < 0.001);
  assert.equal((hosts[1] as OutlierHost).external.successRate, 99);
});

test('success rate: too few endpoints, or too few calls, say nothing', () => {
  for (const [count, calls] of [
    [4, 100],
    [6, 99],
  ] as const) {
    const { detection, hosts, report, told } = detectionOf(count, { consecutive5xx: 1_000, maxEjectionPercent: 100 });
    for (let key = 0; key < count; key++) report(key, key === 0 ? 'server_error' : 'success', calls);
    detection.sweep(10_000);
    assert.deepEqual(told, []);
    assert.equal(detection.successRateThreshold, -1);
    assert.equal((hosts[0] as OutlierHost).external.total, 0, 'the next interval begins at nothing');
  }
});

test('failure percentage: who is above the limit is ejected, also where all are', () => {
  const { detection, report, told } = detectionOf(5, {
    consecutive5xx: 1_000,
    failurePercentageThreshold: 50,
    enforcing: { ...defaultOutlier.enforcing, failure_percentage: 100, success_rate: 0 },
  });
  for (let key = 0; key < 5; key++) {
    report(key, 'success', key === 0 ? 26 : 25);
    report(key, 'server_error', key === 0 ? 24 : 25);
  }
  detection.sweep(10_000);
  assert.deepEqual(
    told,
    [1, 2, 3, 4].map((key) => `${key} ejected by failure_percentage`),
  );
});

test('rates of connecting are judged apart where they are counted apart', () => {
  const { detection, report, told } = detectionOf(6, {
    consecutive5xx: 1_000,
    consecutiveLocalOriginFailure: 1_000,
    splitExternalLocalOriginErrors: true,
  });
  for (let key = 0; key < 6; key++) report(key, key === 2 ? 'local_origin_failure' : 'success', 100);
  detection.sweep(10_000);
  assert.deepEqual(told, ['2 ejected by local_origin_success_rate']);
});

test('by hand one returns at once, and begins as new', () => {
  const { detection, hosts, report, told } = detectionOf(10);
  assert.equal(detection.uneject(0), false);
  report(0, 'gateway_error', 5);
  assert.equal(detection.uneject(0), true);
  assert.deepEqual(told, ['0 ejected by consecutive_5xx', '0 returns by by_hand']);
  assert.equal(detection.active, 0);
  assert.equal((hosts[0] as OutlierHost).ejectTimeFactor, 0);
  assert.equal(detection.uneject(99), false);
});

test('an endpoint that leaves makes room for another ejection; with the policy all return', () => {
  const { detection, report, told } = detectionOf(4, { maxEjectionPercent: 25 });
  report(0, 'gateway_error', 5);
  report(1, 'gateway_error', 5);
  assert.equal(detection.active, 1);
  detection.forget(0);
  detection.admit(9);
  report(1, 'gateway_error', 5);
  assert.deepEqual(told, ['0 ejected by consecutive_5xx', '1 ejected by consecutive_5xx']);
  detection.dispose();
  assert.equal(told.at(-1), '1 returns by not_configured');
  assert.equal(detection.active, 0);
});

test('whatever happens, the count of ejections is right and within the limit', () => {
  const event = fc.oneof(
    fc.record({
      kind: fc.constant('report' as const),
      key: fc.nat(7),
      result: fc.constantFrom<OutlierResult>('success', 'server_error', 'gateway_error', 'local_origin_failure'),
      times: fc.nat(60),
    }),
    fc.record({ kind: fc.constant('sweep' as const), laterMs: fc.nat(60_000) }),
    fc.record({ kind: fc.constant('uneject' as const), key: fc.nat(7) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), fc.nat(100), fc.boolean(), fc.boolean(), (events, maxEjectionPercent, one, split) => {
      const { detection, hosts, report } = detectionOf(8, {
        maxEjectionPercent,
        alwaysEjectOneHost: one,
        splitExternalLocalOriginErrors: split,
        successRateRequestVolume: 20,
        failurePercentageRequestVolume: 20,
      });
      let nowMs = 0;
      for (const each of events) {
        if (each.kind === 'report') report(each.key, each.result, each.times, nowMs);
        else if (each.kind === 'uneject') detection.uneject(each.key);
        else {
          nowMs += each.laterMs;
          detection.sweep(nowMs);
        }
        const ejected = hosts.filter((host) => host.ejected).length;
        assert.equal(detection.active, ejected);
        assert.ok(ejected <= Math.max(one ? 1 : 0, (maxEjectionPercent * 8) / 100));
        for (const host of hosts) if (host.ejected) assert.ok(host.returnsAtMs > host.ejectedAtMs);
      }
    }),
  );
});

test('statuses of gRPC fall into Envoy’s categories, and what the application answered is a success', () => {
  const statuses = Array.from({ length: 17 }, (_, status) => status);
  assert.deepEqual(Object.fromEntries(Map.groupBy(statuses, outlierResultOfStatus)), {
    success: [0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 16],
    server_error: [2, 12, 13, 15],
    gateway_error: [4, 14],
  });
  assert.deepEqual([404, 429, 500, 501, 502, 503, 504, 505].map(outlierResultOfHttp), [
    'success',
    'success',
    'server_error',
    'server_error',
    'gateway_error',
    'gateway_error',
    'gateway_error',
    'server_error',
  ]);
});
