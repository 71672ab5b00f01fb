import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { huffmanDecode, huffmanDecodeBoundBytes, huffmanEncode, huffmanEncodedBytes } from '../../src/http2/hpack/huffman.ts';

const encoded = (raw: Uint8Array) => {
  const out = Buffer.alloc(huffmanEncodedBytes(raw, 0, raw.length));
  assert.equal(huffmanEncode(raw, 0, raw.length, out, 0), out.length);
  return out;
};
/** The decoded text, or undefined. Input and target are ranges inside larger arrays. */
const decoded = (coded: Uint8Array) => {
  const input = Buffer.concat([Buffer.from([0x55, 0xff, 0x00]), coded, Buffer.from([0xff, 0x1f])]);
  const target = Buffer.alloc(huffmanDecodeBoundBytes(coded.length) + 5);
  const end = huffmanDecode(input, 3, 3 + coded.length, target, 5);
  assert.ok(end <= target.length);
  return end < 0 ? undefined : target.subarray(5, end);
};

test('every string of bytes survives encoding and decoding', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (raw) => {
      assert.deepEqual([...decoded(encoded(raw))!], [...raw]);
    }),
    { numRuns: 2000 },
  );
});

test('each of the 256 symbols decodes at every bit offset', () => {
  for (let symbol = 0; symbol < 256; symbol++) {
    for (let before = 0; before < 8; before++) {
      const raw = Buffer.from([...Array<number>(before).fill(48), symbol, 97]);
      assert.deepEqual(decoded(encoded(raw)), raw);
    }
  }
});

test('text encodes to the bytes of RFC 7541 C.4.1', () => {
  assert.equal(encoded(Buffer.from('www.example.com')).toString('hex'), 'f1e3c2e5f23a6ba0ab90f4ff');
});

test('padding must be at most seven ones', () => {
  assert.equal(decoded(Buffer.from('1f', 'hex'))?.toString(), 'a'); // 00011 111
  assert.equal(decoded(Buffer.from('1e', 'hex')), undefined); // a zero in the padding
  assert.equal(decoded(Buffer.from('1fff', 'hex')), undefined); // eleven ones
  assert.equal(decoded(Buffer.from('ff', 'hex')), undefined); // eight ones
  assert.equal(decoded(Buffer.from('fe', 'hex')), undefined); // the beginning of a longer code
  assert.equal(decoded(Buffer.alloc(0))?.length, 0);
});

test('EOS inside a string is refused', () => {
  assert.equal(decoded(Buffer.from('ffffffff', 'hex')), undefined);
  assert.equal(decoded(Buffer.from('1fffffffff', 'hex')), undefined);
  assert.equal(decoded(Buffer.from('fffffffc1f', 'hex')), undefined);
});

test('a decoded string that is accepted encodes back to the same bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (coded) => {
      const text = decoded(coded);
      if (text !== undefined) assert.deepEqual([...encoded(text)], [...coded]);
    }),
    { numRuns: 5000 },
  );
});
