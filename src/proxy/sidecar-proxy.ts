import type { Logger, Timer, Watch } from '../core/index.ts';
import type { EndpointSource } from '../discovery/index.ts';
import { type Connection, defaultHttp2Options, type Engine, type Http2Options } from '../http2/index.ts';
import type { Identity, TlsVersion } from '../identity/index.ts';
import type { EndpointSourcePolicy, PolicyTable } from '../policy/index.ts';
import { CrossHopGuard } from '../resilience/index.ts';
import type { CallMetrics, CallObserver, CallTracer, StatSink, StatSource } from '../telemetry/index.ts';
import { Cluster, ClusterSet, LocalServiceHealth, localServicePolicy } from '../upstream/index.ts';
import { Call } from './call.ts';
import { DirectionProxy } from './direction-proxy.ts';
import { Listener, type ListenerTls } from './listener.ts';
import { type ConnectionLimitOptions, ConnectionLimits } from './overload/connection-limits.ts';
import { Overload } from './overload/overload.ts';
import { ReplayBuffers } from './replay-buffer.ts';
import { collectSums } from './traffic/stat-sums.ts';

export interface ProxyOptions {
  readonly engine: Engine;
  readonly log: Logger;
  /** From 0 to 1, for balancers and back-off. */
  readonly random: () => number;
  readonly policies: Watch<PolicyTable>;
  /** `undefined`: no TLS anywhere. */
  readonly identity: Watch<Identity> | undefined;
  readonly callMetrics: CallMetrics;
  readonly createSource: (policy: EndpointSourcePolicy, serviceName: string) => EndpointSource;
  /** Whether services without a policy are found by their names. */
  readonly discoversNames?: boolean;
  readonly serviceName: string;
  /** Where it runs, `region/zone/sub_zone`; left out where nobody said. */
  readonly locality?: string;
  readonly trustDomain: string;
  readonly tlsMinimum: TlsVersion;
  readonly inbound: { readonly host: string; readonly port: number; readonly tls: ListenerTls };
  readonly outbound: { readonly host: string; readonly port: number };
  readonly localService: {
    readonly host: string;
    readonly port: number;
    /** How often it is asked how it is, in milliseconds; 0: never. */
    readonly healthIntervalMs: number;
  };
  readonly connectionLimits: ConnectionLimitOptions;
  /** Resident memory that the process may use; infinite where nobody set a limit. */
  readonly memoryLimitBytes: number;
  /** Who hears of each call of either direction that has ended. */
  readonly observers?: readonly CallObserver[];
  /** Left out where tracing is off. */
  readonly tracer?: CallTracer;
}

export interface DrainOptions {
  /** How long new connections are still served, in milliseconds. */
  readonly delayMs: number;
  /** When what is left ends with `draining`, in milliseconds from the beginning. */
  readonly timeoutMs: number;
}

/** A local service resets its calls at will: it is ours, and no attacker. */
const outboundHttp2: Partial<Http2Options> = { resetBurst: 2_000, resetsPerSecond: 330 };

/** Both directions of one sidecar: listeners, policies, clusters. */
export class SidecarProxy implements StatSource {
  readonly inbound: Listener;
  readonly outbound: Listener;
  readonly clusters: ClusterSet;
  readonly localService: Cluster;
  /** How the service beside this sidecar is. */
  readonly localHealth: LocalServiceHealth;
  readonly replayBuffers = new ReplayBuffers();
  /** Whoever samples the process tells it. */
  readonly overload: Overload;
  readonly connectionLimits: ConnectionLimits;
  readonly #options: ProxyOptions;
  readonly #inboundCalls: DirectionProxy;
  readonly #outboundCalls: DirectionProxy;
  readonly #unsubscribe: () => void;
  #draining: Promise<void> | undefined;
  #drainTimers: readonly Timer[] = [];

