import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { addressOf, backend, clusterOf, listen, startCall, until } from './upstream-bench.ts';

checkLeaks();

const keepalive = { keepaliveIntervalMs: 10_000, keepaliveTimeoutMs: 5_000 };

/** A peer that speaks HTTP/2 until it is told to swallow everything. */
const blackHole = async (t: Parameters<typeof listen>[0]) => {
  const server = await backend(t, { hold: true });
  const state = { swallow: false, port: 0, server };
  state.port = await listen(
    t,
    net.createServer((near) => {
      const far = net.connect(server.port, '127.0.0.1');
      far.on('error', () => {});
      far.on('data', (bytes) => {
        if (!state.swallow) near.write(bytes);
      });
      near.on('data', (bytes) => {
        if (!state.swallow) far.write(bytes);
      });
      near.on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    }),
  );
  return state;
};

test('a peer that vanished without a word is found by a PING, and its calls end', async (t) => {
  const clock = new VirtualClock();
  const hole = await blackHole(t);
  const { cluster } = clusterOf(t, [addressOf(hole.port)], keepalive, { clock });
  const call = await startCall(cluster.pickEndpoint());
  await until(() => hole.server.held.length === 1, 'the stream');
  hole.swallow = true;
  const sinceMs = clock.now();
  while (call.ending === undefined && clock.now() - sinceMs < 60_000) clock.advance(500);
  const tookMs = clock.now() - sinceMs;
  // One interval more where bytes came in since the first one began.
  assert.ok(tookMs >= 15_000 && tookMs <= 26_000, `found after ${tookMs} ms`);
  assert.equal((await call.ended).kind, 'reset');
  assert.equal(cluster.http2Counters.keepaliveTimeout, 1);
  assert.equal(cluster.limits.connections.active, 0);
  cluster.close();
  assert.equal(cluster.context.engine.wheel.armed, 0);
});

test('an answer to the PING keeps a silent connection', async (t) => {
  const clock = new VirtualClock();
  const server = await backend(t);
  let pings = 0;
  const { cluster } = clusterOf(t, [addressOf(server.port)], { ...keepalive, keepaliveTimeoutMs: 3_600_000_000 }, { clock });
  const call = await startCall(cluster.pickEndpoint());
  await call.ended;
  server.sessions[0]?.on('ping', () => pings++);
  // A PING that is still unanswered is never sent again, so that a second and third one tell of the answers before.
  await until(() => {
    clock.advance(1_000);
    return pings === 3;
  }, 'three PINGs');
  assert.equal(cluster.http2Counters.keepaliveTimeout, 0);
  assert.equal(call.connection?.closed, false);
});

test('a server that complains of too many pings is asked half as often', async (t) => {
  const clock = new VirtualClock();
  const server = await backend(t);
  const { cluster } = clusterOf(t, [addressOf(server.port)], keepalive, { clock });
  const first = await startCall(cluster.pickEndpoint());
  await first.ended;
  server.sessions[0]?.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'));
  await until(() => cluster.stats.upstreamCxCloseNotify === 1, 'the complaint');
  const second = await startCall(cluster.pickEndpoint());
  await second.ended;
  const { connection } = second;
  assert.ok(connection);
  const pingedAtMs: number[] = [];
  // Answered at once, so that only the virtual clock counts.
  connection.ping = (onAck) => {
    pingedAtMs.push(clock.now());
    onAck(0);
  };
  clock.advance(100_000);
  assert.ok(pingedAtMs.length >= 3);
  for (let i = 1; i < pingedAtMs.length; i++) {
    const betweenMs = (pingedAtMs[i] as number) - (pingedAtMs[i - 1] as number);
    assert.ok(betweenMs >= 20_000 && betweenMs < 20_020, `${betweenMs} ms`);
  }
});
