/**
 * CPU per call, latency and memory of Outrider with its usual policies on, or every one, side by side in one run with HAProxy and Envoy doing the same work.
 * Each proxy has core 0; a native load generator and backend share core 1. Rounds are interleaved, so that a noisy minute hits all alike.
 *
 *     npm run bench -- [--quick] [--only outrider,haproxy,envoy] [--shape 8x32,...] [--direction outbound] [--calls N] [--rounds N] [--no-extras]
 *                      [--policies all] [--telemetry traces,jaeger,access-log]
 *
 * `--policies all` measures Outrider once more, beside itself, with every policy of resilience and traffic on.
 *
 * `--telemetry` measures it once more with traces by OTLP, traces to Jaeger, or lines for calls, of one call in a hundred; `all` is `traces,access-log`.
 *
 * Compare ratios, not figures. Raw numbers go to bench/results/<date>.json; --quick is for trying out and writes none.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../test/harness/ports.ts';
import { temporaryFolder } from '../test/harness/temporary-folder.ts';
import { buildNativePrograms, makeCertificates, writeBody } from './bench-files.ts';
import { type LoadTools, load, measure, type Sample, startBackends } from './load.ts';
import { residentBytesOf } from './process-usage.ts';
import {
  type Backends,
  type Collector,
  findProxy,
  type ProxyName,
  proxyNames,
  type RunningProxy,
  startOutrider,
  startProxy,
  telemetryKinds,
} from './proxies.ts';
import { type BenchResult, machine, reportText } from './report.ts';
import { type Direction, directions, type Shape, shapes } from './shapes.ts';

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    shape: { type: 'string' },
    direction: { type: 'string' },
    calls: { type: 'string' },
    rounds: { type: 'string' },
    'no-extras': { type: 'boolean', default: false },
    policies: { type: 'string' },
    telemetry: { type: 'string' },
  },
});

const chosen = <T>(flag: string | undefined, all: readonly T[], nameOf: (one: T) => string): readonly T[] => {
  if (flag === undefined) return all;
  return flag.split(',').map((name) => {
    const one = all.find((candidate) => nameOf(candidate) === name);
    if (one === undefined) throw new Error(`"${name}" is not one of ${all.map(nameOf).join(', ')}`);
    return one;
  });
};
const wantedProxies = chosen<ProxyName>(flags.only, proxyNames, String);
const wantedShapes = chosen<Shape>(flags.shape, shapes, (shape) => shape.name);
const wantedDirections = chosen<Direction>(flags.direction, directions, String);
const [policies] = chosen(flags.policies ?? 'usual', ['usual', 'all'] as const, String);
const telemetry =
  flags.telemetry === undefined ? [] : chosen(flags.telemetry === 'all' ? 'traces,access-log' : flags.telemetry, telemetryKinds, String);
const rounds = Number(flags.rounds ?? (flags.quick ? 1 : 5));
const callsOf = (shape: Shape) => Number(flags.calls ?? Math.round(shape.calls / (flags.quick ? 20 : 1)));
const say = (line: string) => console.error(line);

const measureRounds = async (tools: LoadTools, proxies: readonly RunningProxy[]): Promise<readonly Sample[]> => {
  const samples: Sample[] = [];
  // Compiled code settles over tens of thousands of calls; a round's own warm-up is for connections.
  const [settling] = wantedShapes;
  if (settling !== undefined && !flags.quick) {
    for (const proxy of proxies) {
      for (const direction of wantedDirections) await load(tools, proxy, direction, settling, 40_000);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const shape of wantedShapes) {
      for (const direction of wantedDirections) {
        // Nobody is always the first.
        const turn = [...proxies.slice(round % proxies.length), ...proxies.slice(0, round % proxies.length)];
        for (const proxy of turn) {
          const sample = await measure(tools, proxy, direction, shape, callsOf(shape), round);
          samples.push(sample);
          const { cpuMicrosecondsPerCall: cpu, p50Microseconds: p50, p99Microseconds: p99 } = sample;
          say(`round ${round + 1}/${rounds} ${direction} ${shape.name} ${proxy.name}: ${cpu.toFixed(1)} us/call, p50 ${p50}, p99 ${p99}`);
        }
      }
    }
  }
  return samples;
};

/** Cost per call with 10 and with 10,000 routes, and the time from start to readiness: of Outrider alone. */
const measureExtras = async (
  tools: LoadTools,
  path: string,
  backends: Backends,
): Promise<Pick<BenchResult, 'routes' | 'startToReadyMs'>> => {
  const options = { path, folder: tools.folder, backends };
  const startToReadyMs: number[] = [];
  for (let i = 0; i < (flags.quick ? 1 : 5); i++) {
    const outrider = await startOutrider(options);
    startToReadyMs.push(outrider.startMs);
    await outrider.process.stop();
  }
  const shape = shapes[0];
  if (shape === undefined) throw new Error('no shape');
  const routes: { routes: number; sample: Sample }[] = [];
  const few = await startOutrider({ ...options, otherRoutes: 9 });
  const many = await startOutrider({ ...options, otherRoutes: 9_999 });
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [proxy, count] of [[few, 10] as const, [many, 10_000] as const]) {
        const sample = await measure(tools, proxy, 'outbound', shape, callsOf(shape), round);
        routes.push({ routes: count, sample });
        say(`round ${round + 1}/${rounds} ${count} routes: ${sample.cpuMicrosecondsPerCall.toFixed(2)} us/call`);
      }
    }
  } finally {
    await few.process.stop();
    await many.process.stop();
  }
  return { routes, startToReadyMs };
};

