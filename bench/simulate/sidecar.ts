import {
  type AttemptOutcome,
  Breaker,
  ConcurrencyLimits,
  CrossHopGuard,
  exhaustsRetries,
  type GiveUpReason,
  LoadBalancer,
  OutlierDetection,
  type OutlierHost,
  type OutlierListener,
  type OutlierResult,
  outlierResultOfStatus,
  type PeakLatency,
  type PooledEndpoint,
  type ReportedLoad,
  RetryBudget,
  type RetryContext,
  RetryMachine,
  RollingWindow,
} from '../../src/resilience/index.ts';
import type { EventQueue, SimulatedEvent } from './event-queue.ts';
import type { HopTally } from './hop-tally.ts';
import type { MeshPolicy } from './policies.ts';
import { ok, type ServerCall, type SimulatedServer, unavailable } from './server.ts';

const deadlineExceeded = 4;
const resourceExhausted = 8;

/** An endpoint as one sidecar sees it. */
class SimulatedEndpoint implements PooledEndpoint {
  readonly server: SimulatedServer;
  readonly key: string;
  readonly weight = 1;
  readonly priority = 0;
  readonly locality = '';
  readonly localityWeight = undefined;
  readonly metadata = undefined;
  readonly sinceMs: number;
  activeRequests = 0;
  latency: PeakLatency | undefined = undefined;
  reportedLoad: ReportedLoad | undefined = undefined;
  healthy = true;
  outlier: OutlierHost | undefined = undefined;
  breaker: Breaker | undefined = undefined;

  constructor(server: SimulatedServer, sinceMs: number) {
    this.server = server;
    this.key = server.key;
    this.sinceMs = sinceMs;
  }
}

/**
 * The outbound half of one sidecar, with one cluster: the real machines, put together as `src/proxy` and `src/upstream` put them together, on
 * virtual time. What is left out is the wire.
 */
export class SimulatedSidecar implements RetryContext, OutlierListener<SimulatedEndpoint> {
  readonly policy: MeshPolicy;
  readonly events: EventQueue;
  readonly random: () => number;
  readonly limits: ConcurrencyLimits;
  readonly budget: RetryBudget;
  readonly guard: CrossHopGuard | undefined;
  readonly tally: HopTally;
  /** Servers that cannot be reached from here, though they are well. */
  unreachable: ReadonlySet<SimulatedServer> = new Set();
  readonly #balancer: LoadBalancer<SimulatedEndpoint>;
  readonly #window: RollingWindow | undefined;
  readonly #breaker: Breaker | undefined;
  readonly #outliers: OutlierDetection<SimulatedEndpoint> | undefined;
  #endpoints: readonly SimulatedEndpoint[] = [];
  #tried: readonly SimulatedEndpoint[] = [];

  constructor(policy: MeshPolicy, servers: readonly SimulatedServer[], events: EventQueue, random: () => number, tally: HopTally) {
    this.policy = policy;
    this.events = events;
    this.random = random;
    this.tally = tally;
    this.limits = new ConcurrencyLimits(policy.thresholds);
    this.budget = new RetryBudget(policy.budget ?? policy.thresholds.retryBudget);
    this.guard = policy.crossHopGuard ? new CrossHopGuard() : undefined;
    this.#balancer = new LoadBalancer<SimulatedEndpoint>(policy.loadBalancer, random);
    const { failureRate } = policy.breaker;
    if (failureRate !== undefined) this.#window = new RollingWindow(events.nowMs, { windowMs: failureRate.windowMs, buckets: 10 });
    this.#breaker = policy.breaker.scope === 'endpoint' ? undefined : new Breaker(policy.breaker, this.#window);
    if (policy.outlier !== undefined) {
      this.#outliers = new OutlierDetection<SimulatedEndpoint>(policy.outlier, this, random);
      this.#sweepLater(policy.outlier.intervalMs);
    }
    this.discover(servers);
  }

