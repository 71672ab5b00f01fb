import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { Sidecar, type SidecarWorld } from '../../src/cli/sidecar.ts';
import { type Clock, type Fate, fates, JsonLogger, SystemClock, VirtualClock } from '../../src/core/index.ts';
import { CertificateAuthority } from '../../src/identity/index.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import { CallLines } from './call-lines.ts';
import { Caller } from './caller.ts';
import { closedPort, type Handler, startUpstream, type Upstream, until } from './upstream.ts';

export type Direction = 'inbound' | 'outbound';

export interface SidecarOptions {
  readonly name?: string;
  /** YAML; without it there is no POLICY_PATH. */
  readonly policies?: string;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Further variables. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Certificates; without them INBOUND_TLS is off. */
  readonly certificates?: Readonly<Record<string, string>>;
  /** What the process is said to use of its memory. */
  readonly readMemory?: SidecarWorld['readMemory'];
  /** Who hears of calls that have ended. */
  readonly observers?: SidecarWorld['observers'];
  /** Gets the spans; switches traces on. */
  readonly spans?: SidecarWorld['spans'];
  /** Port of the service beside it. */
  readonly localService?: number;
  /** The test ends it by itself. */
  readonly endsItself?: boolean;
}

/** One real sidecar in this process, on ports of its own. */
export interface TestSidecar {
  readonly name: string;
  readonly sidecar: Sidecar;
  readonly clock: Clock;
  readonly inboundPort: number;
  readonly outboundPort: number;
  readonly adminPort: number;
  /** What it logged, parsed. */
  readonly log: readonly Readonly<Record<string, unknown>>[];
  readonly policyFile: string;
  /** A client of the outbound listener. */
  caller(): Caller;
  /** A client of the inbound listener. */
  inboundCaller(tls?: ConstructorParameters<typeof Caller>[2]): Caller;
  /** Fates that were counted so far, those above zero. */
  fates(direction?: Direction): Partial<Record<Fate, number>>;
  stat(name: string): number;
  /** Replaces the policy file as an editor does, and waits for it to be read. */
  writePolicies(text: string): void;
  admin(method: 'GET' | 'POST', path: string): Promise<{ readonly status: number; readonly text: string }>;
}

