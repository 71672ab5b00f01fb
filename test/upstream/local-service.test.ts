import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster, localServicePolicy } from '../../src/upstream/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { addressOf, backend, contextOf, HandSource, policyOf, startCall } from './upstream-bench.ts';

checkLeaks();

test('the local service is called in plain text on its port, and no breaker or threshold stands before it', async (t) => {
  const server = await backend(t);
  const defaults = policyOf({ tls: { ...policyOf().tls, mode: 'mutual' }, keepaliveIntervalMs: 10_000 });
  const policy = localServicePolicy('127.0.0.1', server.port, defaults);
  assert.deepEqual(policy.endpoints, { kind: 'static', endpoints: [{ host: '127.0.0.1', port: server.port, weight: 1 }] });
  const cluster = new Cluster(policy, contextOf(new HandSource([addressOf(server.port)])));
  t.after(() => cluster.close());
  const admissions = Array.from({ length: 5_000 }, () => cluster.admit());
  assert.ok(admissions.every((admission) => admission !== undefined));
  const endpoint = cluster.pickEndpoint();
  assert.ok(endpoint);
  const breaker = cluster.breakerFor(endpoint, '/a/b');
  for (let i = 0; i < 1_000; i++) breaker.fail(breaker.tryEnter(i), i);
  assert.equal(breaker.state, 'CLOSED');
  assert.deepEqual(await (await startCall(endpoint)).ended, { kind: 'answered' });
});
