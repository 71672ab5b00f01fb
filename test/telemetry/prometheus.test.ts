import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fates } from '../../src/core/index.ts';
import { CallMetrics, PrometheusExposition, type PrometheusInputs, StatRegistry, type StatSink } from '../../src/telemetry/index.ts';
import { type ParsedSample, parseExposition } from './exposition-syntax.ts';

const setUp = (options: Partial<PrometheusInputs> & { readonly collect?: (sink: StatSink) => void } = {}) => {
  const { collect, ...inputs } = options;
  const calls = options.calls ?? new CallMetrics();
  const stats = new StatRegistry();
  stats.add(calls);
  if (collect !== undefined) stats.add({ collectStats: collect });
  const exposition = new PrometheusExposition({ stats, calls, clusterNames: () => [], certificates: () => [], ...inputs });
  const scrape = async () => parseExposition((await exposition.scrape()).body.toString());
  return { calls, exposition, scrape };
};

const sampleOf = (samples: readonly ParsedSample[], name: string, labels: Record<string, string>): number | undefined =>
  samples.find((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value))?.value;

test('calls have the names of the contract, and statuses are words', async () => {
  const { calls, scrape } = setUp();
  const login = { service: 'auth-svc', method: '/auth.Auth/Login' };
  for (const ms of [0.4, 3, 120_000]) calls.method('outbound', login.service, login.method).record(ms > 100 ? 14 : 0, ms);
  const samples = await scrape();
  assert.equal(sampleOf(samples, 'grpc_requests_total', { ...login, status: 'OK' }), 2);
  assert.equal(sampleOf(samples, 'grpc_requests_total', { ...login, status: 'UNAVAILABLE' }), 1);
  assert.equal(sampleOf(samples, 'grpc_request_duration_seconds_bucket', { ...login, le: '0.0005' }), 1);
  assert.equal(sampleOf(samples, 'grpc_request_duration_seconds_bucket', { ...login, le: '60.0' }), 2);
  assert.equal(sampleOf(samples, 'grpc_request_duration_seconds_bucket', { ...login, le: '+Inf' }), 3);
  assert.equal(sampleOf(samples, 'grpc_request_duration_seconds_count', login), 3);
  assert.equal(sampleOf(samples, 'grpc_request_duration_seconds_sum', login), 120.0034);
});

test('a service that is called from both sides is one series', async () => {
  const { calls, scrape } = setUp();
  for (const direction of ['inbound', 'outbound'] as const) calls.method(direction, 'auth-svc', '/a/b').record(0, 1);
  assert.equal(sampleOf(await scrape(), 'grpc_requests_total', { service: 'auth-svc', status: 'OK' }), 2);
});

test('the state of a breaker has the name of the contract beside our own', async () => {
  const { scrape } = setUp({
    clusterNames: () => ['auth', 'auth.service.consul'],
    collect: (sink) => {
      sink.gauge('cluster.auth.service.consul.circuit_breaker.state', 1);
      sink.counter('cluster.auth.service.consul.circuit_breaker.failures_total', 5);
      sink.counter('cluster.auth.upstream_rq_total', 9);
      sink.counter('cluster.written-by-nobody.upstream_rq_total', 8);
    },
  });
  const samples = await scrape();
  assert.equal(sampleOf(samples, 'circuit_breaker_state', { service: 'auth.service.consul' }), 1);
  assert.equal(sampleOf(samples, 'circuit_breaker_failures_total', { service: 'auth.service.consul' }), 5);
  assert.equal(sampleOf(samples, 'outrider_cluster_circuit_breaker_state', { cluster: 'auth.service.consul' }), 1);
  assert.equal(sampleOf(samples, 'outrider_cluster_upstream_rq_total', { cluster: 'auth' }), 9);
  assert.equal(sampleOf(samples, 'outrider_cluster_upstream_rq_total', { cluster: 'written-by-nobody' }), 8);
});

test('listeners, fates and certificates have their labels', async () => {
  const { calls, scrape } = setUp({
    certificates: () => [{ service: 'auth-svc', secondsLeft: 86_400 }],
    collect: (sink) => sink.counter('listener.inbound.ssl.fail_verify_error', 2),
  });
  calls.fate('outbound', 'circuit_open');
  const samples = await scrape();
  assert.equal(sampleOf(samples, 'outrider_listener_ssl_fail_verify_error_total', { listener: 'inbound' }), 2);
  assert.equal(sampleOf(samples, 'mtls_certificate_expiry_seconds', { service: 'auth-svc' }), 86_400);
  assert.equal(sampleOf(samples, 'outrider_fates_total', { direction: 'outbound', fate: 'circuit_open' }), 1);
  assert.equal(samples.filter(({ name }) => name === 'outrider_fates_total').length, 2 * fates.length);
});

test('hostile names can neither break a line nor make a sample twice', async () => {
  const word = fc.string({ unit: fc.constantFrom('a', '.', '_', '-', '"', '\\', '\n', '{', '}', ' ', 'é', '#'), maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 30 }), async (words) => {
      const { calls, scrape } = setUp({
        clusterNames: () => words,
        certificates: () => [...new Set(words)].map((service) => ({ service, secondsLeft: 1 })),
        collect: (sink) => {
          for (const name of words) {
            sink.counter(name, 1);
            sink.gauge(`cluster.${name}.x`, 1);
            sink.gauge(`cluster.${name}.circuit_breaker.state`, Number.NaN);
          }
        },
      });
      for (const name of words) calls.method('inbound', name, name).record(0, 1);
      const samples = await scrape();
      const requests = samples.filter(({ name }) => name === 'grpc_requests_total');
      assert.equal(
        requests.reduce((sum, { value }) => sum + value, 0),
        words.length,
      );
      assert.ok(requests.every(({ labels }) => words.includes(labels['method'] ?? '') || labels['method'] === 'other'));
    }),
    { numRuns: 60 },
  );
});

test('a scrape stays below 1 MiB after a million distinct paths from both sides', async () => {
  const { calls, exposition } = setUp();
  for (let i = 0; i < 500_000; i++) {
    calls.method('inbound', 'auth-svc', `/some.made.up.package.Service${i}/Method`).record(12, 1);
    calls.method('outbound', `service-${i % 5_000}`, `/some.made.up.package.Service${i}/Method`).record(14, 1);
  }
  const { body } = await exposition.scrape();
  assert.ok(body.length < 1_048_576, `${body.length} bytes`);
  parseExposition(body.toString());
});
