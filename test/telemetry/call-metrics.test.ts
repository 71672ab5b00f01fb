import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fates } from '../../src/core/index.ts';
import { CallMetrics, durationBucketsSeconds, MethodMetrics } from '../../src/telemetry/index.ts';

test('the same three words lead to the same object', () => {
  const calls = new CallMetrics();
  const found = calls.method('outbound', 'auth', '/auth.Auth/Login');
  assert.equal(calls.method('outbound', 'auth', '/auth.Auth/Login'), found);
  assert.notEqual(calls.method('inbound', 'auth', '/auth.Auth/Login'), found);
});

test('calls are counted by status, and a status that does not exist as UNKNOWN', () => {
  const metrics = new MethodMetrics('auth', '/a/b');
  for (const status of [0, 0, 14, 17, -1, Number.NaN]) metrics.record(status, 1);
  assert.equal(metrics.statuses[0], 2);
  assert.equal(metrics.statuses[14], 1);
  assert.equal(metrics.statuses[2], 3);
  assert.equal(metrics.count, 6);
});

test('a duration on a bound belongs to the bucket of that bound', () => {
  const metrics = new MethodMetrics('auth', '/a/b');
  for (const seconds of durationBucketsSeconds) metrics.record(0, seconds * 1_000);
  assert.deepEqual([...metrics.buckets], [...durationBucketsSeconds.map(() => 1), 0]);
});

test('a quantile lies within a bucket of the truth', () => {
  const durations = fc.array(fc.double({ min: 0, max: 59_000, noNaN: true }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(durations, fc.double({ min: 0.01, max: 1, noNaN: true }), (all, q) => {
      const metrics = new MethodMetrics('auth', '/a/b');
      for (const ms of all) metrics.record(0, ms);
      const truth = [...all].sort((a, b) => a - b)[Math.ceil(q * all.length) - 1] ?? 0;
      const above = durationBucketsSeconds.find((bound) => truth <= bound * 1_000) ?? 60;
      const below = durationBucketsSeconds.findLast((bound) => bound < above) ?? 0;
      const estimate = metrics.quantileMs(q);
      assert.ok(estimate >= below * 1_000 - 1e-6 && estimate <= above * 1_000 + 1e-6, `${estimate} for ${truth}`);
    }),
  );
});

test('a quantile without calls is 0, and beyond the last bound it is the last bound', () => {
  const metrics = new MethodMetrics('auth', '/a/b');
  assert.equal(metrics.quantileMs(0.99), 0);
  metrics.record(0, 3_600_000);
  assert.equal(metrics.quantileMs(0.5), 60_000);
});

test('a million made-up paths are one method, and what was known before stays', () => {
  const calls = new CallMetrics({ methodsAtMost: 100 });
  const known = calls.method('inbound', 'auth', '/auth.Auth/Login');
  for (let i = 0; i < 1_000_000; i++) calls.method('inbound', 'auth', `/made.Up/Path${i}`).record(12, 1);
  const methods = [...calls.methods('inbound')];
  assert.equal(methods.length, 101);
  assert.equal(calls.method('inbound', 'auth', '/auth.Auth/Login'), known);
  assert.equal(calls.method('inbound', 'auth', 'other').count, 1_000_000 - 99);
  assert.equal(
    methods.reduce((sum, { count }) => sum + count, 0),
    1_000_000,
  );
});

test('made-up services and labels of any length stay within the bounds too', () => {
  const word = fc.oneof(fc.string({ maxLength: 5 }), fc.string({ minLength: 200, maxLength: 2_000 }), fc.constant('other'));
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word), { maxLength: 300 }), (pairs) => {
      const calls = new CallMetrics({ methodsAtMost: 50, scrapeBytesAtMost: 64 * 1_024 });
      for (const [service, method] of pairs) calls.method('outbound', service, method).record(0, 1);
      const methods = [...calls.methods('outbound')];
      // One `other` for each of 32 services and one for all the rest.
      assert.ok(methods.length <= 50 + 33);
      assert.ok(methods.every(({ service, method }) => service.length <= 256 && method.length <= 256));
      assert.equal(
        methods.reduce((sum, { count }) => sum + count, 0),
        pairs.length,
      );
    }),
  );
});

test('the sum of fates is the number of calls', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('inbound' as const, 'outbound' as const), fc.constantFrom(...fates))), (ended) => {
      const calls = new CallMetrics();
      for (const [direction, fate] of ended) calls.fate(direction, fate);
      const stats = new Map<string, number>();
      const keep = (name: string, value: number) => stats.set(name, value);
      calls.collectStats({ counter: keep, gauge: keep });
      assert.equal(
        [...stats.values()].reduce((a, b) => a + b, 0),
        ended.length,
      );
      assert.equal(stats.size, 2 * fates.length);
    }),
  );
});

test('routes that somebody has written are told apart up to 2,000, and do not take the room of others', () => {
  const calls = new CallMetrics();
  const written = Array.from({ length: 2_500 }, (_, i) => calls.method('outbound', 'auth-svc', `/auth.v1.AuthService/Method${i}`, true));
  assert.equal(new Set(written).size, 2_001);
  assert.equal(written.at(-1)?.method, 'other');
  assert.equal(calls.method('inbound', 'auth-svc', '/a/b').method, '/a/b');
});
