import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { blockOf, bodyOf, quiesce, responseFields, until } from './http2-bench.ts';
import { rawClient, Type } from './raw-peer.ts';

checkLeaks();

test('a peer that makes us answer turn by turn and reads nothing costs what the answers are long', async (t) => {
  const { peer, server, engineEnd } = await rawClient(t);
  await quiesce();
  assert.equal(server.engine.outputBytes, 0, 'the kernel has taken everything');
  engineEnd.hold();
  for (let i = 0; i < 900; i++) {
    peer.ping(Buffer.from('8 bytes.'));
    await quiesce(2);
  }
  assert.ok(server.engine.outputBytes <= 4 * 16_384, `${server.engine.outputBytes} bytes for 900 acknowledgements`);
  assert.equal(server.connection.closed, false, 'below the limit');
  engineEnd.unhold();
  await until(() => peer.seen(Type.PING).length === 900, 'all acknowledgements');
  await quiesce();
  assert.equal(server.engine.outputBytes, 0);
});

test('acknowledgements that wait behind held-back slabs count: beyond the limit the connection ends', async (t) => {
  const { peer, server, engineEnd, clock } = await rawClient(t, { options: { maxQueuedControlFrames: 100 } });
  engineEnd.hold();
  for (let i = 0; i < 110; i++) {
    peer.ping();
    await quiesce(4);
  }
  assert.equal(server.connection.closed, false, 'for a moment they may');
  clock.advance(1_500);
  for (let i = 0; i < 5; i++) {
    peer.ping();
    await quiesce(4);
  }
  assert.equal(server.connection.closed, true);
  assert.equal(server.counters.outboundControlFlood, 1);
});

test('while all connections together wait for their kernels, fewer acknowledgements may wait', async (t) => {
  const { peer, server, engineEnd, clock } = await rawClient(t, { options: { maxQueuedControlFrames: 100 } });
  const { engine } = server;
  engine.outputBytes += engine.maxOutputBytes;
  engineEnd.hold();
  for (let i = 0; i < 40; i++) {
    peer.ping();
    await quiesce(4);
    clock.advance(100);
  }
  assert.equal(server.connection.closed, true);
  assert.equal(server.counters.outboundControlFlood, 1);
});

test('while all connections together wait for their kernels, DATA waits in its stream', async (t) => {
  const { peer, server, engineEnd } = await rawClient(t, { settings: [[4, 8_000_000]] });
  peer.windowUpdate(0, 16_000_000);
  peer.headers(1);
  await peer.roundTrip();
  const { engine } = server;
  engine.outputBytes += engine.maxOutputBytes;
  engineEnd.hold();
  const stream = server.owner.requests[0]?.stream as Stream;
  stream.sendHeaders(blockOf(responseFields), false);
  const piece = bodyOf(16_384, 1);
  let sent = 0;
  for (let i = 0; i < 20; i++) sent += stream.sendData(piece, 0, piece.length, i === 19);
  assert.ok(sent <= 3 * 16_384, `${sent} bytes`);
  engineEnd.unhold();
  // What it may always have is enough to go on.
  await until(() => stream.closed, 'the end of the answer');
  engine.outputBytes -= engine.maxOutputBytes;
  await quiesce();
  assert.equal(engine.outputBytes, 0);
});
