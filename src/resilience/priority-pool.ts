import type { Balancer, CallHash, Usable } from './balancer.ts';
import { type BalancerOptions, createBalancer, isConsistentHash, type LbPolicy } from './create-balancer.ts';
import { EndpointGroup } from './endpoint-group.ts';
import type { PooledEndpoint } from './pooled-endpoint.ts';
import { type PriorityLoad, priorityLoads } from './priority-loads.ts';
import { type SlowStartOptions, warmth } from './slow-start.ts';
import { weightOf } from './weights.ts';
import { type ZoneCounts, ZoneGroup } from './zone-group.ts';
import type { ZoneAwareOptions, ZoneView } from './zone-shares.ts';

export interface PriorityPoolOptions extends BalancerOptions {
  readonly policy: LbPolicy;
  /** Percent; Envoy: `overprovisioning_factor`. */
  readonly overprovisioningFactor: number;
  /** A priority's health is that of its weights, not of its number of endpoints. */
  readonly weightedPriorityHealth: boolean;
  /** Percent of healthy endpoints below which calls go to all of them; 0: never. Envoy: `healthy_panic_threshold`. */
  readonly panicThreshold: number;
  readonly localityWeighted: boolean;
  /** `undefined`: our own zone is not preferred. */
  readonly zoneAware: ZoneAwareOptions | undefined;
  readonly slowStart: SlowStartOptions;
  /**
   * With consistent hashes: an endpoint has at most so many percent of the calls under way that its share is; what is above goes on to
   * others. 0: no bound. Envoy: `hash_balance_factor`.
   */
  readonly hashBalanceFactor: number;
}

/** By priority and locality. */
export type LocalitySizes = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** Counts that outlive a pool. */
export interface PoolCounts extends ZoneCounts {
  /** Picks during a panic. Envoy: `lb_healthy_panic`. */
  healthyPanic: number;
}

/** Endpoints of several priorities, each in localities, some of them not healthy and some new. */
export class PriorityPool<E extends PooledEndpoint> {
  readonly #options: PriorityPoolOptions;
  readonly #counts: PoolCounts;
  readonly #random: () => number;
  readonly #view: ZoneView | undefined;
  /** By priority, the lowest number first. */
  #groups: EndpointGroup<E>[] = [];
  #priorities: readonly number[] = [];
  #loads: readonly PriorityLoad[] = [];
  #dirty = false;
  /** The balancer that decides alone: one priority, all healthy, none new. The way of nearly every call. */
  #only: Balancer<E> | undefined;
  #warmUntilMs = Number.NEGATIVE_INFINITY;
  #oldestSinceMs = 0;
  #size = 0;

  /** @param view `undefined`: where we are is not known, so that no zone is preferred. */
  constructor(options: PriorityPoolOptions, counts: PoolCounts, random: () => number, view?: ZoneView) {
    this.#options = options;
    this.#counts = counts;
    this.#random = random;
    this.#view = view;
  }

  get size(): number {
    return this.#size;
  }

