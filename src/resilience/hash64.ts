import { Word64 } from './word64.ts';

/**
 * 64-bit hashes of bytes, bit for bit those of Envoy, so that a call sticks to the same endpoint whoever proxies it: xxHash64
 * (header values, cookies, tables) and MurmurHash2 64A (`hash_function: MURMUR_HASH_2`). Each result replaces the one before.
 */
export class Hash64 {
  readonly value = new Word64();
  readonly #lane = new Word64();
  readonly #stripes = [new Word64(), new Word64(), new Word64(), new Word64()] as const;

  /** xxHash64 of `bytes[start, end)`. The seed is 64 bits in two halves, the lower one first. */
  xx(bytes: Uint8Array, start: number, end: number, seed = 0, seedHigh = 0): Word64 {
    const hash = this.value;
    const lane = this.#lane;
    let at = start;
    if (end - start >= 32) at = this.#xxStripes(bytes, start, end, seed, seedHigh);
    else hash.set(p5High, p5Low).add(seedHigh, seed);
    hash.add(0, end - start);
    for (; at + 8 <= end; at += 8) {
      lane
        .set(read32(bytes, at + 4), read32(bytes, at))
        .multiply(p2High, p2Low)
        .rotate(31)
        .multiply(p1High, p1Low);
      hash.xor(lane.high, lane.low).rotate(27).multiply(p1High, p1Low).add(p4High, p4Low);
    }
    if (at + 4 <= end) {
      lane.set(0, read32(bytes, at)).multiply(p1High, p1Low);
      hash.xor(lane.high, lane.low).rotate(23).multiply(p2High, p2Low).add(p3High, p3Low);
      at += 4;
    }
    for (; at < end; at++) {
      lane.set(0, bytes[at] as number).multiply(p5High, p5Low);
      hash.xor(lane.high, lane.low).rotate(11).multiply(p1High, p1Low);
    }
    return hash.shiftXor(33).multiply(p2High, p2Low).shiftXor(29).multiply(p3High, p3Low).shiftXor(32);
  }

  /** MurmurHash2 64A of `bytes[start, end)`, with the seed of libstdc++, as Envoy has it. */
  murmur2(bytes: Uint8Array, start: number, end: number): Word64 {
    const hash = this.value;
    const lane = this.#lane;
    const length = end - start;
    lane.set(0, length).multiply(mHigh, mLow);
    hash.set(0, murmurSeed).xor(lane.high, lane.low);
    let at = start;
    for (; at + 8 <= end; at += 8) {
      lane
        .set(read32(bytes, at + 4), read32(bytes, at))
        .multiply(mHigh, mLow)
        .shiftXor(47)
        .multiply(mHigh, mLow);
      hash.xor(lane.high, lane.low).multiply(mHigh, mLow);
    }
    if (at < end) {
      let high = 0;
      let low = 0;
      for (let i = end - 1; i >= at; i--) {
        high = (high << 8) | (low >>> 24);
        low = (low << 8) | (bytes[i] as number);
      }
      hash.xor(high, low).multiply(mHigh, mLow);
    }
    return hash.shiftXor(47).multiply(mHigh, mLow).shiftXor(47);
  }

  /** Everything in steps of 32 bytes, four sums beside each other. Returns where the rest begins. */
  #xxStripes(bytes: Uint8Array, start: number, end: number, seed: number, seedHigh: number): number {
    const [a, b, c, d] = this.#stripes;
    a.set(p1High, p1Low).add(p2High, p2Low).add(seedHigh, seed);
    b.set(p2High, p2Low).add(seedHigh, seed);
    c.set(seedHigh, seed);
    d.set(~p1High, ~p1Low).add(0, 1).add(seedHigh, seed);
    let at = start;
    for (; at + 32 <= end; at += 32) {
      this.#round(a, bytes, at);
      this.#round(b, bytes, at + 8);
      this.#round(c, bytes, at + 16);
      this.#round(d, bytes, at + 24);
    }
    const hash = this.value;
    const lane = this.#lane;
    hash.set(0, 0);
    const turns = [1, 7, 12, 18] as const;
    for (let i = 0; i < 4; i++) {
      const stripe = this.#stripes[i] as Word64;
      lane.set(stripe.high, stripe.low).rotate(turns[i] as number);
      hash.add(lane.high, lane.low);
    }
    for (let i = 0; i < 4; i++) {
      const stripe = this.#stripes[i] as Word64;
      stripe.multiply(p2High, p2Low).rotate(31).multiply(p1High, p1Low);
      hash.xor(stripe.high, stripe.low).multiply(p1High, p1Low).add(p4High, p4Low);
    }
    return at;
  }

  #round(sum: Word64, bytes: Uint8Array, at: number): void {
    const lane = this.#lane.set(read32(bytes, at + 4), read32(bytes, at)).multiply(p2High, p2Low);
    sum.add(lane.high, lane.low).rotate(31).multiply(p1High, p1Low);
  }
}

const read32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0;

const [p1High, p1Low] = [0x9e3779b1, 0x85ebca87];
const [p2High, p2Low] = [0xc2b2ae3d, 0x27d4eb4f];
const [p3High, p3Low] = [0x165667b1, 0x9e3779f9];
const [p4High, p4Low] = [0x85ebca77, 0xc2b2ae63];
const [p5High, p5Low] = [0x27d4eb2f, 0x165667c5];
const [mHigh, mLow] = [0xc6a4a793, 0x5bd1e995];
const murmurSeed = 0xc70f6907;
