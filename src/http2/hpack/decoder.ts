import { FieldFlag, fieldOverheadBytes, type HeaderBlock, maxBlockFields } from '../header-block.ts';
import { DynamicTable, EntryWord } from './dynamic-table.ts';
import { copyAndScanValue, copyBytes, hashMask, invalidBit, isAuthority, isValidName, nameHash, scanValue } from './field-scan.ts';
import { huffmanDecode, huffmanDecodeBoundBytes } from './huffman.ts';
import { staticBytes, staticCount, staticHash, staticToken, staticValueStart } from './static-table.ts';
import { Token, tokenNameLength, tokenOf } from './token.ts';

/** Why a header block could not be decoded. Each is a COMPRESSION_ERROR of the connection, RFC 9113 section 4.3. */
export const HpackProblem = {
  none: 0,
  /** Index 0, or one that is in neither table. */
  badIndex: 1,
  /** An integer larger than any header can need, or with endless leading zeros. */
  badInteger: 2,
  /** Padding longer than 7 bits or not all ones, or the EOS symbol, RFC 7541 section 5.2. */
  badHuffman: 3,
  /** The block ends in the middle of a field. */
  truncated: 4,
  /** A dynamic table size update above what our SETTINGS allow. */
  sizeUpdateTooLarge: 5,
  /** A dynamic table size update after a field. */
  sizeUpdateNotFirst: 6,
} as const;
export type HpackProblem = (typeof HpackProblem)[keyof typeof HpackProblem];

// Numbers of blocks and of fields within them share a word.
const fieldBits = 14;
const mostBlocks = 1 << (31 - fieldBits);

// An integer's continuation: at most four bytes, so that nothing comes near the sign bit. That is 2^28, far above any frame.
const longestShift = 21;
const integerTruncated = -1;

/**
 * Decodes the header blocks of one direction of one connection (RFC 7541). It keeps the dynamic table, so every block
 * must pass through it, in order, also those of refused streams; and after a problem the connection cannot go on.
 *
 * Fields go to a {@link HeaderBlock} as bytes. What an indexed field is worth (token, validity, hash) was found when it
 * was inserted, so that a repeated field costs one short copy.
 */
export class HpackDecoder {
  readonly #table: DynamicTable;
  #maxTableBytes: number;
  // where the last integer or string ended
  #at = 0;
  #blockNumber = 0;

  /** `maxTableBytes` is our SETTINGS_HEADER_TABLE_SIZE; 4096 unless we announced another one. */
  constructor(maxTableBytes = 4096) {
    this.#table = new DynamicTable(Math.min(maxTableBytes, 4096));
    this.#maxTableBytes = maxTableBytes;
  }

  /** Size of the dynamic table now, in bytes as RFC 7541 section 4.1 counts them. */
  get tableBytes(): number {
    return this.#table.sizeBytes;
  }

