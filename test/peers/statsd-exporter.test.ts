/** What a sidecar sends to METRICS_HOST, as Prometheus's own statsd_exporter understands it with the mapping of deploy/prometheus. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { throughOne } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly } from '../mesh/upstream.ts';
import { type ParsedSample, parseExposition } from '../telemetry/exposition-syntax.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const exporter = await peerProgram('statsd-exporter');
const mapping = join(import.meta.dirname, '../../deploy/prometheus/statsd-mapping.yml');

const startExporter = async (args: readonly string[]) => {
  const [udpPort, webPort] = [await freePort(), await freePort()];
  const program = spawnProgram(exporter.path, [
    ...[`--statsd.listen-udp=127.0.0.1:${udpPort}`, '--statsd.listen-tcp=', `--web.listen-address=127.0.0.1:${webPort}`],
    ...args,
  ]);
  try {
    await untilAnswering(program, isListening(webPort));
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  const scrape = async (): Promise<readonly ParsedSample[]> => {
    const response = await fetch(`http://127.0.0.1:${webPort}/metrics`, { headers: { connection: 'close' } });
    return parseExposition((await response.text()).replaceAll(/^# TYPE (\S+) (?:summary|untyped)$[\s\S]*?(?=^# HELP|$(?![\s\S]))/gm, ''));
  };
  return { udpPort, scrape, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
};

type Labels = Readonly<Record<string, string>>;

const sampleOf = (samples: readonly ParsedSample[], name: string, labels: Labels): number | undefined =>
  samples.find((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value))?.value;

/** Scrapes until the value is there. */
const untilValue = async (scrape: () => Promise<readonly ParsedSample[]>, name: string, labels: Labels, wanted: number) => {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const samples = await scrape();
    const value = sampleOf(samples, name, labels);
    if (value === wanted) return samples;
    assert.ok(performance.now() < deadline, `${name} ${JSON.stringify(labels)} is ${value}, not ${wanted}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

test('statsd_exporter finds nothing wrong with the mapping', { skip: exporter.skip }, async () => {
  const { code, stderr } = await runProgram(exporter.path, [`--statsd.mapping-config=${mapping}`, '--check-config']);
  assert.equal(code, 0, stderr);
});

test('plain StatsD becomes families with labels, the same numbers, and durations whose sum is right', {
  skip: exporter.skip,
}, async (t) => {
  await using receiver = await startExporter([`--statsd.mapping-config=${mapping}`]);
  const { client, outrider } = await throughOne(t, (call, i) => (i < 60 ? answerOk(call, 'four') : answerTrailersOnly(call, 5)), {
    environment: { METRICS_HOST: `127.0.0.1:${receiver.udpPort}`, METRICS_INTERVAL: '100ms' },
  });
  for (let i = 0; i < 70; i++) await client.call();
  const calls = { sidecar: 'caller', direction: 'outbound', service: 'echo', method: 'acme_' };
  await untilValue(receiver.scrape, 'statsd_grpc_requests_total', { ...calls, status: 'OK' }, 60);
  await untilValue(receiver.scrape, 'statsd_grpc_requests_total', { ...calls, status: 'NOT_FOUND' }, 10);
  await untilValue(receiver.scrape, 'statsd_outrider_fates_total', { sidecar: 'caller', direction: 'outbound', fate: 'app_error' }, 10);
  const cluster = { sidecar: 'caller', cluster: 'echo' };
  await untilValue(receiver.scrape, 'statsd_outrider_cluster_membership', cluster, 1);
  const samples = await untilValue(receiver.scrape, 'statsd_outrider_cluster_upstream_rq_total', cluster, 70);
  const [metrics] = [...outrider.sidecar.telemetry.callMetrics.methods('outbound')].filter(({ method }) => method === '/acme.');
  assert.equal(sampleOf(samples, 'statsd_grpc_request_duration_seconds_count', calls), 70);
  const seconds = sampleOf(samples, 'statsd_grpc_request_duration_seconds_sum', calls) ?? 0;
  const totalMs = metrics?.totalMs ?? 0;
  assert.ok(Math.abs(seconds * 1_000 - totalMs) < 0.01 * totalMs + 0.5, `${seconds} s for ${totalMs} ms`);
  const buckets = samples.filter(({ name, labels }) => name === 'statsd_grpc_request_duration_seconds_bucket' && labels['le'] !== '+Inf');
  const inside = [...(metrics?.buckets ?? [])];
  const cumulative = inside.map((_, i) => inside.slice(0, i + 1).reduce((sum, calls) => sum + calls, 0));
  assert.deepEqual(
    buckets.map(({ value }) => value),
    cumulative.slice(0, -1),
  );
  // Nothing is left to the default names of the exporter.
  assert.deepEqual(
    samples.filter(({ name }) => name.startsWith('outrider')),
    [],
  );
});

test('DogStatsD needs no mapping: tags are labels', { skip: exporter.skip }, async (t) => {
  await using receiver = await startExporter([]);
  const environment = { METRICS_HOST: `127.0.0.1:${receiver.udpPort}`, METRICS_INTERVAL: '100ms', METRICS_FORMAT: 'dogstatsd' };
  const { client } = await throughOne(t, (call) => answerOk(call, 'four'), { environment });
  for (let i = 0; i < 5; i++) await client.call();
  const labels = { service: 'caller', direction: 'outbound', called_service: 'echo', method: '/acme.', status: 'OK' };
  const samples = await untilValue(receiver.scrape, 'outrider_calls_total', labels, 5);
  assert.equal(sampleOf(samples, 'outrider_cluster_membership_total', { service: 'caller', cluster: 'echo' }), 1);
});

test('what was counted between the last flush and the end is sent at the end', { skip: exporter.skip }, async (t) => {
  await using receiver = await startExporter([`--statsd.mapping-config=${mapping}`]);
  const { client, outrider } = await throughOne(t, (call) => answerOk(call, 'four'), {
    environment: { METRICS_HOST: `127.0.0.1:${receiver.udpPort}` },
    endsItself: true,
  });
  for (let i = 0; i < 7; i++) await client.call();
  await outrider.sidecar.drain();
  await untilValue(receiver.scrape, 'statsd_outrider_fates_total', { sidecar: 'caller', direction: 'outbound', fate: 'ok' }, 7);
});
