/**
 * Passes over the bytes of a field: hash, validity and copy at once, because three passes over the same 50 bytes are
 * what a header codec spends its time on.
 *
 * The field hash is what encoder and decoder agree on. It has 30 bits and never a sign:
 * `seed = nameHash(token, name)`, then the value four bytes at a time, little-endian, each word mixed in by
 * `h = (h ^ word) * 0x9e3779b1; h ^= h >>> 15`, the last, shorter word (perhaps empty) with the length on top. Whoever
 * finds two equal hashes still compares the bytes.
 */
const multiplier = 0x9e3779b1 | 0;

/** The bits of a scan's result that are the hash. */
export const hashMask = 0x3fffffff;
/** Set in a scan's result when the value must not stand in a message, RFC 9113 section 8.2.1. */
export const invalidBit = 0x40000000;

const finish = (hash: number, word: number, length: number): number => {
  let h = Math.imul(hash ^ word ^ (length << 24), multiplier);
  h ^= h >>> 15;
  h = Math.imul(h, 0x85ebca6b | 0);
  return (h ^ (h >>> 13)) & hashMask;
};

/** True when one of the four bytes may be below 14: only then NUL, LF or CR can be among them. May say so in vain. */
const mayHoldControl = (word: number): boolean => ((word - 0x0e0e0e0e) & ~word & 0x80808080) !== 0;
const isForbidden = (byte: number): boolean => byte === 0 || byte === 10 || byte === 13;
const isBlank = (byte: number): boolean => byte === 32 || byte === 9;

/** Hash of the value `bytes[start, end)` on top of the name's hash, with {@link invalidBit} when the value is not allowed. */
export const scanValue = (bytes: Uint8Array, start: number, end: number, seed: number): number => {
  let h = seed;
  let bad = 0;
  let at = start;
  for (const last = end - 3; at < last; at += 4) {
    const a = bytes[at]!;
    const b = bytes[at + 1]!;
    const c = bytes[at + 2]!;
    const d = bytes[at + 3]!;
    const word = a | (b << 8) | (c << 16) | (d << 24);
    if (mayHoldControl(word) && (isForbidden(a) || isForbidden(b) || isForbidden(c) || isForbidden(d))) bad = invalidBit;
    h = Math.imul(h ^ word, multiplier);
    h ^= h >>> 15;
  }
  let word = 0;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (isForbidden(byte)) bad = invalidBit;
    word = (word << 8) | byte;
  }
  if (end > start && (isBlank(bytes[start]!) || isBlank(bytes[end - 1]!))) bad = invalidBit;
  return finish(h, word, end - start) | bad;
};

/** {@link scanValue} that also copies the value to `target` at `to`; the two must not overlap. */
export const copyAndScanValue = (bytes: Uint8Array, start: number, end: number, target: Uint8Array, to: number, seed: number): number => {
  let h = seed;
  let bad = 0;
  let at = start;
  let out = to;
  for (const last = end - 3; at < last; at += 4) {
    const a = bytes[at]!;
    const b = bytes[at + 1]!;
    const c = bytes[at + 2]!;
    const d = bytes[at + 3]!;
    target[out] = a;
    target[out + 1] = b;
    target[out + 2] = c;
    target[out + 3] = d;
    out += 4;
    const word = a | (b << 8) | (c << 16) | (d << 24);
    if (mayHoldControl(word) && (isForbidden(a) || isForbidden(b) || isForbidden(c) || isForbidden(d))) bad = invalidBit;
    h = Math.imul(h ^ word, multiplier);
    h ^= h >>> 15;
  }
  let word = 0;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    target[out++] = byte;
    if (isForbidden(byte)) bad = invalidBit;
    word = (word << 8) | byte;
  }
  if (end > start && (isBlank(bytes[start]!) || isBlank(bytes[end - 1]!))) bad = invalidBit;
  return finish(h, word, end - start) | bad;
};

/** What the value's hash starts from. A well-known name counts by its token, any other by its bytes. */
export const nameHash = (token: number, bytes: Uint8Array, start: number, end: number): number =>
  token !== 0 ? Math.imul(token, multiplier) : scanValue(bytes, start, end, 0) & hashMask;

/** The hash of a whole field, as decoder, encoder and header block compute it. */
export const fieldHash = (
  token: number,
  nameBytes: Uint8Array,
  nameStart: number,
  nameEnd: number,
  valueBytes: Uint8Array,
  valueStart: number,
  valueEnd: number,
): number => scanValue(valueBytes, valueStart, valueEnd, nameHash(token, nameBytes, nameStart, nameEnd)) & hashMask;

// token characters of RFC 9110 section 5.6.2, without upper case
const nameBytesAllowed: Uint8Array = (() => {
  const table = new Uint8Array(256);
  for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") table[character.charCodeAt(0)] = 1;
  return table;
})();

/** RFC 9113 section 8.2.1: not empty, token characters, no upper case; one leading colon is left to the pseudo-header rules. */
export const isValidName = (bytes: Uint8Array, start: number, end: number): boolean => {
  let at = start;
  if (at < end && bytes[at] === 58) at++;
  if (at >= end) return false;
  for (; at < end; at++) if (nameBytesAllowed[bytes[at]!] === 0) return false;
  return true;
};

// RFC 3986 section 3.2 without userinfo: unreserved, percent-encoded, sub-delims, and what stands around addresses and before ports
const authorityBytesAllowed: Uint8Array = (() => {
  const table = new Uint8Array(256);
  for (const character of "-._~%!$&'()*+,;=:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    table[character.charCodeAt(0)] = 1;
  return table;
})();

/** May these bytes stand in `:authority`? User names may not (RFC 9113 section 8.3.1): what others read as the host would stand behind them. */
export const isAuthority = (bytes: Uint8Array, start: number, end: number): boolean => {
  for (let at = start; at < end; at++) if (authorityBytesAllowed[bytes[at]!] === 0) return false;
  return true;
};

// Up to here a loop beats the call; `copy` makes no view, as `set(subarray)` would.
const loopBelow = 32;
// Comparing natively costs as much as a hundred bytes in a loop.
const compareBelow = 64;

/** Copies `from[start, end)` to `target` at `to`. For two different arrays, or ranges that do not overlap. */
export const copyBytes = (from: Buffer, start: number, end: number, target: Uint8Array, to: number): void => {
  if (end - start > loopBelow) {
    from.copy(target, to, start, end);
    return;
  }
  let at = start;
  let out = to;
  for (const last = end - 3; at < last; at += 4, out += 4) {
    target[out] = from[at]!;
    target[out + 1] = from[at + 1]!;
    target[out + 2] = from[at + 2]!;
    target[out + 3] = from[at + 3]!;
  }
  for (; at < end; at++, out++) target[out] = from[at]!;
};

/** Are the ranges of equal length and content? */
export const sameBytes = (a: Buffer, aStart: number, aEnd: number, b: Buffer, bStart: number, bEnd: number): boolean => {
  if (aEnd - aStart !== bEnd - bStart) return false;
  if (aEnd - aStart > compareBelow) return a.compare(b, bStart, bEnd, aStart, aEnd) === 0;
  for (let at = aStart, other = bStart; at < aEnd; at++, other++) if (a[at] !== b[other]) return false;
  return true;
};
