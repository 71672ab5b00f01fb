/** The processes of `npm run attacks`: what is attacked has core 0 for itself; service, neighbour and attacker share the other one. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { freePort, untilAnswering } from '../../harness/ports.ts';
import { outriderPath, type Program, runProgram, spawnProgram } from '../../harness/program.ts';
import { type IdentityFiles, initCertificates } from '../../peers/sidecar-processes.ts';
import type { Target } from '../catalogue/index.ts';

const here = import.meta.dirname;
const hasTaskset =
  availableParallelism() > 1 &&
  (await runProgram('taskset', ['--version']).then(
    ({ code }) => code === 0,
    () => false,
  ));
/** Niceness counts within a session only, where the kernel groups processes by session. */
const hasRealTime =
  process.getuid?.() === 0 &&
  (await runProgram('chrt', ['--rr', '1', 'true']).then(
    ({ code }) => code === 0,
    () => false,
  ));
const cores = hasTaskset ? 'sidecar on core 0, all else on core 1' : 'processes are not pinned: no taskset, or one core only';
export const pinning = `${cores}; ${hasRealTime ? 'the attacker behind the others, which run before all else' : 'what else this machine does is in the figures'}`;

const onCore = (core: number, command: string, args: readonly string[]): readonly [string, readonly string[]] =>
  hasTaskset ? ['taskset', ['-c', String(core), command, ...args]] : [command, args];

/** Who goes first: what is measured goes before what else this machine does, which only root may, and the attacker behind it. */
type Rank = 'foremost' | 'first' | 'hindmost';

const inRank = (rank: Rank, command: string, args: readonly string[]): readonly [string, readonly string[]] => {
  if (rank === 'hindmost') return ['nice', ['-n', '10', command, ...args]];
  if (hasRealTime) return ['chrt', ['--rr', rank === 'foremost' ? '2' : '1', command, ...args]];
  return process.getuid?.() === 0 ? ['nice', ['-n', '-10', command, ...args]] : [command, args];
};

const spawnOn = (core: number, command: string, args: readonly string[], env?: Readonly<Record<string, string | undefined>>): Program =>
  spawnProgram(...onCore(core, command, args), { patienceMs: 300_000, ...(env === undefined ? {} : { env }) });

/** A script beside this file, on the core of the others: `hindmost` for the attacker, which must not keep them from their work. */
export const spawnScript = (name: string, argument: string, rank: Rank = 'first'): Program =>
  spawnOn(1, ...inRank(rank, process.execPath, [resolve(here, name), argument]));

/** Everything that is the same for all contenders. */
export interface Ground {
  readonly folder: string;
  readonly servicePort: number;
  readonly identity: (name: string) => IdentityFiles;
}

/** A proxy under attack. */
export interface Contender extends AsyncDisposable {
  readonly name: 'outrider' | 'envoy';
  readonly pid: number;
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly alive: () => boolean;
  /** Counters and gauges of `/stats`. */
  stats(): Promise<ReadonlyMap<string, number>>;
  /** What it said last, for whoever asks why it is gone. */
  readonly lastWords: () => string;
  /** Warnings of its log since the last time, like ones together. */
  readonly warnings: () => readonly string[];
}

export const makeGround = async (folder: string, servicePort: number): Promise<Ground> => ({
  folder,
  servicePort,
  identity: await initCertificates(join(folder, 'certs'), ['echo', 'attacker']),
});

