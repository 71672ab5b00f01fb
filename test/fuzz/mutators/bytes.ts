import type { Random } from '../random.ts';

/** Bytes at which parsers tend to turn. */
const notable = [0x00, 0x01, 0x09, 0x0a, 0x0d, 0x1f, 0x20, 0x22, 0x2f, 0x3f, 0x40, 0x7e, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xe0, 0xfe, 0xff];
const notableNumbers = [0, 1, 9, 127, 128, 255, 256, 16_383, 16_384, 16_385, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

type Edit = (random: Random, input: Buffer, other: Buffer) => Buffer;

const joined = (...parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts);
/** A piece of `bytes`: mostly short, sometimes long. */
const piece = (random: Random, bytes: Buffer): readonly [start: number, end: number] => {
  const start = random.below(bytes.length + 1);
  const longest = random.oneIn(4) ? bytes.length - start : Math.min(16, bytes.length - start);
  return [start, start + random.below(longest + 1)];
};
const changed = (input: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(input);
  if (copy.length > 0) change(copy);
  return copy;
};

const edits: readonly Edit[] = [
  (random, input) =>
    changed(input, (copy) => {
      const at = random.below(copy.length);
      copy[at] = (copy[at] as number) ^ (1 << random.below(8));
    }),
  (random, input) =>
    changed(input, (copy) => {
      copy[random.below(copy.length)] = random.below(256);
    }),
  (random, input) =>
    changed(input, (copy) => {
      copy[random.below(copy.length)] = random.pick(notable);
    }),
  (random, input) =>
    changed(input, (copy) => {
      const at = random.below(copy.length);
      copy[at] = (copy[at] as number) + random.between(-4, 4);
    }),
  (random, input) =>
    changed(input, (copy) => {
      const width = random.pick([2, 3, 4]);
      if (copy.length >= width)
        copy.writeUIntBE(random.pick(notableNumbers) % 2 ** (8 * width), random.below(copy.length - width + 1), width);
    }),
  // Removed, repeated, moved, inserted, cut off.
  (random, input) => {
    const [start, end] = piece(random, input);
    return joined(input.subarray(0, start), input.subarray(end));
  },
  (random, input) => {
    const [start, end] = piece(random, input);
    const times = random.oneIn(8) ? random.between(2, 40) : 1;
    return joined(input.subarray(0, end), ...Array.from({ length: times }, () => input.subarray(start, end)), input.subarray(end));
  },
  (random, input) => {
    const [start, end] = piece(random, input);
    const rest = joined(input.subarray(0, start), input.subarray(end));
    const at = random.below(rest.length + 1);
    return joined(rest.subarray(0, at), input.subarray(start, end), rest.subarray(at));
  },
  (random, input) => {
    const at = random.below(input.length + 1);
    return joined(input.subarray(0, at), random.bytes(random.between(1, 12)), input.subarray(at));
  },
  (random, input) => input.subarray(0, random.below(input.length + 1)),
  // Two inputs become one.
  (random, input, other) => {
    const [start, end] = piece(random, other);
    const at = random.below(input.length + 1);
    return joined(input.subarray(0, at), other.subarray(start, end), input.subarray(at));
  },
  (random, input, other) => joined(input.subarray(0, random.below(input.length + 1)), other.subarray(random.below(other.length + 1))),
];

/** One change of bits or bytes, blind to what they mean. */
export const mutateBytes: Edit = (random, input, other) => random.pick(edits)(random, input, other);
