import { hostname } from 'node:os';
import {
  AdminServer,
  type AdminViews,
  type GrpcAdminHandle,
  type ReadinessView,
  type ReloadPart,
  type ServerState,
  startGrpcAdmin,
} from '../admin/index.ts';
import { type Clock, ConfigurationError, constantWatch, type Logger, TimerWheel, type Watch } from '../core/index.ts';
import {
  ConsulDiscovery,
  type ConsulPolicies,
  consulPolicyEntries,
  consulPolicyIntentions,
  consulPolicyKeys,
  createEndpointSource,
  ReadingThread,
  type Registration,
} from '../discovery/index.ts';
import type { ServingStatus } from '../grpc/index.ts';
import { Engine } from '../http2/index.ts';
import { type Identity, IdentityFiles } from '../identity/index.ts';
import { emptyPolicyTable, formatProblem, PolicyFiles, type PolicyProblem, type PolicyTable } from '../policy/index.ts';
import { SidecarProxy } from '../proxy/index.ts';
import {
  type CallObserver,
  type MemoryReading,
  ProcessStats,
  PrometheusExposition,
  type SpanSink,
  StatRegistry,
} from '../telemetry/index.ts';
import { actOnBreakers, certificatesView, clusterViews } from './admin-views.ts';
import type { Environment, SidecarConfiguration } from './configuration.ts';
import { machineLimits, type ProcessLimits, processLimits } from './limits.ts';
import { packageVersion } from './package-version.ts';
import { settingNames, settings } from './settings.ts';
import { createRegistration } from './sidecar-registration.ts';
import { describeShortcomings, shortcomingsOf } from './sidecar-shortcomings.ts';
import { CertificateStats, PolicyFileStats } from './sidecar-stats.ts';
import { SidecarTelemetry } from './sidecar-telemetry.ts';
import { returnStartMemory } from './start-memory.ts';

/** What a sidecar needs of the world around it, so that a test runs ten of them in one process. */
export interface SidecarWorld {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** How much memory the process uses; by default what the system says. */
  readonly readMemory?: () => MemoryReading;
  /** Who hears of each call that has ended, beside those that the configuration asks for. */
  readonly observers?: readonly CallObserver[];
  /** Gets spans in the place of whoever the configuration names. */
  readonly spans?: SpanSink;
}

/**
 * One sidecar, put together: configuration, identity, policies, clusters and listeners, admin. Each part is started in this
 * order and ended in reverse.
 */
