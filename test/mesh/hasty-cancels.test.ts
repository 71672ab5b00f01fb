import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { startMesh, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, type Handler, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

/** Answers to `/acme.Echo/Call` at once, to the others never. */
const answerCalls: Handler = (call, index) => (call.headers[':path'] === '/acme.Echo/Call' ? answerOk(call) : hold(call, index));

const held = '/acme.Echo/Hold';

test('calls that are cancelled in haste, one after the other, cost their neighbours nothing', async (t) => {
  const service = await startUpstream(t, answerCalls);
  const { entrance, sidecars } = await startMesh(t, { services: { echo: service.port } });
  const hasty = entrance.caller();
  const neighbour = entrance.caller();
  const stream = neighbour.start({ path: '/acme.Echo/Watch', open: true, body: 'watch' });
  await until(() => service.received.length === 1, 'the stream of the neighbour');
  let failed = 0;
  for (let i = 0; i < 500; i++) {
    const before = service.received.length;
    const call = hasty.start({ path: held });
    await until(() => service.received.length > before, 'the hasty call');
    call.cancel();
    await call.answer;
    if (i % 10 === 0 && (await neighbour.call()).status !== GrpcStatus.OK) failed++;
  }
  assert.equal(failed, 0);
  assert.equal(stream.settled, false, 'the stream goes on');
  assert.equal(sidecars['echo']?.stat('listener.inbound.http2.rapid_reset'), 0);
  const replaced = entrance.stat('cluster.echo.upstream_cx_max_resets');
  assert.ok(replaced >= 1 && replaced <= 4, `${replaced} connections were replaced`);
  stream.cancel();
  await until(() => entrance.fates().cancelled === 501, 'the fate of each');
});

test('many calls of one connection that are cancelled at once cost their neighbours nothing', async (t) => {
  const service = await startUpstream(t, answerCalls);
  const { entrance, sidecars } = await startMesh(t, { services: { echo: service.port } });
  const hasty = entrance.caller();
  const neighbour = entrance.caller();
  const stream = neighbour.start({ path: '/acme.Echo/Watch', open: true, body: 'watch' });
  const calls = Array.from({ length: 500 }, () => hasty.start({ path: held }));
  await until(() => service.received.length === 501, 'all calls');
  for (const call of calls) call.cancel();
  await Promise.all(calls.map(({ answer }) => answer));
  for (let i = 0; i < 20; i++) assert.equal((await neighbour.call()).status, GrpcStatus.OK);
  assert.equal(stream.settled, false, 'the stream goes on');
  assert.equal(entrance.stat('cluster.echo.upstream_cx_max_resets'), 1);
  assert.ok(entrance.stat('cluster.echo.upstream_rq_reset_delayed') >= 300);
  await until(() => service.received.filter((call) => call.stream.closed).length >= 500, 'the service hears of every cancellation');
  assert.equal(stream.settled, false);
  assert.equal(sidecars['echo']?.stat('listener.inbound.http2.rapid_reset'), 0);
  stream.cancel();
});

test('whoever cancels without end does not make us connect without end', async (t) => {
  const service = await startUpstream(t, answerCalls);
  const { entrance, sidecars } = await startMesh(t, { services: { echo: service.port } });
  for (let round = 0; round < 4; round++) {
    const hasty = entrance.caller();
    const before = service.received.length;
    const calls = Array.from({ length: 350 }, () => hasty.start({ path: held }));
    await until(() => service.received.length === before + 350, 'all calls');
    for (const call of calls) call.cancel();
    await Promise.all(calls.map(({ answer }) => answer));
  }
  assert.ok(entrance.stat('cluster.echo.upstream_cx_total') <= 8);
  assert.equal((await entrance.caller().call()).status, GrpcStatus.OK);
  assert.equal(sidecars['echo']?.stat('listener.inbound.http2.rapid_reset'), 0);
});

test('a server that counts every reset alike (nghttp2) goes on after a thousand answers that came before the end of their requests', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call, index) =>
    index === 0 ? hold(call, index) : answerTrailersOnly(call, 16),
  );
  const stream = client.start({ open: true, body: 'watch' });
  await until(() => service.received.length === 1, 'the stream of the neighbour');
  for (let round = 0; round < 13; round++) {
    const calls = Array.from({ length: 100 }, () => client.start({ open: true, body: 'one' }));
    await until(() => calls.every(({ settled }) => settled), 'all answers');
    for (const { answer } of calls) assert.equal((await answer).status, GrpcStatus.UNAUTHENTICATED);
  }
  assert.equal(stream.settled, false, 'the stream goes on');
  assert.equal(outrider.stat('cluster.echo.upstream_cx_close_notify'), 0);
  stream.cancel();
});
