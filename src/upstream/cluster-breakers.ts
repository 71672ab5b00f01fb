import type { Clock, Logger } from '../core/index.ts';
import type { BreakerPolicy } from '../policy/index.ts';
import { Breaker, type BreakerHold, RollingWindow } from '../resilience/index.ts';
import type { Endpoint } from './endpoint.ts';

/** Which breakers of a cluster an operator means; all where nothing is said. */
export interface BreakerSelection {
  /** `host:port`. */
  readonly endpoint?: string;
  /** Full gRPC path. */
  readonly method?: string;
}

/** One breaker, for people. */
export interface BreakerView {
  readonly scope: BreakerPolicy['scope'];
  /** `host:port`, in scope `endpoint`. */
  readonly endpoint: string | undefined;
  /** Full gRPC path, in scope `method`; `*` is the one of all methods beyond the bound. */
  readonly method: string | undefined;
  readonly breaker: Breaker;
}

export interface ClusterBreakersOptions {
  readonly cluster: string;
  readonly policy: BreakerPolicy;
  readonly clock: Clock;
  readonly log: Logger;
  /** The one that clusters share; one that has a `failure_rate` keeps its own. */
  readonly window: RollingWindow | undefined;
}

/** Methods with a breaker of their own. A peer that makes up paths must not make us remember them all. */
const methodsAtMost = 1_000;
const otherMethods = '*';
/** Slices of a window that a policy asks for: results leave it a tenth at a time. */
const rateBuckets = 10;

/** The last moment that JavaScript can write as a date. */
const latestDateMs = 8.64e15;

const isAll = ({ endpoint, method }: BreakerSelection): boolean => endpoint === undefined && method === undefined;

/**
 * The breakers of one cluster: one for all, one per endpoint, or one per method, as `circuit_breakers.scope` says. They survive
 * every reload that leaves the scope as it is; other options are taken over by the breakers that are there.
 */
export class ClusterBreakers {
  readonly #cluster: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #sharedWindow: RollingWindow | undefined;
  #window: RollingWindow | undefined;
  /** By hand, for all of them: also for those that are made later. */
  #holdOfAll: BreakerHold | undefined;
  #policy: BreakerPolicy;
  #whole: Breaker | undefined;
  readonly #byEndpoint = new Map<string, Breaker>();
  readonly #byMethod = new Map<string, Breaker>();

  constructor({ cluster, policy, clock, log, window }: ClusterBreakersOptions) {
    this.#cluster = cluster;
    this.#policy = policy;
    this.#clock = clock;
    this.#log = log;
    this.#sharedWindow = window;
    this.#window = this.#windowFor(policy);
    this.#whole = policy.scope === 'cluster' ? this.#create({}) : undefined;
  }

  get scope(): BreakerPolicy['scope'] {
    return this.#policy.scope;
  }

  /** The breaker that an attempt has to ask, and to tell. Keep it with the permit: a reload may put another one in its place. */
  of(endpoint: Endpoint, method: string): Breaker {
    return this.#whole ?? endpoint.breaker ?? this.#ofMethod(method);
  }

  /** Whether the breaker of the cluster, or of this method, would refuse; false in scope `endpoint`. Makes none. */
  refuses(method: string, nowMs: number): boolean {
    const breaker =
      this.#whole ?? this.#byMethod.get(method) ?? (this.#byMethod.size < methodsAtMost ? undefined : this.#byMethod.get(otherMethods));
    return breaker?.refuses(nowMs) === true;
  }

