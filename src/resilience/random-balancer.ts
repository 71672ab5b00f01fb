import type { Balancer, BalancerEndpoint } from './balancer.ts';
import { haveEqualWeights, pickByWeight, randomTries, weightOf } from './weights.ts';

/** Any one, by weight. */
export class RandomBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #random: () => number;
  #endpoints: readonly E[] = [];
  /** Sums of the weights up to each endpoint; `undefined` where all are equal and an index will do. */
  #sums: Float64Array | undefined;

  constructor(random: () => number) {
    this.#random = random;
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#sums = undefined;
    if (haveEqualWeights(endpoints)) return;
    let sum = 0;
    this.#sums = Float64Array.from(endpoints, (endpoint) => {
      sum += weightOf(endpoint);
      return sum;
    });
  }

  pick(usable: ((endpoint: E) => boolean) | undefined): E | undefined {
    if (this.#endpoints.length === 0) return undefined;
    if (usable === undefined) return this.#any();
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#any();
      if (usable(endpoint)) return endpoint;
    }
    return pickByWeight(this.#endpoints, usable, this.#random);
  }

  #any(): E {
    const sums = this.#sums;
    const last = this.#endpoints.length - 1;
    if (sums === undefined) return this.#endpoints[Math.floor(this.#random() * (last + 1))] as E;
    const target = this.#random() * (sums[last] as number);
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > target) high = middle;
      else low = middle + 1;
    }
    return this.#endpoints[low] as E;
  }
}