  /** Our SETTINGS with another table size have been acknowledged. A smaller one holds at once, whether the peer says so or not. */
  setMaxTableBytes(bytes: number): void {
    this.#maxTableBytes = bytes;
    if (this.#table.maxBytes > bytes) this.#table.setMaxBytes(bytes);
  }

  /**
   * Appends the fields of one whole header block, `input[start, end)`, to `block`. Beyond `maxFields` fields or
   * `maxListBytes` (RFC 9113 section 6.5.2) nothing more is stored and `block.overflowed` is set, but the block is decoded
   * to its end, since the dynamic table depends on it.
   */
  decode(input: Buffer, start: number, end: number, block: HeaderBlock, maxFields: number, maxListBytes: number): HpackProblem {
    const fields = Math.min(maxFields, maxBlockFields);
    if (++this.#blockNumber === mostBlocks) {
      this.#blockNumber = 1;
      this.#table.clearLinks();
    }
    let at = start;
    let sawField = false;
    while (at < end) {
      const first = input[at++]!;
      if (first >= 0x80) {
        let index = first & 0x7f;
        if (index === 0x7f) {
          index = this.#integer(input, at, end, 0x7f);
          if (index < 0) return this.#integerProblem(index);
          at = this.#at;
        }
        if (!this.#indexed(index, block, fields, maxListBytes)) return HpackProblem.badIndex;
        sawField = true;
        continue;
      }
      if ((first & 0xe0) === 0x20) {
        let size = first & 0x1f;
        if (size === 0x1f) {
          size = this.#integer(input, at, end, 0x1f);
          if (size < 0) return this.#integerProblem(size);
          at = this.#at;
        }
        if (sawField) return HpackProblem.sizeUpdateNotFirst;
        if (size > this.#maxTableBytes) return HpackProblem.sizeUpdateTooLarge;
        this.#table.setMaxBytes(size);
        continue;
      }
      const insert = first >= 0x40;
      const prefix = insert ? 0x3f : 0x0f;
      let nameIndex = first & prefix;
      if (nameIndex === prefix) {
        nameIndex = this.#integer(input, at, end, prefix);
        if (nameIndex < 0) return this.#integerProblem(nameIndex);
        at = this.#at;
      }
      const flags = (first & 0xf0) === 0x10 ? FieldFlag.neverIndexed : 0;
      const problem = this.#literal(input, at, end, nameIndex, insert, flags, block, fields, maxListBytes);
      if (problem !== HpackProblem.none) return problem;
      at = this.#at;
      sawField = true;
    }
    return HpackProblem.none;
  }

  /** Section 6.1. False when the index is in neither table. */
  #indexed(index: number, block: HeaderBlock, maxFields: number, maxListBytes: number): boolean {
    if (index === 0) return false;
    if (index <= staticCount) {
      const token = staticToken[index]!;
      const from = staticValueStart[index]!;
      const to = staticValueStart[index + 1]!;
      if (!hasRoom(block, tokenNameLength[token]! + to - from, maxFields, maxListBytes)) {
        block.see(token, tokenNameLength[token]! + to - from, 0, false);
        return true;
      }
      block.reserve(to - from);
      const at = block.usedBytes;
      const { bytes } = block;
      for (let source = from, target = at; source < to; source++, target++) bytes[target] = staticBytes[source]!;
      block.usedBytes = at + to - from;
      block.push(token, 0, 0, at, block.usedBytes, staticHash[index]!, 0);
      return true;
    }
    const table = this.#table;
    const age = index - staticCount - 1;
    if (age >= table.count) return false;
    const { entries } = table;
    const entry = table.entryAt(age);
    const token = entries[entry]!;
    const from = entries[entry + EntryWord.nameStart]!;
    const to = entries[entry + EntryWord.valueEnd]!;
    const flags = entries[entry + EntryWord.flags]!;
    const sizeBytes = entries[entry + EntryWord.sizeBytes]! - fieldOverheadBytes;
    if (!hasRoom(block, sizeBytes, maxFields, maxListBytes)) {
      block.see(token, sizeBytes, flags, token === 0 && table.bytes[from] === 58);
      return true;
    }
    // What was named in this block before stands there already: a hundred times 600 bytes for a byte each are not copied.
    const link = entries[entry + EntryWord.link]!;
    if (link >>> fieldBits === this.#blockNumber) {
      const i = link & ((1 << fieldBits) - 1);
      block.push(token, block.nameStart[i]!, block.nameEnd[i]!, block.valueStart[i]!, block.valueEnd[i]!, block.hashes[i]!, flags);
      return true;
    }
    block.reserve(to - from);
    const at = block.usedBytes;
    copyBytes(table.bytes, from, to, block.bytes, at);
    const valueStart = at + entries[entry + EntryWord.valueStart]! - from;
    block.usedBytes = at + to - from;
    entries[entry + EntryWord.link] = (this.#blockNumber << fieldBits) | block.count;
    block.push(token, at, valueStart, valueStart, block.usedBytes, entries[entry + EntryWord.hash]!, flags);
    return true;
  }

  /** Sections 6.2.1 to 6.2.3, from behind the name's index. Leaves the end in `#at`. */
  #literal(
    input: Buffer,
    start: number,
    end: number,
    nameIndex: number,
    insert: boolean,
    neverIndexed: number,
    block: HeaderBlock,
    maxFields: number,
    maxListBytes: number,
  ): HpackProblem {
    const table = this.#table;
    const nameStart = block.usedBytes;
    let nameEnd = nameStart;
    let token = 0;
    let flags = 0;
    let at = start;

    if (nameIndex === 0) {
      if (at >= end) return HpackProblem.truncated;
      const head = input[at++]!;
      let length = head & 0x7f;
      if (length === 0x7f) {
        length = this.#integer(input, at, end, 0x7f);
        if (length < 0) return this.#integerProblem(length);
        at = this.#at;
      }
      const stop = at + length;
      if (stop > end) return HpackProblem.truncated;
      if (head < 0x80) {
        token = tokenOf(input, at, stop);
        if (token === 0) {
          block.reserve(length);
          copyBytes(input, at, stop, block.bytes, nameStart);
          nameEnd = nameStart + length;
        }
      } else {
        block.reserve(huffmanDecodeBoundBytes(length));
        nameEnd = huffmanDecode(input, at, stop, block.bytes, nameStart);
        if (nameEnd < 0) return HpackProblem.badHuffman;
        token = tokenOf(block.bytes, nameStart, nameEnd);
        if (token !== 0) nameEnd = nameStart;
      }
      if (token === 0 && !isValidName(block.bytes, nameStart, nameEnd)) flags = FieldFlag.invalidName;
      at = stop;
    } else if (nameIndex <= staticCount) {
      token = staticToken[nameIndex]!;
    } else {
      const age = nameIndex - staticCount - 1;
      if (age >= table.count) return HpackProblem.badIndex;
      const entry = table.entryAt(age);
      token = table.entries[entry]!;
      if (token === 0) {
        const from = table.entries[entry + EntryWord.nameStart]!;
        const to = table.entries[entry + EntryWord.valueStart]!;
        block.reserve(to - from);
        copyBytes(table.bytes, from, to, block.bytes, nameStart);
        nameEnd = nameStart + to - from;
        flags = table.entries[entry + EntryWord.flags]! & FieldFlag.invalidName;
      }
    }

    if (at >= end) return HpackProblem.truncated;
    const head = input[at++]!;
    let length = head & 0x7f;
    if (length === 0x7f) {
      length = this.#integer(input, at, end, 0x7f);
      if (length < 0) return this.#integerProblem(length);
      at = this.#at;
    }
    const stop = at + length;
    if (stop > end) return HpackProblem.truncated;
    this.#at = stop;
    const seed = nameHash(token, block.bytes, nameStart, nameEnd);
    // the name must survive when the block grows for the value
    block.usedBytes = nameEnd;
    let valueEnd = nameEnd + length;
    let scanned = 0;
    if (head < 0x80) {
      block.reserve(length);
      scanned = copyAndScanValue(input, at, stop, block.bytes, nameEnd, seed);
    } else {
      block.reserve(huffmanDecodeBoundBytes(length));
      valueEnd = huffmanDecode(input, at, stop, block.bytes, nameEnd);
      if (valueEnd < 0) return HpackProblem.badHuffman;
      scanned = scanValue(block.bytes, nameEnd, valueEnd, seed);
    }
    if ((scanned & invalidBit) !== 0 || (token === Token.authority && !isAuthority(block.bytes, nameEnd, valueEnd)))
      flags |= FieldFlag.invalidValue;
    const hash = scanned & hashMask;

    if (insert) table.insert(token, hash, flags, block.bytes, nameStart, nameEnd, nameEnd, valueEnd);
    const sizeBytes = (token !== 0 ? tokenNameLength[token]! : nameEnd - nameStart) + valueEnd - nameEnd;
    if (hasRoom(block, sizeBytes, maxFields, maxListBytes)) {
      block.usedBytes = valueEnd;
      block.push(token, nameStart, nameEnd, nameEnd, valueEnd, hash, flags | neverIndexed);
    } else {
      block.usedBytes = nameStart;
      block.see(token, sizeBytes, flags, token === 0 && nameEnd > nameStart && block.bytes[nameStart] === 58);
    }
    return HpackProblem.none;
  }

  /** The rest of an integer whose prefix was full, section 5.1; negative is for {@link #integerProblem}. */
  #integer(input: Buffer, start: number, end: number, prefix: number): number {
    let value = prefix;
    let at = start;
    for (let shift = 0; shift <= longestShift; shift += 7) {
      if (at >= end) return integerTruncated;
      const byte = input[at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#at = at;
        return value;
      }
    }
    return -2;
  }

  #integerProblem(result: number): HpackProblem {
    return result === integerTruncated ? HpackProblem.truncated : HpackProblem.badInteger;
  }
}

/** May a field of that size (without the overhead) be stored? Once one may not, none behind it may. */
const hasRoom = (block: HeaderBlock, sizeBytes: number, maxFields: number, maxListBytes: number): boolean => {
  if (block.fieldCount >= maxFields || block.listSizeBytes + sizeBytes + fieldOverheadBytes > maxListBytes) block.overflowed = true;
  return !block.overflowed;
};
