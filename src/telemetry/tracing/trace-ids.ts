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
const valueOfDigit = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  valueOfDigit[digit.charCodeAt(0)] = value;
  valueOfDigit[digit.toUpperCase().charCodeAt(0)] = value;
}

/** Writes `word` as 8 lower-case digits at `at`. */
export const writeHex = (word: number, bytes: Uint8Array, at: number): void => {
  for (let i = 0; i < 8; i++) bytes[at + i] = digits[(word >>> (28 - 4 * i)) & 15] as number;
};

/** Whether `bytes[start, end)` are hexadecimal digits; capitals only where `capitals` says so. */
export const isHex = (bytes: Uint8Array, start: number, end: number, capitals: boolean): boolean => {
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if ((valueOfDigit[byte] as number) < 0 || (!capitals && byte < 0x61 && byte > 0x39)) return false;
  }
  return true;
};

/** The number that up to 8 digits at `start` write; they are digits. */
export const readHex = (bytes: Uint8Array, start: number, end: number): number => {
  let word = 0;
  for (let at = start; at < end; at++) word = (word << 4) | (valueOfDigit[bytes[at] as number] as number);
  return word;
};

/** `words` as text, 8 digits each. */
export const hexOf = (...words: readonly number[]): string => words.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
