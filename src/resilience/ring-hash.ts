import type { Balancer, BalancerEndpoint, CallHash, Usable } from './balancer.ts';
import { Hash64 } from './hash64.ts';
import { normalizedShares, pickByWeight, randomTries } from './weights.ts';

export interface RingHashOptions {
  /** Entries at least; shared out by weight. */
  readonly minimumRingSize: number;
  readonly maximumRingSize: number;
  readonly hashFunction: 'xx_hash' | 'murmur_hash_2';
}

/** Envoy's. */
export const defaultRingHash: RingHashOptions = { minimumRingSize: 1_024, maximumRingSize: 8_388_608, hashFunction: 'xx_hash' };

/**
 * Ketama: each endpoint stands at many places of a ring, and a call goes to the first one at or after its own hash. An endpoint
 * that goes takes only its own calls with it, and they spread over all others. Ring and choice are those of Envoy, entry for entry.
 * One that is not usable is passed over, so that its calls come back to it later and no other call moves meanwhile.
 */
export class RingHashBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #options: RingHashOptions;
  readonly #random: () => number;
  /** The ring in its order: both halves of the hash, and the index of the endpoint. */
  #high = new Uint32Array(0);
  #low = new Uint32Array(0);
  #owner = new Uint32Array(0);
  #endpoints: readonly E[] = [];

  constructor(options: RingHashOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
  }

  /** Entries of the ring. */
  get size(): number {
    return this.#owner.length;
  }

  update(endpoints: readonly E[], weights?: readonly number[]): void {
    this.#endpoints = endpoints;
    const { shares, least } = normalizedShares(endpoints, weights);
    const { minimumRingSize, maximumRingSize, hashFunction } = this.#options;
    const scale = endpoints.length === 0 ? 0 : Math.min(Math.ceil(least * minimumRingSize) / least, maximumRingSize);
    const capacity = Math.ceil(scale) + endpoints.length;
    const high = new Uint32Array(capacity);
    const low = new Uint32Array(capacity);
    const owner = new Uint32Array(capacity);
    const hash = new Hash64();
    let placed = 0;
    let target = 0;
    for (let i = 0; i < endpoints.length; i++) {
      target += scale * (shares[i] as number);
      const { key } = endpoints[i] as E;
      for (let copy = 0; placed < target; copy++) {
        const text = Buffer.from(`${key}_${copy}`);
        const { high: hashHigh, low: hashLow } =
          hashFunction === 'xx_hash' ? hash.xx(text, 0, text.length) : hash.murmur2(text, 0, text.length);
        high[placed] = hashHigh;
        low[placed] = hashLow;
        owner[placed] = i;
        placed++;
      }
    }
    const order = sortedOrder(high, low, placed);
    this.#high = Uint32Array.from(order, (i) => high[i] as number);
    this.#low = Uint32Array.from(order, (i) => low[i] as number);
    this.#owner = Uint32Array.from(order, (i) => owner[i] as number);
  }

  pick(usable: Usable<E> | undefined, _nowMs: number, hash: CallHash | undefined): E | undefined {
    const owner = this.#owner;
    const size = owner.length;
    if (size === 0) return undefined;
    if (hash === undefined) return this.#anyUsable(usable);
    let at = this.#successor(hash.high, hash.low);
    const first = this.#endpoints[owner[at] as number] as E;
    if (usable === undefined || usable(first)) return first;
    const stepsMost = Math.min(size, ringSteps);
    for (let step = 1; step < stepsMost; step++) {
      at = at + 1 === size ? 0 : at + 1;
      const endpoint = this.#endpoints[owner[at] as number] as E;
      if (usable(endpoint)) return endpoint;
    }
    return this.#nearestUsable(usable, at);
  }

  /** A call without a hash has nothing to stick to. */
  #anyUsable(usable: Usable<E> | undefined): E | undefined {
    const owner = this.#owner;
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#endpoints[owner[Math.floor(this.#random() * owner.length)] as number] as E;
      if (usable === undefined || usable(endpoint)) return endpoint;
    }
    return usable === undefined ? undefined : pickByWeight(this.#endpoints, usable, this.#random);
  }

  /** Few are usable: each is looked at once, since the ring may be a thousand times as long as the list. */
  #nearestUsable(usable: Usable<E>, from: number): E | undefined {
    const accepted = new Uint8Array(this.#endpoints.length);
    let found = 0;
    for (let i = 0; i < this.#endpoints.length; i++) {
      if (!usable(this.#endpoints[i] as E)) continue;
      accepted[i] = 1;
      found++;
    }
    if (found === 0) return undefined;
    const size = this.#owner.length;
    for (let step = 1; step <= size; step++) {
      const i = this.#owner[(from + step) % size] as number;
      if (accepted[i] === 1) return this.#endpoints[i];
    }
    // Its weight is too small for a place on a ring of this size.
    return this.#endpoints[accepted.indexOf(1)];
  }

  /** Index of the first entry at or after the hash; 0 where there is none. */
  #successor(high: number, low: number): number {
    let from = 0;
    let to = this.#high.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      const entry = this.#high[middle] as number;
      if (entry < high || (entry === high && (this.#low[middle] as number) < low)) from = middle + 1;
      else to = middle;
    }
    return from === this.#high.length ? 0 : from;
  }
}

/** Entries looked at one after the other before all endpoints are. */
const ringSteps = 64;

const sortedOrder = (high: Uint32Array, low: Uint32Array, count: number): Uint32Array => {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  return order.sort((a, b) => (high[a] as number) - (high[b] as number) || (low[a] as number) - (low[b] as number));
};
