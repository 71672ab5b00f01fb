import { isDeepStrictEqual } from 'node:util';
import { LimitedLog, type LogFields, type Logger } from '../../core/index.ts';
import type { Engine } from '../../http2/index.ts';
import type { ClusterPolicy } from '../../policy/index.ts';
import type { HealthCheckOptions, HealthTransition, HttpHealthCheck, TcpHealthCheck } from '../../resilience/index.ts';
import type { StatSink } from '../../telemetry/index.ts';
import { type Endpoint, Unhealthy } from '../endpoint.ts';
import type { UpstreamContext } from '../upstream-context.ts';
import { Http1Dialogue, TcpDialogue } from './dialogues.ts';
import { type CheckerOwner, EndpointChecker } from './endpoint-checker.ts';
import { HealthCheckStats } from './health-check-stats.ts';
import { Http2Probe } from './http2-probe.ts';
import type { OnVerdict, Probe, ProbeVerdict } from './probe.ts';
import { SocketProbe } from './socket-probe.ts';

export interface ClusterHealthOptions {
  readonly cluster: string;
  readonly engine: Engine;
  readonly log: Logger;
  /** From 0 to 1. */
  readonly random: () => number;
  /** For checks over connections of their own. */
  readonly context: UpstreamContext;
  /** Some call has gone to the cluster. */
  readonly hadTraffic: () => boolean;
  /** Calls may go to an endpoint, or may not any more. `joined`: it has had its first result. */
  readonly onHealthChanged: (joined: boolean) => void;
  /** A check has passed. */
  readonly onPassed: (endpoint: Endpoint) => void;
}

/** Checks that go on at once in one cluster: ten thousand endpoints are not to be connected to in one moment. */
const mostAtOnce = 100;
/** At random within it, so that a fleet does not come back to a server that restarts in one moment. */
const lookAgainMs = 1_000;

/**
 * The health checks of one cluster: a checker for each endpoint, how many of them are at it at once, and what is said in the log. It survives every
 * reload that leaves `health_checks` in the policy, and what is known of an endpoint outlives other numbers; without it nobody is left out.
 */
export class ClusterHealth implements CheckerOwner {
  readonly stats = new HealthCheckStats();
  readonly replacesConnections = true;
  readonly lookAgainMs = lookAgainMs;
  readonly engine: Engine;
  readonly random: () => number;
  readonly #options: ClusterHealthOptions;
  readonly #log: LimitedLog;
  readonly #waiting = new Set<EndpointChecker>();
  #policy: ClusterPolicy | undefined = undefined;
  /** Whoever waits for first results. */
  readonly #awaiting = new Set<{ readonly missing: Set<Endpoint>; readonly resolve: () => void }>();
  #active = 0;
  #handingOut = false;

  constructor(options: ClusterHealthOptions) {
    this.#options = options;
    this.engine = options.engine;
    this.random = options.random;
    this.#log = new LimitedLog(options.log, options.engine.clock);
  }

  /** Endpoints are checked. */
  get active(): boolean {
    return this.#policy?.healthCheck !== undefined;
  }

  get options(): HealthCheckOptions {
    return this.#policy?.healthCheck as HealthCheckOptions;
  }

  get serviceName(): string {
    return this.#policy?.serviceName ?? '';
  }

  get scheme(): 'http' | 'https' {
    return this.#policy?.tls.mode === 'disable' ? 'http' : 'https';
  }

  get hadTraffic(): boolean {
    return this.#options.hadTraffic();
  }

