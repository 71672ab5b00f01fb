import { haveEqualWeights, normalizedShares, type Weighted } from './weights.ts';

/** Any one of a list, by weight, in O(1): Vose's alias method. */
export class WeightedDraw<E extends Weighted> {
  readonly #random: () => number;
  #endpoints: readonly E[] = [];
  /** Where weights differ, each place of the list is shared by two: its own endpoint up to `#share`, above it that of `#alias`. */
  #share: Float64Array | undefined;
  #alias = new Uint32Array(0);

  constructor(random: () => number) {
    this.#random = random;
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#share = undefined;
    if (haveEqualWeights(endpoints)) return;
    const count = endpoints.length;
    const { shares } = normalizedShares(endpoints);
    const share = Float64Array.from(shares, (part) => part * count);
    const alias = new Uint32Array(count);
    const small: number[] = [];
    const large: number[] = [];
    for (let i = 0; i < count; i++) ((share[i] as number) < 1 ? small : large).push(i);
    while (small.length > 0 && large.length > 0) {
      const less = small.pop() as number;
      const more = large.at(-1) as number;
      alias[less] = more;
      share[more] = (share[more] as number) + (share[less] as number) - 1;
      if ((share[more] as number) < 1) small.push(large.pop() as number);
    }
    // What is left differs from 1 by rounding only.
    for (const i of [...small, ...large]) share[i] = 1;
    this.#share = share;
    this.#alias = alias;
  }

  /** There must be one. */
  any(): E {
    const place = this.#random() * this.#endpoints.length;
    const index = Math.floor(place);
    const share = this.#share;
    if (share === undefined || place - index < (share[index] as number)) return this.#endpoints[index] as E;
    return this.#endpoints[this.#alias[index] as number] as E;
  }
}
