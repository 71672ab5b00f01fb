import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeGrpcMessage, encodeGrpcMessage, longestGrpcMessageBytes } from '../../src/grpc/index.ts';

test('printable text stays readable, everything else and the percent sign are escaped', () => {
  assert.equal(encodeGrpcMessage('cluster "a": 50% failed'), 'cluster "a": 50%25 failed');
  assert.equal(encodeGrpcMessage('a\r\nb\u0000\u007f'), 'a%0D%0Ab%00%7F');
  assert.equal(encodeGrpcMessage('grün 🚀'), 'gr%C3%BCn %F0%9F%9A%80');
  assert.equal(encodeGrpcMessage('\ud800'), '%EF%BF%BD');
});

test('any text survives, and on the wire there is nothing but printable ASCII', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
      const encoded = encodeGrpcMessage(text);
      assert.match(encoded, /^[\x20-\x7e]*$/);
      assert.equal(decodeGrpcMessage(encoded), text.toWellFormed());
    }),
  );
});

test('a long message is cut between two characters and says so', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.integer({ min: 3, max: 40 }), (text, longest) => {
      const encoded = encodeGrpcMessage(text, longest);
      assert.ok(encoded.length <= longest);
      const decoded = decodeGrpcMessage(encoded);
      if (decoded === text.toWellFormed()) return;
      assert.ok(decoded.endsWith('...'));
      assert.ok(text.toWellFormed().startsWith(decoded.slice(0, -3)), JSON.stringify([text, decoded]));
    }),
  );
  assert.equal(encodeGrpcMessage('x'.repeat(100_000)).length, longestGrpcMessageBytes);
});

test('decoding never fails: what is no escape stays as it stands', () => {
  for (const [wire, text] of [
    ['100%', '100%'],
    ['%', '%'],
    ['%4', '%4'],
    ['%zz%41', '%zzA'],
    ['%%41', '%A'],
    ['a%c3%bc', 'aü'],
    ['%ff', '\ufffd'],
    ['%EF%BB%BFx', '\ufeffx'],
  ] as const) {
    assert.equal(decodeGrpcMessage(wire), text);
  }
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => assert.equal(typeof decodeGrpcMessage(text), 'string')));
});

test('a server that did not escape its UTF-8 is understood all the same', () => {
  assert.equal(decodeGrpcMessage(Buffer.from('grün').toString('latin1')), 'grün');
});
