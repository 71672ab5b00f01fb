// Above 500 lines: what a call asks of its cluster in one place; breakers, outliers, limits, health and refusals have files of their own.
import { isDeepStrictEqual } from 'node:util';
import type { Logger, MeshError } from '../core/index.ts';
import type { Departure, EndpointAddress, EndpointSet, EndpointSource, EndpointUpdateCounts } from '../discovery/index.ts';
import { Http2Counters } from '../http2/index.ts';
import type { PeerIdentity } from '../identity/index.ts';
import type { ClusterPolicy } from '../policy/index.ts';
import {
  type Breaker,
  ConcurrencyLimits,
  defaultThresholds,
  LoadBalancer,
  type OutlierResult,
  type PickWish,
  RetryBudget,
  type RetryContext,
  type RollingWindow,
  type ThresholdOptions,
} from '../resilience/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';
import { AdaptiveLimit } from './adaptive-limit.ts';
import { Admission } from './admission.ts';
import { ClusterBreakers } from './cluster-breakers.ts';
import { ClusterMembers, endpointsAtOnce, type MembersOwner } from './cluster-members.ts';
import { ClusterOutliers } from './cluster-outliers.ts';
import {
  allBusy,
  allUnhealthy,
  circuitOpen,
  noEndpoint,
  noSubset,
  tooFewHealthy,
  tooManyRequests,
  tooMuchAtOnce,
} from './cluster-refusals.ts';
import { collectClusterStats } from './cluster-stat-source.ts';
import { ClusterStats } from './cluster-stats.ts';
import { Endpoint, type EndpointOwner, Unhealthy } from './endpoint.ts';
import { ClusterHealth } from './health/cluster-health.ts';
import type { UpstreamContext } from './upstream-context.ts';

/**
 * One service that can be called: its endpoints with their connections, who of them gets the next attempt, and what protects
 * them. An attempt's way, all synchronous and without allocation:
 *
 * `admit` (once per call) -> `pickEndpoint` -> `breakerFor(...).tryEnter` -> `endpoint.begin` -> `endpoint.acquire` -> stream -> `endpoint.end`,
 * `breaker.succeed | fail | neutral` -> `admission.release`.
 */
export class Cluster implements EndpointOwner, MembersOwner, StatSource {
  readonly name: string;
  /** No policy has it: a call has named it. */
  onDemand = false;
  readonly stats = new ClusterStats();
  readonly limits: ConcurrencyLimits;
  readonly http2Counters = new Http2Counters();
  readonly context: UpstreamContext;
  readonly breakers: ClusterBreakers;
  readonly outliers: ClusterOutliers;
  readonly health: ClusterHealth;
  readonly #log: Logger;
  #policy: ClusterPolicy;
  /** `undefined`: any number of calls may be under way. */
  adaptiveLimit: AdaptiveLimit | undefined = undefined;
  #admission: Admission;
  /** Of calls with priority HIGH; there is none before the first of them. */
  #highAdmission: Admission | undefined = undefined;
  #balancer: LoadBalancer<Endpoint>;
  readonly #members = new ClusterMembers(this);
  readonly #leaving = new Set<Endpoint>();
  #source: EndpointSource;
  #unsubscribe: () => void;
  #sourceAnswered = false;
  readonly #sinceWallMs: number;
  #draining = false;
  #onResolved: (() => void) | undefined;
  readonly #resolved: Promise<void>;

