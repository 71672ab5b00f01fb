import { isListening, untilAnswering } from '../test/harness/ports.ts';
import { runProgram } from '../test/harness/program.ts';
import { cpuMicrosecondsOf } from './process-usage.ts';
import { type Backends, type RunningProxy, spawnPinned } from './proxies.ts';
import type { Direction, Shape } from './shapes.ts';

/** One measured run; everything of the proxy's process is counted, and nothing else. */
export interface Sample {
  readonly proxy: string;
  readonly direction: Direction;
  readonly shape: string;
  readonly round: number;
  readonly calls: number;
  readonly cpuMicrosecondsPerCall: number;
  readonly callsPerSecond: number;
  readonly p50Microseconds: number;
  readonly p99Microseconds: number;
}

interface LoadResult {
  readonly ok: number;
  readonly bad: number;
  readonly rps: number;
  readonly p50: number;
  readonly p99: number;
}

export interface LoadTools {
  readonly loadgen: string;
  readonly backend: string;
  /** Holds certs/. */
  readonly folder: string;
  bodyOf(shape: Shape): string;
}

/** One backend in plain text behind the inbound side, one that demands mutual TLS behind the outbound side. */
export const startBackends = async (tools: LoadTools, ports: Backends): Promise<AsyncDisposable> => {
  const certs = `${tools.folder}/certs`;
  const plain = spawnPinned(1, tools.backend, [String(ports.plainPort)]);
  const tls = spawnPinned(1, tools.backend, [
    String(ports.tlsPort),
    '--tls',
    `${certs}/server.pem`,
    `${certs}/server.key`,
    `${certs}/ca.pem`,
  ]);
  await untilAnswering(plain, isListening(ports.plainPort));
  await untilAnswering(tls, isListening(ports.tlsPort));
  return {
    [Symbol.asyncDispose]: async () => {
      await plain[Symbol.asyncDispose]();
      await tls[Symbol.asyncDispose]();
    },
  };
};

/** Sends the calls and demands that every one of them is answered in full, with its trailer. */
export const load = async (
  tools: LoadTools,
  proxy: RunningProxy,
  direction: Direction,
  shape: Shape,
  calls: number,
): Promise<LoadResult> => {
  const port = direction === 'outbound' ? proxy.outbound : proxy.inbound;
  const certs = `${tools.folder}/certs`;
  const tls = direction === 'inbound' ? ['tls', `${certs}/client.pem`, `${certs}/client.key`] : [];
  // The 1: grpc-timeout, traceparent and a request id change with every call, as in life.
  const args = [port, calls, shape.connections, shape.inFlight, tools.bodyOf(shape), 1, ...tls].map(String);
  const { code, stdout, stderr } = await runProgram('taskset', ['-c', '1', tools.loadgen, ...args], { patienceMs: 600_000 });
  const result = code === 0 ? (JSON.parse(stdout) as LoadResult) : undefined;
  if (result === undefined || result.bad > 0 || result.ok !== calls) {
    throw new Error(`${proxy.name} ${direction} ${shape.name}: not every call was answered: ${stdout}${stderr}`);
  }
  return result;
};

export const measure = async (
  tools: LoadTools,
  proxy: RunningProxy,
  direction: Direction,
  shape: Shape,
  calls: number,
  round: number,
): Promise<Sample> => {
  // Connections, compiled code and pools are there before the clock starts.
  await load(tools, proxy, direction, shape, Math.max(shape.connections * shape.inFlight, Math.round(calls / 5)));
  const before = cpuMicrosecondsOf(proxy.process.pid);
  const { rps, p50, p99 } = await load(tools, proxy, direction, shape, calls);
  const cpuMicrosecondsPerCall = (cpuMicrosecondsOf(proxy.process.pid) - before) / calls;
  const latencies = { callsPerSecond: rps, p50Microseconds: p50, p99Microseconds: p99 };
  return { proxy: proxy.name, direction, shape: shape.name, round, calls, cpuMicrosecondsPerCall, ...latencies };
};
