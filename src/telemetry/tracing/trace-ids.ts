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
    const [a, b, c, d] = [state[0] as number, state[1] as number, state[2] as number, state[3] as number];
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

const digits = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));
/** Of `valueOfDigit`: no digit, and one that is a capital. */
const none = 0x40;
const capital = 0x20;
const valueOfDigit = new Uint8Array(256).fill(none);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  valueOfDigit[digit.toUpperCase().charCodeAt(0)] = value | capital;
  valueOfDigit[digit.charCodeAt(0)] = value;
}

/** Writes `word` as 8 lower-case digits at `at`. */
export const writeHex = (word: number, bytes: Uint8Array, at: number): void => {
  for (let i = 0; i < 8; i++) bytes[at + i] = digits[(word >>> (28 - 4 * i)) & 15] as number;
};

/** The number that 8 digits at `start` write. Whether they were digits is told by `notHex`, for many numbers at once. */
export const readHex = (bytes: Uint8Array, start: number): number => {
  let word = 0;
  let all = 0;
  for (let at = start; at < start + 8; at++) {
    const value = valueOfDigit[bytes[at] as number] as number;
    word = (word << 4) | (value & 15);
    all |= value;
  }
  seen |= all;
  return word;
};

/** The number that two digits write, likewise. */
export const readHexByte = (bytes: Uint8Array, start: number): number => {
  const high = valueOfDigit[bytes[start] as number] as number;
  const low = valueOfDigit[bytes[start + 1] as number] as number;
  seen |= high | low;
  return ((high & 15) << 4) | (low & 15);
};

let seen = 0;

/** Whether anything was no digit since this was asked for the last time; capitals are some only where `capitals` says so. */
export const notHex = (capitals: boolean): boolean => {
  const wrong = (seen & (capitals ? none : none | capital)) !== 0;
  seen = 0;
  return wrong;
};

const text = Buffer.alloc(32);

/** `words`, up to four, as text of 8 digits each. */
export const hexOf = (...words: readonly number[]): string => {
  for (let i = 0; i < words.length; i++) writeHex(words[i] as number, text, 8 * i);
  return text.toString('latin1', 0, 8 * words.length);
};
