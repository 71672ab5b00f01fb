import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { atEnd } from './at-end.ts';
import { type Mesh, startMesh } from './mesh.ts';

checkLeaks();

const bytes = (value: Buffer): Buffer => value;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/acme.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const echo = {
  Unary: method('Unary', false, false),
  Collect: method('Collect', true, false),
  Spread: method('Spread', false, true),
  Exchange: method('Exchange', true, true),
};

/** A service of grpc-js with all four kinds of calls. */
const startService = async (t: TestContext, options: Record<string, number> = {}): Promise<number> => {
  const server = new Server(options);
  server.addService(echo, {
    Unary: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const wanted = call.metadata.get('x-status')[0];
      if (wanted !== undefined) reply({ code: Number(wanted), details: 'as asked' });
      else setImmediate(() => reply(null, call.request));
    },
    Collect: (call: ServerReadableStream<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const parts: Buffer[] = [];
      call.on('data', (part: Buffer) => parts.push(part));
      call.on('end', () => reply(null, Buffer.concat(parts)));
    },
    Spread: (call: ServerWritableStream<Buffer, Buffer>) => {
      for (const byte of call.request) call.write(Buffer.from([byte]));
      call.end();
    },
    Exchange: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (part: Buffer) => call.write(part));
      call.on('end', () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  atEnd(t, () => server.forceShutdown());
  return port;
};

const clientOf = (t: TestContext, mesh: Mesh): Client => {
  const client = new Client(`127.0.0.1:${mesh.entrance.outboundPort}`, credentials.createInsecure(), {
    'grpc.default_authority': 'echo',
    'grpc.enable_retries': 0,
  });
  atEnd(t, () => client.close());
  return client;
};

const unary = (client: Client, payload: Buffer, metadata = new Metadata(), deadlineMs?: number): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    client.makeUnaryRequest(echo.Unary.path, bytes, bytes, payload, metadata, options, (error, reply) =>
      error ? reject(error) : resolve(reply as Buffer),
    );
  });

const collect = (client: Client, parts: readonly Buffer[]): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const call = client.makeClientStreamRequest(echo.Collect.path, bytes, bytes, new Metadata(), {}, (error, reply) =>
      error ? reject(error) : resolve(reply as Buffer),
    );
    for (const part of parts) call.write(part);
    call.end();
  });

const spread = (client: Client, payload: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const call = client.makeServerStreamRequest(echo.Spread.path, bytes, bytes, payload);
    const parts: Buffer[] = [];
    call.on('data', (part: Buffer) => parts.push(part));
    call.on('error', reject);
    call.on('end', () => resolve(Buffer.concat(parts)));
  });

const exchange = (client: Client, parts: readonly Buffer[]): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const call = client.makeBidiStreamRequest(echo.Exchange.path, bytes, bytes);
    const received: Buffer[] = [];
    call.on('data', (part: Buffer) => {
      received.push(part);
      const next = parts[received.length];
      if (next === undefined) call.end();
      else call.write(next);
    });
    call.on('error', reject);
    call.on('end', () => resolve(Buffer.concat(received)));
    call.write(parts[0] as Buffer);
  });

const payloadOf = (i: number): Buffer => Buffer.alloc(1 + (i % 50), i);
const partsOf = (i: number): readonly Buffer[] => Array.from({ length: 1 + (i % 7) }, (_, k) => Buffer.alloc(100 * (k + 1), i + k));

