import type { CallHash, Usable } from './balancer.ts';
import { defaultBalancerOptions, isConsistentHash } from './create-balancer.ts';
import type { PooledEndpoint } from './pooled-endpoint.ts';
import { type PoolCounts, PriorityPool, type PriorityPoolOptions } from './priority-pool.ts';
import { defaultSlowStart } from './slow-start.ts';

export type SubsetFallback = 'no_fallback' | 'any_endpoint' | 'default_subset';

export interface SubsetSelector {
  /** Sorted. Endpoints that have all of these keys form a subset for each combination of values. */
  readonly keys: readonly string[];
  /** `undefined`: that of the cluster. */
  readonly fallback: SubsetFallback | undefined;
}

/** Envoy: `lb_subset_config`. */
export interface SubsetOptions {
  readonly selectors: readonly SubsetSelector[];
  readonly fallback: SubsetFallback;
  /** Keys and values of the subset `default_subset`. */
  readonly defaultSubset: Readonly<Record<string, string>>;
}

export interface LoadBalancerOptions extends PriorityPoolOptions {
  /** `undefined`: all endpoints serve all calls. */
  readonly subsets: SubsetOptions | undefined;
}

/** Envoy's, where it has one. */
export const defaultLoadBalancer: LoadBalancerOptions = Object.freeze({
  ...defaultBalancerOptions,
  policy: 'round_robin',
  overprovisioningFactor: 140,
  weightedPriorityHealth: false,
  panicThreshold: 50,
  localityWeighted: false,
  slowStart: defaultSlowStart,
  hashBalanceFactor: 0,
  subsets: undefined,
});

/** What a call says about the endpoint that it wants. */
export interface PickWish {
  /** `undefined`: any. */
  readonly hash: CallHash | undefined;
  /** `subsetKey` of what the route asks for; `undefined` where it asks for nothing. */
  readonly subset: string | undefined;
}

/** The counts of a load balancer, under Envoy's names with a capital in the place of an underscore. */
export class LoadBalancerCounts implements PoolCounts {
  healthyPanic = 0;
  subsetsCreated = 0;
  subsetsRemoved = 0;
  subsetsSelected = 0;
  subsetsFallback = 0;
}

/** Names what is asked for, or what an endpoint offers: equal text, equal keys and values. */
export const subsetKey = (metadata: Readonly<Record<string, string>>): string =>
  Object.keys(metadata)
    .sort()
    .map((key) => `${key}\u0000${metadata[key]}`)
    .join('\u0001');

/** The keys of a `subsetKey`, sorted. */
export const subsetKeys = (key: string): readonly string[] =>
  key === '' ? [] : key.split('\u0001').map((pair) => pair.split('\u0000')[0] ?? '');

/**
 * Who gets the next attempt, of all endpoints of a cluster: subsets, in them priorities, in those localities, and a balancer at the bottom. Pure:
 * time and chance are handed in. A pick allocates nothing, unless hardly any endpoint is usable.
 */
export class LoadBalancer<E extends PooledEndpoint> {
  readonly counts: LoadBalancerCounts;
  readonly #options: LoadBalancerOptions;
  readonly #random: () => number;
  readonly #whole: PriorityPool<E>;
  readonly #subsets = new Map<string, PriorityPool<E>>();
  /** By the keys of a selector, what holds where it has no such subset. */
  readonly #fallbacks = new Map<string, SubsetFallback>();
  /** The same by what was asked for; the routes ask for a few things only. */
  readonly #fallbackOf = new Map<string, SubsetFallback | undefined>();
  #default: PriorityPool<E> | undefined;

  constructor(options: LoadBalancerOptions, random: () => number, counts = new LoadBalancerCounts()) {
    this.#options = options;
    this.#random = random;
    this.counts = counts;
    this.#whole = this.#createPool();
    for (const { keys, fallback } of options.subsets?.selectors ?? []) {
      if (fallback !== undefined) this.#fallbacks.set(keys.join('\u0001'), fallback);
    }
  }

