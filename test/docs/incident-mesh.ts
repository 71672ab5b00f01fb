import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { callHealth } from '../../src/cli/verify/health-call.ts';
import { SystemClock } from '../../src/core/index.ts';
import { type HealthService, startHealthService } from '../cli/verify/verified-mesh.ts';
import { outriderPath, type Program, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { type IdentityFiles, type SidecarProcess, startSidecar } from '../peers/sidecar-processes.ts';

/** Ports as the document has them. */
export type DocumentedPort = 9901 | 9902 | 15001 | 8500 | 16686;

export interface CallOptions {
  /** What the callee is told; the caller itself waits longer for the answer. */
  readonly deadlineMs?: number;
  readonly count?: number;
  /** The caller wants its trace to be kept. */
  readonly isSampled?: boolean;
}

/**
 * Where an incident happens: `auth-svc` calls `learner-svc`, each behind a sidecar that is a process of its own. The commands of the document
 * run in `folder`, which has `certs/` as `outrider certs init` makes it and `mesh.yaml`, the policies of `auth-svc`. The ports that
 * the document names stand for those that the system chose.
 */
export class IncidentMesh implements AsyncDisposable {
  readonly folder: string;
  readonly ports = new Map<DocumentedPort, number>();
  readonly environment: Record<string, string> = {};
  readonly #started = new AsyncDisposableStack();

  /** @param certificates folder to copy */
  constructor(certificates: string) {
    const folder = temporaryFolder();
    this.#started.defer(() => folder[Symbol.dispose]());
    this.folder = folder.path;
    cpSync(certificates, join(this.folder, 'certs'), { recursive: true });
    mkdirSync(join(this.folder, 'bin'));
    symlinkSync(outriderPath, join(this.folder, 'bin', 'outrider'));
  }

  use<T extends AsyncDisposable>(thing: T): T {
    return this.#started.use(thing);
  }

  identity(name: string): IdentityFiles {
    const base = join(this.folder, 'certs', 'services', name);
    return { ca: join(this.folder, 'certs', 'ca', 'ca.crt'), cert: `${base}.crt`, key: `${base}-key.pem` };
  }

  async service(): Promise<HealthService> {
    return this.use(await startHealthService());
  }

  /** The sidecar of `learner-svc`. */
  async learner(
    servicePort: number,
    environment: Readonly<Record<string, string>> = {},
    certificate = 'learner-svc',
  ): Promise<SidecarProcess> {
    const sidecar = this.use(
      await startSidecar({
        name: 'learner-svc',
        identity: this.identity(certificate),
        servicePort,
        environment: { LOCAL_SERVICE_HEALTH_INTERVAL: '500ms', ...environment },
      }),
    );
    this.ports.set(9902, sidecar.adminPort);
    return sidecar;
  }

  /** The sidecar of `auth-svc`, with these policies; without them there are none. */
  async auth(policies: string | undefined, environment: Readonly<Record<string, string>> = {}): Promise<SidecarProcess> {
    if (policies !== undefined) this.writePolicies(policies);
    const service = await this.service();
    const sidecar = this.use(
      await startSidecar({
        name: 'auth-svc',
        identity: this.identity('auth-svc'),
        servicePort: service.port,
        ...(policies === undefined ? {} : { policyPath: join(this.folder, 'mesh.yaml') }),
        environment: { LOCAL_SERVICE_HEALTH_INTERVAL: '500ms', SERVICE_ADDRESS: '127.0.0.1', ...environment },
      }),
    );
    this.ports.set(9901, sidecar.adminPort);
    this.ports.set(15001, sidecar.outboundPort);
    this.environment['ADMIN_PORT'] = String(sidecar.adminPort);
    return sidecar;
  }

  writePolicies(text: string): void {
    writeFileSync(join(this.folder, 'mesh.yaml'), text);
  }

  /** `outrider registry` in the place of Consul, which it speaks like. */
  async registry(): Promise<Program> {
    const program = this.use(spawnProgram(outriderPath, ['registry', '--listen', '127.0.0.1:0']));
    const [, port] = await program.waitFor(/"port":(\d+)/);
    this.ports.set(8500, Number(port));
    this.environment['CONSUL_HTTP_ADDR'] = `127.0.0.1:${port}`;
    return program;
  }

  /** Calls of `auth-svc` to `learner-svc`, one after the other; whatever becomes of them. */
  async call({ deadlineMs = 10_000, count = 1, isSampled = false }: CallOptions = {}): Promise<void> {
    const port = this.ports.get(15001) ?? 0;
    const headers = {
      'grpc-timeout': `${deadlineMs}m`,
      traceparent: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0${isSampled ? 1 : 0}`,
    };
    for (let i = 0; i < count; i++)
      await callHealth({ host: '127.0.0.1', port }, { timeoutMs: 20_000, clock: new SystemClock(), authority: 'learner-svc', headers });
  }

  /** Runs a command of the document, as a shell in `folder` does. */
  async run(documented: string): Promise<string> {
    const command = documented.replaceAll(/(?<=(?:localhost|127\.0\.0\.1):)\d+/g, (port) =>
      String(this.ports.get(Number(port) as DocumentedPort) ?? port),
    );
    const env = { PATH: `${join(this.folder, 'bin')}:${process.env['PATH']}`, ...this.environment };
    await using shell = spawnProgram('sh', ['-c', command], { cwd: this.folder, env });
    const { stdout, stderr } = await shell.end();
    return `${stdout}${stderr}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#started.disposeAsync();
  }
}
