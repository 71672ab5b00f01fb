import { FieldFlag, fieldOverheadBytes, type HeaderBlock } from '../header-block.ts';
import { DynamicTable, EntryWord } from './dynamic-table.ts';
import { copyBytes, sameBytes } from './field-scan.ts';
import { staticBytes, staticCount, staticNameCount, staticNameIndex, staticValueStart } from './static-table.ts';
import { isPseudoToken, Token, tokenCount, tokenNameBytes, tokenNameLength, tokenNameStart } from './token.ts';

/** When a field goes into the dynamic table. Values that change with every call would only push out those that do not. */
const Policy = { secondSight: 0, firstSight: 1, never: 2, secret: 3 } as const;

const policies: Uint8Array = (() => {
  const table = new Uint8Array(tokenCount).fill(Policy.secondSight);
  for (const token of [
    Token.authority,
    Token.scheme,
    Token.method,
    Token.status,
    Token.contentType,
    Token.te,
    Token.userAgent,
    Token.grpcEncoding,
    Token.grpcAcceptEncoding,
    Token.grpcStatus,
  ]) {
    table[token] = Policy.firstSight;
  }
  for (const token of [
    Token.grpcTimeout,
    Token.grpcMessage,
    Token.grpcPreviousRpcAttempts,
    Token.contentLength,
    Token.traceparent,
    Token.tracestate,
    Token.b3,
    Token.xB3Traceid,
    Token.xB3Spanid,
    Token.xB3Sampled,
    Token.xB3Parentspanid,
    Token.xRequestId,
  ]) {
    table[token] = Policy.never;
  }
  table[Token.authorization] = Policy.secret;
  table[Token.cookie] = Policy.secret;
  return table;
})();

// A short secret could be guessed by watching sizes, RFC 7541 section 7.1.
const guessableBytes = 20;
const buckets = 256;
const sightings = 512;
// Many entries of one hash are made by someone who wants us to search.
const longestSearch = 8;
/** Two size updates of the largest form. */
const sizeUpdatesBytes = 16;

/**
 * Encodes the header blocks of one direction of one connection (RFC 7541), without Huffman coding: the bytes it saves
 * cost more time than sending them.
 *
 * Encoding changes the dynamic table that the peer mirrors. So `encode` is called at the moment of writing only, in the
 * order of writing, and what it wrote must be sent: a block that is encoded and then withheld makes every later one wrong.
 */
export class HpackEncoder {
  readonly #table: DynamicTable;
  readonly #capBytes: number;
  // number of the newest entry per bucket and per token; stale ones are recognised by their age
  readonly #bucketNewest = new Int32Array(buckets);
  readonly #tokenNewest = new Int32Array(tokenCount);
  // field hashes seen lately
  readonly #seen = new Int32Array(sightings);
  // what the next block has to announce, -1 for nothing: the smallest size since the last block, and the last one
  #smallestBytes = -1;
  #finalBytes = -1;

  /** `tableBytes` caps the table however much the peer would allow. */
  constructor(tableBytes = 4096) {
    this.#table = new DynamicTable(4096);
    this.#capBytes = tableBytes;
    if (tableBytes < 4096) this.setPeerMaxTableBytes(4096);
  }

