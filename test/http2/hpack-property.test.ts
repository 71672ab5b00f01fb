import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FieldFlag, HeaderBlock } from '../../src/http2/header-block.ts';
import { HpackDecoder, HpackProblem } from '../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack/encoder.ts';
import { fieldHash } from '../../src/http2/hpack/field-scan.ts';
import { huffmanEncode, huffmanEncodedBytes } from '../../src/http2/hpack/huffman.ts';
import { Token, tokenName } from '../../src/http2/hpack/token.ts';

interface Field {
  readonly name: string;
  readonly value: string;
  readonly sensitive: boolean;
}

const latin1 = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const anyName = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...Object.values(Token).filter((token) => token !== 0)).map(tokenName) },
  { weight: 3, arbitrary: fc.constantFrom('x-a', 'x-b', 'x-tenant', 'x-a-rather-long-name-that-nobody-else-uses') },
  { weight: 1, arbitrary: latin1(140) },
);
const anyValue = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('', 'a', 'GET', '/', '200', 'application/grpc', '/shop.Orders/Place', 'v'.repeat(70), 'w'.repeat(300)),
  },
  { weight: 3, arbitrary: latin1(200) },
  { weight: 1, arbitrary: fc.string({ maxLength: 10 }).map((text) => Buffer.from(text.repeat(200)).toString('latin1').slice(0, 2000)) },
);
const anyField: fc.Arbitrary<Field> = fc.record({ name: anyName, value: anyValue, sensitive: fc.integer({ max: 9 }).map((n) => n === 9) });
const anyBlocks = fc.array(fc.array(anyField, { maxLength: 12 }), { minLength: 1, maxLength: 25 });
const anySizes = fc.array(fc.constantFrom(0, 31, 60, 200, 1000, 4096, 65_536), { maxLength: 2 });

/** As a peer's decoder stores it: bytes as they are, odd ones included. */
const blockOf = (fields: readonly Field[]) => {
  const parts = fields.map(({ name, value, sensitive }) => [
    Buffer.from([sensitive ? 0x10 : 0x00]),
    stringOf(name, false),
    stringOf(value, false),
  ]);
  const bytes = Buffer.concat(parts.flat());
  const block = new HeaderBlock();
  assert.equal(new HpackDecoder().decode(bytes, 0, bytes.length, block, 1000, 1e9), HpackProblem.none);
  return block;
};
const integer = (value: number, kind: number, prefix: number) => {
  if (value < prefix) return Buffer.from([kind | value]);
  const bytes = [kind | prefix];
  let rest = value - prefix;
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
};
const stringOf = (text: string, huffman: boolean) => {
  const raw = Buffer.from(text, 'latin1');
  if (!huffman) return Buffer.concat([integer(raw.length, 0, 127), raw]);
  const coded = Buffer.alloc(huffmanEncodedBytes(raw, 0, raw.length));
  huffmanEncode(raw, 0, raw.length, coded, 0);
  return Buffer.concat([integer(coded.length, 0x80, 127), coded]);
};
const pairsOf = (fields: readonly Field[]) => fields.map(({ name, value }) => [name, value]);
const pseudoFirst = (pairs: (readonly string[])[]) => {
  const known = (name: string) => /^:(authority|method|path|scheme|status|protocol)$/.test(name);
  return [...pairs.filter(([name]) => known(name!)), ...pairs.filter(([name]) => !known(name!))];
};

test('whatever is encoded decodes to the same fields, over many blocks and changes of the table size', () => {
  fc.assert(
    fc.property(anyBlocks, fc.array(anySizes, { maxLength: 25 }), fc.constantFrom(0, 100, 4096), (lists, sizes, cap) => {
      const encoder = new HpackEncoder(cap);
      const decoder = new HpackDecoder();
      const decoded = new HeaderBlock();
      lists.forEach((fields, turn) => {
        for (const size of sizes[turn] ?? []) {
          encoder.setPeerMaxTableBytes(size);
          decoder.setMaxTableBytes(size);
        }
        const block = blockOf(fields);
        assert.deepEqual(block.toPairs(), pairsOf(fields));
        const out = Buffer.alloc(encoder.boundBytes(block) + 3);
        const end = encoder.encode(block, out, 3);
        assert.ok(end <= out.length);
        decoded.reset();
        assert.equal(decoder.decode(out, 3, end, decoded, 1000, 1e9), HpackProblem.none);
        assert.deepEqual(decoded.toPairs(), block.pseudoAfterRegular ? pseudoFirst(block.toPairs()) : block.toPairs());
        assert.equal(decoded.problems, block.problems);
        assert.equal(decoded.listSizeBytes, block.listSizeBytes);
        assert.equal(encoder.tableBytes, decoder.tableBytes);
        for (let i = 0; i < decoded.count; i++) {
          const { bytes, tokens, nameStart, nameEnd, valueStart, valueEnd, hashes } = decoded;
          assert.equal(hashes[i], fieldHash(tokens[i]!, bytes, nameStart[i]!, nameEnd[i]!, bytes, valueStart[i]!, valueEnd[i]!));
        }
        if (block.pseudoAfterRegular) return;
        fields.forEach(({ sensitive }, i) => {
          if (sensitive) assert.equal(decoded.flags[i]! & FieldFlag.neverIndexed, FieldFlag.neverIndexed);
        });
      });
    }),
    { numRuns: 1000 },
  );
});