  get keepsAlive(): boolean {
    return (this.#policy?.keepaliveIntervalMs ?? 0) > 0;
  }

  /** Takes over the policy, for the endpoints that there are. */
  update(policy: ClusterPolicy, endpoints: readonly Endpoint[]): void {
    const former = this.#policy;
    this.#policy = policy;
    const same =
      isDeepStrictEqual(former?.healthCheck, policy.healthCheck) &&
      former?.serviceName === policy.serviceName &&
      isDeepStrictEqual(former?.tls, policy.tls);
    if (same) return;
    for (const endpoint of endpoints) {
      const { checker } = endpoint;
      checker?.close();
      if (policy.healthCheck === undefined) this.#clear(endpoint);
      else {
        this.#admit(endpoint, checker);
        endpoint.checker?.start();
      }
    }
    if (endpoints.length > 0) this.#options.onHealthChanged(true);
  }

  /** A new endpoint. `start` follows as soon as the balancer knows it. */
  admit(endpoint: Endpoint): void {
    if (this.active) this.#admit(endpoint, undefined);
  }

  /** Its first check. */
  start(endpoint: Endpoint): void {
    endpoint.checker?.start();
  }

  /** It is no longer one of the cluster's. */
  forget(endpoint: Endpoint): void {
    endpoint.checker?.close();
    this.#expectNoMore(endpoint);
  }

  /** Settles when each of these endpoints has had its first result, well or not. Bound the wait yourself: one may never have any. */
  firstResults(endpoints: readonly Endpoint[]): Promise<void> {
    const missing = new Set(endpoints.filter(({ checker }) => checker?.health.checked === false));
    if (missing.size === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#awaiting.add({ missing, resolve }));
  }

  takePlace(checker: EndpointChecker): boolean {
    if (this.#active >= mostAtOnce) {
      this.#waiting.add(checker);
      return false;
    }
    this.#active++;
    return true;
  }

  leave(checker: EndpointChecker, placed: boolean): void {
    this.#waiting.delete(checker);
    if (!placed) return;
    this.#active--;
    // A check may end before its beginning returns: one loop hands out the places, whoever gives them back meanwhile.
    if (this.#handingOut) return;
    this.#handingOut = true;
    for (const next of this.#waiting) {
      if (this.#active >= mostAtOnce) break;
      this.#waiting.delete(next);
      this.#active++;
      next.begin();
    }
    this.#handingOut = false;
  }

  createProbe(check: HttpHealthCheck | TcpHealthCheck, endpoint: Endpoint, onVerdict: OnVerdict): Probe {
    const { timeoutMs } = this.options.times;
    const { scheme, serviceName } = this;
    if (check.kind === 'http' && check.version === 'http2') {
      return new Http2Probe({ endpoint, check, authority: serviceName, scheme, timeoutMs, onVerdict });
    }
    return new SocketProbe({
      endpoint,
      policy: this.#policy as ClusterPolicy,
      context: this.#options.context,
      timeoutMs,
      alpn: check.kind === 'http' ? 'http/1.1' : 'h2',
      createDialogue: () => (check.kind === 'http' ? new Http1Dialogue(check, serviceName) : new TcpDialogue(check)),
      onVerdict,
    });
  }

  onResult(checker: EndpointChecker, verdict: ProbeVerdict, transition: HealthTransition, first: boolean): void {
    if (verdict.kind === 'unlearned') return;
    const { alwaysLogFailures } = this.options;
    const { endpoint, health } = checker;
    const changed = transition === 'changed';
    if (first) {
      endpoint.setUnhealthy(Unhealthy.uncheckedYet, false);
      this.#expectNoMore(endpoint);
    }
    endpoint.setUnhealthy(Unhealthy.failedCheck, health.failing);
    if (verdict.kind === 'passed' && checker.asked) this.#options.onPassed(endpoint);
    if (changed || first) {
      this.#logChange(checker, verdict, first);
      this.#options.onHealthChanged(first);
    } else if (verdict.kind === 'failed' && alwaysLogFailures) {
      this.#log.info('health check failed', () => ({ ...this.#fields(checker, verdict), event: 'health_check_failure' }));
    }
  }

  /** `prefix` ends in `health_check.`. As in Envoy they are there as long as health checks are configured. */
  collect(prefix: string, endpoints: readonly Endpoint[], sink: StatSink): void {
    if (!this.active) return;
    this.stats.collect(prefix, sink);
    sink.gauge(`${prefix}healthy`, endpoints.filter(({ checker }) => checker?.health.failing === false).length);
    sink.gauge(`${prefix}degraded`, 0);
    sink.gauge(`${prefix}watches`, endpoints.filter(({ checker }) => checker?.watching === true).length);
  }

  #admit(endpoint: Endpoint, former: EndpointChecker | undefined): void {
    const checker = new EndpointChecker(endpoint, this, former);
    endpoint.checker = checker;
    endpoint.setUnhealthy(Unhealthy.uncheckedYet, checker.health.failing && !checker.health.checked);
    endpoint.setUnhealthy(Unhealthy.failedCheck, checker.health.failing && checker.health.checked);
  }

  /** Its first result is there, or will never be. */
  #expectNoMore(endpoint: Endpoint): void {
    for (const awaiting of this.#awaiting) {
      awaiting.missing.delete(endpoint);
      if (awaiting.missing.size > 0) continue;
      this.#awaiting.delete(awaiting);
      awaiting.resolve();
    }
  }

  #clear(endpoint: Endpoint): void {
    this.#expectNoMore(endpoint);
    endpoint.setUnhealthy(Unhealthy.uncheckedYet, false);
    endpoint.setUnhealthy(Unhealthy.failedCheck, false);
  }

  #logChange(checker: EndpointChecker, verdict: ProbeVerdict, first: boolean): void {
    const fields = (event: string) => (): LogFields => ({
      ...this.#fields(checker, verdict),
      event,
      ...(first && { first_check: true }),
    });
    if (checker.health.failing) this.#log.warning('endpoint is not healthy', fields('eject_unhealthy'));
    else this.#log.info('endpoint is healthy', fields('add_healthy'));
  }

  #fields({ endpoint, health, method }: EndpointChecker, verdict: ProbeVerdict): LogFields {
    return {
      cluster: this.#options.cluster,
      endpoint: endpoint.key,
      health_checker: method,
      why: verdict.why,
      ...(verdict.kind === 'failed' && { failure_type: verdict.failure, failures_in_a_row: health.failuresInARow }),
    };
  }
}
