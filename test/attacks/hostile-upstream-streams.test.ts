/** Upstreams that go away, refuse, stall and answer out of turn. The calls of the cluster beside them are answered throughout. */
import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { okTrailers, responseFields } from '../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, type RawPeer, Type } from '../http2/raw-peer.ts';
import { Caller } from '../mesh/caller.ts';
import { pass, virtualClock } from '../mesh/mesh.ts';
import { until } from '../mesh/upstream.ts';
import { answer, goAway, initialWindowSize, maxConcurrentStreams, overPlainAndTls } from './scripted-upstream.ts';

checkLeaks();

const flowControlError = 3;
const refusedStream = 7;
const tolerant = 'circuit_breakers: { consecutive_failures: 1000 }';
const oneConnection = 'circuit_breakers: { thresholds: [{ max_connections: 1 }] }';

overPlainAndTls('GOAWAY at once, on every connection: a call is tried on two of them and no more', async (t, hostile) => {
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, { onConnection: (peer) => goAway(peer, 0) });
  for (let i = 1; i <= 8; i++) {
    const outcome = await caller.call();
    assert.equal(outcome.code, status.UNAVAILABLE, outcome.details);
    assert.match(outcome.details, /went away \(GOAWAY\) and left the call out/);
    assert.ok(upstream.peers.length <= 2 * i, `${upstream.peers.length} connections for ${i} calls`);
    await friendAnswers();
  }
  assert.ok(stat('http2.goaway_received') >= 8);
  assert.equal(outrider.fates().upstream_reset, 8, 'a call that nobody looked at is no failure for the breaker');
});

overPlainAndTls('GOAWAY every hundred calls, with twenty under way: none fails', async (t, hostile) => {
  const calls = 1_000;
  const perConnection = 100;
  const seen = new Map<RawPeer, number>();
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      const count = (seen.get(peer) ?? 0) + 1;
      seen.set(peer, count);
      if (count > perConnection) return;
      setImmediate(() => answer(peer, id));
      if (count === perConnection) goAway(peer, id);
    },
  });
  let failed = 0;
  let begun = 0;
  const worker = async (): Promise<void> => {
    while (begun++ < calls) if ((await caller.call()).code !== 0) failed++;
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  assert.equal(failed, 0);
  assert.deepEqual(outrider.fates(), { ok: calls });
  assert.ok(stat('http2.goaway_received') >= calls / perConnection - 1);
  assert.ok(upstream.peers.length <= calls / perConnection + 1, `${upstream.peers.length} connections`);
  await friendAnswers();
});

overPlainAndTls('GOAWAY every hundred calls, with five hundred under way: none fails, however often it is left out', async (t, hostile) => {
  const calls = 500;
  const seen = new Map<RawPeer, number>();
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      const count = (seen.get(peer) ?? 0) + 1;
      seen.set(peer, count);
      if (count <= 100) answer(peer, id);
      if (count === 100) goAway(peer, id);
    },
  });
  const outcomes = await Promise.all(Array.from({ length: calls }, () => caller.call()));
  assert.deepEqual([...new Set(outcomes.map(({ details }) => details))], ['']);
  assert.deepEqual(outrider.fates(), { ok: calls });
  assert.equal(stat('upstream_rq_retry'), 0);
  assert.ok(upstream.peers.length <= 6, `${upstream.peers.length} connections`);
  await friendAnswers();
});

overPlainAndTls('REFUSED_STREAM once: the call is sent again at once, without a retry policy', async (t, hostile) => {
  let refused = 0;
  const { caller, outrider, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      if (refused++ === 0) peer.reset(id, refusedStream);
      else answer(peer, id);
    },
  });
  assert.equal((await caller.call()).reply, 'pong');
  assert.equal(stat('upstream_rq_rx_reset'), 1);
  assert.equal(stat('upstream_rq_retry'), 0);
  assert.deepEqual(outrider.fates(), { ok: 1 });
  await friendAnswers();
});

