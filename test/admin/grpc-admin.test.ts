/** `grpc.health.v1` and reflection of the sidecar itself, asked by grpc-js and grpcurl. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { until } from '../mesh/upstream.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { type HealthServer, startHealthServer } from '../upstream/health-server.ts';

checkLeaks();

const grpcurl = await peerProgram('grpcurl');

interface HealthClient extends grpc.Client {
  check(request: { service: string }, done: (error: grpc.ServiceError | null, answer?: { status: string }) => void): void;
  list(
    request: object,
    done: (error: grpc.ServiceError | null, answer?: { statuses: readonly { key: string; value: { status: string } }[] }) => void,
  ): void;
  watch(request: { service: string }): grpc.ClientReadableStream<{ status: string }>;
}

const protocol = grpc.loadPackageDefinition(
  loadSync(fileURLToPath(new URL('../../proto/grpc/health/v1/health.proto', import.meta.url)), { enums: String, defaults: true }),
);
const Health = (
  protocol as unknown as {
    grpc: { health: { v1: { Health: new (address: string, c: grpc.ChannelCredentials, o?: object) => HealthClient } } };
  }
).grpc.health.v1.Health;

const clientOf = (t: TestContext, port: number): HealthClient => {
  const client = new Health(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  atEnd(t, () => client.close());
  return client;
};

const check = (client: HealthClient, service: string): Promise<string> =>
  new Promise((resolve) => {
    client.check({ service }, (error, answer) =>
      resolve(error === null ? (answer?.status ?? '') : `status ${error.code}: ${error.details}`),
    );
  });

const started = async (t: TestContext, options: { service?: HealthServer; endsItself?: boolean } = {}) => {
  const outrider = await startSidecar(t, {
    name: 'echo',
    environment: { ADMIN_GRPC_PORT: '0', ...(options.service && { LOCAL_SERVICE_HEALTH_INTERVAL: '5s' }) },
    ...(options.service && { localService: options.service.port }),
    ...(options.endsItself === true && { endsItself: true }),
  });
  const port = Number(outrider.log.find(({ msg }) => msg === 'ready')?.['admin_grpc']);
  return { outrider, port, client: clientOf(t, port) };
};

test('Check tells of the sidecar and of the service beside it, List of all, and an unknown name is NOT_FOUND', async (t) => {
  const service = await startHealthServer(t);
  const { client, outrider, port } = await started(t, { service });
  await until(() => outrider.sidecar.proxy.localHealth.value.state === 'serving', 'the local service');
  assert.deepEqual(
    [await check(client, ''), await check(client, 'outrider.sidecar'), await check(client, 'echo')],
    ['SERVING', 'SERVING', 'SERVING'],
  );
  assert.equal(await check(client, 'other'), 'status 5: no service of that name here; there are "", "outrider.sidecar", "echo"');
  const listed = await new Promise((resolve) =>
    client.list({}, (_error, answer) => resolve(answer?.statuses.map(({ key, value }) => [key, value.status]))),
  );
  assert.deepEqual(listed, [
    ['', 'SERVING'],
    ['outrider.sidecar', 'SERVING'],
    ['echo', 'SERVING'],
  ]);
  const { text } = await outrider.admin('GET', '/listeners');
  assert.match(text, new RegExp(`admin_grpc::127\\.0\\.0\\.1:${port}`));
});

test('Watch tells of the local service as soon as the sidecar knows, and of the drain at once', async (t) => {
  const service = await startHealthServer(t);
  const { client, outrider } = await started(t, { service, endsItself: true });
  const told: Record<string, string[]> = { '': [], echo: [], other: [] };
  for (const [name, list] of Object.entries(told)) {
    const stream = client.watch({ service: name });
    stream.on('data', ({ status }) => list.push(status));
    stream.on('error', () => {});
  }
  await until(() => told['echo']?.at(-1) === 'SERVING' && told['']?.at(-1) === 'SERVING', 'both');
  assert.deepEqual(told['other'], ['SERVICE_UNKNOWN']);
  await service.stop();
  await until(() => told['echo']?.at(-1) === 'NOT_SERVING', 'the end of the service');
  assert.deepEqual(told[''], ['SERVING'], 'the sidecar is ready all the same');
  await outrider.sidecar.drain();
  await until(() => told['']?.at(-1) === 'NOT_SERVING', 'the drain');
  assert.deepEqual(told[''], ['SERVING', 'NOT_SERVING']);
});

test('/ready is of the sidecar alone: a service that is not there yet does not hold it back', async (t) => {
  const { client, outrider } = await started(t);
  assert.equal((await outrider.admin('GET', '/ready')).status, 200);
  assert.equal(await check(client, 'outrider.sidecar'), 'SERVING');
  assert.equal(await check(client, 'echo'), 'UNKNOWN');
});

test('reflection lists the services, and grpcurl asks without any proto file', { skip: grpcurl.skip }, async (t) => {
  const { port } = await started(t);
  const listed = await runProgram(grpcurl.path, ['-plaintext', `127.0.0.1:${port}`, 'list']);
  assert.match(listed.stdout, /^grpc\.health\.v1\.Health$/m, listed.stderr);
  const asked = await runProgram(grpcurl.path, [
    '-plaintext',
    '-d',
    '{"service":"outrider.sidecar"}',
    `127.0.0.1:${port}`,
    'grpc.health.v1.Health/Check',
  ]);
  assert.equal(asked.code, 0, asked.stderr);
  assert.deepEqual(JSON.parse(asked.stdout), { status: 'SERVING' });
});

test('inbound, health passes through to the service, whatever the sidecar says of itself', async (t) => {
  const service = await startHealthServer(t);
  service.status = 'NOT_SERVING';
  const outrider = await startSidecar(t, { name: 'echo', localService: service.port });
  const client = clientOf(t, outrider.inboundPort);
  assert.equal(await check(client, 'acme.Echo'), 'NOT_SERVING');
  assert.deepEqual(
    service.checks.map(({ service: name, method }) => ({ name, method })),
    [{ name: 'acme.Echo', method: 'Check' }],
  );
  const told: string[] = [];
  const stream = client.watch({ service: '' });
  stream.on('data', ({ status }) => told.push(status));
  stream.on('error', () => {});
  await until(() => told.length === 1, 'the first message');
  service.status = 'SERVING';
  await until(() => told.length === 2, 'the change');
  assert.deepEqual(told, ['NOT_SERVING', 'SERVING']);
  stream.cancel();
  await until(() => service.watchers.size === 0, 'the end of the Watch at the service');
});

test('a port that is taken is told with its variable', async (t) => {
  const { port } = await started(t);
  await assert.rejects(startSidecar(t, { environment: { ADMIN_GRPC_PORT: String(port) } }), /ADMIN_GRPC_PORT: 127\.0\.0\.1:\d+ is in use/);
});

/** What a sidecar has loaded by its end, as V8 tells. */
const scriptsOf = async (environment: Readonly<Record<string, string>>): Promise<string> => {
  using folder = temporaryFolder();
  await using program = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: 'echo',
      INBOUND_TLS: 'off',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      NODE_V8_COVERAGE: folder.path,
      ...environment,
    },
  });
  await program.waitFor(/"msg":"ready"/);
  assert.equal((await program.stop('SIGTERM')).code, 0);
  return readdirSync(folder.path)
    .map((file) => readFileSync(join(folder.path, file), 'utf8'))
    .join();
};

test('grpc-js and protobuf are loaded where ADMIN_GRPC_PORT is set, and nowhere else', async () => {
  const packages = /node_modules\/(@grpc\/|protobufjs)/;
  assert.doesNotMatch(await scriptsOf({}), packages);
  assert.match(await scriptsOf({ ADMIN_GRPC_PORT: '0' }), packages);
});
