import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { type Duplex, PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { readInto, startReading, stopReading } from '../../src/http2/socket-input.ts';
import { CertificateAuthority } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';

checkLeaks();

/** Both ends of a connection, the receiving one as a server accepts it: not started. */
const plainPair = async (t: TestContext) => {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const sender = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [receiver] = (await once(server, 'connection')) as [net.Socket];
  t.after(() => {
    sender.destroy();
    receiver.destroy();
  });
  return { sender, receiver };
};

const until = async (condition: () => boolean): Promise<void> => {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, 'in time');
    await new Promise(setImmediate);
  }
};

interface Read {
  readonly from: Buffer;
  readonly text: string;
}

const collect = (socket: Duplex, buffer: Buffer): Read[] => {
  const reads: Read[] = [];
  readInto(socket, buffer, (bytes, end) => reads.push({ from: bytes, text: bytes.toString('latin1', 0, end) }));
  return reads;
};

const textOf = (reads: readonly Read[]): string => reads.map(({ text }) => text).join('');

test('sockets that a server has accepted are read into the buffer of all', async (t) => {
  const buffer = Buffer.alloc(64);
  const pairs = [await plainPair(t), await plainPair(t)];
  const all = pairs.map(({ receiver }) => collect(receiver, buffer));
  for (const { receiver } of pairs) receiver.resume();
  for (const [i, { sender }] of pairs.entries()) sender.write(`${i}`.repeat(1_000));
  await until(() => all.every((reads) => textOf(reads).length === 1_000));
  for (const [i, reads] of all.entries()) {
    assert.equal(textOf(reads), `${i}`.repeat(1_000));
    assert.ok(
      reads.every(({ from }) => from === buffer),
      'no read made a buffer of its own',
    );
  }
});

test('what the socket had read before comes first', async (t) => {
  const { sender, receiver } = await plainPair(t);
  receiver.on('readable', () => {});
  sender.write('early ');
  await until(() => receiver.readableLength > 0);
  receiver.removeAllListeners('readable');
  const reads = collect(receiver, Buffer.alloc(1_024));
  receiver.resume();
  sender.write('late');
  await until(() => textOf(reads).length === 10);
  assert.equal(textOf(reads), 'early late');
});

test('it stops at once, starts again, and ends', async (t) => {
  const { sender, receiver } = await plainPair(t);
  const reads = collect(receiver, Buffer.alloc(4));
  let ended = false;
  receiver.on('end', () => {
    ended = true;
  });
  const { push } = reads;
  reads.push = (read) => {
    stopReading(receiver);
    return push.call(reads, read);
  };
  receiver.resume();
  sender.end('abcdefgh');
  await until(() => reads.length === 1);
  // A turn of the event loop that would have read the rest.
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.equal(textOf(reads), 'abcd');
  startReading(receiver);
  await until(() => reads.length === 2);
  assert.equal(ended, false);
  startReading(receiver);
  await until(() => ended);
  assert.equal(textOf(reads), 'abcdefgh');
});

test('TLS, with what the client says at once', async (t) => {
  const { authority } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() });
  const issued = await authority.issue({ name: 'web', trustDomain: 'mesh.local', validDays: 1, keyType: 'p256', nowMs: Date.now() });
  const server = tls.createServer({ cert: issued.certPem, key: issued.keyPem }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const sender = tls.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', rejectUnauthorized: false });
  t.after(() => sender.destroy());
  const text = 'x'.repeat(100_000);
  sender.write(text);
  const [receiver] = (await once(server, 'secureConnection')) as [tls.TLSSocket];
  t.after(() => receiver.destroy());
  const buffer = Buffer.alloc(64 * 1024);
  const reads = collect(receiver, buffer);
  await until(() => textOf(reads).length === text.length);
  sender.write('more');
  await until(() => textOf(reads).length === text.length + 4);
  assert.ok(reads.at(-1)?.from === buffer);
});

test('a stream that is no socket is heard by its events', async () => {
  const stream = new PassThrough();
  const reads = collect(stream, Buffer.alloc(8));
  stream.write('hello');
  await until(() => reads.length === 1);
  assert.equal(textOf(reads), 'hello');
});
