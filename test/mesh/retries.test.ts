import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, throughOne, virtualClock } from './mesh.ts';
import {
  answerOk,
  answerTrailers,
  answerTrailersOnly,
  beginAnswer,
  closedPort,
  endAnswer,
  type Handler,
  hold,
  message,
  resetWith,
  startTcp,
  startUpstream,
  until,
} from './upstream.ts';

checkLeaks();

const retryOn = (words: string, more = ''): string => `retry_policy: { retry_on: "${words}", num_retries: 3${more} }`;
const atOnce = () => 0;
/** Fails the first `count` calls in the way given, then answers. */
const failing =
  (count: number, fail: Handler): Handler =>
  (call, index) =>
    index < count ? fail(call, index) : answerOk(call);

test('an answer that fails in its only block of headers is tried again', async (t) => {
  const { client, outrider, service } = await throughOne(
    t,
    failing(2, (call) => answerTrailersOnly(call, 14)),
    { random: atOnce, route: retryOn('unavailable') },
  );
  const answer = await client.call();
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(answer.body.subarray(5).toString(), 'pong');
  assert.equal(service.received.length, 3);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry'), 2);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry_success'), 1);
  assert.deepEqual(outrider.fates(), { ok: 1 });
});

test('an answer whose failing status comes in trailers before any message is tried again', async (t) => {
  const { client, service } = await throughOne(
    t,
    failing(2, (call) => answerTrailers(call, 14)),
    { random: atOnce, route: retryOn('unavailable') },
  );
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 3);
});

test('an answer that has brought a message is not tried again', async (t) => {
  const { client, outrider, service } = await throughOne(
    t,
    (call) => {
      beginAnswer(call, 'half');
      endAnswer(call, 14);
    },
    { random: atOnce, route: retryOn('unavailable') },
  );
  const answer = await client.call();
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.body.subarray(5).toString(), 'half');
  assert.equal(service.received.length, 1);
  assert.deepEqual(outrider.fates(), { app_error: 1 });
});

test('response headers are held back for 10 ms at most, then the caller gets them', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(t, (call) => beginAnswer(call), { clock, route: retryOn('unavailable') });
  const call = client.start();
  let headersCame = false;
  void call.headers.then(() => {
    headersCame = true;
  });
  const received = await service.call(0);
  await until(() => received.stream.headersSent, 'headers of the service');
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(headersCame, false);
  await pass(clock, 12);
  await call.headers;
  endAnswer(received, 14);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE, 'committed');
  assert.equal(service.received.length, 1);
});

test('response headers are not held where the request still goes on, or nobody wrote a retry policy', async (t) => {
  const clock = virtualClock();
  const open = await throughOne(t, (call) => beginAnswer(call), { clock, route: retryOn('unavailable') });
  const streaming = open.client.start({ open: true });
  await streaming.headers;
  streaming.cancel();
  const without = await throughOne(t, (call) => beginAnswer(call), { clock });
  const call = without.client.start();
  await call.headers;
  call.cancel();
});

test('without a retry policy a failure that the service may have caused is not tried again', async (t) => {
  const fail: Handler[] = [
    (call) => answerTrailersOnly(call, 14),
    (call) => answerTrailers(call, 14),
    (call) => resetWith(call, 2),
    (call) => call.stream.session?.destroy(),
  ];
  for (const handler of fail) {
    const { client, service } = await throughOne(t, handler);
    assert.notEqual((await client.call()).status, GrpcStatus.OK);
    assert.equal(service.received.length, 1);
  }
});

test('REFUSED_STREAM is tried again once, at once, without a policy', async (t) => {
  const refused = 7;
  const { client, outrider, service } = await throughOne(
    t,
    failing(1, (call) => resetWith(call, refused)),
  );
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 2);
  assert.equal(service.received[1]?.headers['grpc-previous-rpc-attempts'], undefined, 'no attempt was spent');
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry'), 0);
  const twice = await throughOne(t, (call) => resetWith(call, refused));
  const answer = await twice.client.call();
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.reason, 'upstream_reset');
  assert.equal(twice.service.received.length, 2);
});