  constructor(options: ProxyOptions) {
    this.#options = options;
    const { callMetrics, engine, policies, serviceName } = options;
    const table = policies.value;
    this.overload = new Overload(engine, options.log, options);
    this.connectionLimits = new ConnectionLimits(options.connectionLimits);
    const upstream = { ...options, http2: defaultHttp2Options, sockets: options.connectionLimits.sockets };
    this.clusters = new ClusterSet(upstream);
    this.clusters.apply(table);
    this.localService = new Cluster(
      localServicePolicy(options.localService.host, options.localService.port, table.defaultCluster),
      upstream,
    );
    this.localHealth = new LocalServiceHealth({
      cluster: this.localService,
      engine,
      log: options.log,
      intervalMs: options.localService.healthIntervalMs,
    });
    const shared = {
      engine,
      callMetrics,
      replayBuffers: this.replayBuffers,
      overload: this.overload,
      guard: new CrossHopGuard(),
      random: options.random,
      trustDomain: options.trustDomain,
      ...(options.observers === undefined ? {} : { observers: options.observers }),
      ...(options.tracer === undefined ? {} : { tracer: options.tracer }),
    };
    this.#inboundCalls = new DirectionProxy(
      { ...shared, direction: 'inbound', cluster: () => this.localService, serviceLabel: () => serviceName },
      table,
    );
    this.#outboundCalls = new DirectionProxy(
      {
        ...shared,
        direction: 'outbound',
        cluster: (name) => this.clusters.get(name),
        demand: (name) => this.clusters.demand(name),
        serviceLabel: (name) => name,
      },
      table,
    );
    this.clusters.onReleased = (name) => this.#outboundCalls.table.forget(name);
    this.inbound = this.#createListener('inbound', table);
    this.outbound = this.#createListener('outbound', table);
    this.#unsubscribe = policies.subscribe((next) => this.#use(next));
  }

  /** Listens. Rejects with a ConfigurationError where a port cannot be had; nothing is left open then. */
  async start(): Promise<void> {
    try {
      await this.inbound.start();
      await this.outbound.start();
      this.localHealth.start();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** What all its connections share: pools, and the accounts of memory. */
  get engine(): Engine {
    return this.#options.engine;
  }

  get draining(): boolean {
    return this.#draining !== undefined;
  }

  /**
   * Ends without harm: inbound says GOAWAY in two steps and finishes what it has, while outbound still serves the calls that those
   * need; then outbound likewise. What outlives the timeout ends with `draining`. Resolves when everything is closed.
   */
  drain(options: DrainOptions): Promise<void> {
    this.#draining ??= this.#drain(options);
    return this.#draining;
  }

  async #drain({ delayMs, timeoutMs }: DrainOptions): Promise<void> {
    const { clock } = this.#options.engine;
    const delay = Promise.withResolvers<void>();
    const timeout = Promise.withResolvers<void>();
    const onTimeout = (): void => {
      this.#endCalls();
      timeout.resolve();
    };
    this.#drainTimers = [clock.setTimer(delay.resolve, delayMs), clock.setTimer(onTimeout, timeoutMs)];
    await Promise.race([this.#drainInOrder(delayMs > 0 ? delay.promise : undefined), timeout.promise]);
    await this.close();
  }

  async #drainInOrder(delay: Promise<void> | undefined): Promise<void> {
    if (delay !== undefined) await delay;
    this.inbound.drain('drain');
    await this.inbound.whenEmpty();
    this.outbound.drain('drain');
    await this.outbound.whenEmpty();
    await this.clusters.drain();
    this.localHealth.close();
    await this.localService.drain();
  }

  /** Ends everything now. Idempotent. */
  async close(): Promise<void> {
    this.#unsubscribe();
    for (const timer of this.#drainTimers) timer.cancel();
    await Promise.all([this.inbound.close(), this.outbound.close()]);
    this.clusters.close();
    this.localHealth.close();
    this.localService.close();
  }

  collectStats(sink: StatSink): void {
    for (const part of this.statParts()) part.collectStats(sink);
  }

  *statParts(): Generator<StatSource> {
    yield { collectStats: (sink) => this.#collectOwnStats(sink) };
    yield* this.clusters.statParts();
  }

  #collectOwnStats(sink: StatSink): void {
    this.inbound.stats.collectStats(sink);
    this.outbound.stats.collectStats(sink);
    collectSums([this.#inboundCalls, this.#outboundCalls], sink);
    this.localService.collectStats(sink);
    this.localHealth.collectStats(sink);
    this.overload.collectStats(sink);
    const { active, options } = this.connectionLimits;
    sink.gauge('server.total_connections', active);
    sink.gauge('server.sockets', options.sockets.inUse);
    const { engine } = this.#options;
    sink.gauge('server.buffered_bytes', engine.bufferedBytes);
    sink.gauge('server.unfinished_bytes', engine.unfinishedBytes);
    sink.gauge('server.granted_bytes', engine.grantedBytes);
    sink.gauge('server.output_bytes', engine.outputBytes);
    sink.gauge('server.replay_bytes', this.replayBuffers.usedBytes);
    sink.gauge('server.deadlines_armed', engine.wheel.armed);
    sink.gauge('server.header_blocks_out', engine.blocksOut);
    sink.gauge('server.slabs_out', engine.slabsOut);
    sink.gauge('server.connections_waiting_to_be_read', engine.turns.waiting);
    sink.counter('server.reads_deferred', engine.turns.deferred);
  }

  #use(table: PolicyTable): void {
    this.clusters.apply(table);
    this.#inboundCalls.use(table);
    this.#outboundCalls.use(table);
    this.inbound.limitStreams(table.maxConcurrentStreams);
    this.outbound.limitStreams(table.maxConcurrentStreams);
    this.inbound.limitAge(table.connectionAge.inbound);
    this.outbound.limitAge(table.connectionAge.outbound);
  }

  #endCalls(): void {
    for (const listener of [this.inbound, this.outbound]) {
      for (const connection of listener.connections) endCalls(connection, (call) => call.endByDrain());
    }
  }

  #createListener(name: 'inbound' | 'outbound', table: PolicyTable): Listener {
    const { engine, identity, inbound, log, outbound, tlsMinimum } = this.#options;
    const isInbound = name === 'inbound';
    const tls = isInbound ? inbound.tls : identity === undefined ? 'off' : 'detected';
    const limits = isInbound ? {} : outboundHttp2;
    const calls = isInbound ? this.#inboundCalls : this.#outboundCalls;
    return new Listener(
      {
        name,
        ...(isInbound ? { host: inbound.host, port: inbound.port } : outbound),
        tls,
        verifyClients: isInbound,
        limitSources: isInbound,
        minimumTls: tlsMinimum,
        http2: { ...defaultHttp2Options, ...limits, maxConcurrentStreams: table.maxConcurrentStreams },
        age: table.connectionAge[name],
      },
      {
        engine,
        log,
        limits: this.connectionLimits,
        overload: this.overload,
        identity,
        onRequest: calls.onRequest,
        shedding: calls.shedding,
        random: this.#options.random,
        endAgedCalls: (connection) => endCalls(connection, (call) => call.endByAge()),
      },
    );
  }
}

const endCalls = (connection: Connection, end: (call: Call) => void): void => {
  for (const handler of connection.handlers()) if (handler instanceof Call) end(handler);
};
