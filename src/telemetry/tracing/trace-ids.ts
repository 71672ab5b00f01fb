import { randomFillSync } from 'node:crypto';

/**
 * Numbers for trace and span ids, 32 bits at a time: xoshiro128**, seeded by the system. An id has to be unlike all others and no
 * secret, and every call needs two of them: asking the system for each would cost more than the rest of a call's trace.
 */
export class TraceIds {
  readonly #state = new Int32Array(4);

  /** @param seed four words, not all of them 0; the system's own randomness where left out. */
  constructor(seed?: Int32Array) {
    const state = this.#state;
    if (seed === undefined) randomFillSync(state);
    else state.set(seed);
    if ((state[0] as number) === 0) state[0] = 1;
  }

  /** 32 bits, signed. */
  next(): number {
    const state = this.#state;
    const a = state[0] as number;
    const b = state[1] as number;
    const c = state[2] as number;
    const d = state[3] as number;
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const third = c ^ a;
    const fourth = d ^ b;
    state[1] = b ^ third;
    state[0] = a ^ fourth;
    state[2] = third ^ (b << 9);
    state[3] = (fourth << 11) | (fourth >>> 21);
    return result | 0;
  }

  /** The same, and never 0: an id of zeros is none. */
  nextNonZero(): number {
    return this.next() || 1;
  }
}

/** The low 16 bits of `word` as four lower-case digits, one in each byte of the result. */
const digitsOf = (word: number): number => {
  const bytes = ((word << 8) | word) & 0x00ff00ff;
  const values = ((bytes << 4) | bytes) & 0x0f0f0f0f;
  return asDigits(values);
};

/** Four values of one byte each as their digits: those above 9 are 39 further on, where the lower-case letters are. */
const asDigits = (values: number): number => values + 0x30303030 + (((values + 0x06060606) >> 4) & 0x01010101) * 39;

/** Writes `word` as 8 lower-case digits at `at`. */
export const writeHex = (word: number, view: DataView, at: number): void => {
  view.setInt32(at, digitsOf(word >>> 16));
  view.setInt32(at + 4, digitsOf(word & 0xffff));
};

let wrong = 0;

/** The 16 bits that four lower-case digits write, one in each byte of `digits`. All at once: a call has a dozen such fours. */
const valueOfDigits = (digits: number): number => {
  const values = (digits & 0x0f0f0f0f) + ((digits >> 6) & 0x01010101) * 9;
  // What is no digit has no value below 16, or comes out as another character.
  wrong |= (values & 0xf0f0f0f0) | (asDigits(values) ^ digits);
  const bytes = (values | (values >> 4)) & 0x00ff00ff;
  return (bytes | (bytes >> 8)) & 0xffff;
};

/** The same digits with small letters; capitals have another bit. */
const withoutCapitals = (digits: number): number => digits | ((digits >> 1) & 0x20202020);

/** The number that 8 lower-case digits at `start` write. Whether they were some is told by `notHex`, for many numbers at once. */
export const readHex = (view: DataView, start: number): number =>
  (valueOfDigits(view.getInt32(start)) << 16) | valueOfDigits(view.getInt32(start + 4));

/** The same of digits that may be capitals. */
export const readHexOrCapitals = (view: DataView, start: number): number =>
  (valueOfDigits(withoutCapitals(view.getInt32(start))) << 16) | valueOfDigits(withoutCapitals(view.getInt32(start + 4)));

const twoZeros = 0x3030 << 16;

/** The number that two lower-case digits write, likewise. */
export const readHexByte = (view: DataView, start: number): number => valueOfDigits(twoZeros | view.getUint16(start));

/** Whether anything was no digit since this was asked for the last time. */
export const notHex = (): boolean => {
  const found = wrong !== 0;
  wrong = 0;
  return found;
};

const text = Buffer.alloc(32);
const textView = new DataView(text.buffer, text.byteOffset, text.length);

/** `words`, up to four, as text of 8 digits each. */
export const hexOf = (...words: readonly number[]): string => {
  for (let i = 0; i < words.length; i++) writeHex(words[i] as number, textView, 8 * i);
  return text.toString('latin1', 0, 8 * words.length);
};
