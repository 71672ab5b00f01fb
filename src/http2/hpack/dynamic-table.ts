import { copyBytes } from './field-scan.ts';
import { tokenNameLength } from './token.ts';

/** Width of an entry in {@link DynamicTable.entries}. */
const entryWidth = 8;
/** What an entry consists of, as offsets from its first word. */
export const EntryWord = {
  token: 0,
  hash: 1,
  /** `invalidName | invalidValue` of FieldFlag, found once when the field was inserted. */
  flags: 2,
  /** The name stands in `bytes[nameStart, valueStart)`; empty for well-known names. */
  nameStart: 3,
  valueStart: 4,
  valueEnd: 5,
  sizeBytes: 6,
  /** Free for the owner: the encoder chains entries of one hash bucket, the decoder notes where in a block the entry stands. 0 at first. */
  link: 7,
} as const;

const overheadBytes = 32;
const initialSlots = 16;
const initialBytes = 1024;

/**
 * The dynamic table of RFC 7541 section 2.3.2, for both directions. Entries are numbered as they come in; number `n`
 * lives at slot `n & mask` while it is among the newest `count`. Their bytes lie one behind the other in `bytes`, oldest
 * first, and are moved to the front when the end is reached, so that every name and value is one plain range.
 */
export class DynamicTable {
  entries = new Int32Array(initialSlots * entryWidth);
  bytes: Buffer = Buffer.alloc(initialBytes);
  /** Number of the newest entry, 32 bits, wrapping: compare differences only. */
  newest = 0;
  count = 0;
  sizeBytes = 0;
  maxBytes: number;
  #mask = initialSlots - 1;
  #end = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** First word of the entry that is `age` insertions old; 0 is the newest. The caller makes sure that `age < count`. */
  entryAt(age: number): number {
    return ((this.newest - age) & this.#mask) * entryWidth;
  }

  clearLinks(): void {
    for (let age = 0; age < this.count; age++) this.entries[this.entryAt(age) + EntryWord.link] = 0;
  }

  /** Evicts what no longer fits, RFC 7541 section 4.3. */
  setMaxBytes(maxBytes: number): void {
    this.maxBytes = maxBytes;
    this.#evictTo(maxBytes);
  }

  /**
   * Inserts a field whose name (unless well known) and value are ranges of `source`, evicting as RFC 7541 section 4.4
   * says. Returns false when the field is larger than the table: then the table is empty.
   */
  insert(
    token: number,
    hash: number,
    flags: number,
    source: Buffer,
    nameStart: number,
    nameEnd: number,
    valueStart: number,
    valueEnd: number,
  ): boolean {
    const storedName = token === 0 ? nameEnd - nameStart : 0;
    const value = valueEnd - valueStart;
    const sizeBytes = (token === 0 ? storedName : tokenNameLength[token]!) + value + overheadBytes;
    this.#evictTo(this.maxBytes - sizeBytes);
    if (sizeBytes > this.maxBytes) return false;
    if (this.count > this.#mask) this.#growSlots();
    if (this.#end + storedName + value > this.bytes.length) this.#makeRoom(storedName + value);

    const { bytes, entries } = this;
    const at = this.#end;
    if (storedName > 0) copyBytes(source, nameStart, nameEnd, bytes, at);
    copyBytes(source, valueStart, valueEnd, bytes, at + storedName);
    this.#end = at + storedName + value;
    this.newest = (this.newest + 1) | 0;
    this.count++;
    this.sizeBytes += sizeBytes;
    const entry = (this.newest & this.#mask) * entryWidth;
    entries[entry] = token;
    entries[entry + EntryWord.hash] = hash;
    entries[entry + EntryWord.flags] = flags;
    entries[entry + EntryWord.nameStart] = at;
    entries[entry + EntryWord.valueStart] = at + storedName;
    entries[entry + EntryWord.valueEnd] = this.#end;
    entries[entry + EntryWord.sizeBytes] = sizeBytes;
    entries[entry + EntryWord.link] = 0;
    return true;
  }

  #evictTo(bytes: number): void {
    while (this.sizeBytes > bytes && this.count > 0) {
      this.sizeBytes -= this.entries[this.entryAt(this.count - 1) + EntryWord.sizeBytes]!;
      this.count--;
    }
    if (this.count === 0) this.#end = 0;
  }

  #growSlots(): void {
    const old = this.entries;
    const oldMask = this.#mask;
    this.#mask = oldMask * 2 + 1;
    this.entries = new Int32Array(old.length * 2);
    for (let age = 0; age < this.count; age++) {
      const from = ((this.newest - age) & oldMask) * entryWidth;
      this.entries.set(old.subarray(from, from + entryWidth), this.entryAt(age));
    }
  }

  // At twice the table's size the storage is moved only after as many bytes as the table holds have come in.
  #makeRoom(needed: number): void {
    const start = this.count === 0 ? this.#end : this.entries[this.entryAt(this.count - 1) + EntryWord.nameStart]!;
    const live = this.#end - start;
    let capacity = this.bytes.length;
    while (capacity < (live + needed) * 2) capacity *= 2;
    if (capacity === this.bytes.length) this.bytes.copyWithin(0, start, this.#end);
    else {
      const grown = Buffer.alloc(capacity);
      grown.set(this.bytes.subarray(start, this.#end));
      this.bytes = grown;
    }
    this.#end = live;
    for (let age = 0; age < this.count; age++) {
      const entry = this.entryAt(age);
      this.entries[entry + EntryWord.nameStart]! -= start;
      this.entries[entry + EntryWord.valueStart]! -= start;
      this.entries[entry + EntryWord.valueEnd]! -= start;
    }
  }
}