  /** What discovery says from now on. */
  discover(servers: readonly SimulatedServer[]): void {
    const former = new Map(this.#endpoints.map((endpoint) => [endpoint.server, endpoint]));
    this.#endpoints = servers.map((server) => {
      const known = former.get(server);
      former.delete(server);
      return known ?? this.#admit(server);
    });
    for (const gone of former.values()) this.#outliers?.forget(gone);
    this.#balancer.update(this.#endpoints);
  }

  /** One call of the program beside this sidecar. `done` hears its end, once. */
  call(trace: string, dueMs: number, done: (status: number) => void): void {
    if (!this.limits.requests.tryEnter()) {
      this.tally.refused++;
      done(resourceExhausted);
      return;
    }
    this.budget.begin();
    new SimulatedCall(this, trace, dueMs, done).startAttempt();
  }

  pick(tried: readonly SimulatedEndpoint[]): SimulatedEndpoint | undefined {
    const { nowMs } = this.events;
    const perEndpoint = this.policy.breaker.scope === 'endpoint';
    if (tried.length > 0) {
      this.#tried = tried;
      const untried = this.#balancer.pick(this.#isUntried, nowMs, undefined);
      this.#tried = [];
      if (untried !== undefined) return untried;
    }
    return this.#balancer.pick(perEndpoint ? this.#isClosed : undefined, nowMs, undefined);
  }

  untried(tried: readonly SimulatedEndpoint[]): number {
    const plain = this.policy.breaker.scope !== 'endpoint' && this.#outliers === undefined;
    if (plain) return this.#endpoints.length - new Set(tried).size;
    this.#tried = tried;
    let count = 0;
    for (const endpoint of this.#endpoints) if (this.#isUntried(endpoint) && this.#balancer.isAvailable(endpoint, undefined)) count++;
    this.#tried = [];
    return count;
  }

  breakerOf(endpoint: SimulatedEndpoint): Breaker {
    return endpoint.breaker ?? (this.#breaker as Breaker);
  }

  /** Whether an attempt would be refused, wherever it went. */
  get refuses(): boolean {
    const { nowMs } = this.events;
    return this.#breaker?.refuses(nowMs) ?? this.#endpoints.every(({ breaker }) => breaker?.refuses(nowMs) === true);
  }

  judge(endpoint: SimulatedEndpoint, result: OutlierResult): void {
    if (endpoint.outlier !== undefined) this.#outliers?.report(endpoint, endpoint.outlier, result, this.events.nowMs);
  }

  onEjection(endpoint: SimulatedEndpoint, _host: OutlierHost, _kind: unknown, enforced: boolean): void {
    if (!enforced) return;
    endpoint.healthy = false;
    this.#balancer.healthChanged();
  }

  onReturn(endpoint: SimulatedEndpoint): void {
    endpoint.healthy = true;
    this.#balancer.healthChanged();
  }

  readonly #isClosed = ({ breaker }: SimulatedEndpoint): boolean => breaker === undefined || !breaker.refuses(this.events.nowMs);
  readonly #isUntried = (endpoint: SimulatedEndpoint): boolean => !this.#tried.includes(endpoint) && this.#isClosed(endpoint);

  #admit(server: SimulatedServer): SimulatedEndpoint {
    const endpoint = new SimulatedEndpoint(server, this.events.nowMs);
    if (this.policy.breaker.scope === 'endpoint') endpoint.breaker = new Breaker(this.policy.breaker, this.#window);
    endpoint.outlier = this.#outliers?.admit(endpoint);
    return endpoint;
  }

  #sweepLater(intervalMs: number): void {
    this.events.after(intervalMs, () => {
      this.#outliers?.sweep(this.events.nowMs);
      this.#sweepLater(intervalMs);
    });
  }
}

/** One call with its attempts: `Call` and `Attempt` of `src/proxy` without streams. */
class SimulatedCall {
  readonly #sidecar: SimulatedSidecar;
  readonly #trace: string;
  readonly #startMs: number;
  readonly #dueMs: number;
  readonly #done: (status: number) => void;
  readonly #deadline: SimulatedEvent;
  #machine: RetryMachine | undefined;
  #tried: SimulatedEndpoint[] = [];
  #attempt: SimulatedAttempt | undefined;
  #reached = false;
  #finished = false;

