import { isDeepStrictEqual } from 'node:util';
import { type Logger, MeshError } from '../core/index.ts';
import type { EndpointSet, EndpointSource } from '../discovery/index.ts';
import { Http2Counters } from '../http2/index.ts';
import type { PeerIdentity } from '../identity/index.ts';
import type { ClusterPolicy } from '../policy/index.ts';
import {
  type Balancer,
  type Breaker,
  ConcurrencyLimits,
  createBalancer,
  RetryBudget,
  type RetryContext,
  type RollingWindow,
} from '../resilience/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';
import { ClusterBreakers } from './cluster-breakers.ts';
import { ClusterStats } from './cluster-stats.ts';
import { Endpoint, type EndpointOwner, endpointKey } from './endpoint.ts';
import type { UpstreamContext } from './upstream-context.ts';

/**
 * Room for calls in a cluster, as long as its retry budget stays the same. A call keeps the one that let it in, and gives back to
 * that one, whatever is reloaded meanwhile. It is what a `RetryMachine` needs.
 */
export class Admission implements RetryContext {
  readonly budget: RetryBudget;
  readonly limits: ConcurrencyLimits;
  readonly random: () => number;

  constructor(limits: ConcurrencyLimits, budget: RetryBudget, random: () => number) {
    this.limits = limits;
    this.budget = budget;
    this.random = random;
  }

  /** The call has ended. */
  release(): void {
    this.limits.requests.leave();
    this.budget.end();
  }
}

/**
 * One service that can be called: its endpoints with their connections, who of them gets the next attempt, and what protects
 * them. An attempt's way, all synchronous and without allocation:
 *
 * `admit` (once per call) -> `pickEndpoint` -> `breakerFor(...).tryEnter` -> `endpoint.begin` -> `endpoint.acquire` -> stream -> `endpoint.end`,
 * `breaker.succeed | fail | neutral` -> `admission.release`.
 */
export class Cluster implements EndpointOwner, StatSource {
  readonly name: string;
  readonly stats = new ClusterStats();
  readonly limits: ConcurrencyLimits;
  readonly http2Counters = new Http2Counters();
  readonly context: UpstreamContext;
  readonly breakers: ClusterBreakers;
  readonly #log: Logger;
  #policy: ClusterPolicy;
  #admission: Admission;
  #balancer: Balancer<Endpoint>;
  #endpoints: readonly Endpoint[] = [];
  readonly #leaving = new Set<Endpoint>();
  #source: EndpointSource;
  #unsubscribe: () => void;
  #sourceAnswered = false;
  #draining = false;
  #onResolved: (() => void) | undefined;
  readonly #resolved: Promise<void>;