  /** Gives a new endpoint its breaker, where the scope wants one. */
  admit(endpoint: Endpoint): void {
    if (this.#policy.scope !== 'endpoint') return;
    endpoint.breaker = this.#create({ endpoint: endpoint.key });
    this.#byEndpoint.set(endpoint.key, endpoint.breaker);
  }

  /** The endpoint is no longer one of the cluster's. */
  forget(endpoint: Endpoint): void {
    if (this.#byEndpoint.get(endpoint.key) === endpoint.breaker) this.#byEndpoint.delete(endpoint.key);
    endpoint.breaker?.dispose();
  }

  update(policy: BreakerPolicy, endpoints: readonly Endpoint[]): void {
    const scopeChanged = policy.scope !== this.#policy.scope;
    this.#policy = policy;
    this.#window = this.#windowFor(policy);
    if (!scopeChanged) {
      for (const { breaker } of this.views()) breaker.update(policy, this.#window);
      return;
    }
    this.dispose();
    this.#whole = policy.scope === 'cluster' ? this.#create({}) : undefined;
    for (const endpoint of endpoints) {
      endpoint.breaker = undefined;
      this.admit(endpoint);
    }
  }

  dispose(): void {
    for (const { breaker } of this.views()) breaker.dispose();
    this.#whole = undefined;
    this.#byEndpoint.clear();
    this.#byMethod.clear();
  }

  /** All that exist now; in scope `method` those that were asked for so far. */
  views(selection: BreakerSelection = {}): readonly BreakerView[] {
    const { scope } = this.#policy;
    const all: BreakerView[] = [];
    if (this.#whole !== undefined) all.push({ scope, endpoint: undefined, method: undefined, breaker: this.#whole });
    for (const [endpoint, breaker] of this.#byEndpoint) all.push({ scope, endpoint, method: undefined, breaker });
    for (const [method, breaker] of this.#byMethod) all.push({ scope, endpoint: undefined, method, breaker });
    return all.filter(
      (view) =>
        (selection.endpoint === undefined || selection.endpoint === view.endpoint) &&
        (selection.method === undefined || selection.method === view.method),
    );
  }

  /** By hand. Returns how many breakers were meant. */
  reset(selection: BreakerSelection): number {
    const nowMs = this.#clock.now();
    if (isAll(selection)) this.#holdOfAll = undefined;
    const meant = this.#each(selection, (breaker) => breaker.reset(nowMs));
    this.#audit('reset', selection, meant, undefined);
    return meant;
  }

  /** By hand, for `ttlMs` (infinite: until a reset). Returns how many breakers were meant; the one of a named method is made where nobody asked for it yet. */
  hold(state: 'OPEN' | 'CLOSED', ttlMs: number, selection: BreakerSelection): number {
    const nowMs = this.#clock.now();
    if (this.#policy.scope === 'method' && selection.method !== undefined && selection.endpoint === undefined)
      this.#ofMethod(selection.method);
    const untilMs = nowMs + ttlMs;
    if (isAll(selection)) this.#holdOfAll = { state, untilMs };
    const meant = this.#each(selection, (breaker) => breaker.hold(state, untilMs, nowMs));
    this.#audit(state === 'OPEN' ? 'open' : 'close', selection, meant, ttlMs);
    return meant;
  }

  /** Who did it, what, to what and until when: whoever finds calls refused the next morning has to see that it was a hand. */
  #audit(action: 'open' | 'close' | 'reset', selection: BreakerSelection, breakers: number, ttlMs: number | undefined): void {
    const until = ttlMs === undefined ? {} : { until: Number.isFinite(ttlMs) ? this.#wallTime(ttlMs) : 'reset' };
    this.#log.warning('circuit breaker set by hand', { cluster: this.#cluster, ...selection, by: 'admin', action, ...until, breakers });
  }

  #wallTime(inMs: number): string {
    return new Date(Math.min(this.#clock.wallNow() + inMs, latestDateMs)).toISOString();
  }

  #each(selection: BreakerSelection, act: (breaker: Breaker) => void): number {
    const meant = this.views(selection);
    for (const { breaker } of meant) act(breaker);
    return meant.length;
  }

  #ofMethod(method: string): Breaker {
    const known = this.#byMethod.get(method);
    if (known !== undefined) return known;
    const name = this.#byMethod.size < methodsAtMost ? method : otherMethods;
    const breaker = this.#byMethod.get(name) ?? this.#create({ method: name });
    this.#byMethod.set(name, breaker);
    return breaker;
  }

  /** The same one as long as the policy asks for the same length. */
  #windowFor({ failureRate }: BreakerPolicy): RollingWindow | undefined {
    if (failureRate === undefined) return this.#sharedWindow;
    const { windowMs } = failureRate;
    if (this.#window !== undefined && this.#window !== this.#sharedWindow && this.#window.windowMs === windowMs) return this.#window;
    return new RollingWindow(this.#clock.now(), { windowMs, buckets: rateBuckets });
  }

  #create(place: BreakerSelection): Breaker {
    const breaker = new Breaker(this.#policy, this.#window);
    const nowMs = this.#clock.now();
    if (this.#holdOfAll !== undefined && nowMs < this.#holdOfAll.untilMs) {
      breaker.hold(this.#holdOfAll.state, this.#holdOfAll.untilMs, nowMs);
    }
    breaker.onChange = ({ from, to, why }) => {
      const fields = { cluster: this.#cluster, ...place, from, to, why, consecutive_failures: breaker.consecutiveFailures };
      if (to === 'OPEN') this.#log.warning('circuit breaker changed', fields);
      else this.#log.info('circuit breaker changed', fields);
    };
    return breaker;
  }
}
