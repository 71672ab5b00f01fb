import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { joined, quiesce, until } from './http2-bench.ts';

checkLeaks();

const calls = 500;
const toldAtOnce = 64;

test('a lost connection with many streams tells its owners in several turns, each of them once', async (t) => {
  const clock = new VirtualClock();
  const { client, server } = await joined(t, { clock });
  const told: number[] = [];
  const open = Array.from({ length: calls }, (_, i) => {
    const call = client.open(true);
    const onReset = call.onReset.bind(call);
    call.onReset = (stream, code, unprocessed) => {
      told.push(i);
      // It costs time to end a call.
      clock.advance(0.1);
      onReset(stream, code, unprocessed);
    };
    return call;
  });
  await until(() => server.owner.requests.length === calls, 'the requests');
  server.connection.destroy();
  await until(() => client.connection.closed, 'the end');
  assert.ok(told.length >= toldAtOnce && told.length < calls / 2, `${told.length} at once`);
  assert.equal(client.counters.streamsActive, 0, 'all of them are closed');
  assert.equal(client.connection.activeStreams, 0);
  // Owners that do not know yet may speak, and nobody hears it; or end what they have, and then hear nothing.
  const [speaking, ending] = [open[calls - 1], open[calls - 2]];
  assert.ok(speaking?.stream !== undefined && ending?.stream !== undefined);
  assert.equal(speaking.stream.sendData(Buffer.from('late'), 0, 4, true), 4);
  speaking.stream.consume(10);
  ending.stream.reset();
  let turns = 0;
  for (let before = told.length; told.length < calls - 1; before = told.length) {
    await quiesce(1);
    turns++;
    assert.ok(turns < 1_000 && told.length - before <= 40, `${told.length - before} in one turn`);
  }
  assert.ok(turns >= 10, `${turns} turns`);
  await quiesce();
  assert.deepEqual(
    told,
    Array.from({ length: calls }, (_, i) => i).filter((i) => i !== calls - 2),
  );
  assert.ok(speaking.reset !== undefined && ending.reset === undefined);
  client.assertClosed();
  await until(() => server.connection.closed, 'the other end');
  await quiesce();
  server.assertClosed();
});

test('connections that are lost together tell their owners one after the other', async (t) => {
  const clock = new VirtualClock();
  const first = await joined(t, { clock });
  const told: string[] = [];
  const second = await joined(t, { clock });
  for (const [name, { client }] of [
    ['first', first],
    ['second', second],
  ] as const) {
    for (let i = 0; i < 100; i++) {
      const call = client.open(true);
      const onReset = call.onReset.bind(call);
      call.onReset = (...args) => {
        told.push(name);
        onReset(...args);
      };
    }
  }
  await until(() => first.server.owner.requests.length + second.server.owner.requests.length === 200, 'the requests');
  first.server.connection.destroy();
  second.server.connection.destroy();
  await until(() => told.length === 200, 'the end of all calls');
  first.client.assertClosed();
  second.client.assertClosed();
});
