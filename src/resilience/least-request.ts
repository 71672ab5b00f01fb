import type { Balancer, BalancerEndpoint } from './balancer.ts';
import { TurnSchedule } from './turn-schedule.ts';
import { haveEqualWeights, randomTries } from './weights.ts';

const costOf = (endpoint: BalancerEndpoint): number => Math.max(endpoint.activeRequests, 0) + 1;

/**
 * The one with less to do of two random ones: nearly as even as looking at all, and a slow endpoint gets less by itself. With unequal
 * weights, as in Envoy, turns by `weight / (active + 1)`.
 */
export class LeastRequestBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #random: () => number;
  readonly #schedule: TurnSchedule<E>;
  #endpoints: readonly E[] = [];
  #equal = true;

  constructor(random: () => number) {
    this.#random = random;
    this.#schedule = new TurnSchedule<E>(random);
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#equal = haveEqualWeights(endpoints);
    this.#schedule.update(this.#equal ? [] : endpoints);
  }

  pick(usable: ((endpoint: E) => boolean) | undefined): E | undefined {
    if (!this.#equal) return this.#schedule.next(usable, costOf);
    const count = this.#endpoints.length;
    if (count <= 1) {
      const only = this.#endpoints[0];
      return only === undefined || usable === undefined || usable(only) ? only : undefined;
    }
    return usable === undefined ? this.#betterOfTwo(count) : this.#betterOfTwoUsable(count, usable);
  }

  #betterOfTwo(count: number): E {
    const i = Math.floor(this.#random() * count);
    // Of the others, so that the two are never the same.
    const j = (i + 1 + Math.floor(this.#random() * (count - 1))) % count;
    const one = this.#endpoints[i] as E;
    const other = this.#endpoints[j] as E;
    return other.activeRequests < one.activeRequests ? other : one;
  }

  #betterOfTwoUsable(count: number, usable: (endpoint: E) => boolean): E | undefined {
    let found: E | undefined;
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#endpoints[Math.floor(this.#random() * count)] as E;
      if (endpoint === found || !usable(endpoint)) continue;
      if (found === undefined) found = endpoint;
      else return endpoint.activeRequests < found.activeRequests ? endpoint : found;
    }
    return found ?? this.#leastOfAll(usable);
  }

  /** Ties are broken at random: otherwise the first one of a quiet cluster would get everything. */
  #leastOfAll(usable: (endpoint: E) => boolean): E | undefined {
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