test('an encoder that indexes everything, with Huffman coding, is understood', () => {
  fc.assert(
    fc.property(
      anyBlocks,
      fc.constantFrom(64, 200, 4096),
      fc.infiniteStream(fc.integer({ min: 0, max: 11 })),
      (lists, tableBytes, choices) => {
        const decoder = new HpackDecoder(tableBytes);
        const block = new HeaderBlock();
        let table: Field[] = [];
        const sizeOf = (fields: Field[]) => fields.reduce((sum, { name, value }) => sum + name.length + value.length + 32, 0);
        for (const fields of lists) {
          const parts: Buffer[] = [];
          for (const field of fields) {
            const choice = choices.next().value ?? 0;
            const whole = table.findIndex(({ name, value }) => name === field.name && value === field.value);
            if (whole >= 0 && choice > 1) {
              parts.push(integer(62 + whole, 0x80, 0x7f));
              continue;
            }
            const sameName = table.findIndex(({ name }) => name === field.name);
            const [kind, prefix] = field.sensitive ? [0x10, 0x0f] : choice % 3 === 0 ? [0x00, 0x0f] : [0x40, 0x3f];
            parts.push(integer(sameName < 0 ? 0 : 62 + sameName, kind!, prefix!));
            if (sameName < 0) parts.push(stringOf(field.name, choice % 2 === 0));
            parts.push(stringOf(field.value, choice % 4 < 2));
            if (kind !== 0x40) continue;
            table.unshift(field);
            while (sizeOf(table) > tableBytes) table = table.slice(0, -1);
          }
          const bytes = Buffer.concat(parts);
          block.reset();
          assert.equal(decoder.decode(bytes, 0, bytes.length, block, 1000, 1e9), HpackProblem.none);
          assert.deepEqual(block.toPairs(), pairsOf(fields));
          assert.equal(decoder.tableBytes, sizeOf(table));
          fields.forEach(({ name }, i) => {
            assert.equal((block.flags[i]! & FieldFlag.invalidName) !== 0, !/^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name));
          });
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test('no bytes make the decoder throw or store more than it is allowed', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 30 }),
    fc
      .constantFrom('40', '82', 'be', 'bf', 'c0', '20', '3fe11f', '7e', '0f2f', '10', '05', 'ff', '7f')
      .map((hex) => new Uint8Array(Buffer.from(hex, 'hex'))),
    anyField.map(({ name, value }) => new Uint8Array(Buffer.concat([Buffer.from([0x40]), stringOf(name, true), stringOf(value, false)]))),
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(piece, { maxLength: 20 }), { maxLength: 6 }),
      fc.nat(20),
      fc.nat(2000),
      (blocks, maxFields, maxListBytes) => {
        const decoder = new HpackDecoder();
        const encoder = new HpackEncoder();
        const block = new HeaderBlock();
        for (const pieces of blocks) {
          const bytes = Buffer.concat(pieces);
          block.reset();
          const problem = decoder.decode(bytes, 0, bytes.length, block, maxFields, maxListBytes);
          assert.ok(problem >= 0 && problem <= 6);
          assert.ok(block.count <= maxFields);
          const storedBytes = block.toPairs().reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
          assert.ok(storedBytes <= maxListBytes);
          assert.ok(decoder.tableBytes <= 4096);
          assert.equal(block.overflowed, block.fieldCount > block.count);
          if (problem !== HpackProblem.none) break;
          const out = Buffer.alloc(encoder.boundBytes(block));
          assert.ok(encoder.encode(block, out, 0) <= out.length);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('one indexed field repeated costs no memory beyond the limits', () => {
  const decoder = new HpackDecoder();
  const block = new HeaderBlock();
  const bytes = Buffer.concat([
    Buffer.from([0x40]),
    stringOf('x-big', false),
    stringOf('v'.repeat(4000), false),
    Buffer.alloc(16_000, 0xbe),
  ]);
  assert.equal(decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024), HpackProblem.none);
  assert.equal(block.fieldCount, 16_001);
  assert.equal(block.count, 15);
  assert.ok(block.bytes.length <= 128 * 1024);
  assert.equal(block.listSizeBytes, 16_001 * 4037);
});
