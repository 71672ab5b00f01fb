/** Metrics by OTLP. The collectors are stand-ins: the service of the published definition by grpc-js and by node:http. */
import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { checkLeaks } from '../../harness/leak-check.ts';
import { throughOne } from '../../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, closedPort } from '../../mesh/upstream.ts';
import { startSidecar } from '../../peers/sidecar-processes.ts';
import { parseExposition } from '../exposition-syntax.ts';
import { labelsOf, type StandInCollector, StandInGrpcCollector, StandInHttpCollector } from './stand-in-collector.ts';

checkLeaks();

const listenSilently = async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
};

const throughSidecar = async (t: TestContext, environment: Record<string, string>, endsItself = false) => {
  const { client, outrider } = await throughOne(t, (call, i) => (i < 4 ? answerOk(call, 'four') : answerTrailersOnly(call, 5)), {
    environment: { OTEL_METRIC_EXPORT_INTERVAL: '100', SERVICE_VERSION: '2.7', OTEL_RESOURCE_ATTRIBUTES: 'team=learners', ...environment },
    endsItself,
  });
  for (let i = 0; i < 6; i++) await client.call();
  return outrider;
};

const kinds = {
  'http/protobuf': { listen: () => StandInHttpCollector.listen(), path: '/v1/metrics' },
  grpc: { listen: () => StandInGrpcCollector.listen(), path: '' },
} as const;

