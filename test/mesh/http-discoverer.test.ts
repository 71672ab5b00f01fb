/** A sidecar that finds its peers through an HTTP discoverer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { StandInDiscoverer } from '../discovery/stand-in-discoverer.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { startSidecar } from './mesh.ts';
import { answerOk, closedPort, startUpstream, until } from './upstream.ts';

checkLeaks();

const policies = (url: string): string => `routes:
  - match: { prefix: / }
    route: { cluster: worker, timeout: 5s }
clusters:
  worker:
    http: { url: "${url}", interval: 1s, unregister_after: 2, keep_last: 0s }
    tls: { mode: disable }
    circuit_breakers: { consecutive_failures: 1000 }
`;

test('instances come and go with the list, a dead one is unregistered, and an empty list is RESOURCE_EXHAUSTED', async (t) => {
  const server = new StandInDiscoverer();
  t.after(() => server[Symbol.asyncDispose]());
  const worker = await startUpstream(t, (call) => answerOk(call));
  const port = Number(worker.address.split(':').at(-1));
  const dead = await closedPort();
  const outrider = await startSidecar(t, { policies: policies(await server.start()) });
  const client = outrider.caller();

  const busy = await client.call();
  assert.equal(busy.status, GrpcStatus.RESOURCE_EXHAUSTED);
  assert.equal(busy.reason, 'all_instances_busy');
  assert.match(String(busy.message), /all instances are busy/);

  server.instances = [
    { instance_id: 'alive', ipv4: '127.0.0.1', port },
    { instance_id: 'dead', ipv4: '127.0.0.1', port: dead },
  ];
  await until(() => outrider.stat('cluster.worker.membership_total') === 2, 'both instances');
  // A connect failure is tried elsewhere; the calls succeed whatever the dead one does.
  for (let i = 0; i < 1_000 && server.unregistered.length === 0; i++) await client.call();
  assert.deepEqual(server.unregistered, ['dead']);
  await until(() => outrider.stat('cluster.worker.membership_total') === 1, 'the dead one is gone');
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.ok(outrider.stat('cluster.worker.update_success') > 0);
  assert.equal(outrider.stat('cluster.worker.unregister_attempt'), 1);
  const { text } = await outrider.admin('GET', '/clusters?format=json');
  assert.match(text, /http:127\.0\.0\.1:\d+/);
});
