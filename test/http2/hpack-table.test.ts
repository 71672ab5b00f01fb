import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FieldFlag, HeaderBlock } from '../../src/http2/header-block.ts';
import { HpackDecoder, HpackProblem } from '../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack/encoder.ts';
import { Token } from '../../src/http2/hpack/token.ts';

type Pair = [name: string, value: string];

const encode = (encoder: HpackEncoder, ...pairs: Pair[]) => {
  const block = new HeaderBlock();
  for (const [name, value] of pairs) block.addNamed(name, value);
  return encodeBlock(encoder, block);
};
const encodeBlock = (encoder: HpackEncoder, block: HeaderBlock) => {
  const out = Buffer.alloc(encoder.boundBytes(block));
  const end = encoder.encode(block, out, 0);
  assert.ok(end <= out.length);
  return out.subarray(0, end);
};
const decode = (decoder: HpackDecoder, bytes: Buffer, maxFields = 100, maxListBytes = 60_000) => {
  const block = new HeaderBlock();
  assert.equal(decoder.decode(bytes, 0, bytes.length, block, maxFields, maxListBytes), HpackProblem.none);
  return block;
};
const problemOf = (hex: string, decoder = new HpackDecoder()) => {
  const bytes = Buffer.from(hex, 'hex');
  return decoder.decode(bytes, 0, bytes.length, new HeaderBlock(), 100, 60_000);
};
const literal = (kind: number, name: string, value: string) =>
  Buffer.concat([Buffer.from([kind, name.length]), Buffer.from(name, 'latin1'), Buffer.from([value.length]), Buffer.from(value, 'latin1')]);

test('a block that is no HPACK is refused with its reason', () => {
  assert.equal(problemOf('80'), HpackProblem.badIndex);
  assert.equal(problemOf('be'), HpackProblem.badIndex);
  assert.equal(problemOf('7f00'), HpackProblem.badIndex); // name index 63
  assert.equal(problemOf('ff'), HpackProblem.truncated);
  assert.equal(problemOf('ff80'), HpackProblem.truncated);
  assert.equal(problemOf('ffffffffff7f'), HpackProblem.badInteger);
  assert.equal(problemOf('ff808080808000'), HpackProblem.badInteger);
  assert.equal(problemOf('4003616263'), HpackProblem.truncated);
  assert.equal(problemOf('40036162'), HpackProblem.truncated);
  assert.equal(problemOf('400161037878'), HpackProblem.truncated);
  assert.equal(problemOf('40'), HpackProblem.truncated);
  assert.equal(problemOf('04811e'), HpackProblem.badHuffman);
  assert.equal(problemOf('4081ff0161'), HpackProblem.badHuffman);
  assert.equal(problemOf('3fe21f'), HpackProblem.sizeUpdateTooLarge); // 4097
  assert.equal(problemOf('8220'), HpackProblem.sizeUpdateNotFirst);
  assert.equal(problemOf('3fe11f82'), HpackProblem.none); // 4096
  assert.equal(problemOf('203fe11f82'), HpackProblem.none);
});

test('lowering our table size forgets entries at once, raising it waits for the peer', () => {
  const decoder = new HpackDecoder();
  decode(decoder, literal(0x40, 'x-a', 'one'));
  decode(decoder, literal(0x40, 'x-b', 'two'));
  assert.equal(decoder.tableBytes, 76);
  decoder.setMaxTableBytes(40);
  assert.equal(decoder.tableBytes, 38);
  assert.equal(problemOf('3f0abf', decoder), HpackProblem.sizeUpdateTooLarge); // 41
  decoder.setMaxTableBytes(8192);
  decode(decoder, literal(0x40, 'x-c', 'new'));
  assert.equal(decoder.tableBytes, 38);
  decode(decoder, Buffer.from('3fe13f', 'hex')); // 8192
  for (let i = 0; i < 300; i++) decode(decoder, literal(0x40, `x-${i}`, 'v'));
  assert.ok(decoder.tableBytes > 8100 && decoder.tableBytes <= 8192);
});

test('a field larger than the table empties it and is still delivered', () => {
  const decoder = new HpackDecoder();
  decode(decoder, literal(0x40, 'x-a', 'one'));
  decode(decoder, Buffer.from('3f21', 'hex')); // 64
  const block = decode(decoder, literal(0x40, 'x-big', 'v'.repeat(60)));
  assert.deepEqual(block.toPairs(), [['x-big', 'v'.repeat(60)]]);
  assert.equal(decoder.tableBytes, 0);
  assert.equal(problemOf('be', decoder), HpackProblem.badIndex);
});

test('a name taken from the entry that its own insertion evicts stays whole', () => {
  const decoder = new HpackDecoder();
  decode(decoder, Buffer.from('3f21', 'hex')); // 64
  decode(decoder, literal(0x40, 'x-name', 'a'.repeat(20)));
  const block = decode(decoder, Buffer.concat([Buffer.from([0x7e, 20]), Buffer.alloc(20, 'b')]));
  assert.deepEqual(block.toPairs(), [['x-name', 'b'.repeat(20)]]);
  assert.deepEqual(decode(decoder, Buffer.from('be', 'hex')).toPairs(), [['x-name', 'b'.repeat(20)]]);
});

