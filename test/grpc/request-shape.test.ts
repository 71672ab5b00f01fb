import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isGrpcContentType, isGrpcPath, isGrpcPathBytes } from '../../src/grpc/index.ts';

const bothSay = (path: string): boolean => {
  const bytes = Buffer.from(`#${path}#`, 'utf8');
  const byBytes = isGrpcPathBytes(bytes, 1, bytes.length - 1);
  assert.equal(isGrpcPath(path), byBytes, JSON.stringify(path));
  return byBytes;
};

test('paths of gRPC methods are recognised', () => {
  for (const path of [
    '/learner.LearnerService/GetProfile',
    '/grpc.health.v1.Health/Check',
    '/S/M',
    '/a.b_c.D1/e_f',
    '/my-pkg.Svc/do-it',
    '/a/b.c',
  ]) {
    assert.ok(bothSay(path), path);
  }
});

test('what another parser could read otherwise is not', () => {
  for (const path of [
    '',
    '/',
    '//',
    '///',
    '/a',
    '/a/',
    'a/b',
    'learner.LearnerService/GetProfile',
    '//a/b',
    '/a//b',
    '/a/b/',
    '/a/b/c',
    '/./a',
    '/../a',
    '/a/..',
    '/a/.',
    '/a/../b',
    '/a..b/c',
    '/.a/b',
    '/a./b',
    '/a/b.',
    '/a%2fb/c',
    '/a/%62',
    '/a/b?x=1',
    '/a/b#x',
    '/a;x=1/b',
    '/a\\b/c',
    '/a b/c',
    '/a/b\n',
    '/a/b\u0000',
    '/ä/b',
    '/Ł/b',
    '*',
    'http://host/a/b',
    '/a/b ',
    '/a+b/c',
  ]) {
    assert.ok(!bothSay(path), JSON.stringify(path));
  }
});

test('strings and bytes are judged alike, and what passes has no second reading', () => {
  const piece = fc.constantFrom('/', '.', '..', 'a', 'B', '0', '_', '-', '%', '%2e', '?', ' ', '\\', 'Ł', '\n', '~');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const path = pieces.join('');
      if (!bothSay(path)) return;
      assert.equal(new URL(path, 'http://x').pathname, path);
      assert.equal(decodeURIComponent(path), path);
      assert.equal(path.split('/').length, 3);
    }),
    { numRuns: 2_000 },
  );
});

test('the content types of gRPC are recognised in any case, its neighbours are not', () => {
  const says = (text: string): boolean => {
    const bytes = new TextEncoder().encode(`+${text};`);
    return isGrpcContentType(bytes, 1, bytes.length - 1);
  };
  for (const text of [
    'application/grpc',
    'application/grpc+proto',
    'Application/GRPC',
    'application/grpc;charset=utf-8',
    'application/grpc ; a=b',
    'application/grpc+json;x',
  ]) {
    assert.ok(says(text), text);
  }
  for (const text of [
    '',
    'application/grp',
    'application/grpcfoo',
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/grpc ',
    ' application/grpc',
    'application/grpc x',
    'application/json',
    'application\u000fgrpc',
    'text/plain; application/grpc',
  ]) {
    assert.ok(!says(text), text);
  }
});