for (const [protocol, { listen, path }] of Object.entries(kinds)) {
  const environmentFor = ({ port }: StandInCollector) => ({
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `http://127.0.0.1:${port}${path}`,
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: protocol,
    OTEL_EXPORTER_OTLP_METRICS_HEADERS: 'x-tenant=shop',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
  });

  test(`${protocol}: a collector gets the numbers of /metrics, with the resource and the headers`, async (t) => {
    await using collector: StandInCollector = await listen();
    const { admin } = await throughSidecar(t, environmentFor(collector));
    const countOf = () => Number(collector.metric('grpc_request_duration_seconds')?.histogram?.data_points[0]?.count ?? 0);
    await collector.until(() => countOf() === 6, 'six calls');
    const { request, headers } = collector.requests.at(-1) ?? assert.fail();
    assert.equal(headers['x-tenant'], 'shop');
    const [{ resource, scope_metrics } = assert.fail()] = request.resource_metrics;
    assert.equal(scope_metrics[0]?.scope.name, 'outrider');
    const attributes = labelsOf(resource.attributes);
    assert.deepEqual([attributes['service.name'], attributes['service.version'], attributes['team']], ['caller', '2.7', 'learners']);
    assert.match(attributes['service.instance.id'] ?? '', /^.+:\d+$/);

    const requests = collector.metric('grpc_requests');
    assert.deepEqual([requests?.sum?.is_monotonic, requests?.sum?.aggregation_temporality], [true, 'AGGREGATION_TEMPORALITY_CUMULATIVE']);
    assert.deepEqual(
      requests?.sum?.data_points.map(({ attributes: own, as_double }) => [labelsOf(own), as_double]),
      [
        [{ service: 'echo', method: '/acme.', status: 'OK' }, 4],
        [{ service: 'echo', method: '/acme.', status: 'NOT_FOUND' }, 2],
      ],
    );

    const durations = collector.metric('grpc_request_duration_seconds');
    const [point = assert.fail()] = durations?.histogram?.data_points ?? [];
    assert.deepEqual([durations?.unit, durations?.histogram?.aggregation_temporality], ['s', 'AGGREGATION_TEMPORALITY_CUMULATIVE']);
    const samples = parseExposition((await admin('GET', '/metrics')).text);
    const buckets = samples.filter(({ name, labels }) => name === 'grpc_request_duration_seconds_bucket' && labels['method'] === '/acme.');
    assert.deepEqual(
      point.explicit_bounds,
      buckets.slice(0, -1).map(({ labels }) => Number(labels['le'])),
    );
    const counts = (point.bucket_counts ?? []).map(Number);
    assert.deepEqual(
      counts.map((_, i) => counts.slice(0, i + 1).reduce((sum, each) => sum + each, 0)),
      buckets.map(({ value }) => value),
    );
    const sum = samples.find(({ name, labels }) => name === 'grpc_request_duration_seconds_sum' && labels['method'] === '/acme.')?.value;
    assert.equal(point.sum, sum);
    assert.ok(BigInt(point.start_time_unix_nano) <= BigInt(point.time_unix_nano));

    const members = collector
      .metric('outrider_cluster_membership')
      ?.gauge?.data_points.map(({ attributes: own, as_double }) => [labelsOf(own), as_double]);
    assert.deepEqual(
      members?.find(([own]) => (own as Record<string, string>)['cluster'] === 'echo'),
      [{ cluster: 'echo' }, 1],
    );
    assert.equal(collector.metric('process_resident_memory_bytes')?.unit, 'By');
  });

  test(`${protocol}: what was counted since the last export is sent at the end`, async (t) => {
    await using collector: StandInCollector = await listen();
    const outrider = await throughSidecar(t, { ...environmentFor(collector), OTEL_METRIC_EXPORT_INTERVAL: '60000' }, true);
    assert.equal(collector.asked, 0);
    await outrider.sidecar.drain();
    const fates = collector.metric('outrider_fates')?.sum?.data_points ?? [];
    const ok = fates.find(({ attributes }) => labelsOf(attributes)['fate'] === 'ok' && labelsOf(attributes)['direction'] === 'outbound');
    assert.equal(ok?.as_double, 4);
  });

  test(`${protocol}: one that refuses, and one that never answers, cost a counter and a line in the log, and hold up no end`, async (t) => {
    await using collector: StandInCollector = await listen();
    collector.manner = 'refuses';
    const outrider = await throughSidecar(t, { ...environmentFor(collector), OTEL_METRIC_EXPORT_TIMEOUT: '50' }, true);
    const failed = async () => Number(/otlp_metrics\.exports_failed: (\d+)/.exec((await outrider.admin('GET', '/stats')).text)?.[1]);
    while ((await failed()) < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const lines = () => outrider.log.filter(({ msg }) => /^metrics (could not|are taken)/.test(String(msg)));
    assert.equal(lines().length, 1);
    assert.match(String(lines()[0]?.['remedy']), /OTEL_METRICS_EXPORTER=none/);
    collector.manner = 'takes';
    await collector.until(() => lines().length === 2, 'it is said that they are taken again');
    collector.manner = 'hangs';
    await collector.until(() => lines().length === 3, 'it is said that there is no answer');
    assert.match(String(lines()[2]?.['why']), /no answer within 50 ms|[Tt]imed? ?out|DEADLINE/);
    await outrider.sidecar.drain();
  });
}

test('nobody listens at the endpoint of all signals: counted, and calls go on', async (t) => {
  const port = await closedPort();
  const outrider = await throughSidecar(t, {
    OTEL_METRICS_EXPORTER: 'otlp',
    OTEL_TRACES_EXPORTER: 'none',
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_METRIC_EXPORT_TIMEOUT: '100',
  });
  const failed = async () => Number(/otlp_metrics\.exports_failed: (\d+)/.exec((await outrider.admin('GET', '/stats')).text)?.[1]);
  while ((await failed()) < 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(outrider.fates(), { ok: 4, app_error: 2 });
});

test('a process ends soon, also where its last export is never answered', async () => {
  const ends = async (protocol: string): Promise<void> => {
    // Not even HTTP/2 is spoken.
    await using silent = await listenSilently();
    await using sidecar = await startSidecar({
      name: 'auth-svc',
      environment: {
        INBOUND_TLS: 'off',
        OTEL_METRICS_EXPORTER: 'otlp',
        OTEL_TRACES_EXPORTER: 'none',
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${silent.port}`,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        // Longer than the test has patience.
        OTEL_EXPORTER_OTLP_TIMEOUT: '600000',
        OTEL_METRIC_EXPORT_TIMEOUT: '600000',
        OTEL_METRIC_EXPORT_INTERVAL: '600000',
      },
    });
    await sidecar.stop();
    assert.equal(silent.connections, 1, protocol);
  };
  await Promise.all([ends('http/protobuf'), ends('grpc')]);
});