test('a GOAWAY below the call is no failure: it goes out again on another connection', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call, index) => {
    if (index === 0) return answerOk(call);
    if (index === 1) {
      const { session } = call.stream;
      session?.goaway(0, 1);
      return;
    }
    answerOk(call);
  });
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 3);
  assert.equal(service.accepted, 2);
  assert.deepEqual(outrider.fates(), { ok: 2 });
});

test('a call that found nobody at one endpoint goes to another, whatever the policy says', async (t) => {
  const dead = await closedPort();
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call), {
    alsoAt: [`127.0.0.1:${dead}`],
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  for (let i = 0; i < 10; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 10);
  assert.ok(outrider.stat('cluster.echo.upstream_cx_connect_fail') > 0);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry'), 0, 'not charged');
});

test('the next attempt avoids endpoints that were tried', async (t) => {
  const other = await startUpstream(t, (call) => answerOk(call));
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14), {
    random: atOnce,
    route: retryOn('unavailable'),
    alsoAt: [other.address],
  });
  for (let i = 0; i < 6; i++) {
    const before = service.received.length;
    assert.equal((await client.call()).status, GrpcStatus.OK);
    assert.ok(service.received.length - before <= 1);
  }
});

test('grpc-previous-rpc-attempts counts attempts from the second one on', async (t) => {
  const { client, service } = await throughOne(
    t,
    failing(3, (call) => answerTrailersOnly(call, 14)),
    { random: atOnce, route: retryOn('unavailable') },
  );
  await client.call();
  assert.deepEqual(
    service.received.map(({ headers }) => headers['grpc-previous-rpc-attempts']),
    [undefined, '1', '2', '3'],
  );
});

test('when the retries are used up the caller gets what the service said last', async (t) => {
  const { client, outrider, service } = await throughOne(
    t,
    (call, index) => answerTrailersOnly(call, 14, { 'grpc-message': `no%20${index}`, 'x-own': 'kept' }),
    { random: atOnce, route: retryOn('unavailable') },
  );
  const answer = await client.call();
  assert.equal(answer.message, 'no 3');
  assert.equal(answer.headers['x-own'], 'kept');
  assert.equal(answer.reason, undefined);
  assert.equal(service.received.length, 4);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_retry_limit_exceeded'), 1);
  assert.deepEqual(outrider.fates(), { app_error: 1 });
});

test('the server’s pushback is obeyed to the millisecond', async (t) => {
  const clock = virtualClock();
  const { client, service } = await throughOne(
    t,
    failing(1, (call) => answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': '700' })),
    { clock, route: retryOn('unavailable') },
  );
  const call = client.start();
  await service.call(0);
  await until(() => service.received[0]?.stream.closed === true, 'the end of the first attempt');
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  await pass(clock, 699);
  assert.equal(service.received.length, 1);
  await pass(clock, 5);
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

for (const pushback of ['-1', 'never', '1.5', '']) {
  test(`a pushback of "${pushback}" means no retry`, async (t) => {
    const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': pushback }), {
      random: atOnce,
      route: retryOn('unavailable'),
    });
    const answer = await client.call();
    assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
    assert.equal(answer.headers['grpc-retry-pushback-ms'], pushback, 'the caller hears it as well');
    assert.equal(service.received.length, 1);
  });
}

test('pushback in trailers is obeyed as well', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerTrailers(call, 14, { 'grpc-retry-pushback-ms': '-1' }), {
    random: atOnce,
    route: retryOn('unavailable'),
  });
  assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 1);
});

test('a retry that would come after the deadline is not awaited', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': '60000' }), {
    route: retryOn('unavailable'),
  });
  const answer = await client.call({ headers: { 'grpc-timeout': '10S' } });
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(service.received.length, 1);
});

test('a streamed request is sent again from its beginning, and goes on', async (t) => {
  const { client, service } = await throughOne(
    t,
    (call, index) => {
      if (index === 0) return;
      void call.body.then(() => answerOk(call));
    },
    { random: atOnce, route: retryOn('unavailable,reset') },
  );
  const call = client.start({ open: true });
  call.write('one');
  const first = await service.call(0);
  await until(() => first.bytes().length === 8, 'the first message');
  resetWith(first, 2);
  const second = await service.call(1);
  await until(() => second.bytes().length === 8, 'the first message once more');
  call.write('two');
  call.end();
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.deepEqual(await second.body, Buffer.concat([message('one'), message('two')]));
});

