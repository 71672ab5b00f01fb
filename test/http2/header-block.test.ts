import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FieldFlag, HeaderBlock } from '../../src/http2/header-block.ts';
import { Token, tokenCount, tokenName, tokenOf, tokenOfName } from '../../src/http2/hpack/token.ts';

const blockOf = (...pairs: [string, string][]) => {
  const block = new HeaderBlock();
  for (const [name, value] of pairs) block.addNamed(name, value);
  return block;
};

test('tokens and names are two views of one list', () => {
  for (const [key, token] of Object.entries(Token)) {
    if (token === Token.unknown) continue;
    const name = tokenName(token);
    assert.equal(
      name.replace(/^:/, '').replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase()),
      key,
    );
    assert.equal(tokenOfName(name), token);
    const bytes = Buffer.from(`xx${name}yy`);
    assert.equal(tokenOf(bytes, 2, 2 + name.length), token);
    assert.equal(tokenOf(bytes, 2, 3 + name.length), 0);
    assert.equal(tokenOf(Buffer.from(name.toUpperCase()), 0, name.length), 0);
  }
  assert.equal(Object.keys(Token).length, tokenCount);
  assert.equal(tokenOf(Buffer.alloc(0), 0, 0), 0);
});

test('fields are found by token and by name', () => {
  const block = blockOf([':path', '/a'], ['x-shop', 'one'], ['te', 'trailers'], ['x-shop', 'two']);
  assert.equal(block.indexOf(Token.path), 0);
  assert.equal(block.indexOf(Token.te), 2);
  assert.equal(block.indexOf(Token.grpcTimeout), -1);
  assert.equal(block.find('x-shop'), 1);
  assert.equal(block.find(':path'), 0);
  assert.equal(block.find('x-none'), -1);
  assert.equal(block.value(0), '/a');
  assert.equal(block.name(1), 'x-shop');
  assert.ok(block.valueEquals(2, 'trailers'));
  assert.ok(!block.valueEquals(2, 'trailer'));
  assert.ok(block.valueStartsWith(2, 'trail'));
  assert.ok(!block.valueStartsWith(0, '/abc'));
});

test('a repeated token is told apart from a single one, also after removal', () => {
  const block = blockOf(['te', 'a'], ['cookie', '1'], ['cookie', '2'], ['cookie', '3']);
  assert.ok(block.duplicateOf(Token.cookie));
  assert.ok(!block.duplicateOf(Token.te));
  block.remove(1);
  assert.equal(block.indexOf(Token.cookie), 2);
  assert.ok(block.duplicateOf(Token.cookie));
  block.remove(3);
  assert.equal(block.indexOf(Token.cookie), 2);
  assert.ok(!block.duplicateOf(Token.cookie));
  block.removeToken(Token.cookie);
  assert.equal(block.indexOf(Token.cookie), -1);
  assert.deepEqual(block.toPairs(), [['te', 'a']]);
});

test('a removed field is gone for the finders', () => {
  const block = blockOf(['x-one', '1'], ['x-one', '2']);
  block.remove(block.find('x-one'));
  assert.equal(block.value(block.find('x-one')), '2');
});

test('setting a field replaces it in its place and leaves one of it', () => {
  const block = blockOf([':method', 'POST'], [':path', '/a'], ['te', 'trailers'], [':path', '/b']);
  block.set(Token.path, '/longer/than/before');
  block.set(Token.grpcTimeout, '1S');
  assert.deepEqual(block.toPairs(), [
    [':method', 'POST'],
    [':path', '/longer/than/before'],
    ['te', 'trailers'],
    ['grpc-timeout', '1S'],
  ]);
  assert.equal(block.indexOf(Token.path), 1);
  assert.ok(!block.duplicateOf(Token.path));
});

test('numbers are written in decimal', () => {
  const block = new HeaderBlock();
  for (const number of [0, 7, 10, 99, 100, 4_294_967_296, Number.MAX_SAFE_INTEGER]) block.addNumber(Token.contentLength, number);
  assert.deepEqual(
    block.toPairs().map(([, value]) => value),
    ['0', '7', '10', '99', '100', '4294967296', '9007199254740991'],
  );
});

test('text that is added cannot smuggle a line break', () => {
  const block = new HeaderBlock();
  block.add(Token.grpcMessage, 'a\r\nb\u0000c\u010ad\u00fc');
  assert.equal(block.value(0), 'a??b?c?d\u00fc');
});

