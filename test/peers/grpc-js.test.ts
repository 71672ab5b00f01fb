import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import type { Stream } from '../../src/http2/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { bodyOf, requestFields, type TestStream, until } from '../http2/http2-bench.ts';
import { engineClient } from './engine-client.ts';
import { echo, engineServer } from './engine-server.ts';

checkLeaks();

const path = '/shop.Orders/Place';
const asIs = (bytes: Buffer) => bytes;
const unlimited = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

const clientOf = (t: TestContext, port: number): grpc.Client => {
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    ...unlimited,
    'grpc.use_local_subchannel_pool': 1,
  });
  t.after(() => client.close());
  return client;
};

const unary = (client: grpc.Client, message: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, asIs, asIs, message, (error, answer) => (error === null ? resolve(answer as Buffer) : reject(error)));
  });

test('grpc-js calls the engine: unary messages up to 4 MiB, many at once', async (t) => {
  const { port } = await engineServer(t, echo);
  const client = clientOf(t, port);
  const messages = [0, 1, 5_000, 65_530, 4 * 1024 * 1024, ...Array.from({ length: 200 }, (_, i) => i)].map(bodyOf);
  const answers = await Promise.all(messages.map((message) => unary(client, message)));
  for (const [i, answer] of answers.entries()) assert.ok(answer.equals(messages[i] as Buffer));
});

test('grpc-js streams through the engine both ways, one message at a time', async (t) => {
  const { port } = await engineServer(t, echo);
  const call = clientOf(t, port).makeBidiStreamRequest<Buffer, Buffer>(path, asIs, asIs);
  const status = new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve));
  const answers = call[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (let i = 0; i < 200; i++) {
    const message = bodyOf(i * 50, i);
    call.write(message);
    const { value } = await answers.next();
    assert.ok((value as Buffer).equals(message));
  }
  call.end();
  assert.equal((await answers.next()).done, true);
  assert.equal((await status).code, grpc.status.OK);
});

test("grpc-js cancels and times out, and the engine's streams end", async (t) => {
  const { port, counters } = await engineServer(t, echo);
  const client = clientOf(t, port);
  const codes = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, asIs, asIs, i % 2 === 0 ? {} : { deadline: Date.now() + 50 });
      call.on('error', () => {});
      call.on('data', () => i % 2 === 0 && call.cancel());
      call.write(bodyOf(100, i));
      return await new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)));
    }),
  );
  assert.deepEqual(
    codes,
    codes.map((_, i) => (i % 2 === 0 ? grpc.status.CANCELLED : grpc.status.DEADLINE_EXCEEDED)),
  );
  await until(() => counters.streamsActive === 0, 'the resets', 5_000_000);
});

const serverOf = async (t: TestContext): Promise<number> => {
  const server = new grpc.Server(unlimited);
  const definition = {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
  server.addService({ echo: definition } as grpc.ServiceDefinition, {
    echo: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (message: Buffer) => {
        if (message.length === 3) call.emit('error', { code: grpc.status.FAILED_PRECONDITION, details: 'three' });
        else call.write(message);
      });
      call.on('end', () => call.end());
    },
  });
  t.after(() => server.forceShutdown());
  return await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
};

const framed = (message: Buffer): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
};

test('the engine calls grpc-js: messages up to 4 MiB, many at once, errors with their status', async (t) => {
  const client = await engineClient(t, await serverOf(t));
  const sizes = [0, 1, 3, 65_530, 4 * 1024 * 1024, ...Array.from({ length: 80 }, (_, i) => 10 + i)];
  const calls = sizes.map((size, i) => {
    const call: TestStream = client.open(false, requestFields);
    const message = framed(bodyOf(size, i));
    (call.stream as Stream).sendData(message, 0, message.length, true);
    return { call, message, size };
  });
  await until(() => calls.every(({ call }) => call.ended || call.reset !== undefined), 'the answers', 5_000_000);
  for (const { call, message, size } of calls) {
    const status = new Map([...(call.headers ?? []), ...(call.trailers ?? [])]).get('grpc-status');
    if (size === 3) assert.equal(status, '9');
    else {
      assert.equal(status, '0');
      assert.ok(call.body.equals(message));
    }
  }
});
