import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CallMetrics, negotiateFormat, PrometheusExposition, StatRegistry, type StatSink } from '../../src/telemetry/index.ts';
import { acceptsGzip } from '../../src/telemetry/metrics/exposition-format.ts';
import { parseExposition } from './exposition-syntax.ts';

const createdAtMs = 1_767_225_600_000;
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

const setUp = (collect: (sink: StatSink) => void = () => {}) => {
  const calls = new CallMetrics({ wallNow: () => createdAtMs });
  const stats = new StatRegistry();
  stats.add({ collectStats: collect });
  const exposition = new PrometheusExposition({
    stats,
    calls,
    clusterNames: () => ['auth'],
    certificates: () => [{ service: 'auth-svc', secondsLeft: 60 }],
    build: { version: '0.1.0' },
  });
  const lines = async (format: 'text' | 'openmetrics') => (await exposition.scrape(format)).body.toString().split('\n');
  return { calls, exposition, lines };
};

test('OpenMetrics ends with # EOF, and tells units, exemplars and since when a method is counted', async () => {
  const { calls, exposition, lines } = setUp();
  const metrics = calls.method('outbound', 'auth-svc', '/a.A/B');
  metrics.record(0, 3);
  metrics.keepExemplar({ traceId, durationMs: 3, atMs: createdAtMs + 1_500 });
  const open = await lines('openmetrics');
  const { contentType } = await exposition.scrape('openmetrics');
  assert.equal(contentType, 'application/openmetrics-text; version=1.0.0; charset=utf-8');
  assert.deepEqual(open.slice(-2), ['# EOF', '']);
  assert.ok(open.includes('# UNIT grpc_request_duration_seconds seconds'));
  assert.ok(open.includes('# UNIT mtls_certificate_expiry_seconds seconds'));
  assert.ok(open.includes('# TYPE grpc_requests counter'));
  assert.ok(open.includes('grpc_requests_total{service="auth-svc",method="/a.A/B",status="OK"} 1'));
  const labels = 'service="auth-svc",method="/a.A/B"';
  assert.ok(
    open.includes(
      `grpc_request_duration_seconds_bucket{le="0.005",${labels}} 1 # {trace_id="${traceId}"} 0.003 ${(createdAtMs + 1_500) / 1_000}`,
    ),
  );
  assert.ok(open.includes(`grpc_request_duration_seconds_created{${labels}} ${createdAtMs / 1_000}`));
});

test('the text format has neither exemplars nor units, and the same samples', async () => {
  const { calls, lines } = setUp((sink) => {
    sink.counter('cluster.auth.upstream_rq_retry', 4);
    sink.counter('policy.reload_ok', 2);
    sink.gauge('cluster.auth.membership_total', 3);
    sink.gauge('server.event_loop_lag_ms', 250);
  });
  const metrics = calls.method('outbound', 'auth-svc', '/a.A/B');
  metrics.record(0, 3);
  metrics.keepExemplar({ traceId, durationMs: 3, atMs: createdAtMs });
  const text = await lines('text');
  parseExposition(text.join('\n'));
  assert.ok(!text.some((line) => line.includes(traceId) || line.startsWith('# UNIT') || line === '# EOF'));
  const samplesOf = (all: readonly string[]) =>
    all.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.replace(/ # .*/, ''));
  const open = samplesOf(await lines('openmetrics')).filter((line) => !/_created\{/.test(line));
  assert.deepEqual(samplesOf(text), open);
  for (const line of [
    'outrider_cluster_upstream_rq_retry_total{cluster="auth"} 4',
    'outrider_policy_reload_ok_total 2',
    'outrider_cluster_membership{cluster="auth"} 3',
    'outrider_server_event_loop_lag_seconds 0.25',
    'outrider_build_info{version="0.1.0"} 1',
  ])
    assert.ok(text.includes(line), line);
});

test('stats of routes and directions have labels in place of names in names', async () => {
  const { lines } = setUp((sink) => {
    sink.counter('http.inbound.fault.aborts_injected', 1);
    sink.counter('per-user.http_local_rate_limit.enforced', 2);
    sink.gauge('http.inbound.get.profile.adaptive_concurrency.gradient_controller.min_rtt_msecs', 12);
    sink.counter('overload.shed_newest_requests.shed_load_count', 3);
  });
  const text = await lines('text');
  for (const line of [
    'outrider_http_fault_aborts_injected_total{direction="inbound"} 1',
    'outrider_http_local_rate_limit_enforced_total{stat_prefix="per-user"} 2',
    'outrider_http_adaptive_concurrency_gradient_controller_min_rtt_seconds{direction="inbound",route="get.profile"} 0.012',
    'outrider_overload_shed_newest_requests_shed_load_count_total 3',
  ])
    assert.ok(text.includes(line), `${line}\n${text.join('\n')}`);
});

test('a family of more samples than fit into one turn is one family', async () => {
  const { lines } = setUp((sink) => {
    for (let i = 0; i < 4_000; i++) sink.counter(`listener.l${i}.downstream_cx_total`, i);
  });
  const text = await lines('text');
  assert.equal(text.filter((line) => line.startsWith('# TYPE outrider_listener_downstream_cx_total ')).length, 1);
  assert.equal(parseExposition(text.join('\n')).filter(({ name }) => name === 'outrider_listener_downstream_cx_total').length, 4_000);
});

test('an exemplar is the last traced call of its bucket, of both directions', async () => {
  const { calls, lines } = setUp();
  for (const [direction, id, durationMs] of [
    ['inbound', '1', 0.2],
    ['inbound', '2', 0.3],
    ['outbound', '3', 70_000],
  ] as const) {
    const metrics = calls.method(direction, 'auth-svc', '/a.A/B');
    metrics.record(0, durationMs);
    metrics.keepExemplar({ traceId: id.repeat(32), durationMs, atMs: createdAtMs });
  }
  const traces = (await lines('openmetrics')).flatMap((line) => /le="([^"]+)".*trace_id="(\d)/.exec(line)?.slice(1) ?? []);
  assert.deepEqual(traces, ['0.0005', '2', '+Inf', '3']);
});

