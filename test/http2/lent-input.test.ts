import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { bodyOf, Party, responseFields, until } from './http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, Type } from './raw-peer.ts';

checkLeaks();

/** A client whose socket reads into memory that it lends: whoever looks at it later finds nothing of what stood there. */
const lender = () => {
  const socket = new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() });
  const client = new Party(socket, 'client', new VirtualClock());
  const lend = (bytes: Buffer, most: number): void => {
    for (let at = 0; at < bytes.length; at += most) {
      const lent = client.engine.readBuffer;
      client.connection.receive(lent, bytes.copy(lent, 0, at, at + most));
      lent.fill(0xee);
    }
  };
  return { client, lend };
};

const answer = (id: number, body: Buffer): Buffer =>
  Buffer.concat([
    frame(Type.HEADERS, END_HEADERS, id, literals(responseFields)),
    frame(Type.DATA, 0, id, body.subarray(0, 10_000)),
    frame(Type.DATA, 0, id, body.subarray(10_000)),
    frame(Type.HEADERS, END_HEADERS | END_STREAM, id, literals([['grpc-status', '0']])),
  ]);

for (const most of [1, 7, 1_000, 65_536]) {
  test(`answers are whole that come in lent memory, ${most} bytes at most at once`, () => {
    const { client, lend } = lender();
    lend(frame(Type.SETTINGS, 0, 0), most);
    const body = bodyOf(20_000, most);
    const call = client.open(true);
    lend(answer(1, body), most);
    assert.deepEqual(call.body, body);
    assert.deepEqual(call.headers, responseFields);
    assert.deepEqual(call.trailers, [['grpc-status', '0']]);
    client.connection.destroy();
    client.assertClosed();
  });
}

test('what comes in lent memory and has to wait is copied', async () => {
  const { client, lend } = lender();
  lend(frame(Type.SETTINGS, 0, 0), 65_536);
  const body = bodyOf(20_000, 9);
  const call = client.open(true);
  // More than a connection may make others do in a turn, so that the answer stands in line behind it, and more comes behind that.
  const torrent = Buffer.concat(Array.from({ length: 20_000 }, () => frame(0xbf, 0, 0)));
  lend(torrent, 65_536);
  assert.ok(client.engine.turns.waiting > 0, 'something waits');
  lend(answer(1, body), 65_536);
  assert.equal(call.body.length, 0);
  await until(() => client.engine.turns.waiting === 0, 'the end of the line');
  assert.deepEqual(call.body, body);
  assert.equal(client.connection.closed, false);
  client.connection.destroy();
  client.assertClosed();
});
