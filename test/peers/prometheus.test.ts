/** `/metrics` of a running sidecar, as those read it who wrote the formats: promtool, the parser of OpenMetrics, and a real Prometheus. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { type Program, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, startUpstream } from '../mesh/upstream.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const [prometheus, promtool, openMetrics] = [
  await peerProgram('prometheus'),
  await peerProgram('promtool'),
  await peerProgram('python-openmetrics'),
];

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

/** A sidecar that has done a bit of everything, so that every kind of family is there: 40 calls are OK, 10 are NOT_FOUND, one is traced. */
const startUsed = async (t: TestContext): Promise<TestSidecar> => {
  const service = await startUpstream(t, (call, i) => (i < 40 ? answerOk(call, 'four') : answerTrailersOnly(call, 5)));
  const certificates = await MeshCertificates.create(t);
  const sidecar = await startSidecar(t, {
    name: 'caller',
    certificates: await certificates.issue('caller'),
    environment: { METRICS_EXEMPLARS: 'on' },
    policies: `routes:
  - name: 'say"it'
    match: { path: /acme.Echo/Say }
    route:
      cluster: echo
      timeout: 5s
      retry_policy: { retry_on: unavailable }
      idempotent: true
clusters:
  echo:
    endpoints: ["${service.address}"]
    tls: { mode: disable }
    outlier_detection: { consecutive_5xx: 5 }
    circuit_breakers: { thresholds: [{ track_remaining: true }] }
`,
  });
  const client = sidecar.caller();
  for (let i = 0; i < 50; i++) {
    const flags = i === 7 ? '01' : '00';
    await client.call({ path: '/acme.Echo/Say', headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-${flags}` } });
  }
  return sidecar;
};

test('promtool finds nothing to complain of', { skip: promtool.skip }, async (t) => {
  const { admin } = await startUsed(t);
  const { text } = await admin('GET', '/metrics');
  const { code, stderr, stdout } = await runProgram(promtool.path, ['check', 'metrics'], { input: text });
  assert.deepEqual({ code, stderr, stdout }, { code: 0, stderr: '', stdout: '' });
});

/** Reads stdin and prints each sample as JSON; the strict parser throws for whatever is not OpenMetrics. */
const parseWithPython = `
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        exemplar = None if sample.exemplar is None else [sample.exemplar.labels, sample.exemplar.value]
        print(json.dumps([family.name, family.type, family.unit, sample.name, sample.labels, sample.value, exemplar]))
`;

test('the parser of OpenMetrics takes every line, with units, exemplars and types', { skip: openMetrics.skip }, async (t) => {
  const { admin } = await startUsed(t);
  const { text } = await admin('GET', '/metrics?format=openmetrics');
  const { code, stderr, stdout } = await runProgram(openMetrics.path, ['-c', parseWithPython], { input: text });
  assert.equal(code, 0, stderr);
  const samples = stdout
    .trim()
    .split('\n')
    .map(
      (line) =>
        JSON.parse(line) as [string, string, string, string, Record<string, string>, number, [Record<string, string>, number] | null],
    );
  const requests = samples.filter(([, , , name]) => name === 'grpc_requests_total');
  assert.deepEqual(
    requests.map(([family, type, , , labels, value]) => [family, type, labels, value]),
    [
      ['grpc_requests', 'counter', { service: 'echo', method: '/acme.Echo/Say', status: 'OK' }, 40],
      ['grpc_requests', 'counter', { service: 'echo', method: '/acme.Echo/Say', status: 'NOT_FOUND' }, 10],
    ],
  );
  const exemplars = samples.filter(([, , , , , , exemplar]) => exemplar !== null);
  assert.deepEqual(
    exemplars.map(([family, type, unit, name, , , exemplar]) => [family, type, unit, name, exemplar?.[0]]),
    [['grpc_request_duration_seconds', 'histogram', 'seconds', 'grpc_request_duration_seconds_bucket', { trace_id: traceId }]],
  );
  assert.equal(samples.find(([, , , name]) => name === 'process_resident_memory_bytes')?.[2], 'bytes');
  assert.equal(samples.find(([, , , name]) => name === 'outrider_build_info')?.[5], 1);
});

interface Answer {
  readonly status: string;
  readonly data: {
    readonly result: readonly { readonly metric: Readonly<Record<string, string>>; readonly value: readonly [number, string] }[];
  };
}

class PrometheusServer {
  readonly #port: number;
  readonly #program: Program;

  constructor(port: number, program: Program) {
    this.#port = port;
    this.#program = program;
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/api/v1/${path}`, { headers: { connection: 'close' } });
    return (await response.json()) as T;
  }

  /** The value of the only series, once it is `wanted`. */
  async until(query: string, wanted: number): Promise<void> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const { data } = await this.get<Answer>(`query?query=${encodeURIComponent(query)}`);
      const values = data.result.map(({ value }) => Number(value[1]));
      if (values.length === 1 && values[0] === wanted) return;
      assert.ok(performance.now() < deadline, `${query} is ${values}, not ${wanted}: ${this.#program.stderr.slice(-2_000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

test('a real Prometheus scrapes OpenMetrics, answers queries with the numbers, and keeps the exemplar', {
  skip: prometheus.skip,
}, async (t) => {
  const sidecar = await startUsed(t);
  using folder = temporaryFolder();
  const configuration = join(folder.path, 'prometheus.yml');
  writeFileSync(
    configuration,
    `global: { scrape_interval: 200ms, scrape_timeout: 200ms }
scrape_configs:
  - job_name: outrider
    static_configs: [{ targets: ["127.0.0.1:${sidecar.adminPort}"] }]
`,
  );
  const port = await freePort();
  await using program = spawnProgram(prometheus.path, [
    ...[`--config.file=${configuration}`, `--storage.tsdb.path=${join(folder.path, 'data')}`, '--enable-feature=exemplar-storage'],
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await untilAnswering(program, async () => (await isListening(port)()) && (await fetch(`http://127.0.0.1:${port}/-/ready`)).ok);
  const server = new PrometheusServer(port, program);
  await server.until('grpc_requests_total{service="echo",method="/acme.Echo/Say",status="OK"}', 40);
  await server.until('sum by (service) (grpc_requests_total)', 50);
  await server.until('sum(outrider_fates_total{direction="outbound",fate="app_error"})', 10);
  await server.until('sum(grpc_request_duration_seconds_count)', 50);
  await server.until('grpc_request_duration_seconds_bucket{service="echo",le="+Inf"}', 50);
  await server.until('sum(grpc_request_duration_seconds_bucket{le="60.0"})', 50);
  await server.until('histogram_quantile(0.99, grpc_request_duration_seconds_bucket{service="echo"}) > bool 0', 1);
  await server.until('outrider_cluster_upstream_rq_total{cluster="echo"}', 50);
  await server.until('circuit_breaker_state{service="echo"}', 0);
  await server.until('mtls_certificate_expiry_seconds{service="caller"} > bool 80000', 1);
  await server.until('outrider_policy_last_reload_successful', 1);
  await server.until('time() - process_start_time_seconds < bool 600', 1);
  await server.until('up', 1);
  const { data: types } = await server.get<{ data: Record<string, readonly { type: string; unit: string }[]> }>(
    'metadata?metric=grpc_request_duration_seconds',
  );
  assert.deepEqual(
    types['grpc_request_duration_seconds']?.map(({ type, unit }) => [type, unit]),
    [['histogram', 'seconds']],
    'only OpenMetrics says units',
  );
  const now = Date.now() / 1_000;
  const { data: exemplars } = await server.get<{ data: readonly { exemplars: readonly { labels: object; value: string }[] }[] }>(
    `query_exemplars?query=grpc_request_duration_seconds_bucket&start=${now - 600}&end=${now + 60}`,
  );
  assert.deepEqual(
    exemplars.flatMap((series) => series.exemplars.map(({ labels }) => labels)),
    [{ trace_id: traceId }],
  );
});
