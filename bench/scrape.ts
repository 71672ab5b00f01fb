/**
 * What a scrape of many routes costs: CPU in all, and the longest turn of the event loop, during which calls would wait. The calls' lines printed by
 * prom-client stand beside our own.
 *
 *     npm run bench:scrape                         1,000 routes with 10 statuses, 50 clusters with 100 stats
 *     npm run bench:scrape -- --routes 200 --clusters 500
 */
import { createRequire } from 'node:module';
import { parseArgs, promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { statusName } from '../src/grpc/index.ts';
import {
  CallMetrics,
  durationBucketsSeconds,
  type ExpositionFormat,
  expositionFormats,
  type MetricsInputs,
  MetricsReader,
  PrometheusExposition,
  StatRegistry,
  type StatSource,
} from '../src/telemetry/index.ts';

const { values } = parseArgs({
  options: {
    routes: { type: 'string', default: '1000' },
    statuses: { type: 'string', default: '10' },
    clusters: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '20' },
  },
});
const [routes, statuses, clusters, rounds] = [values.routes, values.statuses, values.clusters, values.rounds].map(Number) as [
  number,
  number,
  number,
  number,
];
const statsPerCluster = 100;

const exampleInputs = (): MetricsInputs => {
  const calls = new CallMetrics({ wallNow: () => 1_767_225_600_000 });
  for (let route = 0; route < routes; route++) {
    const metrics = calls.method('outbound', `service-${route % 20}-svc`, `/learner.v1.LearnerService/Method${route}`, true);
    for (let status = 0; status < statuses; status++) {
      for (let call = 0; call < 20; call++) metrics.record(status, 0.3 * 2 ** (call % 18));
    }
    for (let bucket = 0; bucket < 8; bucket++) {
      const traceId = (route * 16 + bucket).toString(16).padStart(32, '0');
      metrics.keepExemplar({ traceId, durationMs: 0.3 * 2 ** bucket, atMs: 1_767_225_600_000 });
    }
  }
  const names = Array.from({ length: clusters }, (_, i) => `cluster-${i}`);
  const stats = new StatRegistry();
  stats.add(calls);
  const parts = names.map(
    (name): StatSource => ({
      collectStats: (sink) => {
        for (let stat = 0; stat < statsPerCluster; stat++) sink.counter(`cluster.${name}.upstream_rq_something_${stat}`, stat * 17);
      },
    }),
  );
  stats.add({
    collectStats: (sink) => {
      for (const part of parts) part.collectStats(sink);
    },
    statParts: () => parts,
  });
  return { stats, calls, clusterNames: () => names, certificates: () => [{ service: 'auth-svc', secondsLeft: 86_400 }] };
};

/** The calls' families as prom-client prints them from samples: what it would cost to leave them to it. */
const printByPromClient = async (inputs: MetricsInputs): Promise<string> => {
  const Registry = createRequire(import.meta.url)('prom-client/lib/registry.js') as new () => {
    getMetricsAsString(metric: object): Promise<string>;
  };
  const requests: object[] = [];
  const durations: object[] = [];
  for (const { service, method, statuses: byStatus, buckets, totalMs } of (await new MetricsReader(inputs).read()).calls) {
    byStatus.forEach((value, status) => {
      if (value > 0) requests.push({ labels: { service, method, status: statusName(status) }, value });
    });
    let upTo = 0;
    buckets.forEach((value, i) => {
      upTo += value;
      const labels = { le: String(durationBucketsSeconds[i] ?? '+Inf'), service, method };
      durations.push({ metricName: 'grpc_request_duration_seconds_bucket', labels, value: upTo });
    });
    durations.push({ metricName: 'grpc_request_duration_seconds_sum', labels: { service, method }, value: totalMs / 1_000 });
    durations.push({ metricName: 'grpc_request_duration_seconds_count', labels: { service, method }, value: upTo });
  }
  const registry = new Registry();
  const print = (name: string, type: string, samples: object[]) =>
    registry.getMetricsAsString({ name, type, help: 'x', values: samples, get: async () => ({ name, type, help: 'x', values: samples }) });
  return (await print('grpc_requests_total', 'counter', requests)) + (await print('grpc_request_duration_seconds', 'histogram', durations));
};

interface Cost {
  readonly cpuMs: number;
  readonly longestTurnMs: number;
  readonly bytes: number;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The medians of several rounds; turns are watched in rounds of their own, since watching costs CPU. */
const measure = async (work: () => Promise<{ readonly length: number }>): Promise<Cost> => {
  for (let round = 0; round < 5; round++) await work();
  const cpu: number[] = [];
  const turns: number[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    bytes = (await work()).length;
    const { user, system } = process.cpuUsage(before);
    cpu.push((user + system) / 1_000);
  }
  for (let round = 0; round < rounds; round++) {
    let [working, longest] = [true, 0];
    const done = turn()
      .then(work)
      .then(() => {
        working = false;
      });
    // CPU of this thread: on a busy machine the time on the wall says how busy that is.
    let before = process.threadCpuUsage();
    while (working) {
      await turn();
      const { user, system } = process.threadCpuUsage(before);
      longest = Math.max(longest, (user + system) / 1_000);
      before = process.threadCpuUsage();
    }
    await done;
    turns.push(longest);
  }
  return { cpuMs: median(cpu), longestTurnMs: median(turns), bytes };
};

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

const inputs = exampleInputs();
const exposition = new PrometheusExposition(inputs);
const scraped = async (format: ExpositionFormat) => (await exposition.scrape(format)).body;
const compress = promisify(gzip);
const compressed = async () => compress(await scraped('openmetrics'), { level: constants.Z_BEST_SPEED, chunkSize: 256 * 1_024 });

console.log(`${routes} routes with ${statuses} statuses, ${clusters} clusters with ${statsPerCluster} stats`);
const report = (what: string, { bytes, cpuMs, longestTurnMs }: Cost): void => {
  const columns = [cpuMs.toFixed(1).padStart(8), longestTurnMs.toFixed(1).padStart(14), (bytes / 1e6).toFixed(2).padStart(8)];
  console.log(`${what.padEnd(36)}${columns.join('')}`);
};
console.log(`${''.padEnd(36)}  CPU ms  longest turn      MB`);
for (const format of expositionFormats) report(`scrape, ${format}`, await measure(() => scraped(format)));
report('scrape, openmetrics, gzip', await measure(compressed));
report("the calls' lines alone by prom-client", await measure(() => printByPromClient(inputs)));
report('reading all numbers', await measure(async () => (await new MetricsReader(inputs).read()).families));
