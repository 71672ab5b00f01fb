import type { Random } from '../random.ts';

/** Where an element stands: its first byte, its content, its end. */
interface Span {
  readonly start: number;
  readonly content: number;
  readonly end: number;
  /** Spans of those around it, outermost first. */
  readonly around: readonly Span[];
}

/** Every element of DER as far as it can be read, also those within constructed ones and OCTET STRINGs. */
const spansOf = (bytes: Buffer, from = 0, to = bytes.length, around: readonly Span[] = []): Span[] => {
  const spans: Span[] = [];
  for (let at = from; at + 2 <= to && around.length < 12; ) {
    const tag = bytes[at] as number;
    let length = bytes[at + 1] as number;
    let content = at + 2;
    if (length >= 0x80) {
      const size = length & 0x7f;
      if (size === 0 || size > 3 || content + size > to) return spans;
      length = bytes.readUIntBE(content, size);
      content += size;
    }
    const end = content + length;
    if (end > to) return spans;
    const span: Span = { start: at, content, end, around };
    spans.push(span);
    const constructed = (tag & 0x20) !== 0 || tag === 0x04;
    if (constructed) spans.push(...spansOf(bytes, content, end, [...around, span]));
    at = end;
  }
  return spans;
};

const lengthBytes = (length: number): Buffer =>
  length < 128 ? Buffer.from([length]) : length < 256 ? Buffer.from([0x81, length]) : Buffer.from([0x82, length >> 8, length & 255]);

/** Puts `content` in place of `old`'s elements and mends the lengths around it, so that the rest can still be read. */
const replace = (bytes: Buffer, old: Span, element: Buffer): Buffer => {
  let inner = Buffer.concat([
    bytes.subarray(old.around.at(-1)?.content ?? 0, old.start),
    element,
    bytes.subarray(old.end, old.around.at(-1)?.end ?? bytes.length),
  ]);
  for (let i = old.around.length - 1; i >= 0; i--) {
    const outer = old.around[i] as Span;
    const wrapped = Buffer.concat([bytes.subarray(outer.start, outer.start + 1), lengthBytes(inner.length), inner]);
    const next = old.around[i - 1];
    inner = Buffer.concat([bytes.subarray(next?.content ?? 0, outer.start), wrapped, bytes.subarray(outer.end, next?.end ?? bytes.length)]);
  }
  return inner;
};

const tags = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x30, 0x31, 0x82, 0x86, 0x87, 0xa0, 0xa3, 0x1f, 0x00];
const contents = [
  '',
  '00',
  'ff',
  '80',
  '0000',
  '7f000001',
  '00000000000000000000000000000001',
  Buffer.from('learner-svc').toString('hex'),
  Buffer.from('spiffe://mesh.local/service/a').toString('hex'),
  Buffer.from('a,DNS:b').toString('hex'),
  Buffer.from('a";URI=x\\').toString('hex'),
  Buffer.from('a\0b').toString('hex'),
  Buffer.from('\u00e4\u{1f600}').toString('hex'),
  Buffer.from('260101000000Z').toString('hex'),
  Buffer.from('20991301000000Z').toString('hex'),
  '551d11',
  '2a864886f70d010105',
  'ffffffffffffffffffffff7f',
];

/** One change of an element: its tag, its content, its place, its number; lengths around it are mended, or one of them is spoilt. */
export const mutateDer = (random: Random, input: Buffer, other: Buffer): Buffer => {
  const spans = spansOf(input);
  const span = random.pick(spans);
  if (span === undefined) return Buffer.concat([input, random.bytes(4)]);
  const element = input.subarray(span.start, span.end);
  const content = input.subarray(span.content, span.end);
  const withContent = (bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([input[span.start] as number]), lengthBytes(bytes.length), bytes]);
  switch (random.below(9)) {
    case 0:
      return replace(input, span, Buffer.alloc(0));
    case 1:
      return replace(input, span, Buffer.concat(Array.from({ length: random.oneIn(8) ? 20 : 2 }, () => element)));
    case 2:
      return replace(input, span, Buffer.concat([Buffer.from([random.pick(tags)]), element.subarray(1)]));
    case 3:
      return replace(input, span, withContent(Buffer.from(random.pick(contents), 'hex')));
    case 4: {
      const copy = Buffer.from(content);
      if (copy.length > 0) copy[random.below(copy.length)] = random.below(256);
      return replace(input, span, withContent(copy));
    }
    case 5: {
      const taken = random.pick(spansOf(other));
      return replace(input, span, taken === undefined ? element : other.subarray(taken.start, taken.end));
    }
    case 6:
      // A longer form of the length than need be, or none at all.
      return replace(
        input,
        span,
        Buffer.concat([Buffer.from([input[span.start] as number, 0x83, 0, content.length >> 8, content.length & 255]), content]),
      );
    case 7:
      return replace(input, span, Buffer.concat([Buffer.from([input[span.start] as number, 0x80]), content, Buffer.from([0, 0])]));
    default: {
      const copy = Buffer.from(input);
      copy[span.start + 1] = random.below(256);
      return copy;
    }
  }
};