/** Moves virtual time, in steps so that sockets keep pace, and lets everything that follows happen. */
export const pass = async (clock: VirtualClock, ms: number): Promise<void> => {
  clock.advance(ms);
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** A virtual clock whose wall time is now, so that certificates are valid. */
export const virtualClock = (): VirtualClock => new VirtualClock(Date.now());

const statsOf = (sidecar: Sidecar): Map<string, number> => {
  const stats = new Map<string, number>();
  const sink = {
    counter: (name: string, value: number) => void stats.set(name, value),
    gauge: (name: string, value: number) => void stats.set(name, value),
  };
  sidecar.proxy.collectStats(sink);
  sidecar.telemetry.callMetrics.collectStats(sink);
  sidecar.telemetry.tracing?.collectStats(sink);
  sidecar.telemetry.accessLog?.collectStats(sink);
  return stats;
};

/** Gauges that are zero when no call is under way. */
const idleGauges = /^server\.(buffered_bytes|replay_bytes)$|\.upstream_rq_(active|pending_active)$|http2\.streams_active$/;

const busy = (sidecar: Sidecar): readonly string[] => {
  const stats = statsOf(sidecar);
  // The Watch of a health check is a stream, and no call.
  const watches = (name: string): number => stats.get(name.replace(/http2\.streams_active$/, 'health_check.watches')) ?? 0;
  return [...stats]
    .filter(([name, value]) => idleGauges.test(name) && value !== (name.endsWith('streams_active') ? watches(name) : 0))
    .map(([name, value]) => `${name}: ${value}`);
};

const fatesOf = (sidecar: Sidecar, direction: Direction): Partial<Record<Fate, number>> =>
  Object.fromEntries(
    fates.map((fate) => [fate, sidecar.telemetry.callMetrics.fateCount(direction, fate)] as const).filter(([, count]) => count > 0),
  );

/** What must hold when nothing is under way: each call has had its one fate, and nothing is kept of it. */
const checkAccounts = async (name: string, sidecar: Sidecar, clock: Clock, callLines: CallLines): Promise<void> => {
  const { inbound, outbound } = sidecar.proxy;
  // A stream that was answered before its request's end waits a moment for that.
  if (clock instanceof VirtualClock) await pass(clock, 104);
  await until(() => busy(sidecar).length === 0, `${name} idle, but ${busy(sidecar).join(', ')}`).catch(() => {
    throw new Error(`${name} still has ${busy(sidecar).join(', ')}`);
  });
  for (const listener of [inbound, outbound]) {
    const counted = Object.values(fatesOf(sidecar, listener.name)).reduce((sum, count) => sum + count, 0);
    assert.equal(counted, listener.stats.requestsTotal, `${name}: every ${listener.name} call has exactly one fate`);
    callLines.check(name, listener.name, (fate) => sidecar.telemetry.callMetrics.fateCount(listener.name, fate));
  }
};

const sidecarsOn = new WeakMap<Clock, number>();

/** Starts one sidecar. At the end of the test it is checked that it has forgotten every call, and it is closed. */
export const startSidecar = async (t: TestContext, options: SidecarOptions = {}): Promise<TestSidecar> => {
  const { name = 'caller', policies, clock = new SystemClock(), random = Math.random, environment = {}, certificates } = options;
  const folder = temporaryFolder();
  const policyFile = join(folder.path, 'policies.yaml');
  if (policies !== undefined) writeFileSync(policyFile, policies);
  const variables: Record<string, string> = {
    SERVICE_NAME: name,
    GRPC_PORT: '0',
    OUTBOUND_PORT: '0',
    ADMIN_PORT: '0',
    // A test's service counts what it receives.
    LOCAL_SERVICE_HEALTH_INTERVAL: '0s',
    LOCAL_SERVICE_PORT: String(options.localService ?? (await closedPort())),
    ...(certificates === undefined ? { INBOUND_TLS: 'off' } : certificates),
    ...(policies === undefined ? {} : { POLICY_PATH: policyFile }),
    ...environment,
  };
  sidecarsOn.set(clock, (sidecarsOn.get(clock) ?? 0) + 1);
  const lines: Record<string, unknown>[] = [];
  const log = new JsonLogger(clock, (line) => void lines.push(JSON.parse(line)), 'debug');
  const { observers = [], readMemory, spans } = options;
  if (spans !== undefined) variables['JAEGER_HOST'] = '127.0.0.1';
  const callLines = new CallLines();
  const world = {
    clock,
    log,
    random,
    observers: [callLines, ...observers],
    ...(readMemory === undefined ? {} : { readMemory }),
    ...(spans && { spans }),
  };
  const sidecar = new Sidecar(readSidecarConfiguration({ environment: variables }), world, variables);
  await sidecar.start();
  const adminPort = Number(lines.find(({ msg }) => msg === 'ready')?.['admin']);
  let accountsKept = false;
  atEnd(t, async () => {
    try {
      if (!accountsKept) await checkAccounts(name, sidecar, clock, callLines);
    } finally {
      await sidecar.close();
      if (clock instanceof VirtualClock) {
        // What was closed a moment ago has its grace; beyond that nothing may be armed.
        clock.advance(5_000);
        const others = sidecarsOn.get(clock) ?? 1;
        sidecarsOn.set(clock, others - 1);
        if (others === 1) assert.equal(clock.pending, 0, `${name}: timers that are left`);
      }
      folder[Symbol.dispose]();
    }
  });
  accountsKept = options.endsItself ?? false;
  const { inbound, outbound } = sidecar.proxy;
  const [inboundPort, outboundPort] = [inbound.address.port, outbound.address.port];
  return {
    name,
    sidecar,
    clock,
    inboundPort,
    outboundPort,
    adminPort,
    log: lines,
    policyFile,
    caller: () => new Caller(t, outboundPort),
    inboundCaller: (tls) => new Caller(t, inboundPort, tls),
    fates: (direction = 'outbound') => fatesOf(sidecar, direction),
    stat: (stat) => {
      const value = statsOf(sidecar).get(stat);
      assert.notEqual(value, undefined, `there is no stat ${stat}`);
      return value as number;
    },
    writePolicies: (text) => {
      writeFileSync(`${policyFile}.new`, text);
      renameSync(`${policyFile}.new`, policyFile);
    },
    admin: async (method, path) => {
      const response = await fetch(`http://127.0.0.1:${adminPort}${path}`, { method, headers: { connection: 'close' } });
      return { status: response.status, text: await response.text() };
    },
  };
};

/** Indents a block of YAML. */
export const indent = (text: string, spaces: number): string =>
  text
    .trim()
    .split('\n')
    .map((line) => ' '.repeat(spaces) + line)
    .join('\n');

export interface ClusterText {
  /** host:port of each endpoint. */
  readonly endpoints: readonly string[];
  /** Further keys of the route's action, as YAML. */
  readonly route?: string;
  /** Further keys of the cluster, as YAML; plain text unless they say `tls:`. */
  readonly cluster?: string;
}

/** The policy file of one cluster `echo` with one route for `/acme.`. */
export const echoPolicies = ({ endpoints, route = '', cluster = '' }: ClusterText): string => `routes:
  - name: echo-route
    match: { prefix: /acme. }
    route:
      cluster: echo
${indent(route, 6)}
clusters:
  echo:
    endpoints: [${endpoints.map((endpoint) => JSON.stringify(endpoint)).join(', ')}]
${cluster.includes('tls:') ? '' : '    tls: { mode: disable }\n'}${indent(cluster, 4)}
`;

export interface EchoOptions extends Omit<SidecarOptions, 'policies'> {
  readonly route?: string;
  readonly cluster?: string;
  /** More endpoints than the service. */
  readonly alsoAt?: readonly string[];
  readonly upstream?: Parameters<typeof startUpstream>[2];
}

export interface Echo {
  readonly outrider: TestSidecar;
  readonly service: Upstream;
  readonly client: Caller;
}

/** A client, the outbound listener of a sidecar, and a service in plain text that answers as `handler` says. */
export const throughOne = async (t: TestContext, handler: Handler, options: EchoOptions = {}): Promise<Echo> => {
  const { route, cluster, alsoAt = [], upstream, ...rest } = options;
  const service = await startUpstream(t, handler, upstream);
  const text = {
    endpoints: [service.address, ...alsoAt],
    ...(route === undefined ? {} : { route }),
    ...(cluster === undefined ? {} : { cluster }),
  };
  const outrider = await startSidecar(t, { ...rest, policies: echoPolicies(text) });
  return { outrider, service, client: outrider.caller() };
};

/** The certificates of a mesh in a folder, by the project's own authority. */
export class MeshCertificates {
  readonly folder: string;
  readonly authority: CertificateAuthority;

  private constructor(folder: string, authority: CertificateAuthority) {
    this.folder = folder;
    this.authority = authority;
  }

  static async create(t: TestContext): Promise<MeshCertificates> {
    const folder = temporaryFolder();
    atEnd(t, () => folder[Symbol.dispose]());
    const { authority } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() });
    writeFileSync(join(folder.path, 'ca.crt'), authority.certPem);
    return new MeshCertificates(folder.path, authority);
  }

  /** Issues a certificate, anew where there is one; returns the variables that name it. */
  async issue(name: string): Promise<Readonly<Record<string, string>>> {
    const { certPem, keyPem } = await this.pair(name);
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    const put = (file: string, text: string): string => {
      writeFileSync(join(folder, `${file}.new`), text, { mode: 0o600 });
      renameSync(join(folder, `${file}.new`), join(folder, file));
      return join(folder, file);
    };
    return {
      CA_CERT_PATH: join(this.folder, 'ca.crt'),
      CLIENT_CERT_PATH: put('tls.crt', certPem),
      CLIENT_KEY_PATH: put('tls.key', keyPem),
    };
  }

  /** A pair for a client of the test's own. */
  async pair(name: string, validDays = 1): Promise<{ readonly certPem: string; readonly keyPem: string }> {
    return await this.authority.issue({ name, trustDomain: 'mesh.local', validDays, keyType: 'p256', nowMs: Date.now() });
  }
}

