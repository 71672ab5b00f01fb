import assert from 'node:assert/strict';
import { HeaderBlock } from '../../../src/http2/header-block.ts';
import { HpackDecoder, HpackProblem } from '../../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../../src/http2/hpack/encoder.ts';
import { trailersProblem } from '../../../src/http2/message-rules.ts';
import { HpackReference, HpackReferenceError, type ReferenceField } from '../hpack-reference.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { anyFields, anyRepresentation, fieldBlock, mutateBlock } from '../mutators/hpack.ts';
import { Nghttp2Oracle, type OracleAnswer } from '../nghttp2-oracle.ts';
import type { Random } from '../random.ts';
import { seedOf } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

/** An input is the blocks of one connection, each behind its length in two bytes. */
export const splitBlocks = (input: Buffer): Buffer[] => {
  const blocks: Buffer[] = [];
  for (let at = 0; at + 2 <= input.length; ) {
    const end = Math.min(input.length, at + 2 + input.readUInt16BE(at));
    blocks.push(input.subarray(at + 2, end));
    at = end;
  }
  return blocks.slice(0, mostBlocks);
};

export const joinBlocks = (blocks: readonly Buffer[]): Buffer =>
  Buffer.concat(
    blocks.flatMap((block) => {
      const short = block.subarray(0, longestBlockBytes);
      return [Buffer.from([short.length >> 8, short.length & 255]), short];
    }),
  );

const mostBlocks = 24;
/** One frame: what the frames of a block do is tried elsewhere. */
const longestBlockBytes = 16_384;
const tableBytes = 4_096;
/** nghttp2 takes more time than all the rest: it is asked for one input in so many, by the input's own bytes. */
const oracleShare = 8;
/** nghttp2 ends what grows beyond it; node sets it to 64 KiB. */
const oracleListBytes = 60_000;

export class HpackTarget implements FuzzTarget {
  readonly name = 'hpack';
  readonly longestInputBytes = 20_000;
  readonly #oracle = new Nghttp2Oracle();
  readonly #alwaysAsk: boolean;

  constructor(alwaysAsk = false) {
    this.#alwaysAsk = alwaysAsk;
  }

  seeds(): readonly Buffer[] {
    const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
    return [
      // RFC 7541 C.4 and C.6: requests and answers with Huffman coding.
      joinBlocks([
        hex('8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff'),
        hex('8286 84be 5886 a8eb 1064 9cbf'),
        hex('8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf'),
      ]),
      // One byte more than our SETTINGS allow.
      joinBlocks([hex('82'), hex('3f e2 1f')]),
      joinBlocks([hex('3f e1 1f 40 01 61 01 62'), hex('be bf'), hex('20 40 01 61 01 62'), hex('3f e1 1f be')]),
      joinBlocks([
        fieldBlock([['x-a', 'b']]),
        fieldBlock([
          ['grpc-status', '0'],
          ['grpc-message', 'caf%C3%A9'],
        ]),
      ]),
      joinBlocks([Buffer.concat([hex('40 01 61 7f 81 1e'), Buffer.alloc(3_869, 0x62)]), Buffer.alloc(20, 0xbe)]),
    ];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    if (random.oneIn(6)) return mutateBytes(random, input, other);
    const blocks = splitBlocks(input);
    const at = random.below(blocks.length);
    switch (random.below(8)) {
      case 0:
        blocks.splice(at, 1);
        break;
      case 1:
        blocks.splice(at, 0, ...splitBlocks(other).slice(random.below(4)));
        break;
      case 2:
        blocks.splice(at, 0, blocks[at] ?? Buffer.alloc(0));
        break;
      case 3:
        blocks.splice(at, 0, fieldBlock(anyFields(random)));
        break;
      case 4:
        blocks.push(Buffer.concat(Array.from({ length: random.between(1, 8) }, () => anyRepresentation(random))));
        break;
      default:
        blocks[at] = mutateBlock(random, blocks[at] ?? Buffer.alloc(0));
    }
    return joinBlocks(blocks);
  }