for (const [name, options] of [
  ['as it is', {}],
  ['with fewer streams than calls', { 'grpc.max_concurrent_streams': 7 }],
] as const) {
  test(`a hundred calls of all four kinds at once, through two sidecars, to a service ${name}`, async (t) => {
    const mesh = await startMesh(t, { services: { echo: await startService(t, options) } });
    const client = clientOf(t, mesh);
    const kinds = [
      async (i: number) => assert.deepEqual(await unary(client, payloadOf(i)), payloadOf(i)),
      async (i: number) => assert.deepEqual(await collect(client, partsOf(i)), Buffer.concat(partsOf(i))),
      async (i: number) => assert.deepEqual(await spread(client, payloadOf(i)), payloadOf(i)),
      async (i: number) => assert.deepEqual(await exchange(client, partsOf(i)), Buffer.concat(partsOf(i))),
    ];
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 100 }, (_, i) => kinds[i % 4]?.(i)));
    assert.deepEqual(mesh.entrance.fates(), { ok: 300 });
    assert.deepEqual(mesh.sidecars['echo']?.fates('inbound'), { ok: 300 });
  });
}

test('a status of the service reaches a grpc-js client with its details', async (t) => {
  const mesh = await startMesh(t, { services: { echo: await startService(t) } });
  const client = clientOf(t, mesh);
  for (const code of [status.NOT_FOUND, status.ABORTED, status.DATA_LOSS, status.UNAUTHENTICATED]) {
    const metadata = new Metadata();
    metadata.set('x-status', String(code));
    await assert.rejects(
      unary(client, Buffer.from('x'), metadata),
      (error: ServiceError) => error.code === code && error.details === 'as asked',
    );
  }
  assert.deepEqual(mesh.entrance.fates(), { app_error: 4 });
});

test('a grpc-js client sees our reason beside the status', async (t) => {
  const mesh = await startMesh(t, { services: { echo: 1 } });
  await assert.rejects(unary(clientOf(t, mesh), Buffer.from('x')), (error: ServiceError) => {
    assert.equal(error.code, status.UNAVAILABLE);
    assert.equal(String(error.metadata.get('x-outrider-reason')[0]), 'connect_failure');
    assert.match(error.details, /local_service/);
    return true;
  });
  assert.deepEqual(mesh.sidecars['echo']?.fates('inbound'), { connect_failure: 1 });
  assert.deepEqual(mesh.entrance.fates(), { app_error: 1 });
});

test('a grpc-js deadline reaches the service as what remains of it', async (t) => {
  let seenMs = 0;
  const server = new Server();
  server.addService(
    { Unary: echo.Unary },
    {
      Unary: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
        seenMs = Number(call.getDeadline()) - Date.now();
        reply(null, call.request);
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  atEnd(t, () => server.forceShutdown());
  const mesh = await startMesh(t, { services: { echo: port } });
  await unary(clientOf(t, mesh), Buffer.from('x'), new Metadata(), 20_000);
  assert.ok(seenMs > 0 && seenMs <= 20_000, `${seenMs} ms`);
});

test('no call fails while connections on both sides grow old and are replaced', async (t) => {
  const mesh = await startMesh(t, {
    services: { echo: await startService(t) },
    policies: ({ echo: address }) =>
      `max_connection_age: 60ms\nclusters: { echo: { endpoints: ["${address}"], max_connection_age: 45ms, circuit_breakers: { consecutive_failures: 1 } } }\n`,
  });
  const client = clientOf(t, mesh);
  const replaced = (): number =>
    Math.min(
      mesh.entrance.stat('listener.outbound.downstream_cx_max_duration_reached'),
      mesh.entrance.stat('cluster.echo.upstream_cx_max_duration_reached'),
    );
  let calls = 0;
  const run = async (each: number): Promise<void> => {
    for (let i = 0; replaced() < 5; i++) {
      const payload = Buffer.from(`${each} ${i}`);
      assert.deepEqual(await (i % 3 === 0 ? spread(client, payload) : unary(client, payload)), payload);
      calls++;
    }
  };
  // The statistics of a cluster are there with its first call.
  await unary(client, Buffer.from('first'));
  await Promise.all([1, 2, 3, 4].map(run));
  const parts = [Buffer.from('a'), Buffer.from('b')];
  assert.deepEqual(await exchange(client, parts), Buffer.concat(parts));
  assert.deepEqual(mesh.entrance.fates(), { ok: calls + 2 });
});
