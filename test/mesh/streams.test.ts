import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http2 from 'node:http2';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { pass, startMesh, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, beginAnswer, endAnswer, type Handler, startUpstream, until } from './upstream.ts';

checkLeaks();

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const noise = (bytes: number): Buffer => {
  const out = Buffer.alloc(bytes);
  for (let i = 0, state = 1; i < bytes; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    out[i] = state >>> 16;
  }
  return out;
};
/** Turns of the event loop in which whatever still moves would move. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
};
const mirror: Handler = ({ stream }) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
};

test('8 MiB go both ways through two sidecars and TLS without a changed byte', async (t) => {
  const service = await startUpstream(t, mirror);
  const mesh = await startMesh(t, { services: { echo: service.port } });
  const client = mesh.entrance.caller();
  const bodies = [noise(8 << 20), noise(1 << 20), noise(70_000)];
  const answers = await Promise.all(bodies.map((bytes) => client.call({ bytes })));
  answers.forEach((answer, i) => {
    assert.equal(answer.status, GrpcStatus.OK);
    assert.equal(digest(answer.body), digest(bodies[i] as Buffer));
  });
});

test('a caller that does not read stops the service, costs a bounded buffer, and slows no neighbour', async (t) => {
  const total = 64 << 20;
  let sent = 0;
  const { client, outrider } = await throughOne(t, (call) => {
    if (call.headers['x-large'] === undefined) return answerOk(call);
    beginAnswer(call);
    const chunk = Buffer.alloc(64 << 10);
    const pump = (): void => {
      while (sent < total) {
        sent += chunk.length;
        if (!call.stream.write(chunk)) {
          call.stream.once('drain', pump);
          return;
        }
      }
      endAnswer(call, 0);
    };
    pump();
  });
  const stalled = client.start({ headers: { 'x-large': '1' }, paused: true });
  await stalled.headers;
  let before = -1;
  while (sent !== before) {
    before = sent;
    await settle();
  }
  assert.ok(sent < 4 << 20, `${sent} bytes were taken from the service`);
  assert.ok(outrider.stat('server.buffered_bytes') <= 2 << 20, `${outrider.stat('server.buffered_bytes')} bytes wait`);
  for (let i = 0; i < 20; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  stalled.read();
  const answer = await stalled.answer;
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(answer.body.length, total);
});

test('a service that does not read stops the caller, and slows no neighbour', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => {
    if (call.headers['x-large'] === undefined) return answerOk(call);
    call.stream.pause();
  });
  const stalled = client.start({ headers: { 'x-large': '1' }, open: true });
  let sent = 0;
  const chunk = Buffer.alloc(64 << 10);
  const pump = (): void => {
    while (sent < 64 << 20) {
      sent += chunk.length;
      if (!stalled.stream.write(chunk)) {
        stalled.stream.once('drain', pump);
        return;
      }
    }
    stalled.end();
  };
  pump();
  let before = -1;
  while (sent !== before) {
    before = sent;
    await settle();
  }
  assert.ok(sent < 4 << 20, `${sent} bytes were taken from the caller`);
  assert.ok(outrider.stat('server.buffered_bytes') <= 2 << 20);
  for (let i = 0; i < 20; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  const [received] = service.received;
  received?.stream.resume();
  assert.equal((await received?.body)?.length, 64 << 20);
  if (received !== undefined) answerOk(received);
  assert.equal((await stalled.answer).status, GrpcStatus.OK);
});

test('an answer before the end of the request is followed by NO_ERROR, never CANCEL, and the call is whole', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerTrailersOnly(call, 7, { 'grpc-message': 'go away' }));
  const call = client.start({ open: true });
  call.write('first of many');
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.PERMISSION_DENIED);
  assert.equal(answer.message, 'go away');
  assert.equal(answer.resetCode, http2.constants.NGHTTP2_NO_ERROR);
  assert.notEqual(await service.received[0]?.closed, http2.constants.NGHTTP2_CANCEL);
  assert.equal((await client.call()).status, GrpcStatus.PERMISSION_DENIED, 'the connection goes on');
  assert.equal(service.accepted, 1, 'so does the one to the service');
  assert.deepEqual(outrider.fates(), { app_error: 2 });
});

test('an early answer with a body and trailers arrives whole while the caller still sends', async (t) => {
  const { client } = await throughOne(t, (call) => answerOk(call, 'enough'));
  const call = client.start({ open: true });
  for (let i = 0; i < 20; i++) call.stream.write(Buffer.alloc(16_000));
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(answer.body.subarray(5).toString(), 'enough');
});

test('a bidirectional stream carries each message as soon as it is sent', async (t) => {
  const { client } = await throughOne(t, mirror);
  const call = client.start({ open: true });
  for (let i = 1; i <= 20; i++) {
    call.stream.write(Buffer.from([i]));
    await until(() => call.receivedBytes === i, `message ${i} back`);
  }
  call.end();
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('a hundred thousand tiny messages come through in order', async (t) => {
  const { client } = await throughOne(t, mirror);
  const call = client.start({ open: true });
  const expected: Buffer[] = [];
  for (let i = 0; i < 100_000; i++) {
    const piece = Buffer.from([i & 255]);
    expected.push(piece);
    if (!call.stream.write(piece)) await new Promise((resolve) => call.stream.once('drain', resolve));
  }
  call.end();
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.OK);
  assert.equal(digest(answer.body), digest(Buffer.concat(expected)));
});

test('calls beyond the streams that a service allows wait or get another connection; none fails', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => setImmediate(() => answerOk(call)), {
    upstream: { settings: { maxConcurrentStreams: 3 } },
  });
  const answers = await Promise.all(Array.from({ length: 100 }, () => client.call()));
  assert.ok(answers.every(({ status }) => status === GrpcStatus.OK));
  assert.ok(service.accepted > 1);
  assert.deepEqual(outrider.fates(), { ok: 100 });
});

test('with one connection allowed, calls beyond its streams queue; none fails', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => setImmediate(() => answerOk(call)), {
    upstream: { settings: { maxConcurrentStreams: 3 } },
    cluster: 'circuit_breakers: { thresholds: [{ max_connections: 1 }] }',
  });
  const answers = await Promise.all(Array.from({ length: 100 }, () => client.call()));
  assert.ok(answers.every(({ status }) => status === GrpcStatus.OK));
  assert.equal(service.accepted, 1);
  assert.ok(outrider.stat('cluster.echo.upstream_cx_overflow') > 0);
});

test('a service that says GOAWAY every ten calls costs nobody a call', async (t) => {
  const { client, outrider } = await throughOne(t, (call, index) => {
    if (index % 10 === 9) call.stream.session?.goaway(0, call.stream.id);
    setImmediate(() => answerOk(call));
  });
  for (let round = 0; round < 30; round++) {
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.call()));
    for (const answer of answers) assert.equal(answer.status, GrpcStatus.OK, answer.message);
  }
  assert.deepEqual(outrider.fates(), { ok: 300 });
});

test('a caller that cancels in the middle of large bodies leaves nothing buffered', async (t) => {
  const { client, outrider, service } = await throughOne(t, mirror);
  const calls = Array.from({ length: 10 }, () => client.start({ bytes: noise(300_000), open: true, paused: true }));
  await service.call(9);
  await until(() => outrider.stat('server.buffered_bytes') > 0, 'something waits');
  for (const call of calls) call.cancel();
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing waits');
  await until(() => outrider.fates().cancelled === 10, 'ten cancelled calls');
});

test('a request that ends with an empty frame, and one without any message, are whole', async (t) => {
  const { client, service } = await throughOne(t, (call) => void call.body.then(() => answerOk(call)));
  const call = client.start({ open: true });
  call.end();
  assert.equal((await call.answer).status, GrpcStatus.OK);
  const second = client.start({ open: true });
  second.write('one');
  await service.call(1);
  second.end();
  assert.equal((await second.answer).status, GrpcStatus.OK);
  assert.equal((await service.received[1]?.body)?.length, 8);
});

test('request trailers end the request', async (t) => {
  const { client, service } = await throughOne(t, (call) => void call.body.then(() => answerOk(call)));
  const stream = client.session.request(
    { ':method': 'POST', ':path': '/acme.Echo/Call', ':authority': 'echo', 'content-type': 'application/grpc', te: 'trailers' },
    { waitForTrailers: true },
  );
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-request-trailer': '1' }));
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  stream.resume();
  let status: unknown;
  stream.on('trailers', (trailers) => {
    status = trailers['grpc-status'];
  });
  await new Promise((resolve) => stream.once('close', resolve));
  assert.equal(status, '0');
  assert.equal((await service.received[0]?.body)?.length, 5);
});

test('what neither the service nor the caller has read when the deadline comes is given back', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(
    t,
    (call) => {
      call.stream.pause();
      beginAnswer(call);
      call.stream.write(Buffer.alloc(200_000));
    },
    { clock, route: 'timeout: 1s' },
  );
  const call = client.start({ bytes: Buffer.alloc(155_000), paused: true });
  await call.headers;
  await service.call(0);
  await until(() => outrider.stat('server.buffered_bytes') > 50_000, 'both directions wait');
  await pass(clock, 1_004);
  call.read();
  const answer = await call.answer;
  assert.equal(answer.reason, 'route_timeout');
  await until(() => outrider.stat('server.buffered_bytes') === 0, 'nothing is kept');
});