  /** Whether it looks at the hash of a call. */
  get wantsHash(): boolean {
    return isConsistentHash(this.#options.policy);
  }

  /** Whether it looks at the latency of answers. */
  get wantsLatency(): boolean {
    return this.#options.policy === 'peak_ewma';
  }

  /** Whether it looks at load reports. */
  get wantsLoadReports(): boolean {
    return this.#options.policy === 'client_side_weighted_round_robin';
  }

  get subsets(): number {
    return this.#subsets.size;
  }

  get loads(): PriorityPool<E>['loads'] {
    return this.#whole.loads;
  }

  update(endpoints: readonly E[]): void {
    this.#whole.update(endpoints);
    const { subsets } = this.#options;
    if (subsets === undefined) return;
    const wanted = new Map<string, E[]>();
    for (const { keys } of subsets.selectors) {
      for (const endpoint of endpoints) {
        const name = subsetOf(endpoint, keys);
        if (name === undefined) continue;
        const members = wanted.get(name);
        if (members === undefined) wanted.set(name, [endpoint]);
        else if (members.at(-1) !== endpoint) members.push(endpoint);
      }
    }
    for (const name of this.#subsets.keys()) {
      if (wanted.has(name)) continue;
      this.#subsets.delete(name);
      this.counts.subsetsRemoved++;
    }
    for (const [name, members] of wanted) {
      let pool = this.#subsets.get(name);
      if (pool === undefined) {
        pool = this.#createPool();
        this.#subsets.set(name, pool);
        this.counts.subsetsCreated++;
      }
      pool.update(members);
    }
    if (subsets.fallback !== 'default_subset' && !subsets.selectors.some(({ fallback }) => fallback === 'default_subset')) return;
    this.#default ??= this.#createPool();
    const defaultKeys = Object.keys(subsets.defaultSubset);
    this.#default.update(endpoints.filter(({ metadata }) => defaultKeys.every((key) => metadata?.[key] === subsets.defaultSubset[key])));
  }

  /** `healthy` of some endpoint has changed. */
  healthChanged(): void {
    this.#whole.healthChanged();
    this.#default?.healthChanged();
    for (const pool of this.#subsets.values()) pool.healthChanged();
  }

  /** The endpoint for the next attempt, of those that `usable` accepts; all, where it is `undefined`. */
  pick(usable: Usable<E> | undefined, nowMs: number, wish: PickWish | undefined): E | undefined {
    if (this.#options.subsets === undefined) return this.#whole.pick(usable, nowMs, wish?.hash);
    return this.#pickOfSubset(this.#options.subsets, usable, nowMs, wish);
  }

  /** Whether a pick may come upon this endpoint, looking at health and subsets alone. */
  isAvailable(endpoint: E, wish: PickWish | undefined): boolean {
    if (this.#options.subsets === undefined) return this.#whole.isAvailable(endpoint);
    const pool = this.#poolFor(this.#options.subsets, wish?.subset);
    return pool?.isAvailable(endpoint) === true && this.#isMember(endpoint, this.#options.subsets, pool, wish?.subset);
  }

  #pickOfSubset(subsets: SubsetOptions, usable: Usable<E> | undefined, nowMs: number, wish: PickWish | undefined): E | undefined {
    const wanted = wish?.subset;
    const pool = wanted === undefined ? undefined : this.#subsets.get(wanted);
    if (pool !== undefined) {
      this.counts.subsetsSelected++;
      return pool.pick(usable, nowMs, wish?.hash);
    }
    const fallback = this.#fallbackFor(subsets, wanted);
    if (fallback === undefined) return undefined;
    this.counts.subsetsFallback++;
    return fallback.pick(usable, nowMs, wish?.hash);
  }

  #poolFor(subsets: SubsetOptions, wanted: string | undefined): PriorityPool<E> | undefined {
    return (wanted === undefined ? undefined : this.#subsets.get(wanted)) ?? this.#fallbackFor(subsets, wanted);
  }

  #fallbackFor({ fallback }: SubsetOptions, wanted: string | undefined): PriorityPool<E> | undefined {
    const how = (wanted === undefined ? undefined : this.#selectorFallback(wanted)) ?? fallback;
    switch (how) {
      case 'any_endpoint':
        return this.#whole;
      case 'default_subset':
        return this.#default;
      case 'no_fallback':
        return undefined;
    }
  }

  #selectorFallback(wanted: string): SubsetFallback | undefined {
    if (this.#fallbacks.size === 0) return undefined;
    if (!this.#fallbackOf.has(wanted)) this.#fallbackOf.set(wanted, this.#fallbacks.get(keysOf(wanted)));
    return this.#fallbackOf.get(wanted);
  }

  #isMember(endpoint: E, subsets: SubsetOptions, pool: PriorityPool<E>, wanted: string | undefined): boolean {
    if (pool === this.#whole) return true;
    if (pool === this.#default) {
      return Object.entries(subsets.defaultSubset).every(([key, value]) => endpoint.metadata?.[key] === value);
    }
    return subsets.selectors.some(({ keys }) => subsetOf(endpoint, keys) === wanted);
  }

  #createPool(): PriorityPool<E> {
    return new PriorityPool<E>(this.#options, this.counts, this.#random);
  }
}

/** The subset of an endpoint by these keys; `undefined` where it lacks one of them. */
const subsetOf = ({ metadata }: PooledEndpoint, keys: readonly string[]): string | undefined => {
  if (metadata === undefined) return undefined;
  const chosen: Record<string, string> = {};
  for (const key of keys) {
    const value = metadata[key];
    if (value === undefined) return undefined;
    chosen[key] = value;
  }
  return subsetKey(chosen);
};

const keysOf = (subset: string): string =>
  subset
    .split('\u0001')
    .map((pair) => pair.slice(0, pair.indexOf('\u0000')))
    .join('\u0001');
