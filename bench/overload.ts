/**
 * Goodput of Outrider under more load than it can carry: calls answered OK within their deadline, while twice the peak is offered.
 * The proxy has core 0, everything else core 1.
 *
 *     npm run bench:overload -- [--direction outbound] [--factor 2] [--seconds 10] [--connections 32] [--deadline 1000] [--rounds 3] [--cpu 0.2] [--warmup 3]
 *
 * The proxy may use a fifth of its core, as in a container with such a limit: else a generator and a service that share one core have no
 * chance to offer twice of what it carries. That needs a control group; `--cpu 1` does without.
 *
 * Look at how far the generator was behind before believing a round: on a machine that does something else, core 1 gives way before the
 * proxy does, and what is measured is the generator and the backend.
 *
 * The peak is what a closed loop gets through (8 connections with 32 calls each); the load is an open loop, whose calls do not wait for
 * each other. Compare goodput with the peak of the same round: both change with the machine.
 */
import { parseArgs } from 'node:util';
import { freePort } from '../test/harness/ports.ts';
import { outriderPath, runProgram } from '../test/harness/program.ts';
import { temporaryFolder } from '../test/harness/temporary-folder.ts';
import { buildNativePrograms, makeCertificates, writeBody } from './bench-files.ts';
import { limitCpu } from './cpu-limit.ts';
import { type LoadTools, load, startBackends } from './load.ts';
import { cpuMicrosecondsOf, residentBytesOf } from './process-usage.ts';
import { startOutrider } from './proxies.ts';
import { type Direction, directions, shapes } from './shapes.ts';

const { values: flags } = parseArgs({
  options: {
    direction: { type: 'string' },
    factor: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '32' },
    deadline: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '3' },
    cpu: { type: 'string', default: '0.2' },
    warmup: { type: 'string', default: '3' },
  },
});

interface OpenLoad {
  readonly offered: number;
  readonly ok: number;
  readonly late: number;
  readonly unsent: number;
  readonly shed: number;
  readonly other: number;
  readonly lost: number;
  readonly lostConnections: number;
  readonly behindMs: number;
  readonly p50: number;
  readonly p99: number;
}

const seconds = Number(flags.seconds);
const cpuShare = Number(flags.cpu);
const warmupSeconds = Number(flags.warmup);

/** Asks the admin port again and again; `stop` resolves with how long each answer took, in milliseconds. */
const askAdmin = (port: number) => {
  const took: number[] = [];
  let stopped = false;
  const asking = (async () => {
    while (!stopped) {
      const startedAt = performance.now();
      const response = await fetch(`http://127.0.0.1:${port}/stats`, { headers: { connection: 'close' } });
      await response.text();
      took.push(performance.now() - startedAt);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  return {
    stop: async (): Promise<readonly number[]> => {
      stopped = true;
      await asking;
      return took;
    },
  };
};

const main = async (): Promise<void> => {
  const { loadgen, openload, backend } = await buildNativePrograms();
  using folder = temporaryFolder();
  await makeCertificates(folder.path);
  const tools: LoadTools = { loadgen, backend, folder: folder.path, bodyOf: (shape) => writeBody(folder.path, shape) };
  const backends = { plainPort: await freePort(), tlsPort: await freePort() };
  await using _running = await startBackends(tools, backends);
  const [shape] = shapes;
  if (shape === undefined) throw new Error('no shape');
  const wanted: readonly Direction[] = directions.filter((name) => flags.direction === undefined || flags.direction === name);

  for (const direction of wanted) {
    const proxy = await startOutrider({ path: outriderPath, folder: folder.path, backends });
    let limit: Disposable | undefined;
    try {
      await load(tools, proxy, direction, shape, 60_000);
      limit = limitCpu(proxy.process.pid, cpuShare);
      for (let round = 0; round < Number(flags.rounds); round++) {
        const { rps: peak } = await load(tools, proxy, direction, shape, 80_000);
        const cpuBefore = cpuMicrosecondsOf(proxy.process.pid);
        const idleBytes = residentBytesOf(proxy.process.pid);
        const port = direction === 'outbound' ? proxy.outbound : proxy.inbound;
        const certs = `${folder.path}/certs`;
        const tls = direction === 'inbound' ? ['tls', `${certs}/client.pem`, `${certs}/client.key`] : [];
        const rate = Math.round(peak * Number(flags.factor));
        const args = [port, rate, seconds, warmupSeconds, flags.connections, flags.deadline, tools.bodyOf(shape), ...tls].map(String);
        const admin = askAdmin(proxy.adminPort);
        const { code, stdout, stderr } = await runProgram('taskset', ['-c', '1', openload, ...args], { patienceMs: 120_000 });
        const took = await admin.stop();
        const usedCpu = (cpuMicrosecondsOf(proxy.process.pid) - cpuBefore) / 1e6 / (seconds + warmupSeconds);
        if (code !== 0) throw new Error(`openload failed: ${stdout}${stderr}`);
        const result = JSON.parse(stdout) as OpenLoad;
        const perSecond = (count: number) => Math.round(count / seconds);
        const percent = (count: number) => `${((100 * count) / seconds / peak).toFixed(1)} %`;
        console.log(
          [
            `${direction} round ${round + 1}: peak ${peak}/s, offered ${perSecond(result.offered)}/s, goodput ${perSecond(result.ok)}/s (${percent(result.ok)} of the peak)`,
            `  shed ${perSecond(result.shed)}/s, late ${perSecond(result.late)}/s, never sent ${perSecond(result.unsent)}/s, other ${result.other}, lost ${result.lost} (${result.lostConnections} connections)`,
            `  latency of what was answered p50 ${(result.p50 / 1e3).toFixed(1)} ms, p99 ${(result.p99 / 1e3).toFixed(1)} ms; generator at most ${result.behindMs} ms behind`,
            `  admin answered ${took.length} times, at most after ${Math.round(Math.max(...took))} ms; memory ${mebibytes(idleBytes)} before, ${mebibytes(residentBytesOf(proxy.process.pid))} MiB after; ${usedCpu.toFixed(2)} cores used of ${cpuShare}`,
          ].join('\n'),
        );
      }
    } finally {
      await proxy.process[Symbol.asyncDispose]();
      // A group goes only when its process has gone.
      limit?.[Symbol.dispose]();
    }
  }
};

const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

// An orderly exit ends the proxy and the backends as well.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