  constructor(policy: ClusterPolicy, context: UpstreamContext, window?: RollingWindow) {
    this.name = policy.name;
    this.context = context;
    this.#sinceWallMs = context.engine.clock.wallNow();
    this.#log = context.log;
    this.#policy = policy;
    this.limits = new ConcurrencyLimits(policy.thresholds);
    this.#admission = new Admission(this.limits, new RetryBudget(policy.thresholds.retryBudget), context.random);
    this.#balancer = new LoadBalancer<Endpoint>(policy.loadBalancer, context.random, undefined, context.zones);
    this.outliers = new ClusterOutliers({
      cluster: policy.name,
      engine: context.engine,
      log: context.log,
      random: context.random,
      onHealthChanged: () => this.#onHealthChanged(false),
    });
    this.outliers.update(policy.outlierDetection, []);
    this.#adapt(policy);
    this.health = new ClusterHealth({
      cluster: policy.name,
      engine: context.engine,
      log: context.log,
      random: context.random,
      context,
      hadTraffic: () => this.stats.upstreamRqTotal > 0,
      onHealthChanged: (joined) => this.#onHealthChanged(joined),
      onPassed: (endpoint) => this.#onCheckPassed(endpoint),
    });
    this.health.update(policy, []);
    const { clock } = context.engine;
    this.breakers = new ClusterBreakers({ cluster: policy.name, policy: policy.breaker, clock, log: context.log, window });
    this.#resolved = new Promise((resolve) => {
      this.#onResolved = resolve;
    });
    this.#source = context.createSource(policy.endpoints, policy.serviceName);
    this.#unsubscribe = this.#source.subscribe((set) => this.#onEndpoints(set, true));
    this.#onEndpoints(this.#source.value);
  }

  // ---- for a call ----

  /** Lets one call in, which owes one `release()` to what it gets. `undefined`: `max_requests` is reached, see `tooManyRequests`. */
  admit(high = false): Admission | undefined {
    const admission = high ? this.#high : this.#admission;
    if (!admission.limits.requests.tryEnter()) return undefined;
    admission.budget.begin();
    return admission;
  }

  /**
   * The endpoint for the next attempt. One that the call has tried is taken only where no other is left, and one whose own breaker
   * is open never. `undefined`: see `unavailable`.
   */
  pickEndpoint(tried?: readonly Endpoint[], wish?: PickWish): Endpoint | undefined {
    const { nowMs } = this.context.engine;
    const perEndpoint = this.#policy.breaker.scope === 'endpoint';
    if (perEndpoint) this.#nowMs = this.context.engine.clock.now();
    if (tried !== undefined && tried.length > 0) {
      this.#tried = tried;
      const untried = this.#balancer.pick(this.#isUntried, nowMs, wish);
      this.#tried = none;
      if (untried !== undefined) return untried;
    }
    return this.#balancer.pick(perEndpoint ? this.#isClosed : undefined, nowMs, wish);
  }

  /** How many endpoints `pickEndpoint` could still give that are not in `tried`; counted up to sixteen, since nobody asks for more. */
  untriedEndpoints(tried: readonly Endpoint[] | undefined, wish?: PickWish): number {
    this.#nowMs = this.context.engine.clock.now();
    this.#tried = tried ?? none;
    let count = 0;
    for (const endpoint of this.endpoints) {
      if (this.#isUntried(endpoint) && this.#balancer.isAvailable(endpoint, wish)) count++;
      if (count === untriedCounted) break;
    }
    this.#tried = none;
    return count;
  }

  /** An attempt at this endpoint has ended; only those are told that say something about it. */
  judge(endpoint: Endpoint, result: OutlierResult, nowMs: number): void {
    if (endpoint.outlier !== undefined) this.outliers.detection?.report(endpoint, endpoint.outlier, result, nowMs);
  }

  /** What the balancer looks at beside the endpoints: the hash of a call, the latency of answers, reports of load. */
  get balancer(): Pick<LoadBalancer<Endpoint>, 'wantsHash' | 'wantsLatency' | 'wantsLoadReports' | 'counts' | 'subsets' | 'loads'> {
    return this.#balancer;
  }

  /** By hand: ends the ejection of the endpoint `host:port`. */
  uneject(key: string): 'ok' | 'not_ejected' | 'unknown_endpoint' {
    const endpoint = this.endpoints.find((each) => each.key === key);
    if (endpoint === undefined) return 'unknown_endpoint';
    return this.outliers.detection?.uneject(endpoint) === true ? 'ok' : 'not_ejected';
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
  tooManyRequests(high = false): MeshError {
    return tooManyRequests(this, high ? this.#high.limits : this.limits);
  }

  /** `pickEndpoint` gave nothing: there is no endpoint, none that the route asks for, all are ejected, or the breakers of all are open. */
  unavailable(wish?: PickWish): MeshError {
    this.stats.upstreamCxNoneHealthy++;
    if (this.endpoints.length === 0) return this.#source.value.allBusy === true ? allBusy(this) : noEndpoint(this);
    if (this.endpoints.some((endpoint) => this.#balancer.isAvailable(endpoint, wish))) return circuitOpen(this, undefined, undefined);
    if (this.endpoints.every(({ healthy }) => !healthy)) return allUnhealthy(this);
    return this.#balancer.failsForPanic ? tooFewHealthy(this) : noSubset(this, wish?.subset);
  }

  /** A breaker refused the attempt; it is named as far as the scope tells. */
  circuitOpen(endpoint: Endpoint, method: string): MeshError {
    return circuitOpen(this, endpoint, method);
  }

  /** `adaptiveLimit` let the call in no more. */
  tooMuchAtOnce(): MeshError {
    return tooMuchAtOnce(this);
  }

  // ---- for people ----

  get policy(): ClusterPolicy {
    return this.#policy;
  }

  get endpoints(): readonly Endpoint[] {
    return this.#members.list;
  }

  /** Those that are its endpoints no more, and whose calls and connections have not ended yet. */
  get leaving(): ReadonlySet<Endpoint> {
    return this.#leaving;
  }

  /** What the source of endpoints said last. */
  get endpointSet(): EndpointSet {
    return this.#source.value;
  }

  /** Whether the source of endpoints has answered, well or not. */
  get answered(): boolean {
    return this.#sourceAnswered;
  }

  /** It was made by its name alone, and nobody has known that name so far. */
  get isUnknown(): boolean {
    return this.onDemand && this.stats.membershipChange === 0 && this.endpoints.length === 0;
  }

  /** Limits and budget of calls with priority HIGH; `undefined`: nobody wrote any, and there were none of them. */
  get highPriority(): Admission | undefined {
    return this.#policy.highThresholds === undefined ? this.#highAdmission : this.#high;
  }

  /** How long the source of endpoints has not been able to say whether they are still right, in milliseconds; 0 while it can. */
  get stalenessMs(): number {
    const { error, partial, updatedAtMs } = this.#source.value;
    if (error === undefined || partial === true || this.#source.updates === undefined) return 0;
    return Math.max(this.context.engine.clock.wallNow() - (updatedAtMs === 0 ? this.#sinceWallMs : updatedAtMs), 0);
  }

  get budget(): RetryBudget {
    return this.#admission.budget;
  }

  /** Settles when the source of endpoints has answered for the first time, well or not. Bound the wait yourself. */
  get resolved(): Promise<void> {
    return this.#resolved;
  }

  /** Whether calls are to go to this endpoint: false while it is ejected, or its own breaker is open. */
  isHealthy(endpoint: Endpoint): boolean {
    return endpoint.healthy && !this.isOpen(endpoint);
  }

  /** Whether the breaker of this endpoint would refuse an attempt now. */
  isOpen(endpoint: Endpoint): boolean {
    return endpoint.breaker?.refuses(this.context.engine.clock.now()) === true;
  }

  /** How often the source of endpoints has asked, where it asks somebody. */
  get endpointUpdates(): EndpointUpdateCounts | undefined {
    return this.#source.updates;
  }

  /** Instances that the source of endpoints lists no longer, and why. */
  get departures(): readonly Departure[] {
    return this.#source.departures ?? [];
  }

  collectStats(sink: StatSink): void {
    collectClusterStats(this, sink);
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
    this.#updateHigh(former.highThresholds ?? defaultThresholds, policy.highThresholds ?? defaultThresholds);
    this.#adapt(policy);
    this.breakers.update(policy.breaker, this.endpoints);
    if (!isDeepStrictEqual(former.loadBalancer, policy.loadBalancer)) {
      this.#balancer = new LoadBalancer<Endpoint>(policy.loadBalancer, this.context.random, this.#balancer.counts, this.context.zones);
      for (const endpoint of this.endpoints) {
        // What the new one does not look at is not to be measured for it.
        if (!this.#balancer.wantsLatency) endpoint.latency = undefined;
        if (!this.#balancer.wantsLoadReports) endpoint.reportedLoad = undefined;
      }
      this.#fillBalancer();
    }
    this.outliers.update(policy.outlierDetection, this.endpoints);
    this.health.update(policy, this.endpoints);
    if (former.serviceName !== policy.serviceName || !isDeepStrictEqual(former.tls, policy.tls)) {
      for (const endpoint of this.endpoints) endpoint.replaceConnections('tls_changed');
    }
    for (const endpoint of this.endpoints) {
      endpoint.changeKeepalive();
      endpoint.changePending();
      if (former.maxConnectionAgeMs !== policy.maxConnectionAgeMs) endpoint.limitAge(policy.maxConnectionAgeMs);
      // More connections may be allowed than before.
      endpoint.connectIfNeeded();
    }
    const renamed = policy.endpoints.kind === 'unwritten' && former.serviceName !== policy.serviceName;
    if (renamed || !isDeepStrictEqual(former.endpoints, policy.endpoints)) this.#replaceSource(policy);
  }

  /** Those that call as we do are others, or elsewhere. */
  callersChanged(): void {
    if (this.#policy.loadBalancer.zoneAware !== undefined) this.#balancer.healthChanged();
  }

  /** It is in the table no more: calls under way finish, then the connections close. Resolves when the last one is gone. */
  drain(): Promise<void> {
    if (!this.#draining) {
      this.#draining = true;
      this.#endSource();
      this.#members.set([]);
    }
    if (this.#leaving.size === 0) this.#finish();
    return this.#gone;
  }

  /** Ends everything at once. */
  close(): void {
    this.#draining = true;
    this.#endSource();
    for (const endpoint of this.endpoints) this.health.forget(endpoint);
    for (const endpoint of [...this.endpoints, ...this.#leaving]) endpoint.close('closed');
    this.#members.clear();
    this.#balancer.update([]);
    this.#finish();
  }

  closePeers(judge: (peer: PeerIdentity) => string | undefined): void {
    for (const endpoint of this.endpoints) endpoint.closePeers(judge);
    for (const endpoint of this.#leaving) endpoint.closePeers(judge);
  }

  // ---- for its endpoints ----

  onConnectionGone(): void {
    const waiting = this.limits.pending.active + (this.#highAdmission?.limits.pending.active ?? 0);
    if (waiting === 0 || this.#draining) return;
    for (const endpoint of this.endpoints) endpoint.connectIfNeeded();
  }

  onConnectResult(endpoint: Endpoint, connected: boolean): void {
    this.#source.connectResult?.(endpoint.address, connected);
  }

  onEndpointGone(endpoint: Endpoint): void {
    this.#leaving.delete(endpoint);
    if (this.#draining && this.#leaving.size === 0) this.#finish();
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

  /** As in Envoy each priority has limits of its own, also where nobody wrote any. */
  get #high(): Admission {
    const thresholds = this.#policy.highThresholds ?? defaultThresholds;
    this.#highAdmission ??= new Admission(new ConcurrencyLimits(thresholds), new RetryBudget(thresholds.retryBudget), this.context.random);
    return this.#highAdmission;
  }

  #adapt({ adaptiveConcurrency: options }: ClusterPolicy): void {
    const nowMs = this.context.engine.clock.now();
    if (options === undefined) this.adaptiveLimit = undefined;
    else if (this.adaptiveLimit !== undefined) this.adaptiveLimit.update(options, nowMs);
    else this.adaptiveLimit = new AdaptiveLimit(`cluster.${this.name}`, options, this.context.random, nowMs);
  }

  #updateHigh(former: ThresholdOptions, thresholds: ThresholdOptions): void {
    const admission = this.#highAdmission;
    if (admission === undefined) return;
    admission.limits.update(thresholds);
    if (!isDeepStrictEqual(former.retryBudget, thresholds.retryBudget))
      this.#highAdmission = new Admission(admission.limits, new RetryBudget(thresholds.retryBudget), this.context.random);
  }

  #finish(): void {
    this.breakers.dispose();
    this.outliers.close();
    for (const endpoint of this.endpoints) this.health.forget(endpoint);
    this.#onGone();
  }

  #replaceSource(policy: ClusterPolicy): void {
    this.#source.close();
    this.#unsubscribe();
    this.#sourceAnswered = false;
    this.#source = this.context.createSource(policy.endpoints, policy.serviceName);
    this.#unsubscribe = this.#source.subscribe((set) => this.#onEndpoints(set, true));
    this.#onEndpoints(this.#source.value);
  }

  #endSource(): void {
    this.#unsubscribe();
    this.#source.close();
    this.#onResolved?.();
  }

  /** @param mayTakeTurns calls are under way, perhaps, and are not to wait while thousands of endpoints are made. */
  #onEndpoints(set: EndpointSet, mayTakeTurns = false): void {
    // A source that has not answered yet knows nothing: until then the endpoints of the former one are the best there are.
    if (!this.#sourceAnswered && set.updatedAtMs === 0 && set.error === undefined && set.endpoints.length === 0) return;
    this.#sourceAnswered = true;
    this.#members.set(set.endpoints, mayTakeTurns);
    this.#onResolved?.();
  }

  #tell(what: string, endpoints: readonly Endpoint[]): void {
    if (endpoints.length === 0) return;
    const named = endpoints
      .slice(0, endpointsTold)
      .map(({ key, address: { instance } }) => (instance === undefined ? key : `${key} (${instance})`));
    const more = endpoints.length > named.length ? { more: endpoints.length - named.length } : {};
    this.#log.info(what, { cluster: this.name, source: this.#source.value.source, endpoints: named, ...more });
  }

  // ---- for its members ----

  get choosesBySubset(): boolean {
    return this.#policy.loadBalancer.subsets !== undefined;
  }

  createEndpoint(address: EndpointAddress): Endpoint {
    return new Endpoint(address, this);
  }

  onMembers(joined: readonly Endpoint[], removed: readonly Endpoint[]): void {
    this.stats.membershipChange++;
    for (const endpoint of joined) {
      this.breakers.admit(endpoint);
      this.outliers.admit(endpoint);
      this.health.admit(endpoint);
    }
    this.#fillBalancer();
    this.context.onMembersChanged?.(this.name);
    for (const endpoint of removed) {
      this.health.forget(endpoint);
      this.breakers.forget(endpoint);
      this.outliers.forget(endpoint);
      this.#leaving.add(endpoint);
    }
    this.#drainEndpoints(removed);
    this.#tell('endpoints removed', removed);
    // What is written in a policy is known from there.
    if (this.#source.value.source !== 'static') this.#tell('endpoints added', joined);
    if (this.health.active) for (const endpoint of joined) this.health.start(endpoint);
  }

  onWeights(): void {
    this.#fillBalancer();
    this.context.onMembersChanged?.(this.name);
  }

  /** Nobody is sent to them any more; of thousands some hundred in a turn of the event loop. */
  #drainEndpoints(removed: readonly Endpoint[], from = 0): void {
    const end = Math.min(from + endpointsAtOnce, removed.length);
    for (let i = from; i < end; i++) (removed[i] as Endpoint).drain('endpoint_removed');
    if (end < removed.length) setImmediate(() => this.#drainEndpoints(removed, end));
  }

  /** Those that wait for their first check are not even counted, where the policy says so. */
  #fillBalancer(): void {
    const ignoresNew = this.#policy.healthCheck?.ignoreNewEndpoints === true;
    const known = ({ unhealthyFor }: Endpoint): boolean => (unhealthyFor & Unhealthy.uncheckedYet) === 0;
    this.#balancer.update(ignoresNew ? this.endpoints.filter(known) : this.endpoints);
  }

  #onHealthChanged(joined: boolean): void {
    if (joined && this.#policy.healthCheck?.ignoreNewEndpoints === true) this.#fillBalancer();
    else this.#balancer.healthChanged();
    this.context.onMembersChanged?.(this.name);
  }

  #onCheckPassed(endpoint: Endpoint): void {
    const { outlierDetection } = this.#policy;
    if (outlierDetection?.successfulActiveHealthCheckUnejectHost !== true || endpoint.outlier?.ejected !== true) return;
    this.outliers.detection?.uneject(endpoint, 'health_check');
  }
}

const none: readonly Endpoint[] = [];
const untriedCounted = 16;
/** In one line of the log. */
const endpointsTold = 20;
