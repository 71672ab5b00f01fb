import { copyBytes, hashMask, invalidBit, isValidName, scanValue, nameHash as seedOf } from './hpack/field-scan.ts';
import { isPseudoToken, tokenCount, tokenName, tokenNameLength, tokenOfName } from './hpack/token.ts';

/** Bits of {@link HeaderBlock.flags}. */
export const FieldFlag = {
  /** The sender asked that no hop ever indexes this field (RFC 7541 section 6.2.3); the encoder passes that on. */
  neverIndexed: 1,
  /** Removed: the finders and the encoder act as if it were not there. */
  dropped: 2,
  /** The name is empty or holds upper case or anything that is no token character, RFC 9113 section 8.2.1. */
  invalidName: 4,
  /**
   * The value holds NUL, CR or LF, or begins or ends with a blank, RFC 9113 section 8.2.1; of `:authority` anything that is no host and
   * port, RFC 9113 section 8.3.1.
   */
  invalidValue: 8,
} as const;

const problemFlags = FieldFlag.invalidName | FieldFlag.invalidValue;

/** What every field costs beside its bytes, RFC 9113 section 6.5.2 (SETTINGS_MAX_HEADER_LIST_SIZE). */
export const fieldOverheadBytes = 32;

const initialFields = 32;
const initialBytes = 1024;
/** Of a new block's memory: six arrays of integers, then flags, first fields and bytes. */
const firstOffset = 25 * initialFields;
const bytesOffset = firstOffset + 2 * tokenCount;
const memoryBytes = bytesOffset + initialBytes;
const keptFields = 128;
const keptBytes = 8 * 1024;
/** More fields than this are never stored, whatever the caller allows. */
export const maxBlockFields = 16_000;

/**
 * One header block or trailer block: fields as ranges of bytes in the block's own storage, never as strings. Editable,
 * and made to be pooled: `reset()` makes it as new, without giving up its storage unless that has grown large.
 *
 * Field `i` has the name token `tokens[i]`; only when that is 0 does its name stand in `bytes[nameStart[i], nameEnd[i])`.
 * Its value is `bytes[valueStart[i], valueEnd[i])`. Fields keep their order; removed ones stay as `dropped`.
 * `bytes` and the arrays are replaced when the block grows: do not keep them.
 */
