/**
 * A mesh for `outrider verify`: a real Consul, and sidecars that are processes of their own in front of services of `node:http2`, with
 * certificates that the project's own authority has signed. Whatever a test wants to be wrong is made wrong for real.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { Outcome } from '../../../src/cli/verify/check-result.ts';
import { CertificateAuthority } from '../../../src/identity/index.ts';
import { outriderPath, type ProgramExit, runProgram } from '../../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../../harness/temporary-folder.ts';
import { ConsulProcess, type ConsulProcessOptions } from '../../peers/consul-process.ts';
import { peerProgram } from '../../peers/peer-programs.ts';
import { type IdentityFiles, type SidecarProcess, startSidecar } from '../../peers/sidecar-processes.ts';

export const consulProgram = await peerProgram('consul');

/** One line of `outrider verify --json`. */
export interface Check {
  readonly service: string | null;
  readonly instance: string | null;
  readonly address: string | null;
  readonly check: string;
  readonly result: Outcome;
  readonly detail: string;
  readonly remedy: string | null;
}

export interface Verdict {
  readonly code: number | null;
  readonly ok: boolean;
  readonly summary: Readonly<Record<Outcome, number>>;
  readonly checks: readonly Check[];
  /** The only check of that name; of a service where one is named. */
  check(name: string, service?: string): Check;
  /** Names of those that failed, in their order, of a service. */
  failed(service?: string): readonly string[];
}

/** A gRPC service that has nothing but its health. */
export interface HealthService extends AsyncDisposable {
  readonly port: number;
  /** What it answers: SERVING is 1, NOT_SERVING is 2. */
  serving: number;
  /** gRPC status of each answer; with another one than 0 nothing is said of its health. */
  status: number;
  /** Milliseconds before each answer. */
  delayMs: number;
}

const answerHealth = (serving: number): Buffer => Buffer.from([0, 0, 0, 0, 2, 8, serving]);

/** @param host where it listens: 0.0.0.0 is how a service is reached around its sidecar */
export const startHealthService = async (host = '127.0.0.1'): Promise<HealthService> => {
  const server: Http2Server = createServer();
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('sessionError', () => {});
  const service = { port: 0, serving: 1, status: 0, delayMs: 0, [Symbol.asyncDispose]: async () => {} };
  const timers = new Set<NodeJS.Timeout>();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {});
    stream.resume();
    const answer = (): void => {
      if (stream.destroyed) return;
      // Only `Check`: who asks for `Watch` is told so, and asks again and again.
      if (!String(headers[':path']).endsWith('/Check')) {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
        return;
      }
      if (service.status !== 0) {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(service.status) }, { endStream: true });
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(answerHealth(service.serving));
    };
    if (service.delayMs === 0) return answer();
    const timer = setTimeout(() => {
      timers.delete(timer);
      answer();
    }, service.delayMs);
    timers.add(timer);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  service.port = (server.address() as AddressInfo).port;
  service[Symbol.asyncDispose] = async () => {
    for (const timer of timers) clearTimeout(timer);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return service;
};

export interface SidecarWish {
  readonly name: string;
  /** Name in its certificate; that of the service where left out. */
  readonly certificate?: string;
  readonly identity?: IdentityFiles;
  readonly servicePort?: number;
  readonly policies?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

const dayMs = 86_400_000;

export class VerifiedMesh implements AsyncDisposable {
  readonly folder: string;
  readonly consul: ConsulProcess;
  readonly authority: CertificateAuthority;
  readonly #started = new AsyncDisposableStack();
  #files = 0;

  private constructor(folder: TemporaryFolder, consul: ConsulProcess, authority: CertificateAuthority) {
    this.folder = folder.path;
    this.consul = consul;
    this.authority = authority;
    this.#started.defer(() => folder[Symbol.dispose]());
    this.#started.use(consul);
  }

