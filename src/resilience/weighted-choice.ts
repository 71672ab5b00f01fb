/**
 * One of several by weight, for a number that somebody else draws: the same number is the same choice, whatever chance says. Immutable.
 * Weights of 0 are never chosen; their sum is above 0.
 */
export class WeightedChoice {
  readonly total: number;
  readonly #ends: readonly number[];

  constructor(weights: readonly number[]) {
    let end = 0;
    this.#ends = weights.map((weight) => {
      end += weight;
      return end;
    });
    this.total = end;
  }

  /** @param value a whole number from 0, or a fraction; above `total` it begins anew. */
  at(value: number): number {
    const place = value % this.total;
    for (let i = 0; i < this.#ends.length; i++) if (place < (this.#ends[i] as number)) return i;
    return this.#ends.length - 1;
  }

  /** The choice of a hash. It is stirred first: a cluster that balances by the same hash must not get a part of its ring only. */
  ofHash(high: number, low: number): number {
    let mixed = Math.imul(high ^ (high >>> 16), 0x85eb_ca6b) ^ low;
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
    return this.at((((mixed ^ (mixed >>> 16)) >>> 0) / 0x1_0000_0000) * this.total);
  }
}
