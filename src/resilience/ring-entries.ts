/** The entries of a ring while it is built: both halves of the hash, and the index of the endpoint. */
export class RingEntries {
  count = 0;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #owner: Uint32Array;

  constructor(capacity: number) {
    this.#high = new Uint32Array(capacity);
    this.#low = new Uint32Array(capacity);
    this.#owner = new Uint32Array(capacity);
  }

  add(high: number, low: number, owner: number): void {
    this.#high[this.count] = high;
    this.#low[this.count] = low;
    this.#owner[this.count] = owner;
    this.count++;
  }

  /** In the order of the hashes. They are spread evenly: sorted by their first bits, hardly anything is left to move. */
  sorted(): SortedRing {
    const { count } = this;
    const bits = Math.max(1, Math.ceil(Math.log2(Math.max(count, 2))));
    const shift = 32 - bits;
    const starts = new Uint32Array(2 ** bits + 1);
    for (let i = 0; i < count; i++) {
      const bucket = ((this.#high[i] as number) >>> shift) + 1;
      starts[bucket] = (starts[bucket] as number) + 1;
    }
    for (let bucket = 1; bucket < starts.length; bucket++) starts[bucket] = (starts[bucket] as number) + (starts[bucket - 1] as number);
    const filled = new Uint32Array(2 ** bits);
    const high = new Uint32Array(count);
    const low = new Uint32Array(count);
    const owner = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const entryHigh = this.#high[i] as number;
      const entryLow = this.#low[i] as number;
      const bucket = entryHigh >>> shift;
      const first = starts[bucket] as number;
      let at = first + (filled[bucket] as number);
      filled[bucket] = (filled[bucket] as number) + 1;
      // Into its place among the few that begin like it; equal ones keep their order.
      while (at > first && isAfter(high[at - 1] as number, low[at - 1] as number, entryHigh, entryLow)) {
        high[at] = high[at - 1] as number;
        low[at] = low[at - 1] as number;
        owner[at] = owner[at - 1] as number;
        at--;
      }
      high[at] = entryHigh;
      low[at] = entryLow;
      owner[at] = this.#owner[i] as number;
    }
    return new SortedRing(high, low, owner, starts, shift);
  }
}

/** A ring that is looked up. */
export class SortedRing {
  /** Index of the endpoint of each entry, in the order of the hashes. */
  readonly owner: Uint32Array;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  /** By the first bits of a hash, the first entry that begins with them or comes after. */
  readonly #starts: Uint32Array;
  readonly #shift: number;

  constructor(high: Uint32Array, low: Uint32Array, owner: Uint32Array, starts: Uint32Array, shift: number) {
    this.#high = high;
    this.#low = low;
    this.owner = owner;
    this.#starts = starts;
    this.#shift = shift;
  }

  /** Index of the first entry at or after the hash; 0 where there is none. A step or two, however large the ring. */
  successor(high: number, low: number): number {
    const size = this.owner.length;
    let at = this.#starts[high >>> this.#shift] as number;
    while (at < size && isAfter(high, low, this.#high[at] as number, this.#low[at] as number)) at++;
    return at === size ? 0 : at;
  }
}

const isAfter = (high: number, low: number, otherHigh: number, otherLow: number): boolean =>
  high > otherHigh || (high === otherHigh && low > otherLow);