export class HeaderBlock {
  // One piece of memory for everything: nine would cost more in the C library's and V8's own accounts than they hold.
  readonly #memory = new ArrayBuffer(memoryBytes);
  /** Stored fields, the dropped ones included. */
  count = 0;
  bytes: Buffer = Buffer.from(this.#memory, bytesOffset, initialBytes);
  tokens = new Int32Array(this.#memory, 0, initialFields);
  nameStart = new Int32Array(this.#memory, 4 * initialFields, initialFields);
  nameEnd = new Int32Array(this.#memory, 8 * initialFields, initialFields);
  valueStart = new Int32Array(this.#memory, 12 * initialFields, initialFields);
  valueEnd = new Int32Array(this.#memory, 16 * initialFields, initialFields);
  /** `fieldHash` of name and value (hpack/field-scan.ts). */
  hashes = new Int32Array(this.#memory, 20 * initialFields, initialFields);
  /** Bits of {@link FieldFlag}. */
  flags = new Uint8Array(this.#memory, 24 * initialFields, initialFields);

  /** End of the used part of `bytes`. */
  usedBytes = 0;
  /** Fields seen, also those that were not stored because of the limits. */
  fieldCount = 0;
  /** Size of all fields seen, as RFC 9113 section 6.5.2 counts it; removing a field takes nothing off. */
  listSizeBytes = 0;
  /** `invalidName | invalidValue`, over all fields seen. */
  problems = 0;
  /** A limit was exceeded: later fields were decoded but not stored. */
  overflowed = false;
  /** A pseudo-header field came after a regular one: malformed when received, RFC 9113 section 8.3. */
  pseudoAfterRegular = false;
  /** A name with a leading colon that this engine does not know: malformed when received. */
  unknownPseudo = false;

  #sawRegular = false;
  #view: DataView | undefined = undefined;
  // index + 1 of each token's first field, negative when there are several, 0 when there is none
  readonly #first = new Int16Array(this.#memory, firstOffset, tokenCount);

  /** `bytes`, for several of them at once; replaced when they are. */
  get view(): DataView {
    const { bytes } = this;
    this.#view ??= new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return this.#view;
  }

  /** First field with that token, -1 when there is none. */
  indexOf(token: number): number {
    const first = this.#first[token]!;
    return first < 0 ? -first - 1 : first - 1;
  }

  /** Does the token occur more than once? */
  duplicateOf(token: number): boolean {
    return this.#first[token]! < 0;
  }

  /** First field with that lower-case name, -1 when there is none. */
  find(name: string): number {
    const token = tokenOfName(name);
    if (token !== 0) return this.indexOf(token);
    for (let i = 0; i < this.count; i++) {
      if (this.tokens[i] === 0 && (this.flags[i]! & FieldFlag.dropped) === 0 && this.#equals(this.nameStart[i]!, this.nameEnd[i]!, name)) {
        return i;
      }
    }
    return -1;
  }

  /** Allocates: not for the data path. */
  name(i: number): string {
    const token = this.tokens[i]!;
    return token !== 0 ? tokenName(token) : this.bytes.toString('latin1', this.nameStart[i], this.nameEnd[i]);
  }

  /** The value as latin1. Allocates: not for the data path. */
  value(i: number): string {
    return this.bytes.toString('latin1', this.valueStart[i], this.valueEnd[i]);
  }

  valueEquals(i: number, text: string): boolean {
    return this.#equals(this.valueStart[i]!, this.valueEnd[i]!, text);
  }

  valueStartsWith(i: number, text: string): boolean {
    const start = this.valueStart[i]!;
    const end = start + text.length;
    return end <= this.valueEnd[i]! && this.#equals(start, end, text);
  }

  /** The fields that are not dropped, for tests and logs. */
  toPairs(): [name: string, value: string][] {
    const pairs: [string, string][] = [];
    for (let i = 0; i < this.count; i++) {
      if ((this.flags[i]! & FieldFlag.dropped) === 0) pairs.push([this.name(i), this.value(i)]);
    }
    return pairs;
  }

  /**
   * Appends a field with a well-known name. A character that no value may hold (NUL, CR, LF, above U+00FF) is written as
   * `?`, so that no text can ever add a field of its own.
   */
  add(token: number, value: string): void {
    const start = this.#writeText(value);
    this.#append(token, 0, 0, start);
  }

  /** Appends a field by lower-case name; the value as in {@link add}. */
  addNamed(name: string, value: string): void {
    const token = tokenOfName(name);
    if (token !== 0) {
      this.add(token, value);
      return;
    }
    const nameStart = this.#writeText(name);
    const nameEnd = this.usedBytes;
    const start = this.#writeText(value);
    this.#append(0, nameStart, nameEnd, start);
  }

  /** Appends a field with a well-known name and the value `bytes[start, end)`, which is checked like a received one. */
  addBytes(token: number, bytes: Buffer, start: number, end: number): void {
    this.reserve(end - start);
    const valueStart = this.usedBytes;
    copyBytes(bytes, start, end, this.bytes, valueStart);
    this.usedBytes += end - start;
    this.#append(token, 0, 0, valueStart);
  }

  /** Appends a field with a well-known name and a non-negative integer in decimal. */
  addNumber(token: number, value: number): void {
    let digits = 1;
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
    this.reserve(digits);
    const start = this.usedBytes;
    for (let at = start + digits - 1, rest = value; at >= start; at--, rest = Math.floor(rest / 10)) this.bytes[at] = 48 + (rest % 10);
    this.usedBytes += digits;
    this.#append(token, 0, 0, start);
  }

  /** Appends field `i` of another block, flags included. */
  addFrom(other: HeaderBlock, i: number): void {
    const nameLength = other.nameEnd[i]! - other.nameStart[i]!;
    const valueLength = other.valueEnd[i]! - other.valueStart[i]!;
    this.reserve(nameLength + valueLength);
    const nameStart = this.usedBytes;
    const valueStart = nameStart + nameLength;
    // Most values stand right behind their names.
    if (nameLength > 0 && other.nameEnd[i] === other.valueStart[i]) {
      copyBytes(other.bytes, other.nameStart[i]!, other.valueEnd[i]!, this.bytes, nameStart);
    } else {
      if (nameLength > 0) copyBytes(other.bytes, other.nameStart[i]!, other.nameEnd[i]!, this.bytes, nameStart);
      copyBytes(other.bytes, other.valueStart[i]!, other.valueEnd[i]!, this.bytes, valueStart);
    }
    this.usedBytes = valueStart + valueLength;
    this.push(other.tokens[i]!, nameStart, valueStart, valueStart, this.usedBytes, other.hashes[i]!, other.flags[i]! & ~FieldFlag.dropped);
  }

  /** Becomes a copy of `other`: its fields that are not dropped, and what is known about all that were seen. */
  copyFrom(other: HeaderBlock): void {
    this.reset();
    for (let i = 0; i < other.count; i++) if ((other.flags[i]! & FieldFlag.dropped) === 0) this.addFrom(other, i);
    this.fieldCount = other.fieldCount;
    this.listSizeBytes = other.listSizeBytes;
    this.problems = other.problems;
    this.overflowed = other.overflowed;
    this.pseudoAfterRegular = other.pseudoAfterRegular;
    this.unknownPseudo = other.unknownPseudo;
  }

  /** Gives the token exactly one field: the first keeps its place and gets the value, further ones are removed. */
  set(token: number, value: string): void {
    const i = this.indexOf(token);
    if (i < 0) {
      this.add(token, value);
      return;
    }
    if (this.duplicateOf(token)) {
      for (let other = i + 1; other < this.count; other++) if (this.tokens[other] === token) this.#drop(other);
      this.#first[token] = i + 1;
    }
    const start = this.#writeText(value);
    this.listSizeBytes += this.usedBytes - start;
    const scanned = scanValue(this.bytes, start, this.usedBytes, seedOf(token, this.bytes, 0, 0));
    this.valueStart[i] = start;
    this.valueEnd[i] = this.usedBytes;
    this.hashes[i] = scanned & hashMask;
    const invalid = (scanned & invalidBit) !== 0 ? FieldFlag.invalidValue : 0;
    this.flags[i] = (this.flags[i]! & ~FieldFlag.invalidValue) | invalid;
    this.problems |= invalid;
  }

  /**
   * The value of field `i` was changed in its place, in `bytes`, by what a value may hold. Its hash is not made anew, which costs more than the
   * change: an encoder that looks for the field by another hash finds none, and sends it whole.
   */
  valueChanged(i: number): void {
    this.hashes[i] = 0;
  }

  /** Marks the field as dropped. */
  remove(i: number): void {
    if ((this.flags[i]! & FieldFlag.dropped) !== 0) return;
    this.#drop(i);
    const token = this.tokens[i]!;
    if (token === 0) return;
    let first = 0;
    for (let other = 0; other < this.count; other++) {
      if (this.tokens[other] !== token || (this.flags[other]! & FieldFlag.dropped) !== 0) continue;
      if (first !== 0) {
        first = -first;
        break;
      }
      first = other + 1;
    }
    this.#first[token] = first;
  }

  /** Marks every field with that token as dropped. */
  removeToken(token: number): void {
    const first = this.indexOf(token);
    if (first < 0) return;
    for (let i = first; i < this.count; i++) if (this.tokens[i] === token) this.#drop(i);
    this.#first[token] = 0;
  }

  /** Marks every field with that token as dropped, up to the last one. */
  keepLast(token: number): void {
    let last = -1;
    for (let i = 0; i < this.count; i++) {
      if (this.tokens[i] !== token || (this.flags[i]! & FieldFlag.dropped) !== 0) continue;
      if (last >= 0) this.#drop(last);
      last = i;
    }
    this.#first[token] = last + 1;
  }

  /** As new. Storage beyond 8 KiB or 128 fields is given back, since blocks wait in pools. */
  reset(): void {
    const { count, tokens } = this;
    for (let i = 0; i < count; i++) this.#first[tokens[i]!] = 0;
    this.count = 0;
    this.usedBytes = 0;
    this.fieldCount = 0;
    this.listSizeBytes = 0;
    this.problems = 0;
    this.overflowed = false;
    this.pseudoAfterRegular = false;
    this.unknownPseudo = false;
    this.#sawRegular = false;
    if (this.bytes.length > keptBytes) this.#replaceBytes(Buffer.alloc(initialBytes));
    if (tokens.length > keptFields) this.#resizeFields(initialFields);
  }

  /** For the decoder: makes room for that many bytes after `usedBytes`. */
  reserve(bytes: number): void {
    const needed = this.usedBytes + bytes;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.alloc(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.usedBytes));
    this.#replaceBytes(grown);
  }

  /** For the decoder: stores a field whose bytes already stand in `bytes`. The caller moves `usedBytes`. */
  push(token: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number, hash: number, flags: number): void {
    const i = this.count;
    if (i === this.tokens.length) this.#resizeFields(i * 2);
    this.tokens[i] = token;
    this.nameStart[i] = token === 0 ? nameStart : 0;
    this.nameEnd[i] = token === 0 ? nameEnd : 0;
    this.valueStart[i] = valueStart;
    this.valueEnd[i] = valueEnd;
    this.hashes[i] = hash;
    this.flags[i] = flags;
    this.count = i + 1;
    if (token !== 0) {
      const first = this.#first[token]!;
      if (first === 0) this.#first[token] = i + 1;
      else if (first > 0) this.#first[token] = -first;
    }
    const unknownPseudo = token === 0 && nameEnd > nameStart && this.bytes[nameStart] === 58;
    this.see(token, (token !== 0 ? tokenNameLength[token]! : nameEnd - nameStart) + valueEnd - valueStart, flags, unknownPseudo);
  }

  /** For the decoder: counts a field, stored or not. `sizeBytes` is name and value without the overhead. */
  see(token: number, sizeBytes: number, flags: number, unknownPseudo: boolean): void {
    this.fieldCount++;
    this.listSizeBytes += sizeBytes + fieldOverheadBytes;
    this.problems |= flags & problemFlags;
    if (isPseudoToken(token)) {
      if (this.#sawRegular) this.pseudoAfterRegular = true;
    } else if (unknownPseudo) this.unknownPseudo = true;
    else this.#sawRegular = true;
  }

  #append(token: number, nameStart: number, nameEnd: number, valueStart: number): void {
    const scanned = scanValue(this.bytes, valueStart, this.usedBytes, seedOf(token, this.bytes, nameStart, nameEnd));
    const flags =
      ((scanned & invalidBit) !== 0 ? FieldFlag.invalidValue : 0) |
      (token === 0 && !isValidName(this.bytes, nameStart, nameEnd) ? FieldFlag.invalidName : 0);
    this.push(token, nameStart, nameEnd, valueStart, this.usedBytes, scanned & hashMask, flags);
  }

  #replaceBytes(bytes: Buffer): void {
    this.bytes = bytes;
    this.#view = undefined;
  }

  #drop(i: number): void {
    this.flags[i] = this.flags[i]! | FieldFlag.dropped;
  }

  /** Appends the text's bytes and returns where they start. */
  #writeText(text: string): number {
    this.reserve(text.length);
    const { bytes, usedBytes } = this;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      bytes[usedBytes + at] = code > 255 || code === 0 || code === 10 || code === 13 ? 63 : code;
    }
    this.usedBytes = usedBytes + text.length;
    return usedBytes;
  }

  #equals(start: number, end: number, text: string): boolean {
    if (end - start !== text.length) return false;
    const { bytes } = this;
    for (let at = 0; at < text.length; at++) if (bytes[start + at] !== text.charCodeAt(at)) return false;
    return true;
  }

  #resizeFields(capacity: number): void {
    const kept = this.count;
    const resized = (from: Int32Array): Int32Array<ArrayBuffer> => {
      const to = new Int32Array(capacity);
      to.set(from.subarray(0, kept));
      return to;
    };
    this.tokens = resized(this.tokens);
    this.nameStart = resized(this.nameStart);
    this.nameEnd = resized(this.nameEnd);
    this.valueStart = resized(this.valueStart);
    this.valueEnd = resized(this.valueEnd);
    this.hashes = resized(this.hashes);
    const flags = new Uint8Array(capacity);
    flags.set(this.flags.subarray(0, kept));
    this.flags = flags;
  }
}
