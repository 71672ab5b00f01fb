/**
 * Real sidecars, each a process of `bin/outrider sidecar`, for programs that nobody here wrote:
 *
 *     await using mesh = await startMesh({ 'echo-svc': port });
 *     const { stdout } = await runProgram(grpcurl.path, ['-plaintext', mesh.entrance, ...]);
 *
 * Ports are the system's choice; certificates and policies live in a folder that goes away with the mesh.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { outriderPath, type Program, type ProgramExit, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

/** Files of one identity, as `outrider certs init` lays them out. */
export interface IdentityFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Makes an authority and certificates in `folder`; returns where those of a name lie. `mesh-client` is always made. */
export const initCertificates = async (folder: string, names: readonly string[]): Promise<(name: string) => IdentityFiles> => {
  const { code, stderr } = await runProgram(outriderPath, ['certs', 'init', '--output-dir', folder, ...names]);
  assert.equal(code, 0, stderr);
  return (name) => {
    const base = name === 'mesh-client' ? folder : join(folder, 'services');
    return { ca: join(folder, 'ca', 'ca.crt'), cert: join(base, `${name}.crt`), key: join(base, `${name}-key.pem`) };
  };
};

export interface SidecarOptions {
  readonly name: string;
  /** Left out only with `INBOUND_TLS=off`. */
  readonly identity?: IdentityFiles;
  /** Where the service behind it listens; nobody (the discard port) where it has none. */
  readonly servicePort?: number;
  readonly policyPath?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export class SidecarProcess implements AsyncDisposable {
  readonly inboundPort: number;
  readonly outboundPort: number;
  readonly adminPort: number;
  readonly #program: Program;

  constructor(program: Program, ready: Readonly<Record<string, unknown>>) {
    this.#program = program;
    this.inboundPort = Number(ready['inbound']);
    this.outboundPort = Number(ready['outbound']);
    this.adminPort = Number(ready['admin']);
  }

  get pid(): number {
    return this.#program.pid;
  }

  /** Lines of the log so far, parsed. */
  get log(): readonly Readonly<Record<string, unknown>>[] {
    const lines = this.#program.stderr.split('\n').slice(0, -1);
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Lines with this `msg`, once there are `count` of them: what a process has written arrives a little later. */
  async logged(msg: string, count: number, patienceMs = 10_000): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const lines = this.log.filter((line) => line['msg'] === msg);
      if (lines.length >= count) return lines;
      assert.ok(performance.now() < deadline, `no ${count} lines "${msg}" after ${patienceMs} ms: ${this.#program.stderr.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** All counters and gauges, as `/stats` prints them. */
  async stats(): Promise<ReadonlyMap<string, number>> {
    const text = await (await fetch(`http://127.0.0.1:${this.adminPort}/stats`)).text();
    return new Map(text.split('\n').flatMap((line) => (line === '' ? [] : [parseStat(line)])));
  }

  /** One stat; fails where there is none of that name. */
  async stat(name: string): Promise<number> {
    const value = (await this.stats()).get(name);
    assert.ok(value !== undefined, `/stats has no ${name}`);
    return value;
  }

  /** The stats of a moment in which no call is under way: a client that has just ended is noticed a little later. */
  async idleStats(direction: 'inbound' | 'outbound', patienceMs = 10_000): Promise<ReadonlyMap<string, number>> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const stats = await this.stats();
      if (stats.get(`listener.${direction}.downstream_rq_active`) === 0) return stats;
      assert.ok(performance.now() < deadline, `${direction} calls are still under way after ${patienceMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** `outrider_fates_total` by direction and fate, such as `outbound ok`. */
  async fates(): Promise<Readonly<Record<string, number>>> {
    const text = await (await fetch(`http://127.0.0.1:${this.adminPort}/metrics`)).text();
    const fates: Record<string, number> = {};
    for (const [, labels = '', value] of text.matchAll(/^outrider_fates_total\{([^}]*)\} (\d+)/gm)) {
      const { direction, fate } = Object.fromEntries(Array.from(labels.matchAll(/(\w+)="([^"]*)"/g), ([, name, label]) => [name, label]));
      if (Number(value) > 0) fates[`${direction} ${fate}`] = Number(value);
    }
    return fates;
  }

  /** SIGTERM; it drains and ends with 0. */
  async stop(): Promise<void> {
    assertEndedWell(await this.#program.stop());
  }

  /** It ends by itself with 0, as after POST /drain. */
  async ended(): Promise<void> {
    assertEndedWell(await this.#program.end());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}

const assertEndedWell = ({ code, signal, stderr }: ProgramExit): void =>
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr.slice(-4000));

const parseStat = (line: string): readonly [string, number] => {
  const colon = line.lastIndexOf(': ');
  return [line.slice(0, colon), Number(line.slice(colon + 2))];
};

/** Resolves when it is ready; the caller ends it, at the latest by `await using`. */
export const startSidecar = async ({
  name,
  identity,
  servicePort = 9,
  policyPath,
  environment,
}: SidecarOptions): Promise<SidecarProcess> => {
  const program = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: name,
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      LOCAL_SERVICE_PORT: String(servicePort),
      CA_CERT_PATH: identity?.ca,
      CLIENT_CERT_PATH: identity?.cert,
      CLIENT_KEY_PATH: identity?.key,
      POLICY_PATH: policyPath,
      DRAIN_TIMEOUT: '5s',
      ...environment,
    },
  });
  try {
    const [line] = await program.waitFor(/^\{.*"msg":"ready".*\}$/m);
    return new SidecarProcess(program, JSON.parse(line) as Record<string, unknown>);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
};

/** What every cluster of a test mesh says beside its endpoint. */
export interface MeshOptions {
  /** Added below `routes:` of the calling side, in YAML, indented by two. */
  readonly routes?: string;
  /** Added to every cluster, in YAML, indented by four. */
  readonly clusterSettings?: string;
  /** Further clusters of the calling side, in YAML, indented by two. */
  readonly moreClusters?: string;
  /** Further variables of every sidecar before a service. */
  readonly calleeEnvironment?: Readonly<Record<string, string>>;
}

export interface Mesh extends AsyncDisposable {
  /** `127.0.0.1:<port>`: the outbound listener of the caller's sidecar, in plain text or TLS. */
  readonly entrance: string;
  readonly caller: SidecarProcess;
  /** The sidecar before each service, by its name. */
  readonly callee: (name: string) => SidecarProcess;
  readonly identity: (name: string) => IdentityFiles;
  /** All of it ends in order: every sidecar drains and exits with 0. */
  stop(): Promise<void>;
}

/** One sidecar for a caller (`caller-svc`) and one for each service, which listens in plain text on the given port already; mTLS between them. */
export const startMesh = async (services: Readonly<Record<string, number>>, options: MeshOptions = {}): Promise<Mesh> => {
  await using started = new AsyncDisposableStack();
  const folder = started.use(asyncly(temporaryFolder()));
  const names = Object.keys(services);
  const identity = await initCertificates(join(folder.path, 'certs'), [...names, 'caller-svc']);
  const callees = new Map<string, SidecarProcess>();
  for (const name of names) {
    const servicePort = services[name] as number;
    const environment = options.calleeEnvironment ?? {};
    callees.set(name, started.use(await startSidecar({ name, identity: identity(name), servicePort, environment })));
  }
  const callee = (name: string): SidecarProcess => {
    const sidecar = callees.get(name);
    assert.ok(sidecar, `no service ${name} in this mesh`);
    return sidecar;
  };
  const clusters = names.map(
    (name) => `  ${name}:\n    endpoints: ["127.0.0.1:${callee(name).inboundPort}"]\n${options.clusterSettings ?? ''}`,
  );
  const policyPath = join(folder.path, 'mesh.yaml');
  writeFileSync(
    policyPath,
    `${options.routes === undefined ? '' : `routes:\n${options.routes}`}clusters:\n${clusters.join('')}${options.moreClusters ?? ''}`,
  );
  const caller = started.use(await startSidecar({ name: 'caller-svc', identity: identity('caller-svc'), policyPath }));
  const owned = started.move();
  return {
    entrance: `127.0.0.1:${caller.outboundPort}`,
    caller,
    callee,
    identity,
    async stop() {
      await caller.stop();
      for (const sidecar of callees.values()) await sidecar.stop();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

const asyncly = <T extends Disposable>(thing: T): T & AsyncDisposable =>
  Object.assign(thing, { [Symbol.asyncDispose]: async () => thing[Symbol.dispose]() });

/** A foreign server that cannot be told "0": started on a port that was free a moment ago, resolves when it accepts connections. */
export const startOnFreePort = async (
  command: string,
  args: (port: number) => readonly string[],
): Promise<AsyncDisposable & { readonly port: number; readonly program: Program }> => {
  const port = await freePort();
  const program = spawnProgram(command, args(port));
  try {
    await untilAnswering(program, isListening(port));
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return { port, program, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
};