overPlainAndTls('REFUSED_STREAM for ever: two attempts for each call, and no loop', async (t, hostile) => {
  let refused = 0;
  const { caller, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      refused++;
      peer.reset(id, refusedStream);
    },
  });
  for (let i = 1; i <= 10; i++) {
    const outcome = await caller.call();
    assert.equal(outcome.code, status.UNAVAILABLE);
    assert.equal(outcome.reason, 'upstream_reset');
    assert.equal(refused, 2 * i);
  }
  assert.equal(stat('upstream_rq_rx_reset'), 20);
  assert.equal(upstream.peers.length, 1);
  await friendAnswers();
});

overPlainAndTls('MAX_CONCURRENT_STREAMS lowered on each connection, and what is above it refused: none fails', async (t, hostile) => {
  const calls = 200;
  const limits = new Map<RawPeer, { open: number; most: number }>();
  const { caller, outrider, stat, friendAnswers } = await hostile(t, {
    settings: [[maxConcurrentStreams, 100]],
    onConnection: (peer) => limits.set(peer, { open: 0, most: 100 }),
    onRequest: (peer, id) => {
      const limit = limits.get(peer) as { open: number; most: number };
      if (limit.open >= limit.most) {
        peer.reset(id, refusedStream);
        return;
      }
      limit.open++;
      setImmediate(() => {
        limit.open--;
        answer(peer, id);
      });
      if (limit.open < 20 || limit.most === 1) return;
      limit.most = 1;
      peer.settings([[maxConcurrentStreams, 1]]);
    },
  });
  const outcomes = await Promise.all(Array.from({ length: calls }, () => caller.call()));
  assert.deepEqual([...new Set(outcomes.map(({ details }) => details))], ['']);
  assert.deepEqual(outrider.fates(), { ok: calls });
  assert.ok(stat('upstream_rq_rx_reset') > 0);
  await friendAnswers();
});

overPlainAndTls('MAX_CONCURRENT_STREAMS 0: calls wait, and go out when it is raised', async (t, hostile) => {
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
    settings: [[maxConcurrentStreams, 0]],
    onRequest: (peer, id) => answer(peer, id),
  });
  const calls = Array.from({ length: 10 }, () => caller.call());
  await until(() => stat('upstream_rq_pending_active') === 10, 'ten calls in the queue');
  await friendAnswers();
  assert.ok(upstream.peers.length <= 2, `${upstream.peers.length} connections`);
  for (const peer of upstream.peers) peer.settings([[maxConcurrentStreams, 3]]);
  for (const { code, details } of await Promise.all(calls)) assert.equal(code, 0, details);
  assert.deepEqual(outrider.fates(), { ok: 11 });
});

overPlainAndTls('MAX_CONCURRENT_STREAMS 0 for ever: the deadline ends the calls that wait', async (t, hostile) => {
  const clock = virtualClock();
  const { caller, outrider, stat, friendAnswers } = await hostile(
    t,
    { settings: [[maxConcurrentStreams, 0]] },
    { clock, route: 'timeout: 2s' },
  );
  const calls = Array.from({ length: 10 }, () => caller.call());
  await until(() => stat('upstream_rq_pending_active') === 10, 'ten calls in the queue');
  await until(() => stat('upstream_cx_http2_total') >= 1, 'a connection');
  await friendAnswers();
  await pass(clock, 2_004);
  for (const { code, details, reason } of await Promise.all(calls)) {
    assert.equal(code, status.DEADLINE_EXCEEDED);
    assert.equal(reason, 'route_timeout');
    assert.match(details, /waiting for a connection to 127\.0\.0\.1:\d+ that takes calls/);
  }
  assert.equal(stat('upstream_rq_pending_active'), 0);
  assert.equal(stat('upstream_rq_timeout'), 10);
  assert.equal(outrider.fates().route_timeout, 10);
  await friendAnswers();
});

overPlainAndTls('MAX_CONCURRENT_STREAMS lowered in flight: what goes on goes on, the others wait, none fails', async (t, hostile) => {
  const held: number[] = [];
  let lowered = false;
  let most = 0;
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(
    t,
    {
      settings: [[maxConcurrentStreams, 10]],
      onRequest: (peer, id) => {
        held.push(id);
        if (!lowered) return;
        most = Math.max(most, held.length);
        setImmediate(() => answer(peer, held.shift() as number));
      },
    },
    { cluster: oneConnection },
  );
  const first = Array.from({ length: 10 }, () => caller.call());
  await until(() => held.length === 10, 'ten calls under way');
  const peer = upstream.peers[0] as RawPeer;
  peer.settings([[maxConcurrentStreams, 2]]);
  await peer.roundTrip();
  lowered = true;
  const second = Array.from({ length: 10 }, () => caller.call());
  await until(() => stat('upstream_rq_pending_active') === 10, 'ten calls in the queue');
  for (const id of held.splice(0)) answer(peer, id);
  for (const { code, details } of await Promise.all([...first, ...second])) assert.equal(code, 0, details);
  assert.ok(most <= 2, `${most} at once`);
  assert.equal(upstream.peers.length, 1);
  assert.deepEqual(outrider.fates(), { ok: 20 });
  await friendAnswers();
});

