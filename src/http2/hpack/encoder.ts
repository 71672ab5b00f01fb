import type { HeaderBlock } from '../header-block.ts';

export class HpackEncoder {
  constructor(_tableBytes = 4096) {}

  setPeerMaxTableBytes(_bytes: number): void {}

  boundBytes(block: HeaderBlock): number {
    return block.listSizeBytes + 16;
  }

  encode(_block: HeaderBlock, _out: Uint8Array, at: number): number {
    return at;
  }
}
