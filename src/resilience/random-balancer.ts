import type { Balancer, BalancerEndpoint, Usable } from './balancer.ts';
import { WeightedDraw } from './weighted-draw.ts';
import { pickByWeight, randomTries } from './weights.ts';

/** Any one, by weight. */
export class RandomBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #random: () => number;
  readonly #draw: WeightedDraw<E>;
  #endpoints: readonly E[] = [];

  constructor(random: () => number) {
    this.#random = random;
    this.#draw = new WeightedDraw<E>(random);
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#draw.update(endpoints);
  }

  pick(usable: Usable<E> | undefined): E | undefined {
    if (this.#endpoints.length === 0) return undefined;
    if (usable === undefined) return this.#draw.any();
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#draw.any();
      if (usable(endpoint)) return endpoint;
    }
    return pickByWeight(this.#endpoints, usable, this.#random);
  }
}
