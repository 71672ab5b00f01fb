import type { CallHash, Usable } from './balancer.ts';
import { defaultBalancerOptions, isConsistentHash } from './create-balancer.ts';
import type { PooledEndpoint } from './pooled-endpoint.ts';
import { type LocalitySizes, type PoolCounts, PriorityPool, type PriorityPoolOptions } from './priority-pool.ts';
import { defaultSlowStart } from './slow-start.ts';
import { offers, subsetKeys, subsetsOfEndpoint, subsetsOfWish, subsetWith } from './subset-keys.ts';
import type { ZoneView } from './zone-shares.ts';

export type SubsetFallback = 'no_fallback' | 'any_endpoint' | 'default_subset' | 'keys_subset';

export interface SubsetSelector {
  /** Sorted. Endpoints that have all of these keys form a subset for each combination of values. */
  readonly keys: readonly string[];
  /** `undefined`: that of the cluster. */
  readonly fallback: SubsetFallback | undefined;
  /** Sorted; with `keys_subset` those of what is asked for that still have to hold. */
  readonly fallbackKeys?: readonly string[];
  /** Each of its subsets has one endpoint, the first one; others of the same value get nothing. */
  readonly singleHost?: boolean;
}

/** Envoy: `lb_subset_config`. */
export interface SubsetOptions {
  readonly selectors: readonly SubsetSelector[];
  readonly fallback: SubsetFallback;
  /** Keys and values of the subset `default_subset`. */
  readonly defaultSubset: Readonly<Record<string, string>>;
  /** Where a fallback has no endpoint any one serves. */
  readonly panicModeAny?: boolean;
  /** A locality has as much of its weight as it has of its endpoints in the subset. */
  readonly scaleLocalityWeight?: boolean;
  /** An endpoint whose metadata has a list is in the subset of each of its values. */
  readonly listAsAny?: boolean;
  /** Where what is asked for has more keys than any selector, those of the longest selector that has no others are looked at. */
  readonly allowRedundantKeys?: boolean;
  /** `fallback_list` of what is asked for is tried, one after the other, until there is an endpoint. */
  readonly metadataFallback?: boolean;
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
  zoneAware: undefined,
  slowStart: defaultSlowStart,
  hashBalanceFactor: 0,
  subsets: undefined,
});

/** What a call says about the endpoint that it wants. */
export interface PickWish {
  /** `undefined`: any. */
  readonly hash: CallHash | undefined;
  /** `subsetWish` of what the route asks for; `undefined` where it asks for nothing. */
  readonly subset: string | undefined;
}

/** The counts of a load balancer, under Envoy's names with a capital in the place of an underscore. */
export class LoadBalancerCounts implements PoolCounts {
  healthyPanic = 0;
  zoneRoutingAllDirectly = 0;
  zoneRoutingSampled = 0;
  zoneRoutingCrossZone = 0;
  subsetsCreated = 0;
  subsetsRemoved = 0;
  subsetsSelected = 0;
  subsetsFallback = 0;
  subsetsFallbackPanic = 0;
  /** Endpoints that get nothing since another one has the same value. */
  subsetsSingleHostDuplicate = 0;
}

/**
 * Who gets the next attempt, of all endpoints of a cluster: subsets, in them priorities, in those localities, and a balancer at the bottom. Pure:
 * time and chance are handed in. A pick allocates nothing, unless hardly any endpoint is usable.
 */
export class LoadBalancer<E extends PooledEndpoint> {
  readonly counts: LoadBalancerCounts;
  /** Whether it looks at the hash of a call. */
  readonly wantsHash: boolean;
  readonly #options: LoadBalancerOptions;
  readonly #random: () => number;
  readonly #view: ZoneView | undefined;
  readonly #whole: PriorityPool<E>;
  readonly #subsets = new Map<string, PriorityPool<E>>();
  /** By the keys of a selector, what holds where it has no such subset. */
  readonly #fallbacks = new Map<string, SubsetSelector>();
  /** The same by what was asked for; the routes ask for a few things only. */
  readonly #fallbackOf = new Map<string, SubsetSelector | undefined>();
  /** What is looked for, by what a route asks for: its `subsetKey`s in the order in which they are tried. */
  readonly #wishes = new Map<string, readonly string[]>();
  #default: PriorityPool<E> | undefined;

