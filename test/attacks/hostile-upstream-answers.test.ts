/** Upstreams whose answers come early, late, without a status, or not to their end. The calls of the cluster beside them are answered throughout. */
import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { responseFields } from '../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, type RawPeer, Type } from '../http2/raw-peer.ts';
import { Caller } from '../mesh/caller.ts';
import { pass, virtualClock } from '../mesh/mesh.ts';
import { message, until } from '../mesh/upstream.ts';
import { answer, initialWindowSize, overPlainAndTls } from './scripted-upstream.ts';

checkLeaks();

const noError = 0;
const cancelled = 8;
const tolerant = 'circuit_breakers: { consecutive_failures: 1000 }';

overPlainAndTls("an answer before the request's end, with RST_STREAM(NO_ERROR) behind it, is the answer", async (t, hostile) => {
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      answer(peer, id, 'enough');
      peer.reset(id, noError);
    },
  });
  for (let i = 0; i < 20; i++) {
    const { code, details, reply } = await caller.openRequest();
    assert.equal(code, 0, details);
    assert.equal(reply, 'enough');
  }
  assert.deepEqual(outrider.fates(), { ok: 20 });
  assert.equal(stat('upstream_rq_rx_reset'), 0);
  assert.equal(upstream.peers.length, 1);
  await friendAnswers();
});

overPlainAndTls(
  'an answer to a request that the server never takes in full is the answer, and nothing of the request is kept',
  async (t, hostile) => {
    const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
      settings: [[initialWindowSize, 1_000]],
      onRequest: (peer, id) => (id % 4 === 1 ? answer(peer, id, 'enough') : peer.headers(id, responseFields, END_HEADERS | END_STREAM)),
    });
    for (let i = 0; i < 10; i++) {
      const { code, reply } = await caller.call(Buffer.alloc(i < 5 ? 3_000 : 100_000));
      assert.deepEqual([code, reply], i % 2 === 0 ? [0, 'enough'] : [status.UNKNOWN, undefined]);
    }
    const peer = upstream.peers[0] as RawPeer;
    await until(() => peer.seen(Type.RST_STREAM).length === 10, 'ten resets: nobody will send the rest');
    for (const { payload } of peer.seen(Type.RST_STREAM)) assert.equal(payload.readUInt32BE(0), noError);
    assert.equal(stat('http2.streams_active'), 0);
    assert.equal(outrider.stat('server.buffered_bytes'), 0);
    assert.equal(upstream.peers.length, 1);
    await friendAnswers();
  },
);

/** How servers end a call at the deadline that was forwarded to them: grpc-js by a status, those on gRPC's core by a reset. */
for (const [how, end] of [
  ['the status DEADLINE_EXCEEDED', (peer, id) => peer.headers(id, [...responseFields, ['grpc-status', '4']])],
  ['RST_STREAM(CANCEL)', (peer, id) => peer.reset(id, cancelled)],
] as const satisfies readonly (readonly [string, (peer: RawPeer, id: number) => void])[]) {
  overPlainAndTls(
    `a server whose clock is a little faster ends a call with ${how}: it is the deadline, and no stream is left`,
    async (t, hostile) => {
      const clock = virtualClock();
      const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {}, { clock, route: 'timeout: 2s' });
      const calls = Array.from({ length: 5 }, () => caller.openRequest());
      await until(() => upstream.peers[0]?.seen(Type.HEADERS).length === 5, 'five requests');
      await pass(clock, 1_996);
      const peer = upstream.peers[0] as RawPeer;
      for (const { id } of peer.seen(Type.HEADERS)) end(peer, id);
      for (const { code, reason } of await Promise.all(calls))
        assert.deepEqual([code, reason], [status.DEADLINE_EXCEEDED, 'route_timeout']);
      assert.equal(stat('http2.streams_active'), 0);
      assert.deepEqual(outrider.fates(), { route_timeout: 5 });
      await friendAnswers();
    },
  );
}

/** Answers that end in order and say no status. */
const silent: readonly (readonly [name: string, send: (peer: RawPeer, id: number) => void])[] = [
  ['headers alone', (peer, id) => peer.headers(id, responseFields, END_HEADERS | END_STREAM)],
  [
    'headers and data',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.data(id, message('pong'), true);
    },
  ],
  [
    'trailers without grpc-status',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.data(id, message('pong'));
      peer.headers(id, [['x-other', '1']], END_HEADERS | END_STREAM);
    },
  ],
];

for (const [name, send] of silent) {
  overPlainAndTls(`an answer without grpc-status (${name}) is never taken for OK`, async (t, hostile) => {
    const { caller, outrider, upstream, friendAnswers } = await hostile(t, { onRequest: send });
    for (let i = 0; i < 3; i++) {
      const outcome = await caller.call();
      assert.equal(outcome.code, status.UNKNOWN, outcome.details);
      assert.equal(outcome.reason, 'missing_status');
    }
    assert.deepEqual(outrider.fates(), { missing_status: 3 });
    assert.equal(upstream.peers.length, 1);
    await friendAnswers();
  });
}

/** An answer that is begun, 64,000 bytes of it, and reset. */
const beginAndReset = (peer: RawPeer, id: number): void => {
  peer.headers(id, responseFields, END_HEADERS);
  for (let i = 0; i < 4; i++) peer.data(id, 16_000);
  peer.reset(id, 2);
};

overPlainAndTls(
  'answers that break off before callers who never read: what is kept counts, and is dropped after 30 seconds',
  async (t, hostile) => {
    const clock = virtualClock();
    const { outrider, friendAnswers } = await hostile(t, { onRequest: beginAndReset }, { clock, cluster: tolerant });
    const client = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
    const stalled = Array.from({ length: 50 }, () => client.start({ paused: true }));
    await until(() => outrider.fates().upstream_reset === 50, 'fifty resets');
    assert.equal(outrider.stat('server.buffered_bytes'), 50 * 64_000);
    await friendAnswers();
    await pass(clock, 29_900);
    assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 0);
    await pass(clock, 104);
    assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), 50);
    assert.equal(outrider.stat('server.buffered_bytes'), 0);
    for (const call of stalled) assert.equal((await call.answer).resetCode, 8);
    await friendAnswers();
  },
);

overPlainAndTls('answers that break off before callers who never read take no more than their share of the budget', async (t, hostile) => {
  const { outrider, stat, friendAnswers } = await hostile(t, { onRequest: beginAndReset }, { cluster: tolerant });
  const client = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const calls = 900;
  for (let i = 0; i < calls; i++) client.start({ paused: true });
  await until(() => outrider.fates().upstream_reset === calls, 'all resets');
  const kept = outrider.stat('server.buffered_bytes');
  assert.ok(kept <= 48 * 1024 * 1024, `${kept} bytes`);
  assert.equal(outrider.stat('listener.outbound.http2.tx_flush_timeout'), calls - kept / 64_000);
  assert.equal(stat('upstream_rq_rx_reset'), calls);
  await friendAnswers();
});

overPlainAndTls('an answer that breaks off before a slow caller reaches it whole, and the status behind it', async (t, hostile) => {
  const { outrider } = await hostile(t, { onRequest: beginAndReset });
  const client = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 1_000 });
  const { body, status: code, reason } = await client.call();
  assert.equal(body.length, 64_000);
  assert.equal(code, status.INTERNAL);
  assert.equal(reason, 'upstream_reset');
});