  constructor(policy: ClusterPolicy, context: UpstreamContext, window?: RollingWindow) {
    this.name = policy.name;
    this.context = context;
    this.#log = context.log;
    this.#policy = policy;
    this.limits = new ConcurrencyLimits(policy.thresholds);
    this.#admission = new Admission(this.limits, new RetryBudget(policy.thresholds.retryBudget), context.random);
    this.#balancer = createBalancer<Endpoint>(policy.lbPolicy, context.random);
    const { clock } = context.engine;
    this.breakers = new ClusterBreakers({ cluster: policy.name, policy: policy.breaker, clock, log: context.log, window });
    this.#resolved = new Promise((resolve) => {
      this.#onResolved = resolve;
    });
    this.#source = context.createSource(policy.endpoints, policy.name);
    this.#unsubscribe = this.#source.subscribe((set) => this.#onEndpoints(set));
    this.#onEndpoints(this.#source.value);
  }

  // ---- for a call ----

  /** Lets one call in, which owes one `release()` to what it gets. `undefined`: `max_requests` is reached, see `tooManyRequests`. */
  admit(): Admission | undefined {
    if (!this.limits.requests.tryEnter()) return undefined;
    const admission = this.#admission;
    admission.budget.begin();
    return admission;
  }

  /**
   * The endpoint for the next attempt. One that the call has tried is taken only where no other is left, and one whose own breaker
   * is open never. `undefined`: see `unavailable`.
   */
  pickEndpoint(tried?: readonly Endpoint[]): Endpoint | undefined {
    const perEndpoint = this.#policy.breaker.scope === 'endpoint';
    if (perEndpoint) this.#nowMs = this.context.engine.clock.now();
    if (tried !== undefined && tried.length > 0) {
      this.#tried = tried;
      const untried = this.#balancer.pick(this.#isUntried);
      this.#tried = none;
      if (untried !== undefined) return untried;
    }
    return this.#balancer.pick(perEndpoint ? this.#isClosed : undefined);
  }

  /** How many endpoints `pickEndpoint` could still give that are not in `tried`. */
  untriedEndpoints(tried: readonly Endpoint[] | undefined): number {
    this.#nowMs = this.context.engine.clock.now();
    this.#tried = tried ?? none;
    let count = 0;
    for (const endpoint of this.#endpoints) if (this.#isUntried(endpoint)) count++;
    this.#tried = none;
    return count;
  }

  /** Whom an attempt at this endpoint has to ask and to tell. `method` is the full gRPC path. */
  breakerFor(endpoint: Endpoint, method: string): Breaker {
    return this.breakers.of(endpoint, method);
  }

  /**
   * Whether the breaker of the cluster, or of this method, would refuse an attempt now; takes nothing. Always false in scope `endpoint`,
   * where `pickEndpoint` skips what is open.
   */
  breakerRefuses(method: string, nowMs: number): boolean {
    return this.breakers.refuses(method, nowMs);
  }

  /** For a call's `RetryMachine`: what lets calls in now. A call that keeps its admission may hand over that one as well. */
  get retryContext(): RetryContext {
    return this.#admission;
  }

  // ---- what to say when it does not work ----

  /** `admit` gave nothing. */
  tooManyRequests(): MeshError {
    return new MeshError(
      'too_many_requests',
      `cluster "${this.name}": ${this.limits.requests.max} calls are in flight already (max_requests)`,
      {
        source: 'local',
        unprocessed: true,
        remedy: 'Raise max_requests of the cluster, or find out why its calls take so long',
      },
    );
  }

  /** `pickEndpoint` gave nothing: there is no endpoint, or the breakers of all of them are open. */
  unavailable(): MeshError {
    if (this.#endpoints.length > 0) return this.circuitOpen(undefined, undefined);
    const { error, source } = this.#source.value;
    const why = error === undefined ? `${source} knows none` : error;
    return new MeshError('no_endpoint', `cluster "${this.name}" has no endpoint: ${why}`, {
      source: 'local',
      unprocessed: true,
      remedy: 'Check that the service runs and is registered, and the endpoints of the cluster in the policy files',
    });
  }

  /** A breaker refused the attempt: which one is told as far as it is known. */
  circuitOpen(endpoint: Endpoint | undefined, method: string | undefined): MeshError {
    const { scope } = this.#policy.breaker;
    let place = `cluster "${this.name}"`;
    if (scope === 'method' && method !== undefined) place += `, method ${method}`;
    else if (scope === 'endpoint') place += endpoint === undefined ? ', all endpoints' : `, endpoint ${endpoint.key}`;
    return new MeshError('circuit_open', `Circuit breaker OPEN: ${place}`, {
      source: 'local',
      unprocessed: true,
      remedy: `It lets a probe through on its own; "outrider breaker reset ${this.name}" closes it at once`,
    });
  }

  // ---- for people ----

  get policy(): ClusterPolicy {
    return this.#policy;
  }

  get endpoints(): readonly Endpoint[] {
    return this.#endpoints;
  }

  /** What the source of endpoints said last. */
  get endpointSet(): EndpointSet {
    return this.#source.value;
  }

  get budget(): RetryBudget {
    return this.#admission.budget;
  }

  /** Settles when the source of endpoints has answered for the first time, well or not. Bound the wait yourself. */
  get resolved(): Promise<void> {
    return this.#resolved;
  }

  /** Whether calls may go to this endpoint: false while its own breaker is open. */
  isHealthy(endpoint: Endpoint): boolean {
    return endpoint.breaker?.refuses(this.context.engine.clock.now()) !== true;
  }

  collectStats(sink: StatSink): void {
    const prefix = `cluster.${this.name}.`;
    const { connections, pending, requests, retries } = this.limits;
    this.stats.collect(prefix, sink);
    sink.gauge(`${prefix}upstream_cx_active`, connections.active);
    sink.gauge(`${prefix}upstream_rq_pending_active`, pending.active);
    sink.counter(`${prefix}upstream_cx_overflow`, connections.overflowTotal);
    sink.counter(`${prefix}upstream_rq_pending_overflow`, pending.overflowTotal);
    sink.counter(`${prefix}upstream_rq_active_overflow`, requests.overflowTotal);
    sink.counter(`${prefix}upstream_rq_retry_overflow`, retries.overflowTotal);
    sink.gauge(`${prefix}membership_total`, this.#endpoints.length);
    sink.gauge(`${prefix}membership_healthy`, this.#endpoints.filter((endpoint) => this.isHealthy(endpoint)).length);
    this.#collectUpdates(prefix, sink);
    this.#collectThresholds(`${prefix}circuit_breakers.default.`, sink);
    this.#collectBreakers(`${prefix}circuit_breaker.`, sink);
    this.http2Counters.forEach((name, value, gauge) => {
      if (gauge) sink.gauge(`${prefix}http2.${name}`, value);
      else sink.counter(`${prefix}http2.${name}`, value);
    });
  }

  // ---- for the set of clusters ----

  /** Takes over another policy of the same name; keeps every endpoint, connection, breaker and count that it does not concern. */
  update(policy: ClusterPolicy): void {
    const former = this.#policy;
    this.#policy = policy;
    this.limits.update(policy.thresholds);
    if (!isDeepStrictEqual(former.thresholds.retryBudget, policy.thresholds.retryBudget)) {
      this.#admission = new Admission(this.limits, new RetryBudget(policy.thresholds.retryBudget), this.context.random);
    }
    this.breakers.update(policy.breaker, this.#endpoints);
    if (former.lbPolicy !== policy.lbPolicy) {
      this.#balancer = createBalancer<Endpoint>(policy.lbPolicy, this.context.random);
      this.#balancer.update(this.#endpoints);
    }
    if (former.serviceName !== policy.serviceName || !isDeepStrictEqual(former.tls, policy.tls)) {
      for (const endpoint of this.#endpoints) endpoint.replaceConnections('tls_changed');
    }
    for (const endpoint of this.#endpoints) {
      endpoint.changeKeepalive();
      // More connections may be allowed than before.
      endpoint.connectIfNeeded();
    }
    if (!isDeepStrictEqual(former.endpoints, policy.endpoints)) this.#replaceSource(policy);
  }

  /** It is in the table no more: calls under way finish, then the connections close. Resolves when the last one is gone. */
  drain(): Promise<void> {
    if (!this.#draining) {
      this.#draining = true;
      this.#endSource();
      this.#setEndpoints([]);
    }
    if (this.#leaving.size === 0) this.#onGone();
    return this.#gone;
  }

  /** Ends everything at once. */
  close(): void {
    this.#draining = true;
    this.#endSource();
    for (const endpoint of [...this.#endpoints, ...this.#leaving]) endpoint.close('closed');
    this.#endpoints = [];
    this.#balancer.update([]);
    this.breakers.dispose();
    this.#onGone();
  }

  closePeers(judge: (peer: PeerIdentity) => string | undefined): void {
    for (const endpoint of this.#endpoints) endpoint.closePeers(judge);
    for (const endpoint of this.#leaving) endpoint.closePeers(judge);
  }

  // ---- for its endpoints ----

  onConnectionGone(): void {
    if (this.limits.pending.active === 0 || this.#draining) return;
    for (const endpoint of this.#endpoints) endpoint.connectIfNeeded();
  }

  onEndpointGone(endpoint: Endpoint): void {
    this.#leaving.delete(endpoint);
    if (this.#draining && this.#leaving.size === 0) this.#onGone();
  }

  // ---- inside ----

  #tried: readonly Endpoint[] = none;
  #nowMs = 0;
  #onGone: () => void = () => {};
  readonly #gone = new Promise<void>((resolve) => {
    this.#onGone = resolve;
  });

  readonly #isClosed = (endpoint: Endpoint): boolean => endpoint.breaker === undefined || !endpoint.breaker.refuses(this.#nowMs);
  readonly #isUntried = (endpoint: Endpoint): boolean => !this.#tried.includes(endpoint) && this.#isClosed(endpoint);

  #replaceSource(policy: ClusterPolicy): void {
    this.#source.close();
    this.#unsubscribe();
    this.#sourceAnswered = false;
    this.#source = this.context.createSource(policy.endpoints, policy.name);
    this.#unsubscribe = this.#source.subscribe((set) => this.#onEndpoints(set));
    this.#onEndpoints(this.#source.value);
  }

  #endSource(): void {
    this.#unsubscribe();
    this.#source.close();
    this.#onResolved?.();
  }

  #onEndpoints(set: EndpointSet): void {
    // A source that has not answered yet knows nothing: until then the endpoints of the former one are the best there are.
    if (!this.#sourceAnswered && set.updatedAtMs === 0 && set.error === undefined && set.endpoints.length === 0) return;
    this.#sourceAnswered = true;
    if (set.error === undefined) this.stats.updateSuccess++;
    else this.stats.updateFailure++;
    this.#setEndpoints(set.endpoints);
    this.#onResolved?.();
  }

  #setEndpoints(addresses: EndpointSet['endpoints']): void {
    const former = new Map(this.#endpoints.map((endpoint) => [endpoint.key, endpoint]));
    const next = new Map<string, Endpoint>();
    for (const address of addresses) {
      const key = endpointKey(address);
      if (next.has(key)) continue;
      const known = former.get(key);
      if (known === undefined) {
        const created = new Endpoint(address, this);
        this.breakers.admit(created);
        next.set(key, created);
      } else {
        known.update(address);
        next.set(key, known);
      }
    }
    const removed = this.#endpoints.filter((endpoint) => !next.has(endpoint.key));
    if (removed.length > 0 || next.size !== former.size) this.stats.membershipChange++;
    this.#endpoints = [...next.values()];
    this.#balancer.update(this.#endpoints);
    for (const endpoint of removed) {
      this.breakers.forget(endpoint);
      this.#leaving.add(endpoint);
      endpoint.drain('endpoint_removed');
    }
    if (removed.length > 0) this.#log.info('endpoints removed', { cluster: this.name, endpoints: removed.map(({ key }) => key) });
  }

  #collectUpdates(prefix: string, sink: StatSink): void {
    const { updates } = this.#source;
    if (updates === undefined) {
      sink.counter(`${prefix}update_success`, this.stats.updateSuccess);
      sink.counter(`${prefix}update_failure`, this.stats.updateFailure);
      return;
    }
    for (const [name, value] of Object.entries(updates)) sink.counter(prefix + name, value);
  }

  #collectThresholds(prefix: string, sink: StatSink): void {
    const { connections, pending, requests, retries, trackRemaining } = this.limits;
    const { budget } = this.#admission;
    sink.gauge(`${prefix}cx_open`, connections.open ? 1 : 0);
    sink.gauge(`${prefix}rq_pending_open`, pending.open ? 1 : 0);
    sink.gauge(`${prefix}rq_open`, requests.open ? 1 : 0);
    sink.gauge(`${prefix}rq_retry_open`, retries.open || budget.retrying >= budget.limit ? 1 : 0);
    if (!trackRemaining) return;
    sink.gauge(`${prefix}remaining_cx`, connections.remaining);
    sink.gauge(`${prefix}remaining_pending`, pending.remaining);
    sink.gauge(`${prefix}remaining_rq`, requests.remaining);
    sink.gauge(`${prefix}remaining_retries`, Math.min(retries.remaining, Math.max(budget.limit - budget.retrying, 0)));
  }

  /** Of several breakers the worst state, and the sums. */
  #collectBreakers(prefix: string, sink: StatSink): void {
    const nowMs = this.context.engine.clock.now();
    let state = 0;
    let consecutiveFailures = 0;
    let failures = 0;
    let opens = 0;
    let rejected = 0;
    for (const { breaker } of this.breakers.views()) {
      const code = breakerStateCodes[breaker.stateAt(nowMs)];
      if (severity[code] > severity[state as 0 | 1 | 2]) state = code;
      consecutiveFailures = Math.max(consecutiveFailures, breaker.consecutiveFailures);
      failures += breaker.failuresTotal;
      opens += breaker.opensTotal;
      rejected += breaker.rejectedTotal;
    }
    sink.gauge(`${prefix}state`, state);
    sink.gauge(`${prefix}consecutive_failures`, consecutiveFailures);
    sink.counter(`${prefix}failures_total`, failures);
    sink.counter(`${prefix}opens_total`, opens);
    sink.counter(`${prefix}rejected_total`, rejected);
  }
}

const none: readonly Endpoint[] = [];

/** Value of `circuit_breaker.state`. */
export const breakerStateCodes = { CLOSED: 0, OPEN: 1, HALF_OPEN: 2 } as const;
const severity = { 0: 0, 2: 1, 1: 2 } as const;