test('what the caller sends while a retry waits is not lost', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    (call, index) =>
      index === 0 ? answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': '500' }) : void call.body.then(() => answerOk(call)),
    { clock, route: retryOn('unavailable') },
  );
  const call = client.start({ open: true });
  call.write('one');
  await until(() => outrider.stat('cluster.echo.upstream_rq_retry') === 1, 'the failed attempt');
  call.write('two');
  call.end();
  await until(() => outrider.stat('server.replay_bytes') === 16, 'both messages kept');
  await pass(clock, 504);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.deepEqual(await service.received[1]?.body, Buffer.concat([message('one'), message('two')]));
});

test('a request that outgrows the replay buffer is sent once only', async (t) => {
  const { client, service } = await throughOne(t, (call) => void call.body.then(() => answerTrailersOnly(call, 14)), {
    random: atOnce,
    route: `${retryOn('unavailable')}\nper_request_buffer_limit_bytes: 1000`,
    cluster: 'circuit_breakers: { consecutive_failures: 1000 }',
  });
  for (const size of [900, 990]) {
    const before = service.received.length;
    assert.equal((await client.call({ body: Buffer.alloc(size) })).status, GrpcStatus.UNAVAILABLE);
    assert.equal(service.received.length - before, 4, `${size} bytes fit`);
  }
  for (const size of [1_000, 50_000, 300_000]) {
    const before = service.received.length;
    const answer = await client.call({ body: Buffer.alloc(size, 7) });
    assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
    assert.equal(service.received.length - before, 1, `${size} bytes do not fit`);
    assert.equal((await service.received[before]?.body)?.length, size + 5);
  }
});

test('idempotent: false narrows retries to what was provably never processed', async (t) => {
  const route = `${retryOn('unavailable,reset,refused-stream,connect-failure')}\nidempotent: false`;
  const processed = await throughOne(t, (call) => answerTrailersOnly(call, 14), { random: atOnce, route });
  assert.equal((await processed.client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(processed.service.received.length, 1);
  const refused = await throughOne(
    t,
    failing(3, (call) => resetWith(call, 7)),
    { random: atOnce, route },
  );
  assert.equal((await refused.client.call()).status, GrpcStatus.OK);
  assert.equal(refused.service.received.length, 4);
});

test('conditions that were not written are not retried', async (t) => {
  const { client, service } = await throughOne(t, (call) => answerTrailersOnly(call, 13), {
    random: atOnce,
    route: retryOn('unavailable'),
  });
  assert.equal((await client.call()).status, GrpcStatus.INTERNAL);
  assert.equal(service.received.length, 1);
  const byHttp = await throughOne(t, (call) => answerTrailersOnly(call, 14), { random: atOnce, route: retryOn('5xx') });
  assert.equal((await byHttp.client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(byHttp.service.received.length, 1, '5xx does not see gRPC statuses');
});

test('a slow attempt is given up at per_try_timeout, and the next one answers', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, failing(1, hold), {
    clock,
    random: atOnce,
    route: retryOn('reset', ', per_try_timeout: 250ms'),
  });
  const call = client.start();
  const first = await service.call(0);
  await pass(clock, 252);
  assert.equal(await first.closed, 8);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  assert.equal(outrider.stat('cluster.echo.upstream_rq_per_try_timeout'), 1);
});

test('back-off waits at random below a bound that doubles', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    failing(2, (call) => answerTrailersOnly(call, 14)),
    {
      clock,
      random: () => 0.5,
      route: retryOn('unavailable', ', retry_back_off: { base_interval: 1s, max_interval: 10s }'),
    },
  );
  const call = client.start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_retry') === 1, 'the first retry');
  await pass(clock, 499);
  assert.equal(service.received.length, 1);
  await pass(clock, 5);
  await until(() => outrider.stat('cluster.echo.upstream_rq_retry') === 2, 'the second retry');
  await pass(clock, 995);
  assert.equal(service.received.length, 2);
  await pass(clock, 9);
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('under a full outage the service gets at most a quarter more than the calls', async (t) => {
  const { client, outrider, service } = await throughOne(t, hold, {
    random: atOnce,
    route: retryOn('unavailable'),
    cluster: 'circuit_breakers: { consecutive_failures: 100000 }',
  });
  const inFlight = 80;
  const calls = 800;
  let ended = 0;
  const start = async (): Promise<void> => {
    assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
    ended++;
    if (client.calls < calls) await start();
  };
  const all = Promise.all(Array.from({ length: inFlight }, start));
  let answered = 0;
  let attemptsUnderLoad = 0;
  while (ended < calls) {
    // One round: whatever has come fails; what follows comes in the next one.
    await until(() => service.received.length > answered || ended === calls, 'attempts');
    for (const received of service.received.slice(answered)) answerTrailersOnly(received, 14);
    answered = service.received.length;
    if (client.calls < calls) attemptsUnderLoad = answered;
  }
  await all;
  assert.ok(attemptsUnderLoad <= 1.25 * calls, `${attemptsUnderLoad} attempts`);
  assert.ok(outrider.stat('cluster.echo.upstream_rq_retry_overflow') > 0);
});

test('a per-try timeout without anything left to try answers with per_try_timeout', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, {
    clock,
    route: 'retry_policy: { retry_on: "unavailable", num_retries: 1, per_try_timeout: 250ms }',
  });
  const call = client.start();
  await service.call(0);
  await pass(clock, 252);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.DEADLINE_EXCEEDED);
  assert.equal(answer.reason, 'per_try_timeout');
  assert.match(answer.message, /250 ms.*echo-route/);
  assert.deepEqual(outrider.fates(), { per_try_timeout: 1 });
});