test('Accept decides the format', () => {
  const prometheus2 =
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
  const prometheus3 =
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
  const cases: readonly (readonly [string | undefined, string])[] = [
    [undefined, 'text'],
    ['', 'text'],
    ['*/*', 'text'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'text'],
    [prometheus2, 'openmetrics'],
    [prometheus3, 'openmetrics'],
    ['application/openmetrics-text', 'openmetrics'],
    ['Application/OpenMetrics-Text; Version="1.0.0"', 'openmetrics'],
    ['application/openmetrics-text;version=2.0.0', 'text'],
    ['application/openmetrics-text;q=0', 'text'],
    ['application/openmetrics-text;q=0.2, text/plain;q=0.9', 'text'],
    ['text/plain;version=0.0.4', 'text'],
    [';;,=,q', 'text'],
  ];
  const ranges: typeof cases = [
    ['*/*;q=1, application/openmetrics-text;q=0.1', 'text'],
    ['text/*, application/openmetrics-text;q=0.5', 'text'],
    ['text/*;q=0.1, */*, application/openmetrics-text;q=0.5', 'openmetrics'],
    ['text/plain;q=0.2, text/*, application/openmetrics-text;q=0.5', 'openmetrics'],
  ];
  for (const [accept, format] of [...cases, ...ranges]) assert.equal(negotiateFormat(accept), format, String(accept));
  const encodings: readonly (readonly [string | undefined, boolean])[] = [
    ['gzip', true],
    ['deflate, gzip;q=0.5', true],
    ['*', true],
    ['gzip;q=0', false],
    ['gzip;q=0, *', false],
    ['identity', false],
    [undefined, false],
  ];
  for (const [encoding, gzip] of encodings) assert.equal(acceptsGzip(encoding), gzip, String(encoding));
});

test('whatever stands in Accept and Accept-Encoding is one of the formats', () => {
  const part = fc.constantFrom(
    'application/openmetrics-text',
    'text/plain',
    '*/*',
    ';',
    ',',
    '=',
    'q=',
    '0.5',
    'version=',
    '"',
    ' ',
    '1e999',
    '-1',
    'gzip',
  );
  const header = fc.array(fc.oneof(part, fc.string({ maxLength: 5 })), { maxLength: 60 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(header, (text) => {
      assert.match(negotiateFormat(text), /^(text|openmetrics)$/);
      assert.equal(typeof acceptsGzip(text), 'boolean');
    }),
  );
});
