/** Patterns of `policies/` at work: what is limited, and what gives way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { MeshCertificates, virtualClock } from './mesh.ts';
import { burst, callUntilShed } from './overloaded.ts';
import { startPattern } from './pattern.ts';
import { answerOk, hold } from './upstream.ts';

checkLeaks();

test('bulkhead: fifty calls are under way, and the next one is refused', async (t) => {
  const { client, moved, outrider, service } = await startPattern(t, 'bulkhead.yaml', {
    services: { render: [(call, index) => (index === 0 ? answerOk(call) : undefined)] },
  });
  const path = '/shop.Render/Page';
  // Its connection stands: without one, no more than twenty may wait for it.
  assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  const calls = Array.from({ length: 50 }, () => client.start({ path }));
  await service('render').call(50);
  const refused = await client.call({ path });
  assert.deepEqual([refused.status, refused.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'too_many_requests']);
  assert.equal(outrider.stat('cluster.render.circuit_breakers.default.remaining_rq'), 0);
  for (const received of service('render').received.slice(1)) answerOk(received);
  for (const call of calls) assert.equal((await call.answer).status, GrpcStatus.OK);
  await moved();
});

test('adaptive-concurrency: while the best latency is measured five calls are let in, and watches always', async (t) => {
  const { moved, outrider } = await startPattern(t, 'adaptive-concurrency.yaml', { local: hold });
  const client = outrider.inboundCaller();
  const path = '/learner.LearnerService/GetProfile';
  const calls = Array.from({ length: 5 }, () => client.start({ path }));
  const refused = await client.call({ path });
  assert.deepEqual([refused.status, refused.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'overloaded']);
  calls.push(client.start({ path: '/learner.LearnerService/Watch' }));
  await moved();
  assert.equal(outrider.fates('inbound').overloaded, 1);
  for (const call of calls) call.cancel();
});

test('rate-limit-per-caller: a caller uses up its own share, not that of others', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const { moved, outrider } = await startPattern(t, 'rate-limit-per-caller.yaml', {
    clock: virtualClock(),
    name: 'learner',
    certificates: await certificates.issue('learner'),
    local: (call) => answerOk(call),
  });
  const passed = async (name: string, count: number): Promise<number> => {
    const { certPem, keyPem } = await certificates.pair(name);
    const client = outrider.inboundCaller({ cert: certPem, key: keyPem, ca: certificates.authority.certPem, servername: 'learner' });
    let ok = 0;
    for (let i = 0; i < count; i++) if ((await client.call()).status === GrpcStatus.OK) ok++;
    return ok;
  };
  assert.deepEqual([await passed('web', 60), await passed('reports', 10), await passed('importer', 60)], [50, 10, 60]);
  await moved();
});

test('size-limits: a request that is too large is answered before it costs the service', async (t) => {
  const { client, moved, service } = await startPattern(t, 'size-limits.yaml');
  const path = '/files.Store/PutAvatar';
  const large = await client.call({ path, body: Buffer.alloc(65_536), headers: { 'content-length': '65541' } });
  assert.deepEqual([large.status, large.reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'message_too_large']);
  assert.equal(service('store').received.length, 0);
  assert.equal((await client.call({ path, body: Buffer.alloc(65_000) })).status, GrpcStatus.OK);
  await moved();
});

test('priorities: where calls are shed, sign-ins are not', async (t) => {
  const clock = virtualClock();
  const { moved, outrider } = await startPattern(t, 'priorities.yaml', { clock, local: (call) => answerOk(call) });
  const client = outrider.inboundCaller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  const answers = await callUntilShed(outrider, clock, client, '/auth.AuthService/Look');
  assert.ok(answers.some(({ reason }) => reason === 'overloaded'));
  for (let i = 0; outrider.stat('overload.shed_newest_requests.spared_count') === 0; i++) {
    assert.ok(i < 30, 'some are spared');
    const others = burst(clock, client, '/auth.AuthService/Look', 300);
    for (const { status } of await burst(clock, client, '/auth.AuthService/SignIn', 50)) assert.equal(status, GrpcStatus.OK);
    await others;
  }
  await moved();
});