test('a connection that breaks before an answer is tried again on another one', async (t) => {
  const { client, service } = await throughOne(
    t,
    failing(1, (call) => call.stream.session?.destroy()),
    { random: atOnce, route: retryOn('reset') },
  );
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.accepted, 2);
});

test('HTTP errors of whoever stands before the service are retried as Envoy does', async (t) => {
  const { client, service } = await throughOne(
    t,
    failing(2, ({ stream }) => {
      stream.respond({ ':status': 503, 'content-type': 'text/plain' });
      stream.end('no healthy upstream');
    }),
    { random: atOnce, route: retryOn('5xx') },
  );
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 3);
});

test('a retry does not give the caller credit twice for what it sent', async (t) => {
  const { client, outrider } = await throughOne(
    t,
    failing(1, (call) => void call.body.then(() => answerTrailersOnly(call, 14))),
    { random: atOnce, route: retryOn('unavailable') },
  );
  for (let i = 0; i < 3; i++) assert.equal((await client.call({ body: Buffer.alloc(60_000) })).status, GrpcStatus.OK);
  assert.equal(outrider.stat('server.buffered_bytes'), 0);
});

test('a port that accepts and says nothing is a connect failure, and the call goes elsewhere', async (t) => {
  const clock = virtualClock();
  const silent = await startTcp(t, () => {});
  const { client, outrider } = await throughOne(t, (call) => answerOk(call), {
    clock,
    alsoAt: [`127.0.0.1:${silent}`],
    cluster: 'connect_timeout: 1s',
  });
  const calls = [client.start(), client.start()];
  await until(
    () => calls.some(({ settled }) => settled) && outrider.stat('cluster.echo.upstream_cx_http2_total') === 1,
    'the working endpoint',
  );
  await pass(clock, 1_004);
  for (const call of calls) assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('a caller that leaves while response headers are held leaves none of them behind', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call, index) => (index === 0 ? answerOk(call) : beginAnswer(call)), {
    clock: virtualClock(),
    route: retryOn('unavailable'),
  });
  await client.call();
  const blocks = (): number => outrider.stat('server.header_blocks_out');
  const before = blocks();
  const call = client.start();
  await service.call(1);
  await until(() => blocks() === before + 2, 'the headers of the request and those that are held');
  call.cancel();
  await until(() => blocks() === before, 'all of them given back');
});
