/**
 * gRPC's negative HTTP/2 interop cases (grpc/doc/http2-interop-test-descriptions.md), with a sidecar between grpc-js and the server that
 * misbehaves.
 */
import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { okTrailers, responseFields } from '../http2/http2-bench.ts';
import { ACK, END_HEADERS, END_STREAM, type RawPeer, Type } from '../http2/raw-peer.ts';
import { message, until } from '../mesh/upstream.ts';
import { answer, goAway, maxConcurrentStreams, overPlainAndTls, paddedData } from './scripted-upstream.ts';

checkLeaks();

overPlainAndTls('goaway: a second call goes to a new connection', async (t, hostile) => {
  const { caller, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      answer(peer, id);
      goAway(peer, id);
    },
  });
  assert.equal((await caller.call()).reply, 'pong');
  assert.equal((await caller.call()).reply, 'pong');
  assert.equal(upstream.peers.length, 2);
  await until(() => stat('http2.goaway_received') === 2, 'two GOAWAYs');
  assert.equal(stat('upstream_cx_close_notify'), 2);
  await friendAnswers();
});

/** What comes before RST_STREAM, and what of it the caller sees. */
const resets: readonly (readonly [name: string, before: (peer: RawPeer, id: number) => void, messages: readonly string[]])[] = [
  ['rst_after_header', (peer, id) => peer.headers(id, responseFields, END_HEADERS), []],
  [
    'rst_during_data',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.data(id, message('half of a message').subarray(0, 9));
    },
    [],
  ],
  [
    'rst_after_data',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.data(id, message('whole'));
    },
    ['whole'],
  ],
];

for (const [name, before, messages] of resets) {
  overPlainAndTls(`${name}: the call fails with the status of the reset, whatever came before it`, async (t, hostile) => {
    const codes: readonly (readonly [number, number])[] = [
      [0, status.INTERNAL],
      [2, status.INTERNAL],
      [8, status.CANCELLED],
      [11, status.RESOURCE_EXHAUSTED],
    ];
    let code = 0;
    const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
      onRequest: (peer, id) => {
        before(peer, id);
        peer.reset(id, code);
      },
    });
    for (const [reset, wanted] of codes) {
      code = reset;
      const outcome = await caller.readAnswer();
      assert.equal(outcome.code, wanted, outcome.details);
      assert.equal(outcome.reason, 'upstream_reset');
      assert.deepEqual(outcome.messages, messages);
    }
    assert.equal(stat('upstream_rq_rx_reset'), codes.length);
    assert.deepEqual(outrider.fates(), { upstream_reset: codes.length });
    assert.equal(upstream.peers.length, 1, 'a reset ends a call, not the connection');
    await friendAnswers();
  });
}

overPlainAndTls('ping: every PING is acknowledged with its own payload, before, within and after an answer', async (t, hostile) => {
  let sequence = 0;
  const ping = (peer: RawPeer): void => peer.ping(Buffer.from(String(++sequence).padStart(8, '0')));
  const { caller, upstream, friendAnswers } = await hostile(t, {
    onConnection: ping,
    onRequest: (peer, id) => {
      ping(peer);
      peer.headers(id, responseFields, END_HEADERS);
      ping(peer);
      peer.data(id, message('pong'));
      ping(peer);
      peer.headers(id, okTrailers, END_HEADERS | END_STREAM);
      ping(peer);
    },
  });
  for (let i = 0; i < 20; i++) assert.equal((await caller.call()).reply, 'pong');
  const acknowledged = () => upstream.peers[0]?.seen(Type.PING).filter(({ flags }) => flags === ACK) ?? [];
  await until(() => acknowledged().length === sequence, 'all acknowledgements');
  assert.deepEqual(
    acknowledged().map(({ payload }) => Number(payload.toString())),
    Array.from({ length: sequence }, (_, i) => i + 1),
  );
  assert.equal(sequence, 81);
  await friendAnswers();
});

overPlainAndTls('max_streams: never more calls at once on a connection than the server allows, and none fails', async (t, hostile) => {
  const open = new Map<RawPeer, number>();
  let most = 0;
  const { caller, outrider, upstream, friendAnswers } = await hostile(t, {
    settings: [[maxConcurrentStreams, 1]],
    onRequest: (peer, id) => {
      const now = (open.get(peer) ?? 0) + 1;
      open.set(peer, now);
      most = Math.max(most, now);
      setImmediate(() => {
        open.set(peer, (open.get(peer) ?? 0) - 1);
        answer(peer, id);
      });
    },
  });
  assert.equal((await caller.call()).reply, 'pong');
  const outcomes = await Promise.all(Array.from({ length: 40 }, () => caller.call()));
  assert.ok(outcomes.every(({ reply }) => reply === 'pong'));
  assert.equal(most, 1);
  assert.ok(upstream.peers.length <= 41);
  assert.equal(outrider.fates().ok, 41);
  await friendAnswers();
});

overPlainAndTls(
  'data_frame_padding: padding costs the window and gets its credit back, however little data comes with it',
  async (t, hostile) => {
    const contents = 'x'.repeat(4_000);
    const whole = message(contents);
    const windows = { stream: 65_535, connection: 65_535 };
    let sent = 0;
    let streamId = 0;
    const pump = (peer: RawPeer): void => {
      const frameBytes = 1 + 1 + 254;
      while (streamId > 0 && sent < whole.length && Math.min(windows.stream, windows.connection) >= frameBytes) {
        paddedData(peer, streamId, whole.subarray(sent, ++sent), 254);
        windows.stream -= frameBytes;
        windows.connection -= frameBytes;
      }
      if (sent === whole.length) {
        sent++;
        peer.headers(streamId, okTrailers, END_HEADERS | END_STREAM);
      }
    };
    const { caller, friendAnswers } = await hostile(t, {
      onRequest: (peer, id) => {
        streamId = id;
        peer.headers(id, responseFields, END_HEADERS);
        pump(peer);
      },
      onFrame: (peer, { type, id, payload }) => {
        if (type !== Type.WINDOW_UPDATE) return;
        windows[id === 0 ? 'connection' : 'stream'] += payload.readUInt32BE(0);
        pump(peer);
      },
    });
    assert.equal((await caller.call()).reply, contents);
    await friendAnswers();
  },
);
