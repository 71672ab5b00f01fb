// Code lengths of RFC 7541 Appendix B by symbol, EOS last. The code is canonical: the lengths say everything.
const lengths = Uint8Array.from([
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10,
  12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
  7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22,
  23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22,
  23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
  24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
]);
const endOfString = 256;
const longest = 30;

const codes = new Uint32Array(lengths.length);
// by length: symbols of that length begin here in `ordered`, their first code, and the code behind their last
const offset = new Uint16Array(longest + 1);
const firstCode = new Uint32Array(longest + 1);
const codeLimit = new Uint32Array(longest + 1);
const ordered: Uint16Array = Uint16Array.from([...lengths.keys()].sort((a, b) => lengths[a]! - lengths[b]! || a - b));
for (let length = 1, at = 0, code = 0; length <= longest; length++) {
  code *= 2;
  offset[length] = at;
  firstCode[length] = code;
  while (at < ordered.length && lengths[ordered[at]!] === length) codes[ordered[at++]!] = code++;
  codeLimit[length] = code;
}

/** A window of 12 bits holds two of the symbols that headers are made of: one load decodes both. */
const windowBits = 12;
const windowMask = (1 << windowBits) - 1;
// first symbol | second << 8 | bits of both << 16 | bits of the first << 20 | symbols << 24; 0 when the code is longer than the window
const pairs: Int32Array = (() => {
  const shortSymbol = (bits: number, available: number): number => {
    for (let length = 5; length <= available; length++) {
      const code = bits >>> (available - length);
      if (code < codeLimit[length]!) return ordered[offset[length]! + code - firstCode[length]!]!;
    }
    return -1;
  };
  return new Int32Array(1 << windowBits).map((_, window) => {
    const first = shortSymbol(window, windowBits);
    if (first < 0) return 0;
    const used = lengths[first]!;
    const rest = windowBits - used;
    const second = shortSymbol(window & ((1 << rest) - 1), rest);
    if (second < 0) return first | (used << 16) | (used << 20) | (1 << 24);
    return first | (second << 8) | ((used + lengths[second]!) << 16) | (used << 20) | (2 << 24);
  });
})();

/** Room that {@link huffmanDecode} needs for a string of that many encoded bytes: the shortest code has 5 bits. */
export const huffmanDecodeBoundBytes = (encodedBytes: number): number => ((encodedBytes * 8) / 5 + 2) | 0;

/**
 * Decodes `input[start, end)` to `target` at `to` and returns the end of the text, or -1 when the padding is wrong or the
 * string holds EOS (RFC 7541 section 5.2). `target` needs {@link huffmanDecodeBoundBytes}; bytes behind the text are not kept.
 */
export const huffmanDecode = (input: Uint8Array, start: number, end: number, target: Uint8Array, to: number): number => {
  let at = start;
  let out = to;
  let held = 0; // its lowest `bits` bits are still to be decoded; what is above them is stale
  let bits = 0;
  for (;;) {
    if (bits < windowBits) {
      while (bits <= 23 && at < end) {
        held = (held << 8) | input[at]!;
        at = (at + 1) | 0;
        bits = (bits + 8) | 0;
      }
      if (bits < windowBits) break;
    }
    const pair = pairs[(held >>> (bits - windowBits)) & windowMask]!;
    if (pair !== 0) {
      target[out] = pair;
      target[out + 1] = pair >> 8;
      out = (out + (pair >> 24)) | 0;
      bits = (bits - ((pair >> 16) & 15)) | 0;
      continue;
    }
    const bit = at * 8 - bits;
    const symbol = longSymbol(input, bit, end);
    if (symbol < 0) return -1;
    target[out++] = symbol;
    const next = bit + lengths[symbol]!;
    at = next >>> 3;
    bits = 0;
    if ((next & 7) !== 0) {
      held = input[at++]!;
      bits = 8 - (next & 7);
    }
  }
  // Less than a window is left: as if ones followed, which is what padding is made of.
  while (bits > 0) {
    const pair = pairs[((held << (windowBits - bits)) | (windowMask >>> bits)) & windowMask]!;
    const used = (pair >>> 20) & 15;
    if (pair === 0 || used > bits) break;
    target[out++] = pair;
    bits -= used;
  }
  const padding = (1 << bits) - 1;
  return bits <= 7 && (held & padding) === padding ? out : -1;
};

const byteOrOnes = (input: Uint8Array, at: number, end: number): number => (at < end ? input[at]! : 255);

/** The symbol longer than a window that begins at `bit`; -1 for EOS and for a code that the end of the input cuts off. */
const longSymbol = (input: Uint8Array, bit: number, end: number): number => {
  const at = bit >>> 3;
  const shift = bit & 7;
  const first = (byteOrOnes(input, at, end) << 24) | (byteOrOnes(input, at + 1, end) << 16) | (byteOrOnes(input, at + 2, end) << 8);
  const word = (((first | byteOrOnes(input, at + 3, end)) << shift) | (byteOrOnes(input, at + 4, end) >>> (8 - shift))) >>> 0;
  for (let length = windowBits + 1; length <= longest; length++) {
    const code = word >>> (32 - length);
    if (code >= codeLimit[length]!) continue;
    const symbol = ordered[offset[length]! + code - firstCode[length]!]!;
    return symbol === endOfString || bit + length > end * 8 ? -1 : symbol;
  }
  return -1;
};

/** Size of `input[start, end)` once Huffman-encoded. */
export const huffmanEncodedBytes = (input: Uint8Array, start: number, end: number): number => {
  let bits = 0;
  for (let at = start; at < end; at++) bits += lengths[input[at]!]!;
  return Math.ceil(bits / 8);
};

/** Encodes `input[start, end)` to `target` at `to` and returns the end. The engine's own encoder writes plain strings: they cost less time. */
export const huffmanEncode = (input: Uint8Array, start: number, end: number, target: Uint8Array, to: number): number => {
  let out = to;
  let held = 0;
  let bits = 0;
  for (let at = start; at < end; at++) {
    const code = codes[input[at]!]!;
    for (let left = lengths[input[at]!]!; left > 0; ) {
      const taken = Math.min(left, 8 - bits);
      left -= taken;
      held = (held << taken) | ((code >>> left) & ((1 << taken) - 1));
      bits += taken;
      if (bits === 8) {
        target[out++] = held;
        held = 0;
        bits = 0;
      }
    }
  }
  if (bits > 0) target[out++] = (held << (8 - bits)) | (255 >>> bits);
  return out;
};
