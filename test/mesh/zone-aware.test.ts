import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { startSidecar } from './mesh.ts';
import { answerOk, startUpstream } from './upstream.ts';

checkLeaks();

test('calls stay in the zone of the sidecar, go elsewhere when nobody there can be reached, and follow its own fleet', async (t) => {
  const near = await startUpstream(t, (call) => answerOk(call, 'near'));
  const far = await startUpstream(t, (call) => answerOk(call, 'far'));
  const policies = (callers: readonly string[]): string => `routes:
  - match: { prefix: /acme. }
    route: { cluster: echo, timeout: 0s }
clusters:
  echo:
    tls: { mode: disable }
    endpoints:
      - { address: "${near.address}", locality: eu/a }
      - { address: "${far.address}", locality: eu/b }
    common_lb_config: { zone_aware_lb_config: { min_cluster_size: 2 } }
  caller:
    endpoints:
${callers.map((locality, i) => `      - { address: "10.0.0.${i + 1}:1", locality: ${locality} }`).join('\n')}
`;
  const outrider = await startSidecar(t, { policies: policies(['eu/a', 'eu/b']), environment: { LOCALITY: 'eu/a/rack-3' } });
  const client = outrider.caller();
  for (let i = 0; i < 10; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.deepEqual([near.received.length, far.received.length], [10, 0]);
  assert.equal(outrider.stat('cluster.echo.lb_zone_routing_all_directly'), 10);

  // Now three of four callers are here, with half of the endpoints: two thirds of our calls stay.
  outrider.writePolicies(policies(['eu/a', 'eu/a', 'eu/a', 'eu/b']));
  await outrider.admin('POST', '/reload');
  for (let i = 0; i < 30; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.ok(far.received.length >= 9 && far.received.length <= 11, `${far.received.length} of 30 went elsewhere`);
  assert.equal(outrider.stat('cluster.echo.lb_zone_routing_cross_zone'), far.received.length);

  outrider.writePolicies(policies(['eu/a', 'eu/b']));
  await outrider.admin('POST', '/reload');
  await near.stop();
  const before = far.received.length;
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).status, GrpcStatus.OK, 'a connect failure is tried elsewhere');
  assert.equal(far.received.length, before + 5);
});
