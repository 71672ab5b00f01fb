import { ConfigurationError, parseDurationMs, SystemClock } from '../core/index.ts';
import { parseFault, runDemo, runDemoService } from '../demo/index.ts';
import type { Environment } from './configuration.ts';
import type { CommandContext } from './console.ts';

export interface DemoCommandOptions {
  readonly for?: string;
  readonly rate: string;
  readonly fault: readonly string[];
  readonly plain?: boolean;
  readonly json?: boolean;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** An `AbortSignal` for what asks a program to end, while `work` runs: a signal, or that nobody reads what it says any more. */
const untilSignalled = async (work: (stop: AbortSignal) => Promise<number>): Promise<number> => {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  for (const signal of signals) process.on(signal, onSignal);
  process.stdout.on('error', onSignal);
  try {
    return await work(stop.signal);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
    process.stdout.off('error', onSignal);
  }
};

/** What a child may inherit: nothing that would configure its sidecar differently on this machine than on another. */
const inheritable = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'LANG', 'SystemRoot', 'NODE_V8_COVERAGE'];

const childEnvironment = (environment: Environment): Readonly<Record<string, string>> => {
  const kept: Record<string, string> = {};
  for (const name of inheritable) {
    const value = environment[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
};

/** Where there is a Consul already, the services of the demo find each other in it. */
const consulVariables = [
  'CONSUL_HTTP_ADDR',
  'CONSUL_HTTP_TOKEN_FILE',
  'CONSUL_HTTP_SSL',
  'CONSUL_CACERT',
  'CONSUL_CLIENT_CERT',
  'CONSUL_CLIENT_KEY',
  'CONSUL_TLS_SERVER_NAME',
];

const consulEnvironment = (environment: Environment): Readonly<Record<string, string>> => {
  if (!environment['CONSUL_HTTP_ADDR']) return {};
  return Object.fromEntries(consulVariables.flatMap((name) => (environment[name] ? [[name, environment[name]]] : [])));
};

const parseRate = (text: string): number => {
  const rate = Number(text);
  if (Number.isFinite(rate) && rate > 0 && rate <= 10_000) return rate;
  throw new ConfigurationError(`--rate ${text}: expected calls a second, more than 0 and at most 10000`, { remedy: 'write --rate 30' });
};

const parseFor = (text: string): number => {
  const forMs = parseDurationMs(text);
  if (forMs !== undefined && forMs > 0) return forMs;
  throw new ConfigurationError(`--for ${text}: expected a duration with its unit`, { remedy: 'write --for 10s' });
};

export const runDemoCommand = (options: DemoCommandOptions, { environment, console }: CommandContext): Promise<number> => {
  const demo = {
    ...(options.for === undefined ? {} : { forMs: parseFor(options.for) }),
    callsPerSecond: parseRate(options.rate),
    faults: options.fault.map(parseFault),
    plain: options.plain ?? false,
    json: options.json ?? false,
  };
  const [, main = ''] = process.argv;
  return untilSignalled((stop) =>
    runDemo(demo, {
      clock: new SystemClock(),
      program: [process.execPath, main],
      environment: childEnvironment(environment),
      consulEnvironment: consulEnvironment(environment),
      input: process.stdin,
      output: process.stdout,
      say: (text) => console.out(text),
      complain: (text) => console.error(text),
      stop,
      onSuddenEnd: (act) => {
        process.on('exit', act);
        return () => process.off('exit', act);
      },
    }),
  );
};

export const runDemoServiceCommand = (
  { name, port, outbound }: { readonly name: string; readonly port: string; readonly outbound?: string },
  { console }: CommandContext,
): Promise<number> => {
  const number = Number(port);
  if (!Number.isInteger(number) || number < 0 || number > 65_535) {
    throw new ConfigurationError(`--port ${port}: expected a port from 0 to 65535`, { remedy: 'write --port 0' });
  }
  return untilSignalled((stop) =>
    runDemoService({
      name,
      port: number,
      clock: new SystemClock(),
      // Nobody gives orders to a service in a container, and its stdin is at its end from the start.
      ...(outbound === undefined ? { orders: process.stdin } : { outbound, orders: undefined }),
      say: (line) => console.out(line),
      stop,
    }),
  );
};
