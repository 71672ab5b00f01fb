import { staticBytes, staticNameCount, staticNameIndex, staticValueStart } from './static-table.ts';
import { tokenOfName } from './token.ts';

const writeInteger = (to: number[], kind: number, prefix: number, value: number): void => {
  if (value < prefix) {
    to.push(kind | value);
    return;
  }
  to.push(kind | prefix);
  let rest = value - prefix;
  for (; rest >= 128; rest >>= 7) to.push((rest & 127) | 128);
  to.push(rest);
};

const writeString = (to: number[], text: string): void => {
  writeInteger(to, 0, 0x7f, text.length);
  to.push(...Buffer.from(text, 'latin1'));
};

/**
 * Encodes fields so that no table is read or changed but the static one (RFC 7541 6.1, 6.2.2): the same bytes are right at any time on any connection
 * that owes no table size update. Names are lower case, pseudo-header fields first.
 */
export const encodePlainBlock = (fields: readonly (readonly [name: string, value: string])[]): Uint8Array => {
  const bytes: number[] = [];
  for (const [name, value] of fields) {
    const token = tokenOfName(name);
    const first = staticNameIndex[token] as number;
    const indices = Array.from({ length: staticNameCount[token] as number }, (_, i) => first + i);
    const exact = indices.find((index) => staticBytes.toString('latin1', staticValueStart[index], staticValueStart[index + 1]) === value);
    if (exact !== undefined) {
      writeInteger(bytes, 0x80, 0x7f, exact);
      continue;
    }
    writeInteger(bytes, 0, 0x0f, first);
    if (first === 0) writeString(bytes, name);
    writeString(bytes, value);
  }
  return Uint8Array.from(bytes);
};