test('names and values that RFC 9113 forbids are flagged', () => {
  const problemsOf = (name: string, value: string) => blockOf([name, value]).problems;
  assert.equal(problemsOf('x-fine', 'a b\tc'), 0);
  for (const name of ['X-upper', 'x y', '', ':', 'x\u007f', 'x:y', '::x', 'x('])
    assert.equal(problemsOf(name, ''), FieldFlag.invalidName, name);
  for (const value of [' a', 'a ', '\ta', 'a\t', ' ']) assert.equal(problemsOf('x-fine', value), FieldFlag.invalidValue);
  for (const bad of [0, 10, 13]) {
    for (let at = 0; at < 9; at++) {
      const bytes = Buffer.alloc(9, 'x');
      bytes[at] = bad;
      const block = new HeaderBlock();
      block.addBytes(Token.userAgent, bytes, 0, 9);
      assert.equal(block.problems, FieldFlag.invalidValue);
    }
  }
  for (let byte = 0; byte < 256; byte++) {
    const block = new HeaderBlock();
    block.addBytes(Token.userAgent, Buffer.from([120, byte, 120, 120, 120]), 0, 5);
    assert.equal(block.problems === 0, ![0, 10, 13].includes(byte), `byte ${byte}`);
  }
});

test('pseudo-header fields after regular ones and unknown ones are noticed', () => {
  assert.ok(!blockOf([':method', 'POST'], ['te', 'trailers']).pseudoAfterRegular);
  assert.ok(blockOf(['te', 'trailers'], [':method', 'POST']).pseudoAfterRegular);
  assert.ok(blockOf([':shop', 'x']).unknownPseudo);
  assert.ok(!blockOf([':protocol', 'x']).unknownPseudo);
});

test('the list size counts names, values and 32 bytes each', () => {
  assert.equal(blockOf([':path', '/abc'], ['x-shop', 'one']).listSizeBytes, 5 + 4 + 32 + 6 + 3 + 32);
});

test('a block grows with its fields and gives large storage back', () => {
  const block = new HeaderBlock();
  for (let i = 0; i < 500; i++) block.addNamed(`x-${i}`, 'v'.repeat(100));
  assert.equal(block.count, 500);
  assert.equal(block.value(block.find('x-499')), 'v'.repeat(100));
  block.reset();
  assert.ok(block.bytes.length <= 8192);
  assert.ok(block.tokens.length <= 128);
  assert.deepEqual(block.toPairs(), []);
});

test('a reset block remembers nothing of its fields', () => {
  const block = blockOf(['te', ' bad'], [':path', '/'], [':odd', ''], ['te', 'x'], ['X', '']);
  block.reset();
  assert.deepEqual(
    [
      block.indexOf(Token.te),
      block.duplicateOf(Token.te),
      block.problems,
      block.pseudoAfterRegular,
      block.unknownPseudo,
      block.listSizeBytes,
    ],
    [-1, false, 0, false, false, 0],
  );
  block.add(Token.path, '/');
  assert.ok(!block.pseudoAfterRegular);
});

test('a copy has the same fields, without those dropped', () => {
  const name = fc.constantFrom(':path', 'te', 'cookie', 'x-a', 'x-b');
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string({ maxLength: 90 }), fc.boolean())), (fields) => {
      const block = new HeaderBlock();
      for (const [field, value] of fields) block.addNamed(field, value);
      fields.forEach(([, , removed], i) => {
        if (removed) block.remove(i);
      });
      const copy = new HeaderBlock();
      copy.addNamed('x-old', 'gone');
      copy.copyFrom(block);
      assert.deepEqual(copy.toPairs(), block.toPairs());
      for (const token of [Token.path, Token.te, Token.cookie]) {
        assert.equal(copy.duplicateOf(token), block.duplicateOf(token));
        assert.equal(copy.indexOf(token) < 0, block.indexOf(token) < 0);
      }
    }),
  );
});

test('of several fields with one token the last is kept, in its place', () => {
  const block = new HeaderBlock();
  for (const [name, value] of [
    ['grpc-status', '0'],
    ['x-a', '1'],
    ['grpc-status', '13'],
    ['grpc-status', '5'],
    ['x-b', '2'],
  ] as const)
    block.addNamed(name, value);
  block.remove(3);
  block.keepLast(Token.grpcStatus);
  assert.deepEqual(block.toPairs(), [
    ['x-a', '1'],
    ['grpc-status', '13'],
    ['x-b', '2'],
  ]);
  assert.equal(block.duplicateOf(Token.grpcStatus), false);
  assert.equal(block.indexOf(Token.grpcStatus), 2);
  block.keepLast(Token.te);
  assert.equal(block.indexOf(Token.te), -1);
});