  constructor(options: LoadBalancerOptions, random: () => number, counts = new LoadBalancerCounts(), view?: ZoneView) {
    this.#options = options;
    this.wantsHash = isConsistentHash(options.policy);
    this.#random = random;
    this.counts = counts;
    this.#view = view;
    this.#whole = this.#createPool();
    for (const selector of options.subsets?.selectors ?? []) {
      if (selector.fallback !== undefined) this.#fallbacks.set(selector.keys.join('\u0001'), selector);
    }
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

  /** Whether too few endpoints are healthy for any to get calls. */
  get failsForPanic(): boolean {
    return this.#whole.failsForPanic;
  }

  update(endpoints: readonly E[]): void {
    this.#whole.update(endpoints);
    const { subsets } = this.#options;
    if (subsets === undefined) return;
    const wanted = new Map<string, E[]>();
    this.counts.subsetsSingleHostDuplicate = 0;
    for (const { keys, singleHost = false } of subsets.selectors) {
      for (const endpoint of endpoints) {
        for (const name of subsetsOfEndpoint(endpoint.metadata, keys, subsets.listAsAny === true)) {
          const members = wanted.get(name);
          if (members === undefined) wanted.set(name, [endpoint]);
          else if (singleHost) this.counts.subsetsSingleHostDuplicate++;
          else if (members.at(-1) !== endpoint) members.push(endpoint);
        }
      }
    }
    const sizes = subsets.scaleLocalityWeight === true ? sizesOf(endpoints) : undefined;
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
      pool.update(members, sizes);
    }
    if (subsets.fallback !== 'default_subset' && !subsets.selectors.some(({ fallback }) => fallback === 'default_subset')) return;
    this.#default ??= this.#createPool();
    this.#default.update(
      endpoints.filter(({ metadata }) => offers(metadata, subsets.defaultSubset, subsets.listAsAny === true)),
      sizes,
    );
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
    const { subsets } = this.#options;
    const wanted = wish?.subset === undefined ? undefined : this.#wanted(subsets, wish.subset);
    if (wanted === undefined) return this.#pickOfSubset(subsets, usable, nowMs, undefined, wish?.hash);
    for (let i = 0; i < wanted.length; i++) {
      const found = this.#pickOfSubset(subsets, usable, nowMs, wanted[i], wish?.hash);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Whether a pick may come upon this endpoint, looking at health and subsets alone. */
  isAvailable(endpoint: E, wish: PickWish | undefined): boolean {
    if (this.#options.subsets === undefined) return this.#whole.isAvailable(endpoint);
    const { subsets } = this.#options;
    const wanted = wish?.subset === undefined ? [undefined] : this.#wanted(subsets, wish.subset);
    return wanted.some((each) => {
      const pool = this.#poolFor(subsets, each);
      return pool?.isAvailable(endpoint) === true && this.#isMember(endpoint, subsets, pool);
    });
  }

  /** What to look for, one after the other. The routes ask for a few things only. */
  #wanted(subsets: SubsetOptions, wish: string): readonly string[] {
    let wanted = this.#wishes.get(wish);
    if (wanted !== undefined) return wanted;
    const [first = '', ...fallbacks] = subsetsOfWish(wish);
    wanted = subsets.metadataFallback === true && fallbacks.length > 0 ? fallbacks : [first];
    if (subsets.allowRedundantKeys === true) wanted = wanted.map((each) => withoutRedundantKeys(each, subsets.selectors));
    this.#wishes.set(wish, wanted);
    return wanted;
  }

  #pickOfSubset(
    subsets: SubsetOptions,
    usable: Usable<E> | undefined,
    nowMs: number,
    wanted: string | undefined,
    hash: CallHash | undefined,
  ): E | undefined {
    const pool = wanted === undefined ? undefined : this.#subsets.get(wanted);
    if (pool !== undefined) {
      this.counts.subsetsSelected++;
      return pool.pick(usable, nowMs, hash);
    }
    const fallback = this.#fallbackFor(subsets, wanted);
    if (fallback !== undefined) {
      this.counts.subsetsFallback++;
      const found = fallback.pick(usable, nowMs, hash);
      if (found !== undefined) return found;
    }
    if (subsets.panicModeAny !== true || fallback === this.#whole) return undefined;
    this.counts.subsetsFallbackPanic++;
    return this.#whole.pick(usable, nowMs, hash);
  }

  /** Where endpoints come from for calls that ask for `wanted`. */
  #poolFor(subsets: SubsetOptions, wanted: string | undefined): PriorityPool<E> | undefined {
    const pool = (wanted === undefined ? undefined : this.#subsets.get(wanted)) ?? this.#fallbackFor(subsets, wanted);
    return subsets.panicModeAny === true && (pool === undefined || pool.size === 0) ? this.#whole : pool;
  }

  #fallbackFor({ fallback }: SubsetOptions, wanted: string | undefined): PriorityPool<E> | undefined {
    let asked = wanted;
    let selector = asked === undefined ? undefined : this.#selectorFallback(asked);
    // Each step asks for fewer keys, so that it ends.
    while (asked !== undefined && selector?.fallback === 'keys_subset') {
      asked = subsetWith(asked, selector.fallbackKeys ?? []);
      const pool = this.#subsets.get(asked);
      if (pool !== undefined) return pool;
      selector = this.#selectorFallback(asked);
    }
    switch (selector?.fallback ?? fallback) {
      case 'any_endpoint':
        return this.#whole;
      case 'default_subset':
        return this.#default;
      default:
        return undefined;
    }
  }

