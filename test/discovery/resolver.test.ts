import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameServerResolver, systemResolver } from '../../src/discovery/index.ts';
import { StandInNameServer } from './stand-in-name-server.ts';

test('the system resolver knows localhost', async () => {
  const { addresses, ttlMs } = await systemResolver.resolve('localhost');
  assert.ok(addresses.some((address) => address === '127.0.0.1' || address === '::1'));
  assert.equal(ttlMs, undefined);
});

test('a name server is asked for both families, and the shortest TTL holds for the answer', async () => {
  await using server = new StandInNameServer();
  const resolver = nameServerResolver({ servers: [await server.start()] });
  server.records.set('auth.mesh', [
    { address: '10.0.0.1', ttlSeconds: 30 },
    { address: '10.0.0.2', ttlSeconds: 7 },
    { address: 'fd00::5', ttlSeconds: 60 },
  ]);
  const { addresses, ttlMs } = await resolver.resolve('auth.mesh');
  assert.deepEqual([...addresses].sort(), ['10.0.0.1', '10.0.0.2', 'fd00::5']);
  assert.equal(ttlMs, 7_000);
});

test('a name that does not exist is an answer, a failing name server is none', async () => {
  await using server = new StandInNameServer();
  const resolver = nameServerResolver({ servers: [await server.start()], timeoutMs: 200, tries: 1 });
  assert.deepEqual(await resolver.resolve('nobody.mesh'), { addresses: [] });
  server.records.set('empty.mesh', []);
  assert.deepEqual(await resolver.resolve('empty.mesh'), { addresses: [] });
  server.failing = true;
  await assert.rejects(resolver.resolve('nobody.mesh'));
});