export interface MeshOptions {
  /** Port of each service by name. */
  readonly services: Readonly<Record<string, number>>;
  /** Policies of the caller's sidecar, given `host:port` of each service's inbound listener. Without it: one cluster each. */
  readonly policies?: (endpoints: Readonly<Record<string, string>>) => string;
  readonly clock?: Clock;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Mesh {
  readonly certificates: MeshCertificates;
  /** The sidecar of the client `caller`. */
  readonly entrance: TestSidecar;
  readonly sidecars: Readonly<Record<string, TestSidecar>>;
  readonly endpoints: Readonly<Record<string, string>>;
}

/** A client's sidecar and one beside each service, with mutual TLS between them. */
export const startMesh = async (
  t: TestContext,
  { services, policies, clock = new SystemClock(), environment = {} }: MeshOptions,
): Promise<Mesh> => {
  const certificates = await MeshCertificates.create(t);
  const sidecars: Record<string, TestSidecar> = {};
  const endpoints: Record<string, string> = {};
  for (const [name, port] of Object.entries(services)) {
    const sidecar = await startSidecar(t, { name, localService: port, certificates: await certificates.issue(name), clock, environment });
    sidecars[name] = sidecar;
    endpoints[name] = `127.0.0.1:${sidecar.inboundPort}`;
  }
  const text = policies?.(endpoints) ?? clustersText(endpoints);
  const entrance = await startSidecar(t, { policies: text, certificates: await certificates.issue('caller'), clock, environment });
  return { certificates, entrance, sidecars, endpoints };
};

const clustersText = (endpoints: Readonly<Record<string, string>>): string =>
  `clusters:\n${Object.entries(endpoints)
    .map(([name, endpoint]) => `  ${name}: { endpoints: ["${endpoint}"] }`)
    .join('\n')}\n`;
