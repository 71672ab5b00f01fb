/** The pattern of health checks, run as it stands. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { startPattern } from './pattern.ts';
import { answerOk, beginAnswer, type Handler, until } from './upstream.ts';

checkLeaks();

/** A service that answers a `Watch` with this status, and calls with OK. */
const saying =
  (status: number): Handler =>
  (call) =>
    call.headers[':path'] === '/grpc.health.v1.Health/Watch' ? beginAnswer(call, Buffer.from([8, status])) : answerOk(call);
const [serving, notServing] = [saying(1), saying(2)];

test('health-checks: the instance that says NOT_SERVING gets no call, and the way to check follows the service', async (t) => {
  const { client, moved, outrider, service } = await startPattern(t, 'health-checks.yaml', {
    services: { catalog: [serving, notServing, serving] },
  });
  const [catalog, orders] = [...outrider.sidecar.proxy.clusters];
  const settled = (): boolean => [catalog, orders].every((cluster) => cluster?.endpoints.every(({ checker }) => checker?.health.checked));
  await until(settled, 'the first result of each');
  for (let i = 0; i < 9; i++) assert.equal((await client.call({ path: '/shop.Catalog/Get' })).status, 0);
  const callsOf = (i: number): number =>
    service('catalog', i).received.filter(({ headers }) => headers[':path'] === '/shop.Catalog/Get').length;
  assert.deepEqual([0, 1, 2].map(callsOf).sort(), [0, 4, 5]);
  assert.equal(callsOf(1), 0);
  assert.equal((await client.call({ path: '/shop.Orders/Get' })).status, 0);
  assert.deepEqual(
    orders?.endpoints.map(({ checker }) => checker?.why),
    ['takes connections', 'takes connections'],
  );
  await moved();
});