  #selectorFallback(wanted: string): SubsetSelector | undefined {
    if (this.#fallbacks.size === 0) return undefined;
    if (!this.#fallbackOf.has(wanted)) this.#fallbackOf.set(wanted, this.#fallbacks.get(subsetKeys(wanted).join('\u0001')));
    return this.#fallbackOf.get(wanted);
  }

  #isMember(endpoint: E, subsets: SubsetOptions, pool: PriorityPool<E>): boolean {
    if (pool === this.#whole) return true;
    if (pool === this.#default) {
      return offers(endpoint.metadata, subsets.defaultSubset, subsets.listAsAny === true);
    }
    return subsets.selectors.some(({ keys }) =>
      subsetsOfEndpoint(endpoint.metadata, keys, subsets.listAsAny === true).some((subset) => this.#subsets.get(subset) === pool),
    );
  }

  #createPool(): PriorityPool<E> {
    return new PriorityPool<E>(this.#options, this.counts, this.#random, this.#view);
  }
}

const sizesOf = (endpoints: readonly PooledEndpoint[]): LocalitySizes => {
  const sizes = new Map<number, Map<string, number>>();
  for (const { locality, priority } of endpoints) {
    const here = sizes.get(priority) ?? new Map<string, number>();
    sizes.set(priority, here.set(locality, (here.get(locality) ?? 0) + 1));
  }
  return sizes;
};

/** As many of the keys as a selector has; all of them where one has just those, or none has fewer. */
const withoutRedundantKeys = (wanted: string, selectors: readonly SubsetSelector[]): string => {
  const asked = subsetKeys(wanted);
  let longest: readonly string[] = [];
  for (const { keys } of selectors) if (keys.length > longest.length && keys.every((key) => asked.includes(key))) longest = keys;
  return longest.length === 0 ? wanted : subsetWith(wanted, longest);
};
