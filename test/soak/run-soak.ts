import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { waitedNanosecondsOf } from '../../bench/process-usage.ts';
import type { SidecarProcess } from '../peers/sidecar-processes.ts';
import { type ChangeIntervals, runChanges } from './changes.ts';
import { type ForeignCaller, runForeignCaller } from './foreign-caller.ts';
import { type GaugeDifference, leftOver, settledReadings } from './idle.ts';
import { type KindCounts, Ledger } from './ledger.ts';
import { Load } from './load.ts';
import { judgeMemory, type MemoryVerdict } from './memory.ts';
import { type SoakMesh, serviceNames, startSoakMesh } from './soak-mesh.ts';
import { runWireCallers } from './wire-callers.ts';

export interface SoakOptions {
  readonly durationMs: number;
  readonly callsPerSecond: number;
  readonly changes: ChangeIntervals;
  /** Between scenarios of the callers that write frames by themselves. */
  readonly wirePauseMs: number;
  /** A client of another language, where there is one. */
  readonly foreign?: ForeignCaller | undefined;
  /** How long the end may take until everything is as it was. */
  readonly quietMs: number;
  /** One line each ten seconds. */
  readonly progress: (line: string) => void;
}

export interface FateSum {
  readonly sidecar: string;
  readonly direction: 'inbound' | 'outbound';
  readonly fates: Readonly<Record<string, number>>;
  readonly sum: number;
  /** `downstream_rq_total`: what the listener has seen. */
  readonly requests: number;
}

export interface SoakReport {
  readonly seconds: number;
  readonly kinds: ReadonlyMap<string, KindCounts>;
  readonly unexpected: number;
  /** Calls that a sidecar refused for want of CPU. */
  readonly shed: number;
  /** For how long others kept a sidecar from its core at most, in milliseconds of one second. */
  readonly longestWaitMs: number;
  readonly examples: readonly string[];
  /** Calls of the caller's clients that its sidecar has certainly seen, and those that it may have. */
  readonly reached: number;
  readonly unsure: number;
  readonly fates: readonly FateSum[];
  /** What is left of the load, or missing. */
  readonly leaks: readonly GaugeDifference[];
  /** The gauges that were compared, of all sidecars. */
  readonly gauges: number;
  readonly memory: ReadonlyMap<string, MemoryVerdict>;
  /** Limits of the engine that somebody has met, by sidecar and counter. */
  readonly limitsMet: Readonly<Record<string, number>>;
  /** What kept everything from being well, in words; empty where all is. */
  readonly problems: readonly string[];
}

const same = (bytes: Buffer): Buffer => bytes;
const progressEveryMs = 10_000;
/** The heap finds its size, code is compiled, pools fill. */
const warmUpS = 60;

/** One call to every service, so that every connection that idleness has is there, and every breaker closed. */
const touch = async ({ caller }: SoakMesh, patienceMs: number): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  for (const name of serviceNames) {
    const client = new Client(`127.0.0.1:${caller.outboundPort}`, credentials.createInsecure(), {
      'grpc.default_authority': name,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
    const path = name === 'fickle-svc' ? '/fickle.Fickle/Do' : '/echo.Echo/Unary';
    const metadata = new Metadata();
    metadata.set('x-behaviour', 'late');
    const options = { deadline: Date.now() + patienceMs };
    const once = (): Promise<Error | null> =>
      new Promise((resolve) => client.makeUnaryRequest(path, same, same, Buffer.from('touch'), metadata, options, resolve));
    for (let error = await once(); error !== null; error = await once()) {
      if (performance.now() > deadline) throw new Error(`${name} does not answer: ${error.message}`);
      await sleep(100);
    }
    client.close();
  }
};

/** Sum of the fates of one direction and what its listener counted, once no call is under way. */
const fateSum = async (name: string, sidecar: SidecarProcess, direction: 'inbound' | 'outbound'): Promise<FateSum> => {
  const stats = await sidecar.stats();
  const fates: Record<string, number> = {};
  for (const [key, count] of Object.entries(await sidecar.fates()))
    if (key.startsWith(direction)) fates[key.slice(direction.length + 1)] = count;
  return {
    sidecar: name,
    direction,
    fates,
    sum: Object.values(fates).reduce((sum, count) => sum + count, 0),
    requests: stats.get(`listener.${direction}.downstream_rq_total`) ?? 0,
  };
};

const fateSums = async (mesh: SoakMesh): Promise<readonly FateSum[]> => {
  const sums = [];
  for (const [name, sidecar] of mesh.sidecars) sums.push(await fateSum(name, sidecar, name === 'caller-svc' ? 'outbound' : 'inbound'));
  return sums;
};

/** What each second says of each sidecar. */
interface Samples {
  readonly residentBytes: ReadonlyMap<string, number[]>;
  /** `SoakReport.longestWaitMs`. */
  readonly longestWaitMs: number;
}

/** Looks at every sidecar once a second until `stop`. */
const sampleSidecars = async (mesh: SoakMesh, stop: AbortSignal): Promise<Samples> => {
  const samples = new Map<string, number[]>(mesh.sidecars.map(([name]) => [name, []]));
  const waited = new Map<string, number>();
  let longestWaitMs = 0;
  const startedMs = performance.now();
  for (let second = 1; !stop.aborted; second++) {
    for (const [name, sidecar] of mesh.sidecars) {
      samples.get(name)?.push(await sidecar.stat('server.memory_physical_size'));
      const waitedMs = waitedNanosecondsOf(sidecar.pid) / 1e6;
      longestWaitMs = Math.max(longestWaitMs, waitedMs - (waited.get(name) ?? waitedMs) || 0);
      waited.set(name, waitedMs);
    }
    await sleep(Math.max(0, startedMs + second * 1_000 - performance.now()), undefined, { signal: stop }).catch(() => {});
  }
  return { residentBytes: samples, longestWaitMs };
};

/** Kept from its core for as long as a turn of the event loop may take, a sidecar sheds calls, and does right. */
const excusingWaitMs = 250;

const limitCounters = /\.http2\.(\w*flood|\w*overflow|rapid_reset|keepalive_timeout|preface_timeout|rx_messaging_error|tx_flush_timeout)$/;

const limitsMet = async (mesh: SoakMesh): Promise<Readonly<Record<string, number>>> => {
  const met: Record<string, number> = {};
  for (const [name, sidecar] of mesh.sidecars)
    for (const [counter, count] of await sidecar.stats()) if (count > 0 && limitCounters.test(counter)) met[`${name} ${counter}`] = count;
  return met;
};

const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);

