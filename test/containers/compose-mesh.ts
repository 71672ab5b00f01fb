import { chmodSync, cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { type AuthenticateReply, type AuthenticateRequest, loadDemoProtocol, methodIn } from '../../src/demo/protocol.ts';
import { freePort } from '../harness/ports.ts';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';
import { docker, eventually } from './docker.ts';
import { root } from './images.ts';

const patienceMs = 240_000;
/** Variables of the compose file that choose ports of this machine. */
export const portNames = [
  'AUTH_GRPC_PORT',
  'AUTH_ADMIN_PORT',
  'LEARNER_ADMIN_PORT',
  'EVENTS_ADMIN_PORT',
  'CONSUL_PORT',
  'JAEGER_PORT',
  'PROMETHEUS_PORT',
  'GRAFANA_PORT',
] as const;
type PortName = (typeof portNames)[number];

export interface ComposeMeshOptions {
  readonly profiles?: readonly string[];
  /** Compose files above the one of deploy/. */
  readonly overrides?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const authenticate = methodIn<AuthenticateRequest, AuthenticateReply>(loadDemoProtocol(), 'auth.AuthService', 'Authenticate');
const callDeadlineMs = 10_000;

/** The mesh of deploy/compose as a copy that a test may edit, under a name and on ports of its own; gone with the test. */
export class ComposeMesh implements AsyncDisposable {
  /** The copy of deploy/compose. */
  readonly folder: string;
  readonly project: string;
  readonly #temporary: TemporaryFolder;
  readonly #ports: Readonly<Record<PortName, number>>;
  #options: ComposeMeshOptions;
  #client: Client | undefined;

  private constructor(temporary: TemporaryFolder, ports: Readonly<Record<PortName, number>>, options: ComposeMeshOptions) {
    this.#temporary = temporary;
    // The services of a person's own may not read what only root may enter.
    chmodSync(temporary.path, 0o755);
    this.folder = join(temporary.path, 'deploy/compose');
    this.project = `outrider-test-${process.pid}`;
    this.#ports = ports;
    this.#options = options;
    cpSync(join(root, 'deploy'), join(temporary.path, 'deploy'), { recursive: true });
  }

  /** Copied, not started. */
  static async prepare(options: ComposeMeshOptions = {}): Promise<ComposeMesh> {
    const ports = Object.fromEntries(await Promise.all(portNames.map(async (name) => [name, await freePort()])));
    return new ComposeMesh(temporaryFolder(), ports, options);
  }

  /** Started, and all of it healthy. */
  static async start(options: ComposeMeshOptions = {}): Promise<ComposeMesh> {
    const mesh = await ComposeMesh.prepare(options);
    await mesh.up();
    return mesh;
  }

  /** Starts all of it and waits until it is healthy; where that fails, it rejects with what the containers said, and nothing is left. */
  async up(options: ComposeMeshOptions = this.#options): Promise<void> {
    this.#options = options;
    try {
      await this.compose('up', '--no-build', '--pull', 'never', '--detach', '--wait', '--wait-timeout', '180');
    } catch (error) {
      const { stdout } = await this.tryCompose('logs', '--tail', '20');
      await this[Symbol.asyncDispose]();
      throw new Error(`${(error as Error).message}\n${stdout.slice(-12_000)}`);
    }
  }

  port(name: PortName): number {
    return this.#ports[name];
  }

  tryCompose(...args: readonly string[]): Promise<ProgramExit> {
    const { overrides = [], profiles = [], env = {} } = this.#options;
    const files = [join(this.folder, 'compose.yaml'), ...overrides].flatMap((file) => ['-f', file]);
    const parameters = [
      'compose',
      '-p',
      this.project,
      ...files,
      ...profiles.flatMap((name) => ['--profile', name]),
      '--progress',
      'plain',
      ...args,
    ];
    const ports = Object.fromEntries(Object.entries(this.#ports).map(([name, port]) => [name, String(port)]));
    return runProgram('docker', parameters, { patienceMs, env: { ...process.env, ...ports, ...env } });
  }

  /** Rejects with what compose said where it fails. */
  async compose(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryCompose(...args);
    if (code !== 0)
      throw new Error(`docker compose ${args.join(' ')} ended with ${code}\n${stdout.slice(-2_000)}\n${stderr.slice(-4_000)}`);
    return stdout.trim();
  }

  container(service: string): string {
    return `${this.project}-${service}-1`;
  }

  inspect(service: string, format: string): Promise<string> {
    return docker('inspect', '--format', format, this.container(service));
  }

  /** Log of a container since its start, without the names that compose puts before the lines. */
  log(service: string): Promise<string> {
    return this.compose('logs', '--no-log-prefix', service);
  }

  /** Resolves with the first match in the log of the service. */
  said(service: string, pattern: RegExp): Promise<RegExpMatchArray> {
    const log = (): Promise<string> => this.log(service);
    return eventually(`${pattern} from ${service}`, async () => (await log()).match(pattern) ?? undefined, { describe: log });
  }

  /** The certificate of a caller from outside, as the documents say it is had. */
  async clientCertificate(): Promise<{ readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer }> {
    const to = join(this.#temporary.path, 'client');
    mkdirSync(to, { recursive: true });
    await this.compose('cp', 'certificates:/etc/outrider/certs/mesh-client/.', to);
    return {
      ca: readFileSync(join(to, 'certs/ca.crt')),
      cert: readFileSync(join(to, 'certs/service.crt')),
      key: readFileSync(join(to, 'private/service.key')),
    };
  }

  /** A connection to the sidecar of auth-svc from outside, by mTLS. */
  async client(): Promise<Client> {
    const { ca, cert, key } = await this.clientCertificate();
    return new Client(`127.0.0.1:${this.port('AUTH_GRPC_PORT')}`, credentials.createSsl(ca, key, cert), {
      'grpc.ssl_target_name_override': 'auth-svc',
      'grpc.default_authority': 'auth-svc',
      'grpc.enable_retries': 0,
    });
  }

  /** One call to auth-svc, which asks learner-svc: through three sidecars' listeners. Rejects where auth-svc could not be called. */
  async authenticate(user = 'ada', metadata = new Metadata()): Promise<AuthenticateReply> {
    this.#client ??= await this.client();
    return await call(this.#client, user, metadata);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close();
    await this.tryCompose('--profile', '*', 'down', '--volumes', '--timeout', '2', '--remove-orphans');
    this.#temporary[Symbol.dispose]();
  }
}

/** One call on this connection. */
export const call = (client: Client, user = 'ada', metadata = new Metadata()): Promise<AuthenticateReply> =>
  new Promise((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = authenticate;
    const deadline = Date.now() + callDeadlineMs;
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { user },
      metadata,
      { deadline },
      (error: ServiceError | null, reply) => {
        if (error) reject(error);
        else resolve(reply as AuthenticateReply);
      },
    );
  });

/** What an admin port answers, from outside. */
export const ask = async (port: number, path: string, method = 'GET'): Promise<string> => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(10_000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text;
};