test('beyond a limit nothing is stored, yet the table stays right', () => {
  for (const [maxFields, maxListBytes] of [
    [2, 60_000],
    [100, 76],
  ] as const) {
    const decoder = new HpackDecoder();
    const bytes = Buffer.concat(['a', 'b', 'c', 'd'].map((letter) => literal(0x40, `x-${letter}`, 'val')));
    const block = decode(decoder, bytes, maxFields, maxListBytes);
    assert.deepEqual([block.overflowed, block.count, block.fieldCount, block.listSizeBytes], [true, 2, 4, 4 * 38]);
    assert.deepEqual(decode(decoder, Buffer.from('bec1', 'hex')).toPairs(), [
      ['x-d', 'val'],
      ['x-a', 'val'],
    ]);
  }
});

test('what is at the limit is not beyond it', () => {
  const block = decode(new HpackDecoder(), Buffer.from('8286', 'hex'), 2, 7 + 3 + 32 + 7 + 4 + 32);
  assert.ok(!block.overflowed);
  assert.equal(block.count, 2);
});

test('a forbidden name or value is noticed in every representation, also when it is not stored', () => {
  const cases = [
    [literal(0x40, 'x-a', ' v'), FieldFlag.invalidValue],
    [literal(0x00, 'x-a', 'a\nb'), FieldFlag.invalidValue],
    [literal(0x40, 'X-a', 'v'), FieldFlag.invalidName],
    [literal(0x10, '', 'v'), FieldFlag.invalidName],
    [literal(0x40, 'x a', 'v\0'), FieldFlag.invalidName | FieldFlag.invalidValue],
  ] as const;
  for (const [bytes, problems] of cases) {
    const decoder = new HpackDecoder();
    assert.equal(decode(decoder, bytes).problems, problems);
    assert.equal(decode(decoder, bytes, 0).problems, problems);
    if (bytes[0] !== 0x40) continue;
    assert.equal(decode(decoder, Buffer.from('be', 'hex')).problems, problems);
    assert.equal(decode(decoder, Buffer.from('be', 'hex'), 0).problems, problems);
    // its name again, with a good value
    const named = decode(decoder, Buffer.from('7e0176', 'hex'));
    assert.equal(named.problems, problems & FieldFlag.invalidName);
  }
});

test('a sensitive field stays never-indexed through decoding and encoding', () => {
  const decoder = new HpackDecoder();
  const encoder = new HpackEncoder();
  for (const bytes of [literal(0x10, 'x-secret', 'abc'), literal(0x10, 'authorization', `Bearer ${'x'.repeat(40)}`)]) {
    for (let round = 0; round < 4; round++) {
      const block = decode(decoder, bytes);
      assert.equal(block.flags[0], FieldFlag.neverIndexed);
      const copy = new HeaderBlock();
      copy.copyFrom(block);
      const written = encodeBlock(encoder, copy);
      assert.equal(written[0]! & 0xf0, 0x10);
      assert.deepEqual(decode(new HpackDecoder(), written).toPairs(), block.toPairs());
    }
  }
  assert.equal(encoder.tableBytes, 0);
  assert.equal(decoder.tableBytes, 0);
});

test('stable fields are indexed at first sight, others when they repeat', () => {
  const encoder = new HpackEncoder();
  encode(encoder, [':authority', 'shop.local'], ['content-type', 'application/grpc']);
  assert.equal(encode(encoder, [':authority', 'shop.local'], ['content-type', 'application/grpc']).length, 2);
  for (const field of [
    [':path', '/shop.Orders/Place'],
    ['x-tenant', 'blue'],
    ['authorization', `Bearer ${'x'.repeat(40)}`],
  ] as Pair[]) {
    assert.ok(encode(encoder, field).length > 4);
    assert.ok(encode(encoder, field).length > 4);
    assert.equal(encode(encoder, field).length, 1, field[0]);
  }
});

test('values that differ with every call never enter the table', () => {
  const encoder = new HpackEncoder();
  for (let round = 0; round < 4; round++) {
    encode(
      encoder,
      ['grpc-timeout', '1S'],
      ['traceparent', '00-aa-bb-01'],
      ['x-request-id', 'same'],
      ['content-length', '5'],
      ['cookie', 'short'],
    );
  }
  assert.equal(encoder.tableBytes, 0);
});

test('a field above a quarter of the table is not inserted', () => {
  const encoder = new HpackEncoder();
  encode(encoder, ['user-agent', 'u'.repeat(1024 - 32 - 10 + 1)]);
  assert.equal(encoder.tableBytes, 0);
  encode(encoder, ['user-agent', 'u'.repeat(1024 - 32 - 10)]);
  assert.equal(encoder.tableBytes, 1024);
});