const reportProgress = async (mesh: SoakMesh, ledger: Ledger, options: SoakOptions, stop: AbortSignal): Promise<void> => {
  const startedMs = performance.now();
  while (!stop.aborted) {
    await sleep(progressEveryMs, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return;
    const sizes = [];
    for (const [name, sidecar] of mesh.sidecars) sizes.push(`${name} ${mib(await sidecar.stat('server.memory_physical_size'))}`);
    const seconds = Math.round((performance.now() - startedMs) / 1_000);
    options.progress(
      `${seconds} s: ${ledger.begun} begun, ${ledger.inFlight} in flight, ${ledger.unexpected} unexpected; MiB: ${sizes.join(', ')}`,
    );
  }
};

/** Runs the mesh under mixed load for the given time, lets it become quiet, and says what is not as it has to be. */
export const runSoak = async (options: SoakOptions): Promise<SoakReport> => {
  await using mesh = await startSoakMesh();
  await touch(mesh, options.quietMs);
  const before = await settledReadings(mesh.sidecars, options.quietMs);
  const countedBefore = (await fateSums(mesh))[0] as FateSum;

  const ledger = new Ledger();
  const load = new Load(`127.0.0.1:${mesh.caller.outboundPort}`, options.callsPerSecond, ledger);
  const stop = new AbortController();
  const startedMs = performance.now();
  load.start();
  const sampling = sampleSidecars(mesh, stop.signal);
  // Where something else ends the run, the sidecars go, and that is what is to be told.
  sampling.catch(() => {});
  const others = Promise.all([
    runWireCallers(mesh, ledger, options.wirePauseMs, stop.signal),
    runChanges(mesh, ledger, options.changes, stop.signal),
    reportProgress(mesh, ledger, options, stop.signal),
    ...(options.foreign === undefined ? [] : [runForeignCaller(options.foreign, mesh, ledger, stop.signal)]),
  ]);
  // What fails among them ends the run, and is not waited for until its end.
  await Promise.race([sleep(options.durationMs), others]);
  stop.abort();
  await others;
  await load.stop();
  const seconds = (performance.now() - startedMs) / 1_000;
  const { residentBytes, longestWaitMs } = await sampling;
  const countedAfter = (await fateSums(mesh))[0] as FateSum;

  await touch(mesh, options.quietMs);
  const { differences: leaks, after } = await leftOver(before, mesh.sidecars, options.quietMs);
  const fates = await fateSums(mesh);
  const met = await limitsMet(mesh);
  const memory = new Map<string, MemoryVerdict>();
  for (const [name, bytes] of residentBytes) memory.set(name, judgeMemory(bytes.slice(warmUpS)));
  await mesh.stop();

  const problems: string[] = [];
  if (ledger.unexpected > 0) problems.push(`${ledger.unexpected} unexpected ends`);
  if (ledger.shed > 0 && longestWaitMs < excusingWaitMs)
    problems.push(
      `${ledger.shed} calls were shed, although nobody kept a sidecar from its core for more than ${Math.round(longestWaitMs)} ms in a second`,
    );
  if (ledger.inFlight > 0) problems.push(`${ledger.inFlight} calls never ended`);
  const counted = countedAfter.requests - countedBefore.requests;
  if (counted < ledger.reached || counted > ledger.reached + ledger.unsure)
    problems.push(`the caller's sidecar has seen ${counted} calls, not ${ledger.reached} to ${ledger.reached + ledger.unsure}`);
  for (const { sidecar, direction, sum, requests } of fates)
    if (sum !== requests) problems.push(`${sidecar}: ${sum} fates of ${requests} ${direction} calls`);
  for (const { sidecar, gauge, before: was, after: is } of leaks)
    problems.push(`${sidecar}: ${gauge} is ${is}, was ${was} before the load`);
  for (const [name, { flat, slopeBytesPerMinute, growthBytes }] of memory)
    if (!flat) problems.push(`${name}: memory rises by ${mib(slopeBytesPerMinute)} MiB a minute, ${mib(growthBytes)} MiB in all`);
  return {
    seconds,
    kinds: ledger.kinds,
    unexpected: ledger.unexpected,
    shed: ledger.shed,
    longestWaitMs,
    examples: ledger.examples,
    reached: ledger.reached,
    unsure: ledger.unsure,
    fates,
    leaks,
    gauges: [...after.values()].reduce((sum, reading) => sum + reading.size, 0),
    memory,
    limitsMet: met,
    problems,
  };
};
