import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Program, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { type IdentityFiles, initCertificates, type SidecarProcess, startSidecar } from '../peers/sidecar-processes.ts';

/** Answers always; does what it is asked to; is killed and comes back. */
export const serviceNames = ['steady-svc', 'fickle-svc', 'mortal-svc'] as const;
export type ServiceName = (typeof serviceNames)[number];

/** A caller's sidecar and one before each service, mTLS between them; every one a process. */
export interface SoakMesh extends AsyncDisposable {
  readonly caller: SidecarProcess;
  readonly callee: (name: ServiceName) => SidecarProcess;
  /** Sidecars by name, the caller's first. */
  readonly sidecars: readonly (readonly [string, SidecarProcess])[];
  /** Where `outrider certs` keeps what it made. */
  readonly certificateFolder: string;
  readonly identity: (name: string) => IdentityFiles;
  readonly policyFolder: string;
  /** SIGKILL, `pauseMs` of nothing, and the same port again. */
  restartMortal(pauseMs: number): Promise<void>;
  /** All sidecars drain and end with 0. */
  stop(): Promise<void>;
}

const policies = (portOf: (name: ServiceName) => number): string => `# Written by the soak; what changes while it runs is in changing.yaml.
routes:
  - name: steady
    match: { prefix: /echo.Echo/, headers: [{ name: ":authority", string_match: { exact: steady-svc } }] }
    route:
      cluster: steady-svc
      retry_policy: { retry_on: "unavailable,connect-failure,refused-stream", num_retries: 2 }
      idempotent: true
  - name: fickle
    match: { prefix: /fickle.Fickle/ }
    route:
      cluster: fickle-svc
      timeout: 20s
      # Trailers that a busy machine delays are no failure of the soak.
      retry_headers_hold: 1s
      retry_policy:
        retry_on: "unavailable,reset,connect-failure,refused-stream"
        num_retries: 5
        retry_back_off: { base_interval: 5ms, max_interval: 50ms }
      idempotent: true
  - name: mortal
    match: { prefix: /echo.Echo/, headers: [{ name: ":authority", string_match: { exact: mortal-svc } }] }
    route:
      cluster: mortal-svc
      timeout: 20s
      retry_policy: { retry_on: "connect-failure,refused-stream", num_retries: 2 }
      idempotent: true
clusters:
  steady-svc:
    endpoints: ["127.0.0.1:${portOf('steady-svc')}"]
    circuit_breakers:
      thresholds: [{ max_requests: 5000, max_pending_requests: 5000, track_remaining: true }]
  fickle-svc:
    endpoints: ["127.0.0.1:${portOf('fickle-svc')}"]
    circuit_breakers:
      consecutive_failures: 1000000
      thresholds:
        - { track_remaining: true, retry_budget: { budget_percent: { value: 100 }, min_retry_concurrency: 100 } }
  mortal-svc:
    endpoints: ["127.0.0.1:${portOf('mortal-svc')}"]
    circuit_breakers:
      consecutive_failures: 5
      recovery_timeout: 0.5s
      thresholds: [{ track_remaining: true }]
`;

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

/**
 * A port below those that the system gives to outgoing connections: whoever calls a dead port among those may, once in some ten thousand times,
 * be given that very port, be connected to itself, and keep the service from coming back.
 */
const lastingPort = async (): Promise<number> => {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await isFree(port)) return port;
  }
};

const startService = async (file: string, port = 0): Promise<{ readonly program: Program; readonly port: number }> => {
  const program = spawnProgram(process.execPath, [join(import.meta.dirname, file), String(port)]);
  try {
    const [said] = await program.waitFor(/^\d+$/m);
    return { program, port: Number(said) };
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
};

export const startSoakMesh = async (): Promise<SoakMesh> => {
  await using started = new AsyncDisposableStack();
  const folder = temporaryFolder();
  started.defer(() => folder[Symbol.dispose]());
  const certificateFolder = join(folder.path, 'certs');
  const policyFolder = join(folder.path, 'policies');
  mkdirSync(policyFolder);
  const identity = await initCertificates(certificateFolder, ['caller-svc', ...serviceNames]);

  const steady = await startService('echo-service.ts');
  started.use(steady.program);
  const fickle = await startService('fickle-service.ts');
  started.use(fickle.program);
  const mortalPort = await lastingPort();
  let mortal = (await startService('echo-service.ts', mortalPort)).program;
  started.defer(() => mortal[Symbol.asyncDispose]());

  const servicePorts: Readonly<Record<ServiceName, number>> = {
    'steady-svc': steady.port,
    'fickle-svc': fickle.port,
    'mortal-svc': mortalPort,
  };
  const callees = new Map<ServiceName, SidecarProcess>();
  for (const name of serviceNames)
    callees.set(name, started.use(await startSidecar({ name, identity: identity(name), servicePort: servicePorts[name] })));
  const callee = (name: ServiceName): SidecarProcess => callees.get(name) as SidecarProcess;
  writeFileSync(
    join(policyFolder, 'mesh.yaml'),
    policies((name) => callee(name).inboundPort),
  );
  const caller = started.use(await startSidecar({ name: 'caller-svc', identity: identity('caller-svc'), policyPath: policyFolder }));
  const owned = started.move();
  return {
    caller,
    callee,
    sidecars: [['caller-svc', caller], ...callees],
    certificateFolder,
    identity,
    policyFolder,
    async restartMortal(pauseMs) {
      await mortal.stop('SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      mortal = (await startService('echo-service.ts', mortalPort)).program;
    },
    async stop() {
      await caller.stop();
      for (const sidecar of callees.values()) await sidecar.stop();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};
