import { type Logger, type Watch, WatchSource } from '../../core/index.ts';
import type { Engine } from '../../http2/index.ts';
import type { HealthCheckOptions, HealthTransition } from '../../resilience/index.ts';
import type { StatSink, StatSource } from '../../telemetry/index.ts';
import type { Cluster } from '../cluster.ts';
import { type CheckerOwner, EndpointChecker } from './endpoint-checker.ts';
import { HealthCheckStats } from './health-check-stats.ts';
import type { ProbeVerdict } from './probe.ts';

/** How the service beside this sidecar is. */
export interface LocalHealth {
  /** `unknown`: no check has ended yet, or none is made. */
  readonly state: 'unknown' | 'serving' | 'not_serving';
  /** For people: `answers SERVING`, `connection refused (ECONNREFUSED)`. */
  readonly why: string;
  /** Wall clock: since when it is so. */
  readonly sinceMs: number;
}

export interface LocalHealthOptions {
  readonly cluster: Cluster;
  readonly engine: Engine;
  readonly log: Logger;
  /** 0: it is not checked. */
  readonly intervalMs: number;
}

const longestAnswerMs = 2_000;
/** While it does not serve: a loopback connection costs next to nothing, and traffic waits for it. */
const downIntervalMs = 1_000;
/** Nobody else asks it, and until its death is known peers send it calls. */
const lookAgainMs = 250;

/** What is expected of a service on the same machine. */
const optionsOf = (intervalMs: number): HealthCheckOptions => ({
  times: {
    timeoutMs: longestAnswerMs,
    intervalMs,
    intervalJitterMs: 0,
    intervalJitterPercent: 0,
    initialJitterMs: 0,
    unhealthyThreshold: 2,
    healthyThreshold: 1,
    noTrafficIntervalMs: intervalMs,
    noTrafficHealthyIntervalMs: intervalMs,
    unhealthyIntervalMs: Math.min(downIntervalMs, intervalMs),
    unhealthyEdgeIntervalMs: Math.min(downIntervalMs, intervalMs),
    healthyEdgeIntervalMs: intervalMs,
  },
  check: { kind: 'grpc', serviceName: '', authority: 'localhost', metadata: [], watch: false, answersSuffice: true },
  newEndpoints: 'at_once',
  ignoreNewEndpoints: false,
  alwaysLogFailures: false,
});

/**
 * Asks the service beside this sidecar how it is, by the gRPC health protocol; one that has none is well as long as it answers at all. No call is
 * refused for what this finds: there is nobody else to send it to. It is for whoever tells others, above all the registration.
 */
export class LocalServiceHealth implements Watch<LocalHealth>, CheckerOwner, StatSource {
  readonly engine: Engine;
  readonly options: HealthCheckOptions;
  readonly stats = new HealthCheckStats();
  readonly serviceName = 'localhost';
  readonly scheme = 'http';
  readonly hadTraffic = true;
  readonly keepsAlive = false;
  readonly replacesConnections = false;
  readonly lookAgainMs = lookAgainMs;
  readonly #log: Logger;
  readonly #source: WatchSource<LocalHealth>;
  readonly #checker: EndpointChecker | undefined;

  constructor({ cluster, engine, intervalMs, log }: LocalHealthOptions) {
    this.engine = engine;
    this.options = optionsOf(intervalMs);
    this.#log = log;
    const [endpoint] = cluster.endpoints;
    const checked = intervalMs > 0 && endpoint !== undefined;
    this.#source = new WatchSource<LocalHealth>({
      state: 'unknown',
      why: checked ? 'no check has ended yet' : 'it is not checked',
      sinceMs: engine.clock.wallNow(),
    });
    this.#checker = checked ? new EndpointChecker(endpoint, this) : undefined;
  }

  /** There is one service, and nothing to spread: its checks keep their interval. */
  readonly random = (): number => 1;

  get value(): LocalHealth {
    return this.#source.value;
  }

  subscribe(listener: (value: LocalHealth) => void): () => void {
    return this.#source.subscribe(listener);
  }

  /** Begins to ask. */
  start(): void {
    this.#checker?.start();
  }

  /** Nobody is asked any more. Idempotent. */
  close(): void {
    this.#checker?.close();
  }

  takePlace(): boolean {
    return true;
  }

  leave(): void {}

  createProbe(): never {
    throw new Error('the local service is asked by gRPC');
  }

  onResult(checker: EndpointChecker, verdict: ProbeVerdict, transition: HealthTransition, first: boolean): void {
    if (verdict.kind === 'unlearned' || (transition !== 'changed' && !first)) return;
    const { failing } = checker.health;
    this.#source.set({ state: failing ? 'not_serving' : 'serving', why: verdict.why, sinceMs: this.engine.clock.wallNow() });
    if (failing) this.#log.warning('local service is not healthy', { why: verdict.why });
    else this.#log.info('local service is healthy', { why: verdict.why });
  }

  collectStats(sink: StatSink): void {
    sink.gauge('local_service.health.serving', this.value.state === 'serving' ? 1 : 0);
    sink.gauge('local_service.health.not_serving', this.value.state === 'not_serving' ? 1 : 0);
    this.stats.collect('local_service.health.', sink);
  }
}
