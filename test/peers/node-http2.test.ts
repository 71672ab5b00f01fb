import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { bodyOf, requestFields, type TestStream, until } from '../http2/http2-bench.ts';
import { engineClient } from './engine-client.ts';
import { echo, engineServer } from './engine-server.ts';

checkLeaks();

const path = '/shop.Orders/Place';
const patience = 5_000_000;

const nodeClient = async (t: TestContext, port: number, settings: http2.Settings = {}) => {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings });
  t.after(async () => {
    session.destroy();
    if (!session.closed) await once(session, 'close');
  });
  await once(session, 'connect');
  return session;
};

/** One call of Node's client that sends `body` and gets it back. */
const callEcho = async (session: http2.ClientHttp2Session, body: Buffer, piece = 50_000): Promise<void> => {
  const stream = session.request({ ':path': path, ':method': 'POST', te: 'trailers', 'content-type': 'application/grpc' });
  const received: Buffer[] = [];
  let trailers: http2.IncomingHttpHeaders | undefined;
  stream.on('data', (bytes: Buffer) => received.push(bytes));
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  for (let at = 0; at < body.length; at += piece) {
    if (!stream.write(body.subarray(at, at + piece))) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'close');
  assert.equal(trailers?.['grpc-status'], '0');
  assert.ok(Buffer.concat(received).equals(body));
};

test("node's client: bodies of many sizes come back whole over one connection", async (t) => {
  const { port } = await engineServer(t, echo);
  const session = await nodeClient(t, port);
  await Promise.all(
    [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1_000_000, 8_000_000].map((size, i) => callEcho(session, bodyOf(size, i))),
  );
});

test("node's client: 900 streams at once", async (t) => {
  const { port, counters } = await engineServer(t, echo);
  const session = await nodeClient(t, port);
  await Promise.all(Array.from({ length: 900 }, (_, i) => callEcho(session, bodyOf(i, i))));
  assert.equal(counters.streamsTotal, 900);
});

test("node's client: tiny and huge windows, and windows that change while streams are open", async (t) => {
  const { port } = await engineServer(t, echo);
  for (const initialWindowSize of [1_000, 10_000_000]) {
    const session = await nodeClient(t, port, { initialWindowSize });
    const calls = Array.from({ length: 8 }, (_, i) => callEcho(session, bodyOf(200_000, i)));
    session.settings({ initialWindowSize: 70_000, headerTableSize: 0 });
    await Promise.all(calls);
    await callEcho(session, bodyOf(10, 1));
    session.settings({ headerTableSize: 8_192 });
    await Promise.all([callEcho(session, bodyOf(10, 1)), callEcho(session, bodyOf(11, 1))]);
  }
});

test("node's client: a call that is cancelled in the middle leaves nothing held", async (t) => {
  const { port, engine, counters } = await engineServer(t, echo);
  const session = await nodeClient(t, port);
  for (let i = 0; i < 20; i++) {
    const stream = session.request({ ':path': path, ':method': 'POST' });
    stream.on('error', () => {});
    stream.write(bodyOf(300_000, i));
    await once(stream, 'response');
    stream.close(i % 2 === 0 ? http2.constants.NGHTTP2_CANCEL : http2.constants.NGHTTP2_NO_ERROR);
    await until(() => counters.streamsActive === 0, 'the reset', patience);
    // After NO_ERROR Node still waits for its own writes.
    stream.destroy();
  }
  await until(() => counters.streamsActive === 0, 'the resets', patience);
  assert.equal(engine.bufferedBytes, 0);
  await callEcho(session, bodyOf(100_000, 1));
});

test("node's client hears of a drain and its calls end well", async (t) => {
  const { port, connections } = await engineServer(t, echo);
  const session = await nodeClient(t, port);
  const calls = Array.from({ length: 10 }, (_, i) => callEcho(session, bodyOf(100_000, i)));
  await until(() => [...connections].some(({ activeStreams }) => activeStreams === 10), 'the streams', patience);
  for (const connection of connections) connection.drain('maintenance');
  await Promise.all(calls);
  if (!session.closed) await once(session, 'close');
});

const nodeServer = async (t: TestContext, settings: http2.Settings = {}, serve?: (stream: http2.ServerHttp2Stream) => void) => {
  const server = http2.createServer({ settings });
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => {});
    if (serve !== undefined) serve(stream);
    else {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.pipe(stream);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    for (const session of sessions) session.destroy();
    server.close();
    await once(server, 'close');
  });
  return { port: (server.address() as AddressInfo).port, sessions };
};

const send = (call: TestStream, body: Buffer): void => {
  (call.stream as Stream).sendData(body, 0, body.length, true);
};

test("node's server: bodies of many sizes, and many streams, come back whole", async (t) => {
  const { port } = await nodeServer(t);
  const client = await engineClient(t, port);
  const sizes = [0, 1, 16_384, 65_535, 65_536, 3_000_000, ...Array.from({ length: 90 }, (_, i) => i * 100)];
  const calls = sizes.map((size, i) => {
    const call = client.open(false);
    const body = bodyOf(size, i);
    send(call, body);
    return { call, body };
  });
  await until(() => calls.every(({ call }) => call.ended || call.reset !== undefined), 'the answers', patience);
  for (const { call, body } of calls) {
    assert.ok(call.body.equals(body));
    assert.deepEqual(call.trailers, [['grpc-status', '0']]);
  }
});

test("node's server: its limit on streams and its windows are kept to", async (t) => {
  const { port, sessions } = await nodeServer(t, { maxConcurrentStreams: 5, initialWindowSize: 5_000 });
  const client = await engineClient(t, port);
  const body = bodyOf(100_000, 2);
  const calls: TestStream[] = [];
  while (calls.length < 50) {
    while (client.connection.canOpen && calls.length < 50) {
      const call = client.open(false);
      send(call, body);
      calls.push(call);
    }
    assert.ok(client.connection.activeStreams <= 5);
    if (calls.length === 25) for (const session of sessions) session.settings({ initialWindowSize: 100 });
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => calls.every(({ ended, reset }) => ended || reset !== undefined), 'the answers', patience);
  assert.ok(calls.every((call) => call.body.equals(body)));
});

test("node's server: resets, GOAWAY and large headers are understood", async (t) => {
  const large = 'v'.repeat(20_000);
  const { port, sessions } = await nodeServer(t, { maxHeaderListSize: 100_000 }, (stream) => {
    if (stream.id === 1) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else if (stream.id === 3) {
      stream.respond({ ':status': 200, 'x-large': large }, { endStream: true });
    }
  });
  const client = await engineClient(t, port);
  const refused = client.open(true);
  const answered = client.open(true, [...requestFields, ['x-large', large]]);
  const open = client.open(true);
  await until(() => refused.reset !== undefined && answered.ended, 'both ends', patience);
  assert.deepEqual(refused.reset, { code: 7, unprocessed: true });
  assert.equal(new Map(answered.headers).get('x-large'), large);
  for (const session of sessions) session.goaway(0, 3, Buffer.from('later'));
  await until(() => client.connection.closed, 'the end of the connection', patience);
  assert.deepEqual(open.reset, { code: 7, unprocessed: true });
  assert.deepEqual(client.owner.goAways[0], { lastStreamId: 3, code: 0, debugData: 'later' });
});
