/** Upstreams that never stop talking, reset everything, or take nothing: what stays within the rules of HTTP/2 and is still meant to hurt. */
import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { frame, type RawPeer, Type, uint32 } from '../http2/raw-peer.ts';
import { pass, virtualClock } from '../mesh/mesh.ts';
import { until } from '../mesh/upstream.ts';
import { answer, type HostileMesh, maxConcurrentStreams, overPlainAndTls } from './scripted-upstream.ts';

checkLeaks();

/** What an upstream may say without end and without breaking a rule: it costs what reading it costs, and hurts nobody else. */
const torrents: readonly (readonly [name: string, one: (peer: RawPeer, id: number) => Buffer, check: (mesh: HostileMesh) => void])[] = [
  ['PING', () => frame(Type.PING, 0, 0, Buffer.alloc(8)), () => {}],
  ['SETTINGS', () => frame(Type.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, maxConcurrentStreams]), uint32(100)])), () => {}],
  [
    'SETTINGS that change the header table',
    (_peer, id) => frame(Type.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 1]), uint32(id % 4_096)])),
    () => {},
  ],
  [
    'RST_STREAM of streams that are over',
    () => frame(Type.RST_STREAM, 0, 1, uint32(8)),
    ({ stat }) => assert.ok(stat('http2.rx_reset') > 1_000),
  ],
  [
    'GOAWAY',
    (_peer, id) => frame(Type.GOAWAY, 0, 0, Buffer.concat([uint32(id), uint32(0), Buffer.from('again')])),
    ({ stat }) => assert.equal(stat('upstream_cx_close_notify'), 1),
  ],
  ['frames of no known type', () => frame(0x99, 0, 0, Buffer.alloc(20)), () => {}],
  ['DATA of streams that are over', () => frame(Type.DATA, 0, 1, Buffer.alloc(10)), () => {}],
];

for (const [name, one, check] of torrents) {
  overPlainAndTls(`a torrent of ${name} is read without harm: neighbours are answered, and nothing of it is kept`, async (t, hostile) => {
    const answered = Promise.withResolvers<void>();
    let flooded = 0;
    const mesh = await hostile(t, {
      onRequest: (peer, id) => {
        if (id === 1) {
          answer(peer, id);
          return;
        }
        const burst = Buffer.concat(Array.from({ length: 500 }, () => one(peer, id)));
        const flood = (): void => {
          if (++flooded < 40 && !peer.socket.destroyed) peer.socket.write(burst, () => setImmediate(flood));
          else answered.resolve();
        };
        flood();
      },
    });
    const { caller, outrider, upstream, friendAnswers } = mesh;
    assert.equal((await caller.call()).reply, 'pong');
    const call = caller.call();
    await until(() => flooded > 0, 'the torrent');
    for (let i = 0; i < 5; i++) await friendAnswers();
    await answered.promise;
    const [peer] = upstream.peers as readonly [RawPeer];
    // Either it was read to its end, and the call goes on, or the connection was ended for it.
    if (!peer.ended) answer(peer, 3);
    const outcome = await call;
    if (outcome.code !== 0) assert.equal(outcome.reason, 'connection_lost', outcome.details);
    check(mesh);
    assert.equal(outrider.stat('server.buffered_bytes'), 0);
    assert.ok(outrider.log.length < 50, `${outrider.log.length} lines of log`);
    await friendAnswers();
  });
}

overPlainAndTls('a storm of resets fails the calls that it hits, each with its reason, and nobody else', async (t, hostile) => {
  const refused = 2_000;
  let calls = 0;
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(
    t,
    { onRequest: (peer, id) => (++calls <= refused ? peer.reset(id, 2) : answer(peer, id)) },
    { cluster: 'circuit_breakers: { consecutive_failures: 100000, thresholds: [{ max_requests: 5000, max_pending_requests: 5000 }] }' },
  );
  // In lots: all of them at once are a second of work for this process, and it would refuse some for want of time.
  for (let lot = 0; lot < 20; lot++) {
    const storm = Promise.all(Array.from({ length: refused / 20 }, () => caller.call()));
    await friendAnswers();
    for (const { code, reason } of await storm) assert.deepEqual([code, reason], [status.INTERNAL, 'upstream_reset']);
  }
  assert.equal(stat('upstream_rq_rx_reset'), refused);
  assert.equal((await caller.call()).reply, 'pong');
  assert.equal(outrider.fates().upstream_reset, refused);
  assert.ok(upstream.peers.length <= 20, `${upstream.peers.length} connections`);
  await friendAnswers();
});

overPlainAndTls('MAX_CONCURRENT_STREAMS 0 for ever and a full queue: what finds no room hears so at once, and why', async (t, hostile) => {
  const clock = virtualClock();
  const { caller, outrider, stat, friendAnswers } = await hostile(
    t,
    { settings: [[maxConcurrentStreams, 0]] },
    { clock, route: 'timeout: 2s', cluster: 'circuit_breakers: { thresholds: [{ max_pending_requests: 5 }] }' },
  );
  const waiting = Array.from({ length: 5 }, () => caller.call());
  await until(() => stat('upstream_rq_pending_active') === 5, 'five calls in the queue');
  for (let i = 0; i < 10; i++) {
    const { code, reason, details } = await caller.call();
    assert.deepEqual([code, reason], [status.RESOURCE_EXHAUSTED, 'too_many_pending']);
    assert.match(details, /max_pending_requests/);
  }
  await friendAnswers();
  await pass(clock, 2_004);
  for (const { reason } of await Promise.all(waiting)) assert.equal(reason, 'route_timeout');
  assert.deepEqual(outrider.fates(), { too_many_pending: 10, route_timeout: 5, ok: 1 });
});
