/** Patterns of `policies/` at work: where calls go, and what becomes of them on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { virtualClock } from './mesh.ts';
import { startPattern, wait } from './pattern.ts';
import { answerOk, closedPort, until } from './upstream.ts';

checkLeaks();

test('canary-by-weight: a twentieth goes to the new version, and a user stays where it is', async (t) => {
  let drawn = 0;
  const { client, moved, service } = await startPattern(t, 'canary-by-weight.yaml', { random: () => (drawn++ % 20) / 20 });
  for (let i = 0; i < 20; i++) await client.call({ path: '/shop.Catalog/Get' });
  assert.deepEqual([service('catalog').received.length, service('catalog-v2').received.length], [19, 1]);
  for (let i = 0; i < 8; i++) await client.call({ path: '/shop.Cart/Add', headers: { 'x-user-id': 'ada' } });
  assert.ok([0, 8].includes(service('cart').received.length));
  await moved();
});

test('canary-by-header: who asks for the new version gets it', async (t) => {
  const { client, moved, service } = await startPattern(t, 'canary-by-header.yaml');
  const path = '/shop.Catalog/Get';
  for (let i = 0; i < 4; i++) await client.call({ path });
  for (let i = 0; i < 3; i++) await client.call({ path, headers: { 'x-canary': '1' } });
  assert.deepEqual(
    [0, 1, 2].map((i) => service('catalog', i).received.length),
    [2, 2, 3],
  );
  await moved();
});

test('sticky-sessions: by the user, else by a cookie that is made', async (t) => {
  const { client, moved, service } = await startPattern(t, 'sticky-sessions.yaml');
  const path = '/shop.Cart/Add';
  const counts = (): readonly number[] => [0, 1, 2].map((i) => service('cart', i).received.length);
  for (let i = 0; i < 6; i++) await client.call({ path, headers: { 'x-user-id': 'ada' } });
  assert.deepEqual(counts().toSorted(), [0, 0, 6]);
  const first = await client.call({ path });
  const cookie = String(first.headers['set-cookie']?.[0]);
  assert.match(cookie, /^cart-session=[^;]+; Max-Age=3600; Path=\/; HttpOnly$/);
  const before = counts();
  for (let i = 0; i < 5; i++) await client.call({ path, headers: { cookie: cookie.split(';')[0] ?? '' } });
  const grown = counts().map((count, i) => count - (before[i] ?? 0));
  assert.deepEqual(grown.toSorted(), [0, 0, 5]);
  await moved();
});

test('locality-failover: where the own region is gone the other one serves', async (t) => {
  const clock = virtualClock();
  const gone = [`127.0.0.1:${await closedPort()}`, `127.0.0.1:${await closedPort()}`];
  const { client, moved, outrider, service } = await startPattern(t, 'locality-failover.yaml', {
    clock,
    random: () => 0,
    services: { search: gone },
  });
  const calls = (count: number) => Promise.all(Array.from({ length: count }, () => client.call({ path: '/shop.Search/Find' })));
  await calls(20);
  assert.equal(outrider.stat('cluster.search.outlier_detection.ejections_active'), 2);
  const before = service('search').received.length;
  for (const answer of await calls(10)) assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(service('search').received.length, before + 10);
  await moved();
});

test('slow-start: an instance that joins gets its share little by little', async (t) => {
  const clock = virtualClock();
  const { client, moved, policies, rewrite, service } = await startPattern(t, 'slow-start.yaml', { clock });
  const path = '/shop.Render/Page';
  const newcomer = service('render', 2);
  await rewrite(policies.replace(new RegExp(`,\\s*"?${newcomer.address}"?`), ''));
  // A connection without a call would end in the meantime.
  assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  await wait(clock, 64);
  await rewrite(policies);
  for (let i = 0; i < 60; i++) assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  const cold = newcomer.received.length;
  assert.ok(cold < 10, `${cold} of 60 calls while it is new`);
  await wait(clock, 64);
  for (let i = 0; i < 30; i++) assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  assert.equal(newcomer.received.length - cold, 10);
  await moved();
});

test('zone-aware: calls stay in the zone of the sidecar', async (t) => {
  const { client, moved, service } = await startPattern(t, 'zone-aware.yaml', { environment: { LOCALITY: 'eu-central-1/a' } });
  for (let i = 0; i < 6; i++) assert.equal((await client.call({ path: '/shop.Inventory/Get' })).status, GrpcStatus.OK);
  assert.deepEqual([service('inventory', 0).received.length, service('inventory', 1).received.length], [6, 0]);
  await moved();
});

test('connection-age: clients that are connected for long are sent away, and no call of them fails', async (t) => {
  const clock = virtualClock();
  const { client, moved, outrider, service } = await startPattern(t, 'connection-age.yaml', {
    clock,
    random: () => 0.5,
    local: (call) => answerOk(call),
  });
  const inbound = outrider.inboundCaller();
  const path = '/shop.Feed/Next';
  for (let minutes = 0; minutes < 31; minutes++) {
    assert.equal((await inbound.call()).status, GrpcStatus.OK);
    assert.equal((await client.call({ path })).status, GrpcStatus.OK);
    await wait(clock, 60);
    if (inbound.goAways.length > 0) break;
  }
  await until(() => inbound.goAways.length > 0, 'GOAWAY');
  assert.deepEqual([inbound.goAways[0]?.code, inbound.goAways[0]?.debug], [0, 'max_age']);
  assert.equal((await outrider.inboundCaller().call()).status, GrpcStatus.OK);
  for (let i = 0; i < 2; i++) assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  assert.ok(service('feed').accepted >= 2, 'a new connection to the service');
  await moved();
});

test('fastest-endpoint: calls turn away from the instance that answers late', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'fastest-endpoint.yaml', {
    clock,
    services: {
      thumbnails: [
        (call) => {
          clock.advance(500);
          answerOk(call);
        },
      ],
    },
  });
  for (let i = 0; i < 30; i++) await client.call({ path: '/shop.Thumbnails/Make' });
  assert.ok(service('thumbnails', 0).received.length <= 3, `${service('thumbnails', 0).received.length} calls to the slow one`);
  await moved();
});

test('mirroring: the new version gets a copy, and nobody waits for it', async (t) => {
  const { client, moved, service } = await startPattern(t, 'mirroring.yaml', { random: () => 0.05 });
  assert.equal((await client.call({ path: '/shop.Catalog/Get', authority: 'catalog' })).status, GrpcStatus.OK);
  const copy = await service('catalog-next').call(0);
  assert.deepEqual([copy.headers[':authority'], copy.headers['x-outrider-shadow']], ['catalog-shadow', '1']);
  await moved();
});

test('fault-rehearsal: retries hide what is injected, and callers may ask for a fault', async (t) => {
  let aborts = (): number => 0;
  const { client, moved, outrider, service } = await startPattern(t, 'fault-rehearsal.yaml', {
    random: () => (aborts() === 0 ? 0.05 : 0.5),
  });
  aborts = () => outrider.stat('http.outbound.fault.aborts_injected');
  assert.equal((await client.call({ path: '/shop.Catalog/Get' })).status, GrpcStatus.OK);
  assert.deepEqual([aborts(), service('catalog').received.length], [1, 1]);
  const asked = { 'x-rehearsal': 'true', 'x-envoy-fault-abort-grpc-request': '8' };
  const failed = await client.call({ path: '/shop.Cart/Add', headers: asked });
  assert.deepEqual([failed.status, failed.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'fault_injected']);
  assert.equal((await client.call({ path: '/shop.Cart/Add' })).status, GrpcStatus.OK);
  await moved();
});

test('headers-and-rewrites: the service gets the path of today, and the headers of the policy', async (t) => {
  const { client, moved, service } = await startPattern(t, 'headers-and-rewrites.yaml', {
    services: { billing: [(call) => answerOk(call, 'pong', { server: 'secret/1.0' })] },
  });
  const answer = await client.call({ path: '/acme.Billing/Charge', headers: { 'x-organisation': 'acme', 'x-debug': '1' } });
  const { headers } = await service('billing').call(0);
  assert.deepEqual([headers[':path'], headers['x-tenant'], headers['x-debug']], ['/acme.billing.v2.Billing/Charge', 'acme', undefined]);
  assert.deepEqual([answer.headers['x-served-by'], answer.headers['server']], ['billing, 100% gRPC', undefined]);
  await client.call({ path: '/reports.2026.Reports/Get' });
  assert.equal((await service('reports').call(0)).headers[':path'], '/reports.v2026.Reports/Get');
  await moved();
});

test('matching: the first route that matches is taken', async (t) => {
  const { client, moved, service } = await startPattern(t, 'matching.yaml');
  const path = '/acme.Billing/Charge';
  const canary = { 'x-canary': 'true', 'x-region': 'eu-west' };
  await client.call({ path, headers: canary });
  await client.call({ path, headers: { ...canary, 'x-region': 'us-east' } });
  await client.call({ path });
  const canaries = service('billing-canary', 0).received.length + service('billing-canary', 1).received.length;
  assert.deepEqual([canaries, service('billing').received.length], [1, 2]);
  await moved();
});