  async run(input: Buffer): Promise<void> {
    const blocks = splitBlocks(input);
    const decoded = checkAgainstReference(blocks);
    checkLimits(blocks);
    if (!this.#alwaysAsk && seedOf(input) % oracleShare !== 0) return;
    compareWithNghttp2(decoded, await this.#oracle.decode(blocks));
  }
}

interface Decoded {
  readonly fields: readonly ReferenceField[];
  readonly problem: HpackProblem;
  readonly sizeBytes: number;
  /** What the engine would say of these fields as trailers. */
  readonly malformed: string | undefined;
}

/** Decodes with both, and sends what came through our encoder and both decoders once more. */
const checkAgainstReference = (blocks: readonly Buffer[]): Decoded[] => {
  const decoder = new HpackDecoder(tableBytes);
  const reference = new HpackReference(tableBytes);
  const encoder = new HpackEncoder();
  const [again, referenceAgain] = [new HpackDecoder(), new HpackReference()];
  const block = new HeaderBlock();
  const all: Decoded[] = [];
  for (const bytes of blocks) {
    block.reset();
    const problem = decoder.decode(bytes, 0, bytes.length, block, 100_000, 1e9);
    assert.ok(decoder.tableBytes <= tableBytes, `a table of ${decoder.tableBytes} bytes`);
    let expected: ReferenceField[] | undefined;
    try {
      expected = reference.decode(bytes);
    } catch (error) {
      if (!(error instanceof HpackReferenceError)) throw error;
      assert.notEqual(problem, HpackProblem.none, `taken, though: ${error.message}`);
    }
    const fields = block.toPairs();
    all.push({ fields, problem, sizeBytes: block.listSizeBytes, malformed: problem === 0 ? trailersProblem(block) : undefined });
    if (problem !== HpackProblem.none) {
      assert.equal(expected, undefined, `refused with problem ${problem}`);
      break;
    }
    assert.deepEqual(fields, expected);
    assert.equal(decoder.tableBytes, reference.tableBytes, 'size of the table');
    const out = Buffer.alloc(encoder.boundBytes(block));
    const end = encoder.encode(block, out, 0);
    assert.ok(end <= out.length, 'longer than its bound');
    const round = new HeaderBlock();
    assert.equal(again.decode(out, 0, end, round, 100_000, 1e9), HpackProblem.none);
    assert.deepEqual(referenceAgain.decode(out.subarray(0, end)), round.toPairs(), 'what our encoder wrote');
    const sorted = (pairs: readonly ReferenceField[]) => pairs.map((pair) => pair.join('\0')).sort();
    assert.deepEqual(
      block.pseudoAfterRegular ? sorted(round.toPairs()) : round.toPairs(),
      block.pseudoAfterRegular ? sorted(fields) : fields,
    );
    assert.equal(encoder.tableBytes, again.tableBytes, 'tables of both ends');
  }
  return all;
};

/** With limits the same blocks are decoded to the same end, and less is kept. */
const checkLimits = (blocks: readonly Buffer[]): void => {
  const free = new HpackDecoder(tableBytes);
  const limited = new HpackDecoder(tableBytes);
  const [all, some] = [new HeaderBlock(), new HeaderBlock()];
  const [maxFields, maxListBytes] = [10, 500];
  for (const bytes of blocks) {
    all.reset();
    some.reset();
    const problem = free.decode(bytes, 0, bytes.length, all, 100_000, 1e9);
    assert.equal(limited.decode(bytes, 0, bytes.length, some, maxFields, maxListBytes), problem);
    if (problem !== HpackProblem.none) return;
    assert.equal(limited.tableBytes, free.tableBytes);
    assert.ok(some.count <= maxFields);
    assert.equal(some.fieldCount, all.fieldCount);
    assert.equal(some.listSizeBytes, all.listSizeBytes);
    assert.equal(some.overflowed, all.fieldCount > maxFields || all.listSizeBytes > maxListBytes);
    assert.deepEqual(some.toPairs(), all.toPairs().slice(0, some.count));
    assert.equal(some.unknownPseudo, all.unknownPseudo);
    assert.equal(some.pseudoAfterRegular, all.pseudoAfterRegular);
  }
};

/**
 * Where both may differ: nghttp2 takes integers of any length below 2^32, we at most five bytes (RFC 7541 5.1 lets each choose); it drops a field
 * whose value holds control characters, which RFC 9113 8.2.1 leaves open; and it refuses messages for the values of some fields, which is not
 * HPACK's business. Whatever differs otherwise is a defect of one of us.
 */
const compareWithNghttp2 = (ours: readonly Decoded[], theirs: OracleAnswer): void => {
  const last = ours.at(-1);
  if (last === undefined || last.problem === HpackProblem.badInteger || ours.some(({ sizeBytes }) => sizeBytes > oracleListBytes)) return;
  assert.equal(
    theirs.connectionRefused,
    last.problem !== HpackProblem.none,
    `problem ${last.problem}; nghttp2 goes by whether it could decode`,
  );
  for (const [i, { fields, malformed }] of ours.entries()) {
    const answer = theirs.fields[i];
    if (answer === undefined || malformed !== undefined) continue;
    assert.deepEqual(
      answer,
      fields.filter(([, value]) => !controls.test(value)),
      `block ${i}`,
    );
  }
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about.
const controls = /[\u0001-\u0008\u000b-\u001f\u007f]/;
