import type { HeaderBlock } from '../header-block.ts';

/** Why a header block could not be decoded. All of them are COMPRESSION_ERROR on the connection, RFC 7541 and RFC 9113 section 4.3. */
export const HpackProblem = {
  none: 0,
  /** Index 0, or one that is in neither table. */
  badIndex: 1,
  /** An integer larger than any header can need. */
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

export class HpackDecoder {
  constructor(_maxTableBytes = 4096) {}

  setMaxTableBytes(_bytes: number): void {}

  decode(_input: Uint8Array, _start: number, _end: number, _block: HeaderBlock, _maxFields: number, _maxListBytes: number): HpackProblem {
    return HpackProblem.none;
  }
}
