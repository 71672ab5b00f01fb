/** The state machine of health checks: thresholds, intervals and jitter, without time and without sockets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { defaultHealthCheckTimes, type HealthCheckFailure, type HealthCheckTimes, HostHealth } from '../../src/resilience/index.ts';
import { seededRandom } from '../harness/seeded-random.ts';

const times: HealthCheckTimes = {
  ...defaultHealthCheckTimes,
  intervalMs: 1_000,
  unhealthyThreshold: 3,
  healthyThreshold: 2,
  noTrafficIntervalMs: 60_000,
  noTrafficHealthyIntervalMs: 50_000,
  unhealthyIntervalMs: 200,
  unhealthyEdgeIntervalMs: 300,
  healthyEdgeIntervalMs: 400,
};
const never = (): number => 0;

test('the first result decides alone, in either direction', () => {
  const up = new HostHealth(true);
  assert.equal(up.succeed(times), 'changed');
  assert.equal(up.failing, false);
  const down = new HostHealth(false);
  assert.equal(down.fail(times, 'network'), 'changed');
  assert.equal(down.failing, true);
  const stillDown = new HostHealth(true);
  assert.equal(stillDown.fail(times, 'network'), 'unchanged');
  assert.equal(stillDown.failing, true);
  assert.equal(stillDown.succeed(times), 'pending', 'after a first failure the threshold holds');
});

test('lost answers need unhealthy_threshold of them in a row, an answer that says so needs one', () => {
  const health = new HostHealth(true);
  health.succeed(times);
  assert.deepEqual([health.fail(times, 'network'), health.fail(times, 'network_timeout')], ['pending', 'pending']);
  assert.equal(health.succeed(times), 'unchanged');
  assert.deepEqual(
    [health.fail(times, 'network'), health.fail(times, 'network'), health.fail(times, 'network')],
    ['pending', 'pending', 'changed'],
  );
  assert.equal(health.failure, 'network');
  assert.deepEqual([health.succeed(times), health.succeed(times)], ['pending', 'changed']);
  assert.equal(health.failure, undefined);
  assert.equal(health.fail(times, 'active'), 'changed');
});

test('a failure between passing checks begins their count anew', () => {
  const health = new HostHealth(true);
  health.fail(times, 'network');
  assert.equal(health.succeed(times), 'pending');
  assert.equal(health.fail(times, 'network'), 'unchanged');
  assert.equal(health.succeed(times), 'pending');
  assert.equal(health.succeed(times), 'changed');
});

test('the interval is that of the state, of its edge, and the slow one while there is no traffic', () => {
  const health = new HostHealth(true);
  health.succeed(times);
  health.nextDelayMs(times, true, never);
  const delay = (hadTraffic = true): number => health.nextDelayMs(times, hadTraffic, never);
  assert.equal(delay(), 1_000);
  assert.equal(delay(false), 50_000);
  health.fail(times, 'network');
  assert.equal(delay(), 300, 'unhealthy edge');
  assert.equal(delay(false), 60_000);
  health.fail(times, 'network');
  health.fail(times, 'network');
  assert.equal(delay(), 200, 'unhealthy');
  health.succeed(times);
  assert.equal(delay(), 400, 'healthy edge');
  health.succeed(times);
  assert.equal(delay(), 1_000);
});

test('jitter adds up to a share of the interval and up to a time', () => {
  const jittered = { ...times, intervalJitterPercent: 50, intervalJitterMs: 100 };
  const health = new HostHealth(true);
  health.succeed(jittered);
  const random = seededRandom(3);
  health.nextDelayMs(jittered, true, random);
  const delays = Array.from({ length: 1_000 }, () => health.nextDelayMs(jittered, true, random));
  assert.ok(Math.min(...delays) >= 1_000 && Math.max(...delays) <= 1_600);
  assert.ok(Math.max(...delays) - Math.min(...delays) > 400, 'they differ');
});

test('a hundred that begin together are spread over the interval from the second check on', () => {
  const random = seededRandom(4);
  const second = Array.from({ length: 100 }, () => {
    const health = new HostHealth(true);
    health.succeed(times);
    return health.nextDelayMs(times, true, random);
  });
  for (let tenth = 1; tenth < 10; tenth++) {
    const within = second.filter((delay) => delay >= tenth * 100 && delay < (tenth + 1) * 100).length;
    assert.ok(within >= 2 && within <= 30, `${within} of 100 in the tenth number ${tenth}`);
  }
});

test('whatever happens, the state changes only by as many results in a row as the thresholds say', () => {
  const results = fc.array(fc.constantFrom<'pass' | HealthCheckFailure>('pass', 'active', 'network', 'network_timeout'), { maxLength: 60 });
  fc.assert(
    fc.property(results, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), fc.boolean(), (list, up, down, atFirst) => {
      const options = { ...times, healthyThreshold: up, unhealthyThreshold: down };
      const health = new HostHealth(atFirst);
      let failing = atFirst;
      list.forEach((result, i) => {
        if (result === 'pass') health.succeed(options);
        else health.fail(options, result);
        const passes = list
          .slice(0, i + 1)
          .reverse()
          .findIndex((each) => each !== 'pass');
        const inARow = passes < 0 ? i + 1 : passes;
        const fails = list
          .slice(0, i + 1)
          .reverse()
          .indexOf('pass');
        const failsInARow = fails < 0 ? i + 1 : fails;
        if (i === 0) failing = result !== 'pass';
        else if (result === 'pass') failing = failing && inARow < up;
        else failing = failing || result === 'active' || failsInARow >= down;
        assert.equal(health.failing, failing, `after ${list.slice(0, i + 1).join(', ')}`);
      });
    }),
  );
});