  /** For people: the part of the calls that each priority gets, by priority. */
  get loads(): readonly (PriorityLoad & { readonly priority: number })[] {
    if (this.#dirty) this.#settle();
    return this.#loads.map((load, i) => ({ ...load, priority: this.#priorities[i] as number }));
  }

  /** @param wholeSizes of a part of a cluster, where localities are to have as much of their weight as they have endpoints in it. */
  update(endpoints: readonly E[], wholeSizes?: LocalitySizes): void {
    const { policy, localityWeighted, overprovisioningFactor, slowStart } = this.#options;
    const former = new Map(this.#priorities.map((priority, i) => [priority, this.#groups[i] as EndpointGroup<E>]));
    const byPriority = groupByPriority(endpoints);
    this.#priorities = [...byPriority.keys()].sort((a, b) => a - b);
    this.#groups = this.#priorities.map((priority) => {
      const group =
        former.get(priority) ??
        new EndpointGroup<E>({
          createBalancer: () => createBalancer<E>(policy, this.#random, this.#options),
          consistentHash: isConsistentHash(policy),
          localityWeighted,
          overprovisioningFactor,
          zones: this.#createZones(priority === this.#priorities[0]),
          random: this.#random,
        });
      group.update(byPriority.get(priority) ?? [], wholeSizes?.get(priority));
      return group;
    });
    this.#size = endpoints.length;
    let newestSinceMs = Number.NEGATIVE_INFINITY;
    this.#oldestSinceMs = Number.POSITIVE_INFINITY;
    for (const { sinceMs } of endpoints) {
      newestSinceMs = Math.max(newestSinceMs, sinceMs);
      this.#oldestSinceMs = Math.min(this.#oldestSinceMs, sinceMs);
    }
    this.#warmUntilMs =
      slowStart.windowMs > 0 && newestSinceMs > this.#oldestSinceMs ? newestSinceMs + slowStart.windowMs : Number.NEGATIVE_INFINITY;
    this.healthChanged();
  }

  /** As in Envoy zones count among the endpoints of the first priority only, and where no hash decides. */
  #createZones(first: boolean): ZoneGroup<E> | undefined {
    const { policy, zoneAware } = this.#options;
    if (!first || zoneAware === undefined || this.#view === undefined || isConsistentHash(policy)) return undefined;
    const create = (): Balancer<E> => createBalancer<E>(policy, this.#random, this.#options);
    return new ZoneGroup<E>(zoneAware, this.#view, this.#counts, create, this.#random);
  }

  /** `healthy` of some endpoint has changed. */
  healthChanged(): void {
    this.#dirty = true;
    this.#only = undefined;
  }

  pick(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    if (this.#only !== undefined) return this.#only.pick(usable, nowMs, hash);
    if (this.#dirty) this.#settle();
    if (this.#warmUntilMs !== Number.NEGATIVE_INFINITY) {
      if (nowMs < this.#warmUntilMs) return this.#pickWarming(usable, nowMs, hash);
      this.#warmUntilMs = Number.NEGATIVE_INFINITY;
    }
    const bounded = this.#options.hashBalanceFactor > 0;
    this.#only = !bounded && this.#groups.length === 1 && this.#loads[0]?.panic !== true ? this.#groups[0]?.onlyBalancer : undefined;
    return this.#pickAny(usable, nowMs, hash);
  }

  /** Whether a pick may come upon this endpoint, looking at health alone. */
  isAvailable(endpoint: E): boolean {
    if (endpoint.healthy && !this.#failsOnPanic) return true;
    if (this.#dirty) this.#settle();
    const panic = this.#loads[this.#priorities.indexOf(endpoint.priority)]?.panic === true;
    return panic ? !this.#failsOnPanic : endpoint.healthy;
  }

  /** Whether a panic is on in which no endpoint gets anything. */
  get failsForPanic(): boolean {
    if (!this.#failsOnPanic) return false;
    if (this.#dirty) this.#settle();
    return this.#loads.some(({ panic }) => panic);
  }

  get #failsOnPanic(): boolean {
    return this.#options.zoneAware?.failTrafficOnPanic === true;
  }

  #pickAny(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    const first = this.#groups.length === 1 ? 0 : this.#choosePriority(hash);
    if (first < 0) return undefined;
    const found = this.#pickOf(first, usable, nowMs, hash);
    if (found !== undefined) return found;
    for (let i = 0; i < this.#groups.length; i++) {
      const other = i === first ? undefined : this.#pickOf(i, usable, nowMs, hash);
      if (other !== undefined) return other;
    }
    return undefined;
  }

  #pickOf(priority: number, usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    if (this.#loads[priority]?.panic === true && this.#failsOnPanic) return undefined;
    const group = this.#groups[priority] as EndpointGroup<E>;
    const { hashBalanceFactor } = this.#options;
    const bounded = hashBalanceFactor > 0 && hash !== undefined ? this.#pickBounded(group, usable, nowMs, hash) : undefined;
    const found = bounded ?? group.pick(usable, nowMs, hash);
    if (found !== undefined && this.#loads[priority]?.panic === true) this.#counts.healthyPanic++;
    return found;
  }

  #choosePriority(hash: CallHash | undefined): number {
    // The low bits: the high ones decide the place on a ring.
    let target = hash === undefined ? this.#random() : hash.low / 0x1_0000_0000;
    for (let i = 0; i < this.#loads.length; i++) {
      const load = this.#loads[i] as PriorityLoad;
      if (target < load.load) return i;
      target -= load.load;
    }
    // What rounding left over, or nobody is healthy: the first one.
    return this.#groups.length === 0
      ? -1
      : Math.max(
          this.#loads.findIndex(({ load }) => load > 0),
          0,
        );
  }

  // ---- bounded load: what is too much for the endpoint that a hash says goes on to the next ----

  #callsPerWeight = 0;
  #within: Usable<E> | undefined;
  readonly #hasRoom = (endpoint: E): boolean =>
    endpoint.activeRequests < Math.max(1, Math.ceil(this.#callsPerWeight * weightOf(endpoint))) &&
    (this.#within === undefined || this.#within(endpoint));

  #pickBounded(group: EndpointGroup<E>, usable: Usable<E> | undefined, nowMs: number, hash: CallHash): E | undefined {
    let active = 1;
    for (const { activeRequests } of group.members) active += activeRequests;
    this.#callsPerWeight = (active * this.#options.hashBalanceFactor) / 100 / group.totalWeight;
    this.#within = usable;
    const found = group.pick(this.#hasRoom, nowMs, hash);
    this.#within = undefined;
    return found;
  }

  // ---- slow start: a new endpoint gives up turns until it is warm ----

  #outer: Usable<E> | undefined;
  #nowMs = 0;
  #warmest = 1;
  readonly #isWarmEnough = (endpoint: E): boolean => {
    if (this.#outer !== undefined && !this.#outer(endpoint)) return false;
    const share = warmth(this.#options.slowStart, this.#nowMs - endpoint.sinceMs);
    return share >= this.#warmest || this.#random() * this.#warmest < share;
  };

  #pickWarming(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    this.#outer = usable;
    this.#nowMs = nowMs;
    // Where all are new, none has to wait for another.
    this.#warmest = warmth(this.#options.slowStart, nowMs - this.#oldestSinceMs);
    const found = this.#pickAny(this.#isWarmEnough, nowMs, hash);
    this.#outer = undefined;
    return found ?? this.#pickAny(usable, nowMs, hash);
  }

  #settle(): void {
    this.#dirty = false;
    const { overprovisioningFactor, panicThreshold, weightedPriorityHealth } = this.#options;
    for (const group of this.#groups) group.count();
    const health = this.#groups.map((group) =>
      weightedPriorityHealth
        ? { total: group.totalWeight, healthy: group.healthyWeight }
        : { total: group.members.length, healthy: group.healthy },
    );
    this.#loads = priorityLoads(health, overprovisioningFactor, panicThreshold);
    this.#groups.forEach((group, i) => {
      group.settle(this.#loads[i]?.panic === true);
    });
  }
}

/** Nearly always there is one priority, and with thousands of endpoints what is done for each of them is felt. */
const groupByPriority = <E extends PooledEndpoint>(endpoints: readonly E[]): ReadonlyMap<number, readonly E[]> => {
  const first = endpoints[0]?.priority;
  for (let i = 1; i < endpoints.length; i++)
    if ((endpoints[i] as E).priority !== first) return Map.groupBy(endpoints, ({ priority }) => priority);
  return first === undefined ? new Map() : new Map([[first, endpoints]]);
};
