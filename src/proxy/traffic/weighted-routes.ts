import type { Route, WeightedClusters } from '../../policy/index.ts';
import { type PickWish, WeightedChoice } from '../../resilience/index.ts';
import type { BoundRoute } from '../bound-table.ts';
import type { Stickiness, StickyCall } from '../stickiness.ts';

interface Choosing {
  readonly random: () => number;
  readonly stickiness: Stickiness;
}

/** Which of its clusters a call of one route goes to. All attempts of a call go to the same. */
export class WeightedRoutes {
  readonly #route: Route;
  readonly #by: WeightedClusters['by'];
  readonly #choice: WeightedChoice;
  readonly #bound: readonly BoundRoute[];

  constructor(route: Route, { by, clusters }: WeightedClusters, bound: readonly BoundRoute[]) {
    this.#route = route;
    this.#by = by;
    this.#choice = new WeightedChoice(clusters.map(({ weight }) => weight));
    this.#bound = bound;
  }

  /** Where the hash decides it is left in the call, whose balancer may want it too. */
  choose(call: StickyCall & { wish: PickWish | undefined }, { random, stickiness }: Choosing): BoundRoute {
    if (this.#by === 'hash_policy') {
      const { hash } = stickiness.wishOf(call, this.#route, undefined);
      const chosen = this.#bound[hash === undefined ? this.#any(random) : this.#choice.ofHash(hash.high, hash.low)] as BoundRoute;
      call.wish = { hash, subset: chosen.wish?.subset };
      return chosen;
    }
    const number = this.#by === 'chance' ? undefined : numberIn(call, this.#by.header);
    return this.#bound[number === undefined ? this.#any(random) : this.#choice.at(number)] as BoundRoute;
  }

  #any(random: () => number): number {
    return this.#choice.at(random() * this.#choice.total);
  }
}

const numberIn = ({ request }: StickyCall, header: string): number | undefined => {
  const at = request.find(header);
  const text = at < 0 ? '' : request.value(at);
  // Beyond 15 digits neighbours would be one number.
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
};