export class Sidecar {
  readonly proxy: SidecarProxy;
  readonly telemetry: SidecarTelemetry;
  readonly #configuration: SidecarConfiguration;
  readonly #world: SidecarWorld;
  readonly #wheel: TimerWheel;
  readonly #identity: IdentityFiles | undefined;
  readonly #policyFiles: PolicyFiles | undefined;
  readonly #consul: ConsulDiscovery | undefined;
  /** Reads long lists of endpoints. */
  readonly #thread: ReadingThread;
  readonly #consulPolicies: readonly ConsulPolicies[];
  readonly #policies: Watch<PolicyTable>;
  readonly #stats = new StatRegistry();
  readonly #process: ProcessStats;
  readonly #admin: AdminServer;
  #grpcAdmin: GrpcAdminHandle | undefined;
  readonly #startedMs: number;
  readonly #environment: Environment;
  readonly #limits: ProcessLimits;
  #registration: Registration | undefined;
  #state: ServerState = 'PRE_INITIALIZING';
  #drained: Promise<void> | undefined;
  #resolveStopped: () => void = () => {};
  readonly #stopped = new Promise<void>((resolve) => {
    this.#resolveStopped = resolve;
  });

  /** Reads files; throws a ConfigurationError for whatever is wrong with them. Nothing listens yet. */
  constructor(configuration: SidecarConfiguration, world: SidecarWorld, environment: Environment) {
    const { clock, log, random } = world;
    this.#configuration = configuration;
    this.#world = world;
    this.#environment = environment;
    this.#startedMs = clock.now();
    this.#wheel = new TimerWheel(clock);
    this.#identity =
      configuration.identity === undefined
        ? undefined
        : new IdentityFiles(configuration.identity, { clock, log, serviceName: configuration.serviceName });
    const thread = new ReadingThread(clock);
    this.#thread = thread;
    const consul =
      configuration.consul === undefined ? undefined : new ConsulDiscovery({ ...configuration.consul, clock, log, random, thread });
    this.#consul = consul;
    this.#consulPolicies = consul === undefined ? [] : this.#openConsulPolicies(consul);
    try {
      this.#policyFiles = this.#openPolicies();
      this.#policies = this.#policyFiles ?? constantWatch(emptyPolicyTable());
      this.telemetry = new SidecarTelemetry(configuration, {
        ...world,
        stats: this.#stats,
        policies: this.#policies,
        policiesMayChange: this.#policyFiles !== undefined,
        identity: this.#identity,
        clusterNames: () => Array.from(this.#clusters(), ({ name }) => name),
      });
    } catch (error) {
      // What is watched would outlive a sidecar that never was.
      this.#closeSources();
      throw error;
    }
    this.#limits = processLimits(configuration, machineLimits());
    for (const why of this.#limits.warnings) log.warning('configuration', { why });
    this.#process = new ProcessStats(clock, world.readMemory);
    this.proxy = new SidecarProxy({
      engine: new Engine(clock, this.#wheel),
      log,
      random,
      policies: this.#policies,
      identity: this.#identity,
      callMetrics: this.telemetry.callMetrics,
      createSource: (policy, serviceName) =>
        createEndpointSource(policy, { clock, log, random, thread, ...(consul === undefined ? {} : { consul }) }, serviceName),
      discoversNames: consul !== undefined,
      serviceName: configuration.serviceName,
      ...(configuration.locality === undefined ? {} : { locality: configuration.locality }),
      trustDomain: configuration.trustDomain,
      tlsMinimum: configuration.tlsMinimum,
      inbound: { host: '0.0.0.0', port: configuration.grpcPort, tls: inboundTls[configuration.inboundTls] },
      outbound: { host: '127.0.0.1', port: configuration.outboundPort },
      localService: {
        host: configuration.localServiceHost,
        port: configuration.localServicePort,
        healthIntervalMs: configuration.localServiceHealthIntervalMs,
      },
      connectionLimits: this.#limits.connections,
      memoryLimitBytes: this.#limits.memoryBytes,
      observers: this.telemetry.observers,
      ...(this.telemetry.tracing === undefined ? {} : { tracer: this.telemetry.tracing.tracer }),
    });
    this.#process.onSample((sample) => {
      this.proxy.overload.sample(sample);
      this.#admin.keepHistory();
    });
    this.#registerStats();
    this.#admin = new AdminServer(this.#adminViews(), {
      address: configuration.adminAddress,
      port: configuration.adminPort,
      allowedHosts: [hostname(), configuration.serviceName, ...configuration.adminAllowedHosts],
      connectionsAtMost: this.#limits.adminConnections,
      clock,
    });
  }

  /** Listens; rejects with a ConfigurationError where a port cannot be had, and leaves nothing open then. */
  async start(): Promise<void> {
    const { log } = this.#world;
    try {
      const admin = await this.#admin.start();
      this.#adminPort = admin.port;
      await this.#startGrpcAdmin();
      await this.#firstConsulPolicies();
      await this.#firstEndpoints();
      await this.telemetry.load();
      returnStartMemory();
      // A signal came meanwhile.
      if (this.#drained !== undefined) return;
      await this.proxy.start();
      await this.#register();
      if (this.#drained !== undefined) return;
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#state = 'LIVE';
    this.#grpcAdmin?.refresh();
    log.info('ready', {
      service: this.#configuration.serviceName,
      inbound: this.proxy.inbound.address.port,
      outbound: this.proxy.outbound.address.port,
      admin: this.#adminPort,
      ...(this.#grpcAdmin !== undefined && { admin_grpc: this.#grpcAdmin.port }),
      policies: this.#policies.value.version.slice(0, 12),
    });
  }

  /** Not ready at once; resolves when everything is closed. */
  drain(): Promise<void> {
    this.#drained ??= this.#drain().then(this.#resolveStopped);
    return this.#drained;
  }

  /** Settles when it has drained, whoever asked for it: a signal, or POST /drain. */
  get stopped(): Promise<void> {
    return this.#stopped;
  }

  /** Ends everything now. The timer wheel goes on by itself until the last socket is gone: a peer that never closes its side is cut off by it. */
  async close(): Promise<void> {
    this.#registration?.close();
    await this.proxy.close();
    await this.telemetry.close();
    await this.#admin.close();
    this.#grpcAdmin?.close();
    this.#closeSources();
    this.#process.close();
  }

  #closeSources(): void {
    this.#consul?.close();
    this.#thread.close();
    this.#policyFiles?.close();
    this.#identity?.close();
  }

  /** SIGUSR1: log files may have been moved away. */
  reopenLogs(): void {
    this.telemetry.accessLog?.reopen();
  }

  /** For the end of the process, however it comes. */
  flushLogs(): void {
    this.telemetry.accessLog?.flushSync();
  }

  /** POST /reload and SIGHUP. */
  reload(): readonly ReloadPart[] {
    const parts: ReloadPart[] = [];
    if (this.#policyFiles !== undefined) {
      const ok = this.#policyFiles.reload();
      parts.push({
        name: 'policies',
        ok,
        ...(ok ? {} : { error: this.#lastProblems().map(formatProblem).join('\n') }),
      });
    }
    if (this.#identity !== undefined) {
      const ok = this.#identity.reload();
      parts.push({
        name: 'certificates',
        ok,
        ...(ok || this.#identity.lastError === undefined ? {} : { error: this.#identity.lastError }),
      });
    }
    return parts;
  }

  #adminPort = 0;

  async #startGrpcAdmin(): Promise<void> {
    const { adminAddress, adminGrpcPort, serviceName } = this.#configuration;
    if (adminGrpcPort === undefined) return;
    this.#grpcAdmin = await startGrpcAdmin({
      address: adminAddress,
      port: adminGrpcPort,
      clock: this.#world.clock,
      statuses: () => {
        const sidecar: ServingStatus = this.#readiness().ready ? 'SERVING' : 'NOT_SERVING';
        return new Map([
          ['', sidecar],
          ['outrider.sidecar', sidecar],
          [serviceName, this.#localStatus()],
        ]);
      },
    });
    this.proxy.localHealth.subscribe(() => this.#grpcAdmin?.refresh());
  }

  /** Of the service beside it: nobody is to come for it while the sidecar drains. */
  #localStatus(): ServingStatus {
    const { state } = this.proxy.localHealth.value;
    if (this.#state !== 'LIVE' || state === 'not_serving') return 'NOT_SERVING';
    return state === 'serving' ? 'SERVING' : 'UNKNOWN';
  }

  /** The first calls must not find clusters whose names are still being resolved; a name server that is gone holds up nobody for long. */
  async #firstEndpoints(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#world.clock.setTimer(resolve, longestFirstResolutionMs);
    await Promise.race([this.proxy.clusters.resolved(), promise]);
    timer.cancel();
  }

  /** What is registered has to be listening; nobody waits for Consul. */
  async #register(): Promise<void> {
    const { registration } = this.#configuration;
    if (registration === undefined || this.#consul === undefined) return;
    const created = await createRegistration(registration, this.#configuration, {
      ...this.#world,
      consul: this.#consul,
      inboundPort: this.proxy.inbound.address.port,
      adminPort: this.#adminPort,
      health: this.proxy.localHealth,
    });
    // A signal came meanwhile.
    if (this.#drained !== undefined) return;
    this.#registration = created;
    this.#stats.add(created);
    created.start();
  }

  /** Policies of Consul are to be in force from the first call on. One that cannot be reached holds up nobody for long; wrong ones are refused as files are. */
  async #firstConsulPolicies(): Promise<void> {
    const sources = this.#consulPolicies;
    if (sources.length === 0) return;
    const { clock, log } = this.#world;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.setTimer(resolve, Math.max(longestFirstResolutionMs, this.#configuration.startupWaitMs));
    await Promise.race([Promise.all(sources.map(({ first }) => first)), promise]);
    timer.cancel();
    const problems = this.#lastProblems();
    if (problems.length > 0) {
      const where = sources.map((source) => source.where).join(' and ');
      throw new ConfigurationError(`policies are wrong\n${problems.map(formatProblem).join('\n')}`, { remedy: `Mend them under ${where}` });
    }
    for (const { error, where } of sources)
      if (error !== undefined) log.warning('started without the policies in Consul', { where, why: error });
  }

  #lastProblems(): readonly PolicyProblem[] {
    const { problems } = this.#policyFiles?.history.at(-1) ?? { problems: [] };
    return problems.filter(({ severity }) => severity === 'error');
  }

  async #drain(): Promise<void> {
    this.#state = 'DRAINING';
    this.#grpcAdmin?.refresh();
    const { drainDelayMs, drainTimeoutMs } = this.#configuration;
    this.#world.log.info('draining', { timeout_ms: drainTimeoutMs });
    // Out of the catalogue first: who asks now is sent elsewhere, and who has asked before is still served.
    await this.#registration?.deregister();
    await this.proxy.drain({ delayMs: drainDelayMs, timeoutMs: drainTimeoutMs });
    await this.telemetry.flush();
    await this.close();
    this.#world.log.info('stopped');
  }

  #openPolicies(): PolicyFiles | undefined {
    const { policyPath } = this.#configuration;
    const others = this.#consulPolicies;
    const looksUpNames = this.#consul !== undefined;
    return policyPath === undefined && others.length === 0
      ? undefined
      : new PolicyFiles(policyPath, { ...this.#world, others, looksUpNames });
  }

  #openConsulPolicies({ client }: ConsulDiscovery): readonly ConsulPolicies[] {
    const { policyConsulKv: prefix, policyConsulEntries, policyConsulIntentions, serviceName } = this.#configuration;
    const { log, random } = this.#world;
    return [
      ...(prefix === undefined ? [] : [consulPolicyKeys({ client, log, random, prefix })]),
      ...(policyConsulEntries ? [consulPolicyEntries({ client, log, random, serviceName })] : []),
      ...(policyConsulIntentions ? [consulPolicyIntentions({ client, log, random, serviceName })] : []),
    ];
  }

  #registerStats(): void {
    this.#stats.add(this.proxy);
    this.#stats.add(this.#process);
    if (this.#consul !== undefined) this.#stats.add(this.#consul);
    if (this.#policyFiles !== undefined) this.#stats.add(new PolicyFileStats(this.#policyFiles));
    if (this.#identity !== undefined) this.#stats.add(new CertificateStats(this.#identity, this.#world.clock));
  }

  #adminViews(): AdminViews {
    const { clock, log } = this.#world;
    const { identity: paths, serviceName, serviceVersion } = this.#configuration;
    const identity: Watch<Identity> | undefined = this.#identity;
    const exposition = new PrometheusExposition(this.telemetry.metrics);
    const version = packageVersion();
    return {
      stats: this.#stats,
      log,
      calls: this.telemetry.callMetrics,
      failures: this.telemetry.failures,
      scrape: (format) => exposition.scrape(format),
      readiness: () => this.#readiness(),
      serverInfo: () => ({
        version,
        serviceName,
        ...(serviceVersion === undefined ? {} : { serviceVersion }),
        uptimeMs: clock.now() - this.#startedMs,
        overload: this.proxy.overload.activeActions,
        ...(this.#registration === undefined ? {} : { registration: this.#registration.view }),
      }),
      clusters: () => clusterViews(this.#clusters(), clock),
      listeners: () => [
        ...[this.proxy.inbound, this.proxy.outbound].map(({ name, address, stats }) => ({
          name,
          address: address.host,
          port: address.port,
          connections: { active: stats.connectionsActive, limit: this.#limits.connections.perListener },
        })),
        { name: 'admin', address: this.#configuration.adminAddress, port: this.#adminPort },
        ...(this.#grpcAdmin === undefined
          ? []
          : [{ name: 'admin_grpc', address: this.#configuration.adminAddress, port: this.#grpcAdmin.port }]),
      ],
      policies: () => this.#policies.value,
      reloads: () => this.#policyFiles?.history ?? [],
      certificates: () => (paths === undefined || identity === undefined ? undefined : certificatesView(paths, identity.value)),
      settings: () => this.#settings(),
      uneject: (name, endpoint) => {
        const result = this.proxy.clusters.get(name)?.uneject(endpoint) ?? 'unknown_cluster';
        if (result === 'ok') log.info('endpoint taken back by hand', { cluster: name, endpoint });
        return result;
      },
      actOnBreakers: (cluster, action, target) => {
        const result = actOnBreakers(this.proxy.clusters.get(cluster), action, target);
        if (result === 'ok') log.info('circuit breaker changed by hand', { cluster, action, ...target });
        return result;
      },
      drain: () => void this.drain(),
      reopenLogs: () => this.reopenLogs(),
      reload: async () => this.reload(),
    };
  }

  #readiness(): ReadinessView {
    const { eventLoopLagMs } = this.#process;
    const stall = eventLoopLagMs >= stallMs ? `the event loop was stalled for ${Math.round(eventLoopLagMs)} ms` : undefined;
    const why = stall ?? this.proxy.overload.unready;
    if (why !== undefined || this.#state !== 'LIVE') return { ready: false, state: this.#state, ...(why === undefined ? {} : { why }) };
    const but = describeShortcomings(
      shortcomingsOf({
        identity: this.#identity,
        policyFiles: this.#policyFiles,
        registration: this.#registration?.view,
        telemetry: this.telemetry.shortcomings,
      }),
    );
    return { ready: true, state: 'LIVE', ...(but === '' ? {} : { but }) };
  }

  #clusters() {
    return [...this.proxy.clusters, this.proxy.localService];
  }

  #settings(): Readonly<Record<string, string>> {
    const known: Record<string, string> = {};
    for (const name of settingNames) {
      const { variable, fallback, secret } = settings[name];
      const value = this.#environment[variable] ?? fallback;
      if (value !== undefined) known[variable] = secret === true && value !== '' ? '(hidden)' : value;
    }
    return known;
  }
}

/** An event loop that was away for so long cannot promise anything. */
const stallMs = 1_000;

const longestFirstResolutionMs = 2_000;

const inboundTls = { strict: 'required', permissive: 'detected', off: 'off' } as const;