/** Takes spans and, where it can, says so; ends with the process. */
const startCollector = async (): Promise<Collector> => {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end());
  }).listen(0, '127.0.0.1');
  server.unref();
  const socket = createSocket('udp4').bind(0, '127.0.0.1').unref();
  await Promise.all([once(server, 'listening'), once(socket, 'listening')]);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, jaegerPort: socket.address().port };
};

const main = async (): Promise<void> => {
  const { loadgen, backend } = await buildNativePrograms();
  using folder = temporaryFolder();
  await makeCertificates(folder.path);
  const tools: LoadTools = { loadgen, backend, folder: folder.path, bodyOf: (shape) => writeBody(folder.path, shape) };
  const backends = { plainPort: await freePort(), tlsPort: await freePort() };
  await using _running = await startBackends(tools, backends);

  const missing: Record<string, string> = {};
  const proxies: RunningProxy[] = [];
  let outriderPath: string | undefined;
  try {
    for (const name of wantedProxies) {
      const found = await findProxy(name);
      if ('missing' in found) {
        missing[name] = found.missing;
        say(`${name}: not measured: ${found.missing}`);
        continue;
      }
      if (name === 'outrider') outriderPath = found.path;
      proxies.push(await startProxy(name, { path: found.path, folder: folder.path, backends }));
      if (name === 'outrider' && policies === 'all')
        proxies.push(await startOutrider({ path: found.path, folder: folder.path, backends, allPolicies: true }));
      if (name === 'outrider' && telemetry.length > 0)
        proxies.push(
          await startOutrider({ path: found.path, folder: folder.path, backends, telemetry, collector: await startCollector() }),
        );
    }
    const samples = await measureRounds(tools, proxies);
    const residentBytes = Object.fromEntries(proxies.map((proxy) => [proxy.name, residentBytesOf(proxy.process.pid)]));
    const withExtras = outriderPath !== undefined && !flags['no-extras'];
    const extras = withExtras ? await measureExtras(tools, outriderPath as string, backends) : { routes: [], startToReadyMs: [] };
    const versions = Object.fromEntries(proxies.map((proxy) => [proxy.name, proxy.version]));
    const result: BenchResult = {
      date: new Date().toISOString(),
      machine: machine(),
      versions,
      missing,
      samples,
      residentBytes,
      ...extras,
    };
    console.log(reportText(result, wantedShapes));
    if (!flags.quick) {
      const results = resolve(import.meta.dirname, 'results');
      mkdirSync(results, { recursive: true });
      const file = join(results, `${result.date.slice(0, 16).replace(':', '')}.json`);
      writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
      console.log(`raw numbers: ${relative(process.cwd(), file)}`);
    }
  } finally {
    for (const proxy of proxies) await proxy.process[Symbol.asyncDispose]();
  }
};

// An orderly exit ends the proxies and backends as well.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