test('fields of the static table cost one byte', () => {
  const bytes = encode(
    new HpackEncoder(),
    [':method', 'POST'],
    [':scheme', 'https'],
    [':path', '/'],
    [':status', '404'],
    ['accept-encoding', 'gzip, deflate'],
  );
  assert.equal(bytes.toString('hex'), '8387848d90');
});

test('a change of the peer table size is announced by the next block only', () => {
  const encoder = new HpackEncoder();
  const method: Pair = [':method', 'GET'];
  assert.equal(encode(encoder, method).toString('hex'), '82');
  encoder.setPeerMaxTableBytes(65_536); // capped at what is in use: nothing to say
  assert.equal(encode(encoder, method).toString('hex'), '82');
  encoder.setPeerMaxTableBytes(0);
  assert.equal(encode(encoder, method).toString('hex'), '2082');
  assert.equal(encode(encoder, method).toString('hex'), '82');
  encoder.setPeerMaxTableBytes(100);
  assert.equal(encode(encoder, method).toString('hex'), '3f4582');
});

test('of several changes the smallest and the last are announced', () => {
  const encoder = new HpackEncoder();
  encode(encoder, [':authority', 'shop.local']);
  encoder.setPeerMaxTableBytes(2048);
  encoder.setPeerMaxTableBytes(16);
  encoder.setPeerMaxTableBytes(4096);
  assert.equal(encode(encoder, [':method', 'GET']).toString('hex'), '303fe11f82');
  assert.equal(encoder.tableBytes, 0);
});

test('an encoder with a smaller table says so in its first block', () => {
  assert.equal(encode(new HpackEncoder(0), [':authority', 'a'], [':method', 'GET']).toString('hex'), '2001016182');
});

test('pseudo-header fields that were added late are written first', () => {
  const block = new HeaderBlock();
  block.add(Token.te, 'trailers');
  block.add(Token.method, 'GET');
  block.remove(0);
  block.add(Token.te, 'x');
  block.add(Token.scheme, 'http');
  assert.deepEqual(
    decode(new HpackDecoder(), encodeBlock(new HpackEncoder(), block))
      .toPairs()
      .map(([name]) => name),
    [':method', ':scheme', 'te'],
  );
});

const repeated = (decoder: HpackDecoder, value: string, times: number, ...more: Buffer[]) => {
  const inserted = Buffer.concat([
    Buffer.from([0x40, 3]),
    Buffer.from('x-a'),
    Buffer.from([0x7f, ((value.length - 127) & 127) | 128, (value.length - 127) >> 7]),
    Buffer.from(value),
  ]);
  return decode(decoder, Buffer.concat([inserted, Buffer.alloc(times, 0xbe), ...more]));
};

test('an entry that a block names again and again is copied once', () => {
  const value = 'v'.repeat(500);
  const block = repeated(new HpackDecoder(), value, 90);
  assert.deepEqual(
    block.toPairs(),
    Array.from({ length: 91 }, () => ['x-a', value]),
  );
  assert.equal(block.listSizeBytes, 91 * (3 + 500 + 32));
  // The literal itself, and the first that names it.
  assert.ok(block.usedBytes <= 2 * 503, `${block.usedBytes} bytes`);
});

test('fields that share their bytes are edited by themselves', () => {
  const block = repeated(new HpackDecoder(), 'v'.repeat(200), 3, literal(0x40, 'te', 'trailers'), Buffer.from([0xbe, 0xbf]));
  block.remove(2);
  block.set(Token.te, 'other');
  assert.deepEqual(
    block.toPairs().map(([name, text]) => `${name} ${text.slice(0, 8)}`),
    ['x-a vvvvvvvv', 'x-a vvvvvvvv', 'x-a vvvvvvvv', 'te other', 'x-a vvvvvvvv'],
  );
});

test('what an entry was in a block before says nothing about this one, however many there were', () => {
  const decoder = new HpackDecoder();
  repeated(decoder, 'v'.repeat(200), 1);
  const block = new HeaderBlock();
  const indexed = Buffer.from([0xbe]);
  for (let i = 0; i < 2 ** 17 + 3; i++) {
    block.reset();
    // Another field first, so that a place that is out of date holds something else.
    block.add(Token.te, 'trailers');
    decoder.decode(indexed, 0, 1, block, 100, 60_000);
    if (block.valueEnd[1]! - block.valueStart[1]! !== 200) assert.fail(`wrong in block ${i}`);
  }
  // Numbers begin anew: entries that nobody has named since would else be taken for ones of this block.
  const quiet = new HpackDecoder();
  repeated(quiet, 'v'.repeat(200), 1);
  for (let i = 0; i < 2 ** 17 - 2; i++) quiet.decode(indexed, 0, 0, block, 100, 60_000);
  assert.deepEqual(decode(quiet, Buffer.concat([literal(0x00, 'b', 'c'), indexed])).toPairs(), [
    ['b', 'c'],
    ['x-a', 'v'.repeat(200)],
  ]);
});
