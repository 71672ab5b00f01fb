import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { bodyOf, type Fields, type TestStream, until } from '../http2/http2-bench.ts';
import { engineClient } from './engine-client.ts';
import { echo, engineServer } from './engine-server.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const [nghttp, h2load, nghttpd] = await Promise.all([peerProgram('nghttp'), peerProgram('h2load'), peerProgram('nghttpd')]);
const patience = 5_000_000;

test('h2load: 20 connections of 50 streams, every answer a success', { skip: h2load.skip }, async (t) => {
  using folder = temporaryFolder();
  const body = join(folder.path, 'body');
  writeFileSync(body, bodyOf(3_000, 1));
  const { port, counters } = await engineServer(t, echo);
  const args = ['-n', '10000', '-c', '20', '-m', '50', '-d', body, `http://127.0.0.1:${port}/shop.Orders/Place`];
  const { stdout, code } = await runProgram(h2load.path, args);
  assert.equal(code, 0);
  assert.match(stdout, /10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout/);
  assert.match(stdout, /\(30000000\) data/);
  assert.equal(counters.rxMessagingError, 0);
});

test('h2load: small windows and a large body', { skip: h2load.skip }, async (t) => {
  using folder = temporaryFolder();
  const body = join(folder.path, 'body');
  writeFileSync(body, bodyOf(1_000_000, 1));
  const { port } = await engineServer(t, echo);
  const args = ['-n', '40', '-c', '2', '-m', '10', '-w', '14', '-W', '15', '-d', body, `http://127.0.0.1:${port}/shop.Orders/Place`];
  const { stdout } = await runProgram(h2load.path, args);
  assert.match(stdout, /40 succeeded, 0 failed, 0 errored, 0 timeout/);
  assert.match(stdout, /\(40000000\) data/);
});

test('nghttp: padding, CONTINUATION, trailers and a body that comes back', { skip: nghttp.skip }, async (t) => {
  using folder = temporaryFolder();
  const body = join(folder.path, 'body');
  const text = 'The quick brown fox jumps over the lazy dog.\n'.repeat(5_000);
  writeFileSync(body, text);
  const { port, counters } = await engineServer(t, echo);
  const args = [
    '-d',
    body,
    '--continuation',
    '-b',
    '64',
    '--trailer',
    'x-trailer: yes',
    '-w',
    '20',
    `http://127.0.0.1:${port}/shop.Orders/Place`,
  ];
  const { stdout, code } = await runProgram(nghttp.path, args);
  assert.equal(code, 0);
  assert.equal(stdout, text);
  assert.equal(counters.trailers, 1);
  assert.equal(counters.rxMessagingError, 0);
});

test('nghttpd: the engine gets files of all sizes from it, over one connection', { skip: nghttpd.skip }, async (t) => {
  using folder = temporaryFolder();
  const sizes = [0, 1, 16_384, 100_000, 5_000_000];
  for (const [i, size] of sizes.entries()) writeFileSync(join(folder.path, `file-${i}`), bodyOf(size, i));
  const port = await freePort();
  // Padding, a small table for its encoder, and a window that makes it ask.
  await using server = spawnProgram(nghttpd.path, [
    '-v',
    '--no-tls',
    '-a',
    '127.0.0.1',
    '-d',
    folder.path,
    '--padding=50',
    '--encoder-header-table-size=200',
    '-m',
    '100',
    '--trailer',
    'grpc-status: 0',
    String(port),
  ]);
  await server.waitFor(/listen/);
  const client = await engineClient(t, port);
  const get = (path: string): TestStream => {
    const fields: Fields = [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', path],
      [':authority', `127.0.0.1:${port}`],
      ['te', 'trailers'],
    ];
    return client.open(true, fields);
  };
  for (let round = 0; round < 3; round++) {
    const calls = Array.from({ length: 60 }, (_, i) => get(`/file-${i % sizes.length === 4 && i > 10 ? 3 : i % sizes.length}`));
    await until(() => calls.every(({ ended, reset }) => ended || reset !== undefined), 'the files', patience);
    for (const [i, call] of calls.entries()) {
      const which = i % sizes.length === 4 && i > 10 ? 3 : i % sizes.length;
      assert.equal(new Map(call.headers).get(':status'), '200');
      assert.ok(call.body.equals(bodyOf(sizes[which] as number, which)), `file ${which}`);
      assert.deepEqual(call.trailers, [['grpc-status', '0']]);
    }
  }
  const missing = get('/nowhere');
  await until(() => missing.ended, 'the answer', patience);
  assert.equal(new Map(missing.headers).get(':status'), '404');
  (missing.stream as Stream).reset();
});
