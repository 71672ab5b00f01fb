import type { Balancer, BalancerEndpoint, CallHash, Usable } from './balancer.ts';
import { Hash64 } from './hash64.ts';
import { normalizedShares, pickByWeight, randomTries, type Shares } from './weights.ts';
import { Word64 } from './word64.ts';

export interface MaglevOptions {
  /** Entries; a prime, so that every endpoint's way through the table comes by all of them. */
  readonly tableSize: number;
}

/** Envoy's. */
export const defaultMaglev: MaglevOptions = { tableSize: 65_537 };
/** Envoy's. */
export const largestMaglevTable = 5_000_011;

/**
 * Maglev (Eisenbud et al., NSDI 2016): one look into a table says where a call goes, each endpoint has its share of the entries almost
 * to the call, and a change moves little more than it must. Table and choice are those of Envoy, entry for entry. One that is not
 * usable keeps its entries: its calls go elsewhere, each its own way, and come back to it later.
 */
export class MaglevBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #tableSize: number;
  readonly #random: () => number;
  readonly #hash = new Word64();
  #table = new Uint32Array(0);
  #endpoints: readonly E[] = [];

  constructor({ tableSize }: MaglevOptions, random: () => number) {
    this.#tableSize = tableSize;
    this.#random = random;
  }

  update(endpoints: readonly E[], weights?: readonly number[]): void {
    this.#endpoints = endpoints;
    this.#table =
      endpoints.length === 0 ? new Uint32Array(0) : buildTable(endpoints, normalizedShares(endpoints, weights), this.#tableSize);
  }

  pick(usable: Usable<E> | undefined, _nowMs: number, hash: CallHash | undefined): E | undefined {
    const table = this.#table;
    if (table.length === 0) return undefined;
    if (hash === undefined) return this.#anyUsable(usable);
    const at = this.#hash.set(hash.high, hash.low);
    const first = this.#endpoints[table[at.modulo(table.length)] as number] as E;
    if (usable === undefined || usable(first)) return first;
    for (let tries = 1; tries < tableTries; tries++) {
      const endpoint = this.#endpoints[table[nextPlace(at, table.length)] as number] as E;
      if (usable(endpoint)) return endpoint;
    }
    return this.#numberedUsable(usable, at);
  }

  /** A call without a hash has nothing to stick to. */
  #anyUsable(usable: Usable<E> | undefined): E | undefined {
    const table = this.#table;
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#endpoints[table[Math.floor(this.#random() * table.length)] as number] as E;
      if (usable === undefined || usable(endpoint)) return endpoint;
    }
    return usable === undefined ? undefined : pickByWeight(this.#endpoints, usable, this.#random);
  }

  /** Few are usable: of those, the one whose number the hash says. */
  #numberedUsable(usable: Usable<E>, hash: Word64): E | undefined {
    const found = this.#endpoints.filter(usable);
    return found.length === 0 ? undefined : found[hash.modulo(found.length)];
  }
}

/** Tries by hash before all endpoints are looked at. */
const tableTries = 16;

/** The same call takes the same way every time, and neighbours in the table take different ones. */
const nextPlace = (hash: Word64, size: number): number => hash.shiftXor(33).multiply(0xff51afd7, 0xed558ccd).shiftXor(33).modulo(size);

const buildTable = <E extends BalancerEndpoint>(
  endpoints: readonly E[],
  { shares, most }: Shares,
  size: number,
): Uint32Array<ArrayBuffer> => {
  const table = new Uint32Array(size).fill(empty);
  const hash = new Hash64();
  const count = endpoints.length;
  // In the order of their keys, whatever the order of the list: who comes first takes the entry that two want.
  const order = Uint32Array.from(endpoints, (_, i) => i).sort((a, b) => ((endpoints[a] as E).key < (endpoints[b] as E).key ? -1 : 1));
  const place = new Int32Array(count);
  const skip = new Int32Array(count);
  const target = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const text = Buffer.from((endpoints[order[i] as number] as E).key);
    place[i] = hash.xx(text, 0, text.length).modulo(size);
    skip[i] = hash.xx(text, 0, text.length, 1).modulo(size - 1) + 1;
  }
  let filled = 0;
  for (let round = 1; filled < size; round++) {
    for (let i = 0; i < count && filled < size; i++) {
      const owner = order[i] as number;
      // A lighter endpoint sits out rounds.
      if (round * (shares[owner] as number) < (target[i] as number)) continue;
      target[i] = (target[i] as number) + most;
      let at = place[i] as number;
      const step = skip[i] as number;
      while (table[at] !== empty) {
        at += step;
        if (at >= size) at -= size;
      }
      table[at] = owner;
      at += step;
      place[i] = at >= size ? at - size : at;
      filled++;
    }
  }
  return table;
};

const empty = 0xffff_ffff;
