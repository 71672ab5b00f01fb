import assert from 'node:assert/strict';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { Party, systemClock, until } from '../http2/http2-bench.ts';

/** A client connection of the engine to a port of this machine, past its SETTINGS. The test asserts at its end that the account is even. */
export const engineClient = async (t: TestContext, port: number): Promise<Party> => {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
  const party = new Party(socket, 'client', systemClock);
  t.after(async () => {
    party.connection.destroy();
    await until(() => socket.closed, 'the end of the socket');
    assert.equal(party.engine.bufferedBytes, 0, 'bytes held');
    assert.equal(party.wheel.armed, 0, 'deadlines');
    party.wheel.stop();
  });
  await until(() => party.connection.ready || party.connection.closed, 'the SETTINGS of the server', 5_000_000);
  assert.ok(party.connection.ready, party.owner.causes[0]?.message ?? '');
  return party;
};
