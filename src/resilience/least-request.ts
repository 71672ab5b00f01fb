import type { Balancer, BalancerEndpoint, Usable } from './balancer.ts';
import { TurnSchedule } from './turn-schedule.ts';
import { haveEqualWeights, randomTries } from './weights.ts';

export interface LeastRequestOptions {
  /** Random endpoints that are compared; at least 2. */
  readonly choiceCount: number;
  /** With unequal weights, how much calls under way weigh: `weight / (active + 1) ^ bias`. 0: weights alone count. */
  readonly activeRequestBias: number;
}

/** Envoy's. */
export const defaultLeastRequest: LeastRequestOptions = { choiceCount: 2, activeRequestBias: 1 };

/**
 * The one with less to do of two (or `choiceCount`) random ones: nearly as even as looking at all, and a slow endpoint gets less by
 * itself. With unequal weights, as in Envoy, turns by `weight / (active + 1) ^ bias`.
 */
export class LeastRequestBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #random: () => number;
  readonly #choiceCount: number;
  readonly #schedule: TurnSchedule<E>;
  readonly #costOf: (endpoint: BalancerEndpoint) => number;
  #endpoints: readonly E[] = [];
  #equal = true;

  constructor({ choiceCount, activeRequestBias }: LeastRequestOptions, random: () => number) {
    this.#random = random;
    this.#choiceCount = choiceCount;
    this.#schedule = new TurnSchedule<E>(random);
    this.#costOf =
      activeRequestBias === 1
        ? (endpoint) => Math.max(endpoint.activeRequests, 0) + 1
        : (endpoint) => (Math.max(endpoint.activeRequests, 0) + 1) ** activeRequestBias;
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#equal = haveEqualWeights(endpoints);
    this.#schedule.update(this.#equal ? [] : endpoints);
  }

  pick(usable: Usable<E> | undefined): E | undefined {
    if (!this.#equal) return this.#schedule.next(usable, this.#costOf);
    const count = this.#endpoints.length;
    if (count <= 1) {
      const only = this.#endpoints[0];
      return only === undefined || usable === undefined || usable(only) ? only : undefined;
    }
    if (usable === undefined) return this.#choiceCount === 2 ? this.#betterOfTwo(count) : this.#bestOfSome(count);
    return this.#bestOfSomeUsable(count, usable);
  }

  #betterOfTwo(count: number): E {
    const i = Math.floor(this.#random() * count);
    // Of the others, so that the two are never the same.
    const j = (i + 1 + Math.floor(this.#random() * (count - 1))) % count;
    const one = this.#endpoints[i] as E;
    const other = this.#endpoints[j] as E;
    return other.activeRequests < one.activeRequests ? other : one;
  }

  #bestOfSome(count: number): E {
    let best = this.#endpoints[Math.floor(this.#random() * count)] as E;
    for (let choice = 1; choice < this.#choiceCount; choice++) {
      const endpoint = this.#endpoints[Math.floor(this.#random() * count)] as E;
      if (endpoint.activeRequests < best.activeRequests) best = endpoint;
    }
    return best;
  }

  #bestOfSomeUsable(count: number, usable: Usable<E>): E | undefined {
    let best: E | undefined;
    const triesMost = randomTries + this.#choiceCount;
    for (let tries = 0, choices = 0; tries < triesMost; tries++) {
      const endpoint = this.#endpoints[Math.floor(this.#random() * count)] as E;
      if (endpoint === best || !usable(endpoint)) continue;
      if (best === undefined || endpoint.activeRequests < best.activeRequests) best = endpoint;
      choices++;
      if (choices === this.#choiceCount) break;
    }
    return best ?? this.#leastOfAll(usable);
  }

  /** Ties are broken at random: otherwise the first one of a quiet cluster would get everything. */
  #leastOfAll(usable: Usable<E>): E | undefined {
    let best: E | undefined;
    let ties = 0;
    for (const endpoint of this.#endpoints) {
      if (best !== undefined && endpoint.activeRequests > best.activeRequests) continue;
      if (!usable(endpoint)) continue;
      ties = best !== undefined && endpoint.activeRequests === best.activeRequests ? ties + 1 : 1;
      if (ties === 1 || this.#random() * ties < 1) best = endpoint;
    }
    return best;
  }
}