overPlainAndTls('a window of 0 for ever: the deadline ends the call, and nothing of it is kept', async (t, hostile) => {
  const clock = virtualClock();
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(
    t,
    { settings: [[initialWindowSize, 0]] },
    { clock, route: 'timeout: 2s' },
  );
  const calls = Array.from({ length: 20 }, () => caller.call(Buffer.alloc(200_000)));
  await until(() => upstream.peers[0]?.seen(Type.HEADERS).length === 20, 'twenty requests');
  await friendAnswers();
  await pass(clock, 2_004);
  for (const { code, reason } of await Promise.all(calls)) {
    assert.equal(code, status.DEADLINE_EXCEEDED);
    assert.equal(reason, 'route_timeout');
  }
  assert.equal(upstream.peers[0]?.seen(Type.DATA).length, 0);
  await until(() => upstream.peers[0]?.seen(Type.RST_STREAM).length === 20, 'twenty resets: the server learns that nobody waits');
  assert.equal(stat('upstream_rq_tx_reset'), 20);
  assert.equal(outrider.stat('server.buffered_bytes'), 0);
  assert.equal(outrider.stat('server.replay_bytes'), 0);
  await friendAnswers();
});

overPlainAndTls("data beyond a stream's window ends that call alone", async (t, hostile) => {
  const { outrider, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      if (id > 1) return;
      for (let i = 0; i < 5; i++) peer.data(id, 16_384);
    },
  });
  // A caller that admits nothing: what the server sends stays in the sidecar, and is given no credit.
  const client = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const overrun = client.start();
  const other = client.start();
  await until(() => upstream.peers[0]?.seen(Type.HEADERS).length === 2, 'both calls');
  const peer = upstream.peers[0] as RawPeer;
  assert.equal(await peer.resetCode(1), flowControlError);
  assert.equal(stat('http2.rx_messaging_error'), 1);
  client.session.settings({ initialWindowSize: 1_000_000 });
  peer.headers(3, okTrailers, END_HEADERS | END_STREAM);
  assert.equal((await other.answer).status, 0);
  const ended = await overrun.answer;
  assert.equal(ended.status, status.INTERNAL, ended.message);
  assert.equal(ended.reason, 'upstream_reset');
  assert.match(ended.message, /beyond the stream's window/);
  await friendAnswers();
});

overPlainAndTls("data beyond the connection's window ends the connection, and the next call has a new one", async (t, hostile) => {
  // Above what is ever held for the readers of one connection, each stream within its own window.
  const calls = 300;
  const bytesEach = 60_000;
  let honest = false;
  const { outrider, upstream, caller, stat, friendAnswers } = await hostile(
    t,
    {
      onRequest: (peer, id) => {
        if (honest) {
          answer(peer, id);
          return;
        }
        peer.headers(id, responseFields, END_HEADERS);
        for (let rest = bytesEach; rest > 0; rest -= 15_000) peer.data(id, 15_000);
      },
    },
    { cluster: tolerant },
  );
  const client = new Caller(t, outrider.outboundPort, undefined, { initialWindowSize: 0 });
  const overruns = Array.from({ length: calls }, () => client.start({ paused: true }));
  await until(() => upstream.peers[0]?.ended === true, 'the end of the connection');
  assert.equal((await (upstream.peers[0] as RawPeer).goAway()).code, flowControlError);
  assert.equal(stat('upstream_cx_protocol_error'), 1);
  honest = true;
  assert.equal((await caller.call()).reply, 'pong');
  await friendAnswers();
  assert.equal(outrider.fates().connection_lost, calls);
  for (const call of overruns) call.cancel();
});