const readStats = async (adminPort: number): Promise<ReadonlyMap<string, number>> => {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats`)).text();
  const lines = text.split('\n').filter((line) => line.includes(': '));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(': ')), Number(line.slice(line.lastIndexOf(': ') + 2))]));
};

/** Reads the log from where it was left: `why` is what differs between warnings of one kind, addresses are not. */
const warningsOf = (program: Program): (() => readonly string[]) => {
  let read = 0;
  return () => {
    const text = program.stderr.slice(read);
    read += text.length;
    const counts = new Map<string, number>();
    for (const [, line = ''] of text.matchAll(/^(\{.*"level":"(?:warning|error)".*\})$/gm)) {
      const { msg, why, error, kind, cluster } = JSON.parse(line) as Readonly<Record<string, string | undefined>>;
      const key = [msg, cluster, kind, why ?? error].filter((part) => part !== undefined).join(', ');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts].map(([key, count]) => `${count} x ${key}`);
  };
};

const contender = (
  name: Contender['name'],
  program: Program,
  ports: { readonly outboundPort: number; readonly inboundPort: number; readonly adminPort: number },
): Contender => {
  let alive = true;
  const gone = (): void => {
    alive = false;
  };
  program.exited.then(gone, gone);
  return {
    name,
    pid: program.pid,
    ...ports,
    alive: () => alive,
    stats: () => readStats(ports.adminPort),
    lastWords: () => program.stderr.slice(-2_000),
    warnings: warningsOf(program),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
};

/** The thresholds are out of the way: who shares a cluster with an attacker is to be measured, not refused. */
const policies = (servicePort: number): string => `clusters:
  echo:
    endpoints: ["127.0.0.1:${servicePort}"]
    tls: { mode: disable }
    circuit_breakers:
      thresholds: [{ max_requests: 1000000, max_pending_requests: 1000000, max_connections: 1000 }]
`;

export const startOutrider = async ({ folder, servicePort, identity }: Ground): Promise<Contender> => {
  mkdirSync(join(folder, 'policies'), { recursive: true });
  const policyPath = join(folder, 'policies', 'attacks.yaml');
  writeFileSync(policyPath, policies(servicePort));
  const { ca, cert, key } = identity('echo');
  const program = spawnOn(0, ...inRank('first', outriderPath, ['sidecar']), {
    PATH: process.env['PATH'],
    SERVICE_NAME: 'echo',
    GRPC_PORT: '0',
    OUTBOUND_PORT: '0',
    ADMIN_PORT: '0',
    LOCAL_SERVICE_PORT: String(servicePort),
    CA_CERT_PATH: ca,
    CLIENT_CERT_PATH: cert,
    CLIENT_KEY_PATH: key,
    POLICY_PATH: policyPath,
  });
  const [line] = await program.waitFor(/^\{.*"msg":"ready".*\}$/m);
  const ready = JSON.parse(line) as Record<string, unknown>;
  return contender('outrider', program, {
    outboundPort: Number(ready['outbound']),
    inboundPort: Number(ready['inbound']),
    adminPort: Number(ready['admin']),
  });
};

/** Envoy with the same two listeners before the same service. */
export const startEnvoy = async ({ folder, servicePort, identity }: Ground, path: string): Promise<Contender> => {
  const ports = { outboundPort: await freePort(), inboundPort: await freePort(), adminPort: await freePort() };
  const { ca, cert, key } = identity('echo');
  const values: Readonly<Record<string, string | number>> = {
    OUTBOUND_PORT: ports.outboundPort,
    INBOUND_PORT: ports.inboundPort,
    ADMIN_PORT: ports.adminPort,
    SERVICE_PORT: servicePort,
    CA: ca,
    CERT: cert,
    KEY: key,
  };
  const template = readFileSync(join(here, 'envoy.yaml.in'), 'utf8');
  const file = join(folder, 'envoy.yaml');
  writeFileSync(
    file,
    template.replace(/@([A-Z_]+)@/g, (all, name: string) => String(values[name] ?? all)),
  );
  const program = spawnOn(
    0,
    ...inRank('first', path, ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'error']),
    process.env,
  );
  await untilAnswering(program, async () => {
    const response = await fetch(`http://127.0.0.1:${ports.adminPort}/ready`).catch(() => undefined);
    await response?.arrayBuffer();
    return response?.status === 200;
  });
  return contender('envoy', program, ports);
};

/** The listener that an attacker or a neighbour goes to. */
export const targetOf = (ground: Ground, { outboundPort, inboundPort }: Contender, wire: 'plain' | 'tls'): Target => {
  if (wire === 'plain') return { port: outboundPort, tls: undefined, authority: 'echo', resetBurst: 2_000 };
  const files = ground.identity('attacker');
  const tls = {
    ca: readFileSync(files.ca, 'utf8'),
    cert: readFileSync(files.cert, 'utf8'),
    key: readFileSync(files.key, 'utf8'),
    servername: 'echo',
  };
  return { port: inboundPort, tls, authority: 'echo', resetBurst: 200 };
};
