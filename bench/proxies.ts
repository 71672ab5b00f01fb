/** The contenders: how each is found and started, doing the same work on the same ports' plan. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, isListening, untilAnswering } from '../test/harness/ports.ts';
import { outriderPath, type Program, runProgram, spawnProgram } from '../test/harness/program.ts';
import { type PeerName, peerProgram } from '../test/peers/peer-programs.ts';
import { fillTemplate } from './bench-files.ts';

export const proxyNames = ['outrider', 'haproxy', 'envoy'] as const;
export type ProxyName = (typeof proxyNames)[number];
/** Outrider once more, with every policy of resilience and traffic on. */
export const allPolicies = 'outrider-all';

/** And once more, with telemetry on. */
export const withTelemetry = 'outrider-telemetry';

/** What `--telemetry` can switch on, each at the share of calls that a sidecar has by default or is told in the file; traces by OTLP or to Jaeger. */
export const telemetryKinds = ['traces', 'jaeger', 'access-log'] as const;
export type TelemetryKind = (typeof telemetryKinds)[number];

/** Who takes traces: the URL for OTLP, and the port of 127.0.0.1 for Jaeger's datagrams. */
export interface Collector {
  readonly url: string;
  readonly jaegerPort: number;
}

/** Every call of the load generator asks to be recorded: the share has to be of all calls, whatever they ask for. */
const oneOfAHundred = { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.01' };
const telemetryEnvironment = ({ jaegerPort, url }: Collector): Readonly<Record<TelemetryKind, Readonly<Record<string, string>>>> => ({
  traces: { OTEL_EXPORTER_OTLP_ENDPOINT: url, ...oneOfAHundred },
  jaeger: { JAEGER_HOST: '127.0.0.1', OTEL_EXPORTER_JAEGER_AGENT_PORT: String(jaegerPort), ...oneOfAHundred },
  'access-log': { ACCESS_LOG: '/dev/null' },
});

/** One call of a hundred has a line. */
const telemetryPolicies: Readonly<Record<TelemetryKind, string>> = {
  traces: '',
  jaeger: '',
  'access-log': 'access_log: { sample: 1% }\ninbound: { access_log: { sample: 1% } }\n',
};

export interface Backends {
  readonly plainPort: number;
  readonly tlsPort: number;
}
export interface RunningProxy {
  readonly name: string;
  readonly version: string;
  readonly process: Program;
  readonly outbound: number;
  readonly inbound: number;
}

const isReady = (adminPort: number) => async (): Promise<boolean> => {
  const response = await fetch(`http://127.0.0.1:${adminPort}/ready`).catch(() => undefined);
  await response?.arrayBuffer();
  return response?.status === 200;
};

/** The proxy has core 0 for itself; load generator and backend share core 1. */
const pinned = (core: number, command: string, args: readonly string[]): [string, readonly string[]] => [
  'taskset',
  ['-c', String(core), command, ...args],
];
export const spawnPinned = (
  core: number,
  command: string,
  args: readonly string[],
  env?: Readonly<Record<string, string | undefined>>,
): Program => spawnProgram(...pinned(core, command, args), { patienceMs: 600_000, ...(env === undefined ? {} : { env }) });

const firstLineOf = async (command: string, args: readonly string[]): Promise<string> => {
  const { stdout, stderr } = await runProgram(command, args);
  return (
    (stdout + stderr)
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim() ?? ''
  );
};

/** Where the program is, or why it is not there. */
export const findProxy = async (name: ProxyName): Promise<{ readonly path: string } | { readonly missing: string }> => {
  if (name === 'outrider') return { path: outriderPath };
  try {
    const { path, skip } = await peerProgram(name satisfies PeerName);
    return skip === false ? { path } : { missing: skip };
  } catch (error) {
    return { missing: (error as Error).message };
  }
};

interface StartOptions {
  readonly path: string;
  /** Holds certs/. */
  readonly folder: string;
  readonly backends: Backends;
  /** Routes that never match, before the one that does; Outrider only. */
  readonly otherRoutes?: number;
  /** Every policy of resilience and traffic beside those that are usual. */
  readonly allPolicies?: boolean;
  /** What of telemetry is on, beside what always is. */
  readonly telemetry?: readonly TelemetryKind[];
  /** Needed for traces. */
  readonly collector?: Collector;
}

const otherRoutesText = (count: number): string =>
  Array.from(
    { length: count },
    (_, i) => `  - { name: other-${i}, match: { prefix: /pkg.Other${i}/ }, route: { cluster: backend, timeout: 10s } }\n`,
  ).join('');

export const startOutrider = async (
  options: StartOptions,
): Promise<RunningProxy & { readonly adminPort: number; readonly startMs: number }> => {
  const { path, folder, backends, otherRoutes = 0, telemetry = [], collector = { url: '', jaegerPort: 0 } } = options;
  const template = options.allPolicies === true ? allPolicies : 'outrider';
  const name = telemetry.length > 0 ? withTelemetry : template;
  const [outbound, inbound, adminPort] = [await freePort(), await freePort(), await freePort()];
  const policies = join(folder, `${name}-${otherRoutes}`);
  mkdirSync(policies, { recursive: true });
  const values = { MORE_ROUTES: `routes:\n${otherRoutesText(otherRoutes)}`, TLS_BACKEND_PORT: backends.tlsPort };
  writeFileSync(join(policies, 'bench.yaml'), fillTemplate(`${template}-policies.yaml.in`, values));
  const telemetryText = telemetry.map((kind) => telemetryPolicies[kind]).join('');
  if (telemetryText !== '') writeFileSync(join(policies, 'telemetry.yaml'), telemetryText);
  const version = await firstLineOf(path, ['--version']);
  const startedAt = performance.now();
  const process_ = spawnPinned(0, path, ['sidecar'], {
    ...process.env,
    SERVICE_NAME: 'backend.mesh',
    GRPC_PORT: String(inbound),
    LOCAL_SERVICE_PORT: String(backends.plainPort),
    OUTBOUND_PORT: String(outbound),
    ADMIN_PORT: String(adminPort),
    CA_CERT_PATH: join(folder, 'certs/ca.pem'),
    CLIENT_CERT_PATH: join(folder, 'certs/server.pem'),
    CLIENT_KEY_PATH: join(folder, 'certs/server.key'),
    POLICY_PATH: policies,
    ...Object.assign({}, ...telemetry.map((kind) => telemetryEnvironment(collector)[kind])),
  });
  await untilAnswering(process_, isReady(adminPort));
  return { name, version, process: process_, outbound, inbound, adminPort, startMs: performance.now() - startedAt };
};

const startHaproxy = async ({ path, folder, backends }: StartOptions): Promise<RunningProxy> => {
  const [outbound, inbound] = [await freePort(), await freePort()];
  const ports = {
    OUTBOUND_PORT: outbound,
    INBOUND_PORT: inbound,
    TLS_BACKEND_PORT: backends.tlsPort,
    PLAIN_BACKEND_PORT: backends.plainPort,
  };
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, fillTemplate('haproxy.cfg.in', { ...ports, DIR: folder }));
  const version = await firstLineOf(path, ['-v']);
  const process_ = spawnPinned(0, path, ['-db', '-f', file]);
  await untilAnswering(process_, isListening(inbound));
  return { name: 'haproxy', version, process: process_, outbound, inbound };
};

const startEnvoy = async ({ path, folder, backends }: StartOptions): Promise<RunningProxy> => {
  const [outbound, inbound, adminPort] = [await freePort(), await freePort(), await freePort()];
  const ports = {
    OUTBOUND_PORT: outbound,
    INBOUND_PORT: inbound,
    TLS_BACKEND_PORT: backends.tlsPort,
    PLAIN_BACKEND_PORT: backends.plainPort,
  };
  const file = join(folder, 'envoy.yaml');
  writeFileSync(file, fillTemplate('envoy.yaml.in', { ...ports, ADMIN_PORT: adminPort, DIR: folder }));
  const version = await firstLineOf(path, ['--version']);
  const process_ = spawnPinned(0, path, ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'warn']);
  await untilAnswering(process_, isReady(adminPort));
  return { name: 'envoy', version, process: process_, outbound, inbound };
};

export const startProxy = (name: ProxyName, options: StartOptions): Promise<RunningProxy> => {
  const start = { outrider: startOutrider, haproxy: startHaproxy, envoy: startEnvoy };
  return start[name](options);
};