  static async start(options: Omit<ConsulProcessOptions, 'path'> = {}): Promise<VerifiedMesh> {
    const folder = temporaryFolder();
    const [consul, { authority }] = await Promise.all([
      ConsulProcess.start({ path: consulProgram.path, ...options }),
      CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() }),
    ]);
    writeFileSync(join(folder.path, 'ca.crt'), authority.certPem);
    return new VerifiedMesh(folder, consul, authority);
  }

  /** Owned by the mesh from now on. */
  use<T extends AsyncDisposable>(thing: T): T {
    return this.#started.use(thing);
  }

  /** A certificate with `leftMs` to live, of this mesh or of another authority. */
  async issue(name: string, leftMs = 365 * dayMs, authority = this.authority): Promise<IdentityFiles> {
    const request = { name, trustDomain: 'mesh.local', validDays: 365, keyType: 'p256' as const };
    const { certPem, keyPem } = await authority.issue({ ...request, nowMs: Date.now() - 365 * dayMs + leftMs });
    const folder = join(this.folder, `identity-${++this.#files}`);
    mkdirSync(folder);
    const files = { ca: join(this.folder, 'ca.crt'), cert: join(folder, 'tls.crt'), key: join(folder, 'tls-key.pem') };
    writeFileSync(files.cert, certPem);
    writeFileSync(files.key, keyPem, { mode: 0o600 });
    return files;
  }

  /** Under the name that it has everywhere: it is part of the version. */
  writePolicies(text: string): string {
    const folder = join(this.folder, `policies-${++this.#files}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'mesh.yaml'), text);
    return join(folder, 'mesh.yaml');
  }

  /** A sidecar that registers itself on 127.0.0.1, before a service that is well unless a port is given. */
  async sidecar({ name, certificate = name, identity, servicePort, policies, environment = {} }: SidecarWish): Promise<SidecarProcess> {
    const port = servicePort ?? this.use(await startHealthService()).port;
    return this.use(
      await startSidecar({
        name,
        identity: identity ?? (await this.issue(certificate)),
        servicePort: port,
        ...(policies === undefined ? {} : { policyPath: this.writePolicies(policies) }),
        environment: {
          CONSUL_HTTP_ADDR: this.consul.address,
          SERVICE_ADDRESS: '127.0.0.1',
          LOCAL_SERVICE_HEALTH_INTERVAL: '200ms',
          REGISTRATION_TTL: '3s',
          ...environment,
        },
      }),
    );
  }

  /** Polls until the catalogue has `count` instances of the service of which none has another status. */
  async registered(name: string, status = 'passing', count = 1, patienceMs = 20_000): Promise<void> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const entries = (await this.consul.ask('GET', `/health/service/${name}`)) as readonly {
        readonly Checks: readonly { readonly Status: string }[];
      }[];
      const worst = entries.map(({ Checks }) => Checks.map(({ Status }) => Status).find((one) => one !== 'passing') ?? 'passing');
      if (worst.length === count && worst.every((one) => one === status)) return;
      assert.ok(performance.now() < deadline, `${name} is not ${count} x ${status} but ${worst.join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The program as somebody at a shell runs it, with the identity of a client of this mesh. */
  async run(parameters: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<ProgramExit> {
    this.#client ??= await this.issue('mesh-client');
    const { ca, cert, key } = this.#client;
    return await runProgram(outriderPath, ['verify', ...parameters], {
      cwd: this.folder,
      env: {
        PATH: process.env['PATH'],
        CONSUL_HTTP_ADDR: this.consul.address,
        CA_CERT_PATH: ca,
        CLIENT_CERT_PATH: cert,
        CLIENT_KEY_PATH: key,
        ...environment,
      },
    });
  }

  #client: IdentityFiles | undefined;

  async verify(services: string, parameters: readonly string[] = [], environment: Readonly<Record<string, string>> = {}): Promise<Verdict> {
    const { code, stdout, stderr } = await this.run(['--services', services, '--json', ...parameters], environment);
    assert.ok(stdout.startsWith('{'), `${code}: ${stderr}`);
    const { ok, summary, checks } = JSON.parse(stdout) as Pick<Verdict, 'ok' | 'summary' | 'checks'>;
    return {
      code,
      ok,
      summary,
      checks,
      check: (name, service) => {
        const found = checks.filter((one) => one.check === name && (service === undefined || one.service === service));
        assert.equal(found.length, 1, `${found.length} checks are called ${name}: ${stdout}`);
        return found[0] as Check;
      },
      failed: (service) =>
        checks
          .filter(({ result, service: of }) => result === 'failed' && (service === undefined || of === service))
          .map(({ check }) => check),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }
}

/** What a failure owes its reader: a detail that matches, and a remedy whose first word is a program. */
export const assertFailure = (check: Check, detail: RegExp, remedy: RegExp): void => {
  assert.equal(check.result, 'failed', `${check.check}: ${check.detail}`);
  assert.match(check.detail, detail);
  assert.match(check.remedy ?? '', remedy);
};
