import { seededRandom } from '../harness/seeded-random.ts';

/** Pseudo-random numbers with the questions that mutators ask: the same seed gives the same run. */
export class Random {
  /** From 0 to 1, 1 excluded. */
  readonly next: () => number;

  constructor(seed: number) {
    this.next = seededRandom(seed);
  }

  /** A whole number below `limit`; 0 where the limit is none. */
  below(limit: number): number {
    return Math.floor(this.next() * Math.max(1, limit));
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let i = 0; i < length; i++) bytes[i] = this.below(256);
    return bytes;
  }

  /** 32 bits, for a generator of its own. */
  seed(): number {
    return this.below(0x1_0000_0000);
  }
}

/** A seed out of a text or bytes (FNV-1a), so that what follows from an input depends on the input alone. */
export const seedOf = (bytes: Uint8Array): number => {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
};
