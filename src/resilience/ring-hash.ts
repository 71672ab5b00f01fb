import type { Balancer, BalancerEndpoint, CallHash, Usable } from './balancer.ts';
import { Hash64 } from './hash64.ts';
import { RingEntries } from './ring-entries.ts';
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
  #ring = new RingEntries(0).sorted();
  #endpoints: readonly E[] = [];

  constructor(options: RingHashOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
  }

  /** Entries of the ring. */
  get size(): number {
    return this.#ring.owner.length;
  }

  update(endpoints: readonly E[], weights?: readonly number[]): void {
    this.#endpoints = endpoints;
    const { shares, least } = normalizedShares(endpoints, weights);
    const { minimumRingSize, maximumRingSize, hashFunction } = this.#options;
    const scale = endpoints.length === 0 ? 0 : Math.min(Math.ceil(least * minimumRingSize) / least, maximumRingSize);
    const entries = new RingEntries(Math.ceil(scale) + endpoints.length);
    const hash = new Hash64();
    const text = Buffer.alloc(endpoints.reduce((longest, { key }) => Math.max(longest, key.length), 0) + numberBytes);
    let target = 0;
    for (let i = 0; i < endpoints.length; i++) {
      target += scale * (shares[i] as number);
      const { key } = endpoints[i] as E;
      for (let copy = 0; entries.count < target; copy++) {
        const length = text.write(`${key}_${copy}`, 0, 'latin1');
        const { high, low } = hashFunction === 'xx_hash' ? hash.xx(text, 0, length) : hash.murmur2(text, 0, length);
        entries.add(high, low, i);
      }
    }
    this.#ring = entries.sorted();
  }

  pick(usable: Usable<E> | undefined, _nowMs: number, hash: CallHash | undefined): E | undefined {
    const { owner } = this.#ring;
    const size = owner.length;
    if (size === 0) return undefined;
    if (hash === undefined) return this.#anyUsable(usable);
    let at = this.#ring.successor(hash.high, hash.low);
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
    const { owner } = this.#ring;
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
    const { owner } = this.#ring;
    const size = owner.length;
    for (let step = 1; step <= size; step++) {
      const i = owner[(from + step) % size] as number;
      if (accepted[i] === 1) return this.#endpoints[i];
    }
    // Its weight is too small for a place on a ring of this size.
    return this.#endpoints[accepted.indexOf(1)];
  }
}

/** Entries looked at one after the other before all endpoints are. */
const ringSteps = 64;

/** `_` and the number of a copy. */
const numberBytes = 12;