  /** Size of the dynamic table now, in bytes as RFC 7541 section 4.1 counts them. */
  get tableBytes(): number {
    return this.#table.sizeBytes;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. Announced by the next block, the smallest and the last of several (section 4.2). */
  setPeerMaxTableBytes(bytes: number): void {
    const allowed = Math.min(bytes, this.#capBytes);
    this.#smallestBytes = this.#finalBytes < 0 ? allowed : Math.min(this.#smallestBytes, allowed);
    this.#finalBytes = allowed;
  }

  /** The next block has to begin with a new size of the table. */
  get owesTableSize(): boolean {
    return this.#finalBytes >= 0;
  }

  /** Never less than what {@link encode} will write. */
  boundBytes(block: HeaderBlock): number {
    return block.listSizeBytes + sizeUpdatesBytes;
  }

  /**
   * Writes the block's fields, without the dropped ones, to `out` at `at` and returns the end. `out` must have
   * {@link boundBytes}. Pseudo-header fields go first wherever they stand. What is written must be sent (see the class).
   */
  encode(block: HeaderBlock, out: Uint8Array, at: number): number {
    let end = this.#finalBytes < 0 ? at : this.#announceSize(out, at);
    const { count, tokens, flags } = block;
    if (block.pseudoAfterRegular) {
      for (let i = 0; i < count; i++)
        if ((flags[i]! & FieldFlag.dropped) === 0 && isPseudoToken(tokens[i]!)) end = this.#field(block, i, out, end);
      for (let i = 0; i < count; i++)
        if ((flags[i]! & FieldFlag.dropped) === 0 && !isPseudoToken(tokens[i]!)) end = this.#field(block, i, out, end);
      return end;
    }
    for (let i = 0; i < count; i++) if ((flags[i]! & FieldFlag.dropped) === 0) end = this.#field(block, i, out, end);
    return end;
  }

  #field(block: HeaderBlock, i: number, out: Uint8Array, at: number): number {
    const token = block.tokens[i]!;
    const start = block.valueStart[i]!;
    const end = block.valueEnd[i]!;
    if ((block.flags[i]! & FieldFlag.neverIndexed) !== 0) return this.#literal(0x10, 0x0f, block, i, out, at);

    const staticIndex = staticNameIndex[token]!;
    for (let index = staticIndex, behind = staticIndex + staticNameCount[token]!; index < behind; index++) {
      if (sameBytes(staticBytes, staticValueStart[index]!, staticValueStart[index + 1]!, block.bytes, start, end)) {
        out[at] = 0x80 | index;
        return at + 1;
      }
    }

    const policy = policies[token]!;
    if (policy === Policy.never) return this.#literal(0x00, 0x0f, block, i, out, at);
    if (policy === Policy.secret && end - start < guessableBytes) return this.#literal(0x10, 0x0f, block, i, out, at);

    const hash = block.hashes[i]!;
    const age = this.#find(block, i, hash);
    if (age >= 0) return writeInteger(out, at, 0x80, 0x7f, staticCount + 1 + age);

    const sight = hash & (sightings - 1);
    if (policy !== Policy.firstSight && this.#seen[sight] !== hash) {
      this.#seen[sight] = hash;
      return this.#literal(0x00, 0x0f, block, i, out, at);
    }
    const nameStart = block.nameStart[i]!;
    const nameEnd = block.nameEnd[i]!;
    const nameLength = token !== 0 ? tokenNameLength[token]! : nameEnd - nameStart;
    const table = this.#table;
    if ((nameLength + end - start + fieldOverheadBytes) * 4 > table.maxBytes) return this.#literal(0x00, 0x0f, block, i, out, at);

    const written = this.#literal(0x40, 0x3f, block, i, out, at);
    table.insert(token, hash, 0, block.bytes, nameStart, nameEnd, start, end);
    const bucket = hash & (buckets - 1);
    table.entries[table.entryAt(0) + EntryWord.link] = this.#bucketNewest[bucket]!;
    this.#bucketNewest[bucket] = table.newest;
    this.#tokenNewest[token] = table.newest;
    return written;
  }

  /** Age of the entry that equals field `i`, -1 when there is none. */
  #find(block: HeaderBlock, i: number, hash: number): number {
    const table = this.#table;
    const { entries, bytes, count } = table;
    let number = this.#bucketNewest[hash & (buckets - 1)]!;
    for (let searched = 0; searched < longestSearch; searched++) {
      // Chains run from new to old: behind the first evicted entry all are.
      const age = (table.newest - number) >>> 0;
      if (age >= count) return -1;
      const entry = table.entryAt(age);
      if (entries[entry + EntryWord.hash] === hash && entries[entry] === block.tokens[i]) {
        const nameStart = entries[entry + EntryWord.nameStart]!;
        const valueStart = entries[entry + EntryWord.valueStart]!;
        if (
          sameBytes(bytes, valueStart, entries[entry + EntryWord.valueEnd]!, block.bytes, block.valueStart[i]!, block.valueEnd[i]!) &&
          sameBytes(bytes, nameStart, valueStart, block.bytes, block.nameStart[i]!, block.nameEnd[i]!)
        ) {
          return age;
        }
      }
      number = entries[entry + EntryWord.link]!;
    }
    return -1;
  }

  /** A literal of the given kind; its name by index where either table has it. */
  #literal(kind: number, prefix: number, block: HeaderBlock, i: number, out: Uint8Array, at: number): number {
    const token = block.tokens[i]!;
    const { bytes } = block;
    let written = at;
    if (token === 0) {
      out[written++] = kind;
      written = writeString(out, written, bytes, block.nameStart[i]!, block.nameEnd[i]!);
    } else {
      const index = this.#nameIndex(token);
      if (index !== 0) written = writeInteger(out, written, kind, prefix, index);
      else {
        out[written++] = kind;
        const nameStart = tokenNameStart[token]!;
        written = writeString(out, written, tokenNameBytes, nameStart, nameStart + tokenNameLength[token]!);
      }
    }
    return writeString(out, written, bytes, block.valueStart[i]!, block.valueEnd[i]!);
  }

  #nameIndex(token: number): number {
    const index = staticNameIndex[token]!;
    if (index !== 0) return index;
    const table = this.#table;
    const age = (table.newest - this.#tokenNewest[token]!) >>> 0;
    return age < table.count && table.entries[table.entryAt(age)] === token ? staticCount + 1 + age : 0;
  }

  #announceSize(out: Uint8Array, at: number): number {
    let end = at;
    if (this.#smallestBytes < this.#finalBytes && this.#smallestBytes < this.#table.maxBytes) {
      end = writeInteger(out, end, 0x20, 0x1f, this.#smallestBytes);
      this.#table.setMaxBytes(this.#smallestBytes);
    }
    if (this.#finalBytes !== this.#table.maxBytes) {
      end = writeInteger(out, end, 0x20, 0x1f, this.#finalBytes);
      this.#table.setMaxBytes(this.#finalBytes);
    }
    this.#smallestBytes = -1;
    this.#finalBytes = -1;
    return end;
  }
}

/** Section 5.1. `prefix` is the largest value that the first byte can hold beside `kind`. */
const writeInteger = (out: Uint8Array, at: number, kind: number, prefix: number, value: number): number => {
  if (value < prefix) {
    out[at] = kind | value;
    return at + 1;
  }
  out[at] = kind | prefix;
  let end = at + 1;
  let rest = value - prefix;
  while (rest >= 0x80) {
    out[end++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[end] = rest;
  return end + 1;
};

const writeString = (out: Uint8Array, at: number, bytes: Buffer, start: number, end: number): number => {
  const written = writeInteger(out, at, 0x00, 0x7f, end - start);
  copyBytes(bytes, start, end, out, written);
  return written + end - start;
};
