/** Balancers that learn from answers: latency, and reports of load. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Balancer,
  type BalancerEndpoint,
  createBalancer,
  defaultBalancerOptions,
  type LoadReport,
  PeakLatency,
  ReportedLoad,
} from '../../src/resilience/index.ts';
import { StrideSchedule } from '../../src/resilience/stride-schedule.ts';

const endpoints = (count: number): BalancerEndpoint[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `10.0.0.${i}:1`,
    weight: 1,
    activeRequests: 0,
    latency: undefined,
    reportedLoad: undefined,
  }));

const shareOf = (balancer: Balancer<BalancerEndpoint>, wanted: BalancerEndpoint, nowMs: number, picks = 4_000): number => {
  let found = 0;
  for (let i = 0; i < picks; i++) if (balancer.pick(undefined, nowMs, undefined) === wanted) found++;
  return found / picks;
};

const latencyOptions = { decayTimeMs: 10_000, defaultRttMs: 30 };

test('a slow answer raises the latency at once, fast ones lower it with time', () => {
  const latency = new PeakLatency(latencyOptions);
  assert.equal(latency.at(5_000), 30, 'before the first answer it is the default');
  latency.observe(10, 5_000);
  assert.equal(latency.at(5_000), 10);
  latency.observe(500, 5_000);
  assert.equal(latency.at(5_000), 500);
  latency.observe(10, 5_000);
  assert.equal(latency.at(5_000), 500, 'in the same moment nothing is forgotten');
  latency.observe(10, 15_000);
  assert.ok(Math.abs(latency.at(15_000) - (500 * Math.exp(-1) + 10 * (1 - Math.exp(-1)))) < 1e-9);
  assert.ok(latency.at(100_000) < 0.1, 'and without answers it is forgotten');
});

test('a failure that comes fast does not make an endpoint look good', () => {
  const latency = new PeakLatency(latencyOptions);
  latency.observe(40, 1_000);
  latency.observeFailure(0.1, 1_000);
  assert.equal(latency.at(1_000), 40);
  latency.observeFailure(2_000, 1_000);
  assert.equal(latency.at(1_000), 2_000);
});

test('peak_ewma: the slow endpoint gets little, the one with calls that wait too', () => {
  const list = endpoints(4);
  const [slow, busy] = list as [BalancerEndpoint, BalancerEndpoint];
  const balancer = createBalancer<BalancerEndpoint>('peak_ewma', Math.random);
  balancer.update(list);
  for (const endpoint of list) endpoint.latency?.observe(endpoint === slow ? 200 : 10, 1_000);
  busy.activeRequests = 30;
  assert.ok(shareOf(balancer, slow, 1_000) < 0.2, 'only against the busy one');
  assert.ok(shareOf(balancer, busy, 1_000) < 0.02, 'it is never the better of two, and hardly ever alone');
  busy.activeRequests = 0;
  assert.ok(shareOf(balancer, slow, 1_000) < 0.02);
  assert.ok(shareOf(balancer, slow, 300_000) > 0.15, 'what was long ago does not count');
});

const report = (more: Partial<LoadReport>): LoadReport => ({
  applicationUtilization: 0,
  cpuUtilization: 0,
  qps: 100,
  eps: 0,
  named: new Map(),
  ...more,
});
const loadOptions = { ...defaultBalancerOptions.reportedLoad, blackoutPeriodMs: 10_000, weightExpirationPeriodMs: 60_000 };

test('the weight is calls a second by utilization, with a penalty for failures (gRFC A58)', () => {
  const options = { ...loadOptions, blackoutPeriodMs: 0, metricNames: ['named_metrics.queue', 'utilization.disk'] };
  const weightOf = (more: Partial<LoadReport>): number => {
    const load = new ReportedLoad(options);
    load.report(report(more), 0);
    return load.weightAt(0);
  };
  assert.equal(weightOf({ applicationUtilization: 0.5, cpuUtilization: 0.9 }), 200);
  assert.equal(weightOf({ cpuUtilization: 0.5 }), 200);
  assert.equal(
    weightOf({
      cpuUtilization: 0.1,
      named: new Map([
        ['named_metrics.queue', 0.25],
        ['utilization.disk', 0.2],
      ]),
    }),
    400,
  );
  assert.equal(weightOf({ applicationUtilization: 0.5, eps: 50 }), 100);
  assert.equal(weightOf({}), 0, 'without a utilization there is no weight');
  assert.equal(weightOf({ applicationUtilization: 0.5, qps: 0 }), 0);
});

test('a weight counts after the blackout, and until it expires', () => {
  const load = new ReportedLoad(loadOptions);
  load.report(report({ applicationUtilization: 0.5 }), 1_000);
  assert.equal(load.weightAt(10_999), 0);
  assert.equal(load.weightAt(11_000), 200);
  assert.equal(load.weightAt(60_999), 200);
  assert.equal(load.weightAt(61_000), 0);
  load.report(report({ applicationUtilization: 0.5 }), 70_000);
  assert.equal(load.weightAt(79_999), 0, 'after a silence the blackout begins anew');
  assert.equal(load.weightAt(80_000), 200);
});

test('client_side_weighted_round_robin: shares follow the reports; who reports nothing counts as an average one', () => {
  const list = endpoints(3);
  const balancer = createBalancer<BalancerEndpoint>('client_side_weighted_round_robin', Math.random, {
    ...defaultBalancerOptions,
    reportedLoad: { ...loadOptions, blackoutPeriodMs: 0 },
  });
  balancer.update(list);
  const [idle, busy, silent] = list as [BalancerEndpoint, BalancerEndpoint, BalancerEndpoint];
  idle.reportedLoad?.report(report({ applicationUtilization: 0.2 }), 0);
  assert.ok(Math.abs(shareOf(balancer, idle, 1_000) - 1 / 3) < 0.02, 'one report is no comparison');
  busy.reportedLoad?.report(report({ applicationUtilization: 0.6 }), 1_500);
  assert.ok(Math.abs(shareOf(balancer, idle, 1_900) - 1 / 3) < 0.02, 'weights are taken over once a second');
  // 500, 167, and their mean.
  for (const [endpoint, share] of [
    [idle, 0.5],
    [busy, 1 / 6],
    [silent, 1 / 3],
  ] as const) {
    assert.ok(Math.abs(shareOf(balancer, endpoint, 2_000) - share) < 0.01);
  }
});

test('turns by stride follow the weights, and are spread out', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 20, max: 100 }), { minLength: 1, maxLength: 20 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (weights, start) => {
        const schedule = new StrideSchedule(weights, start);
        const counts = weights.map(() => 0);
        const picks = 5_000;
        for (let i = 0; i < picks; i++) {
          const next = schedule.next();
          counts[next] = (counts[next] as number) + 1;
        }
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        // Each is within a few turns of its share: there are no bursts to make up for.
        weights.forEach((weight, i) => {
          assert.ok(Math.abs((counts[i] as number) - (picks * weight) / total) < 4, `${counts[i]} turns for ${weight} of ${total}`);
        });
      },
    ),
  );
  assert.equal(new StrideSchedule([], 0).next(), -1);
  const extreme = new StrideSchedule([1_000_000, 1], 0);
  assert.ok(Array.from({ length: 100 }, () => extreme.next()).includes(1), 'a report that is far off starves nobody');
});
