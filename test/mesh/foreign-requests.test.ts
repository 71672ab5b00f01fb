import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Answer, WireCall } from './caller.ts';
import { pass, type TestSidecar, throughOne, virtualClock } from './mesh.ts';
import { hold, until } from './upstream.ts';

checkLeaks();

const html = { 'content-type': 'text/html' };

const is415 = (answer: Answer): void => {
  assert.equal(answer.http, 415);
  assert.equal(answer.headers['x-outrider-reason'], 'unsupported_content_type');
  assert.match(answer.body.toString(), /content-type must begin with application\/grpc/);
};

/** Everything sent so far has been read by the sidecar. */
const roundTrip = (call: WireCall): Promise<void> =>
  new Promise((resolve, reject) => call.stream.session?.ping((error) => (error === null ? resolve() : reject(error))));

const refused = (outrider: TestSidecar, count: number): void => assert.deepEqual(outrider.fates(), { unsupported_content_type: count });

test('a request that is not gRPC is answered at its end, and has its fate at its beginning', async (t) => {
  const { client, outrider } = await throughOne(t, hold);
  const call = client.start({ headers: html, bytes: Buffer.from('half of it'), open: true });
  await until(() => call.stream.id !== undefined, 'a stream');
  await roundTrip(call);
  refused(outrider, 1);
  assert.equal(outrider.stat('listener.outbound.downstream_rq_active'), 1, 'no answer yet');
  call.end();
  const answer = await call.answer;
  is415(answer);
  assert.equal(answer.resetCode, 0);
});

test('a request that is not gRPC and goes on and on is answered after 64 KiB, which are credited', async (t) => {
  const { client, outrider } = await throughOne(t, hold);
  const call = client.start({ headers: html, bytes: Buffer.alloc(200_000), open: true });
  is415(await call.answer);
  refused(outrider, 1);
  // More than the window of the connection: what nobody wants is still given credit.
  for (let i = 0; i < 100; i++) is415(await client.call({ headers: html, bytes: Buffer.alloc(50_000) }));
});

test('a request that is not gRPC and does not end is answered after five seconds', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, hold, { clock });
  const call = client.start({ headers: html, bytes: Buffer.from('x'), open: true });
  await until(() => outrider.fates().unsupported_content_type === 1, 'the request');
  await pass(clock, 4_900);
  assert.equal(outrider.stat('listener.outbound.downstream_rq_active'), 1, 'no answer yet');
  await pass(clock, 104);
  // The stream stays open for a moment: the end of the request may be on its way.
  await pass(clock, 104);
  // The client has not ended its request: it is told to after a moment.
  await pass(clock, 104);
  is415(await call.answer);
});

test('a request that is not gRPC and is reset leaves nothing', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, hold, { clock });
  const call = client.start({ headers: html, bytes: Buffer.from('x'), open: true });
  await until(() => outrider.fates().unsupported_content_type === 1, 'the request');
  call.cancel();
  await call.answer;
  await until(() => outrider.stat('listener.outbound.downstream_rq_active') === 0, 'the reset');
  refused(outrider, 1);
});