  constructor(sidecar: SimulatedSidecar, trace: string, dueMs: number, done: (status: number) => void) {
    this.#sidecar = sidecar;
    this.#trace = trace;
    this.#startMs = sidecar.events.nowMs;
    this.#dueMs = dueMs;
    this.#done = done;
    this.#deadline = sidecar.events.at(dueMs, () => {
      this.#attempt?.abandon();
      this.#finish(deadlineExceeded);
    });
  }

  startAttempt(): void {
    if (this.#finished) return;
    const { breakerOf, events, tally } = this.#sidecar;
    const endpoint = this.#sidecar.pick(this.#tried);
    if (endpoint === undefined) {
      this.#finish(unavailable);
      return;
    }
    const breaker = breakerOf.call(this.#sidecar, endpoint);
    const permit = breaker.tryEnter(events.nowMs);
    if (permit === 0) {
      tally.circuitOpen++;
      this.#tellAbove('circuit_open');
      this.#finish(unavailable);
      return;
    }
    const attempt = new SimulatedAttempt(this, endpoint, breaker, permit, this.#trace, this.#dueMs, this.#sidecar);
    this.#attempt = attempt;
    if (endpoint.server.ailment.down || this.#sidecar.unreachable.has(endpoint.server)) {
      attempt.failToConnect(this.#sidecar.untried([...this.#tried, endpoint]) > 0);
      return;
    }
    if (!this.#reached) {
      this.#reached = true;
      tally.calls++;
    }
    tally.attempts++;
    endpoint.server.arrive(attempt);
  }

  onSucceeded(): void {
    this.#finish(ok);
  }

  onFailed(endpoint: SimulatedEndpoint, outcome: AttemptOutcome, status: number, noRetry: boolean): void {
    if (this.#finished) return;
    const sidecar = this.#sidecar;
    const { events } = sidecar;
    this.#tried.push(endpoint);
    this.#machine ??= new RetryMachine(sidecar.policy.retry, undefined, sidecar);
    const decision = this.#machine.decide(outcome, {
      nowMs: events.nowMs,
      startMs: this.#startMs,
      dueMs: this.#dueMs,
      committed: false,
      untriedEndpoints: sidecar.untried(this.#tried),
      breakerOpen: sidecar.refuses,
      pushback: noRetry ? '-1' : undefined,
    });
    if (decision.kind === 'retry') {
      if (decision.delayMs <= 0) this.startAttempt();
      else events.after(decision.delayMs, () => this.startAttempt());
      return;
    }
    this.#tellAbove(decision.why);
    this.#finish(status);
  }

  #tellAbove(why: GiveUpReason): void {
    const { guard, events } = this.#sidecar;
    if (exhaustsRetries(why, this.#machine?.previousAttempts ?? 0)) guard?.outboundFailed(this.#trace, events.nowMs);
  }

  #finish(status: number): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#deadline.fire = undefined;
    this.#machine?.finish();
    this.#sidecar.limits.requests.leave();
    this.#sidecar.budget.end();
    this.#done(status);
  }
}

class SimulatedAttempt implements ServerCall {
  readonly trace: string;
  readonly dueMs: number;
  cancelled = false;
  readonly #call: SimulatedCall;
  readonly #endpoint: SimulatedEndpoint;
  readonly #breaker: Breaker;
  readonly #permit: number;
  readonly #sidecar: SimulatedSidecar;
  readonly #startedMs: number;
  #concluded = false;

  constructor(
    call: SimulatedCall,
    endpoint: SimulatedEndpoint,
    breaker: Breaker,
    permit: number,
    trace: string,
    dueMs: number,
    sidecar: SimulatedSidecar,
  ) {
    this.#call = call;
    this.#endpoint = endpoint;
    this.#breaker = breaker;
    this.#permit = permit;
    this.trace = trace;
    this.dueMs = dueMs;
    this.#sidecar = sidecar;
    this.#startedMs = sidecar.events.nowMs;
    endpoint.activeRequests++;
  }

  answer(status: number, noRetry: boolean): void {
    if (this.#concluded) return;
    const relayed = noRetry && this.#sidecar.policy.relayedFailures === 'neutral';
    if (relayed) this.#conclude('neutral', undefined);
    else this.#conclude(this.#breaker.isFailure(status) ? 'fail' : 'succeed', outlierResultOfStatus(status));
    if (status === ok) this.#call.onSucceeded();
    else this.#call.onFailed(this.#endpoint, { kind: 'grpc', status }, status, noRetry);
  }

  /** Says nothing about the cluster while the call can still go elsewhere. */
  failToConnect(othersLeft: boolean): void {
    this.#conclude(othersLeft && this.#sidecar.policy.breaker.scope !== 'endpoint' ? 'neutral' : 'fail', 'local_origin_failure');
    this.#call.onFailed(this.#endpoint, { kind: 'connect_failure' }, unavailable, false);
  }

  /** The caller's deadline has passed. */
  abandon(): void {
    if (!this.#concluded) this.#conclude('neutral', undefined);
  }

  #conclude(result: 'succeed' | 'fail' | 'neutral', judged: OutlierResult | undefined): void {
    this.#concluded = true;
    this.cancelled = true;
    const { nowMs } = this.#sidecar.events;
    const { latency } = this.#endpoint;
    this.#endpoint.activeRequests--;
    const elapsedMs = nowMs - this.#startedMs;
    if (latency !== undefined && result === 'succeed') latency.observe(elapsedMs, nowMs);
    if (latency !== undefined && result === 'fail') latency.observeFailure(elapsedMs, nowMs);
    if (judged !== undefined) this.#sidecar.judge(this.#endpoint, judged);
    if (this.#breaker.isSlow(elapsedMs)) this.#breaker.failSlowly(this.#permit, nowMs);
    else this.#breaker[result](this.#permit, nowMs);
  }
}
