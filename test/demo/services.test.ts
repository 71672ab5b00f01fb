import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { SystemClock } from '../../src/core/index.ts';
import type { CallOutcome } from '../../src/demo/ledger.ts';
import {
  type AuthenticateReply,
  type AuthenticateRequest,
  type DemoServiceName,
  demoServices,
  type GetProfileRequest,
  loadDemoProtocol,
  methodIn,
  type Profile,
} from '../../src/demo/protocol.ts';
import { DemoService } from '../../src/demo/service.ts';
import { runDemoService } from '../../src/demo/service-process.ts';
import { Traffic } from '../../src/demo/traffic.ts';

const clock = new SystemClock();
const protocol = loadDemoProtocol();

const start = async (t: TestContext, name: DemoServiceName): Promise<DemoService> => {
  const service = await DemoService.start({ name, clock });
  t.after(() => service.stop());
  return service;
};

const startAll = async (t: TestContext): Promise<Readonly<Record<DemoServiceName, DemoService>>> => {
  const [auth, learner, events] = await Promise.all(demoServices.map((name) => start(t, name)));
  assert.ok(auth !== undefined && learner !== undefined && events !== undefined);
  auth.connect(`127.0.0.1:${learner.port}`);
  return { 'auth-svc': auth, 'learner-svc': learner, 'event-collector-svc': events };
};

const call = <Request, Response>(t: TestContext, port: number, service: string, name: string, request: Request): Promise<Response> => {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.after(() => client.close());
  const method = methodIn<Request, Response>(protocol, service, name);
  return new Promise((resolve, reject) => {
    const deadline = clock.wallNow() + 10_000;
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new Metadata(),
      { deadline },
      (error, reply) => (error || reply === undefined ? reject(error) : resolve(reply)),
    );
  });
};

const getProfile = (t: TestContext, port: number): Promise<Profile> =>
  call<GetProfileRequest, Profile>(t, port, 'learner.LearnerService', 'GetProfile', { user: 'ada' });
const authenticate = (t: TestContext, port: number): Promise<AuthenticateReply> =>
  call<AuthenticateRequest, AuthenticateReply>(t, port, 'auth.AuthService', 'Authenticate', { user: 'ada' });

/** One call of every kind, straight to the services. */
const callEachKind = async (services: Readonly<Record<DemoServiceName, DemoService>>): Promise<readonly CallOutcome[]> => {
  const outcomes: CallOutcome[] = [];
  const traffic = new Traffic({
    clock,
    callsPerSecond: 1,
    addressOf: (name) => `127.0.0.1:${services[name].port}`,
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  traffic.callEachKindOnce();
  await traffic.stop(10_000);
  return outcomes.toSorted((a, b) => a.method.localeCompare(b.method));
};

test('calls of every shape that gRPC has are answered', async (t) => {
  const outcomes = await callEachKind(await startAll(t));
  assert.deepEqual(
    outcomes.map(({ method, result, message }) => [method, result, message]),
    ['Authenticate', 'Collect', 'Exchange', 'GetProfile', 'WatchLessons'].map((method) => [method, 'ok', '']),
  );
});

test('auth-svc adds the profile that learner-svc has', async (t) => {
  const services = await startAll(t);
  const reply = await authenticate(t, services['auth-svc'].port);
  assert.deepEqual({ ...reply }, { token: 'token-of-ada', displayName: 'Learner ada', withoutProfile: false, reason: '' });
});

test('auth-svc answers without the profile when learner-svc is gone, and says why', async (t) => {
  const services = await startAll(t);
  services['learner-svc'].stop();
  const reply = await authenticate(t, services['auth-svc'].port);
  assert.equal(reply.withoutProfile, true);
  assert.equal(reply.reason, 'UNAVAILABLE');
});

test('a service that is told to fails every third call, with UNAVAILABLE', async (t) => {
  const learner = await start(t, 'learner-svc');
  learner.misbehaviour.failEvery = 3;
  const codes: number[] = [];
  for (let i = 0; i < 6; i++) {
    codes.push(
      await getProfile(t, learner.port).then(
        () => status.OK,
        (error: ServiceError) => error.code,
      ),
    );
  }
  assert.deepEqual(codes, [status.OK, status.OK, status.UNAVAILABLE, status.OK, status.OK, status.UNAVAILABLE]);
});

test('every kind of call ends in the failure that a service was told to produce', async (t) => {
  const services = await startAll(t);
  for (const service of Object.values(services)) service.misbehaviour.failEvery = 1;
  services['auth-svc'].misbehaviour.failEvery = 0;
  const outcomes = await callEachKind(services);
  assert.deepEqual(
    outcomes.map(({ method, result, reason }) => [method, result, reason]),
    [
      ['Authenticate', 'degraded', 'UNAVAILABLE'],
      ['Collect', 'failed', 'UNAVAILABLE'],
      ['Exchange', 'failed', 'UNAVAILABLE'],
      ['GetProfile', 'failed', 'UNAVAILABLE'],
      ['WatchLessons', 'failed', 'UNAVAILABLE'],
    ],
  );
});

test('calls that are in flight when the traffic ends are cancelled and counted apart', async (t) => {
  const services = await startAll(t);
  for (const service of Object.values(services)) service.misbehaviour.delayMs = 60_000;
  const outcomes: CallOutcome[] = [];
  const addressOf = (name: DemoServiceName): string => `127.0.0.1:${services[name].port}`;
  const traffic = new Traffic({ clock, callsPerSecond: 1, addressOf, onOutcome: (outcome) => outcomes.push(outcome) });
  traffic.callEachKindOnce();
  await traffic.stop(0);
  assert.deepEqual(new Set(outcomes.map(({ result }) => result)), new Set(['ended']));
  assert.equal(outcomes.length, 5);
});

test('every service answers the health protocol', async (t) => {
  const learner = await start(t, 'learner-svc');
  const check = (service: string): Promise<{ status: string }> => call(t, learner.port, 'grpc.health.v1.Health', 'Check', { service });
  assert.equal((await check('')).status, 'SERVING');
  assert.equal((await check('learner.LearnerService')).status, 'SERVING');
  await assert.rejects(check('nobody'), { code: status.NOT_FOUND });
});

test('watching the health of an unknown service says so and stays open', async (t) => {
  const learner = await start(t, 'learner-svc');
  const client = new Client(`127.0.0.1:${learner.port}`, credentials.createInsecure());
  t.after(() => client.close());
  const watch = methodIn<{ service: string }, { status: string }>(protocol, 'grpc.health.v1.Health', 'Watch');
  const stream = client.makeServerStreamRequest(
    watch.path,
    watch.requestSerialize,
    watch.responseDeserialize,
    { service: 'nobody' },
    new Metadata(),
    {},
  );
  stream.on('error', () => {});
  const first = await new Promise<{ status: string }>((resolve) => stream.once('data', resolve));
  assert.equal(first.status, 'SERVICE_UNKNOWN');
  assert.equal(stream.readableEnded, false);
  stream.cancel();
});

test('reflection names the service and health, and nothing of the other services', async (t) => {
  const { port } = await start(t, 'learner-svc');
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.after(() => client.close());
  // ServerReflectionRequest { list_services = 7: "*" }, as bytes: the answer's text is enough to look at.
  const raw = (bytes: Buffer): Buffer => bytes;
  const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  const stream = client.makeBidiStreamRequest<Buffer, Buffer>(path, raw, raw, new Metadata(), {});
  stream.on('error', () => {});
  stream.write(Buffer.from([0x3a, 0x01, 0x2a]));
  const answer = (await new Promise<Buffer>((resolve) => stream.once('data', resolve))).toString('latin1');
  stream.end();
  assert.match(answer, /learner\.LearnerService/);
  assert.match(answer, /grpc\.health\.v1\.Health/);
  assert.doesNotMatch(answer, /auth\.AuthService/);
});

test('a service process says on which port it is ready, obeys orders, and ends when its stdin does', async (t) => {
  const orders = new PassThrough();
  let said = '';
  const ready = Promise.withResolvers<number>();
  const ended = runDemoService({
    name: 'learner-svc',
    port: 0,
    clock,
    orders,
    say: (line) => {
      said += line;
      ready.resolve((JSON.parse(said) as { port: number }).port);
    },
    stop: new AbortController().signal,
  });
  const port = await ready.promise;
  await getProfile(t, port);
  orders.write('{"order":"fail_every","calls":1}\n');
  // The order and the call travel apart: the first failure shows that it has arrived.
  let error: ServiceError | undefined;
  while (error === undefined) await getProfile(t, port).catch((failure: ServiceError) => (error = failure));
  assert.equal(error.code, status.UNAVAILABLE);
  orders.end();
  assert.equal(await ended, 0);
});

test('a service that is told its outbound port from the start takes no orders and ends when it is told to', async (t) => {
  const learner = await start(t, 'learner-svc');
  const ready = Promise.withResolvers<number>();
  const stop = new AbortController();
  const ended = runDemoService({
    name: 'auth-svc',
    port: 0,
    clock,
    outbound: `127.0.0.1:${learner.port}`,
    orders: undefined,
    say: (line) => ready.resolve((JSON.parse(line) as { port: number }).port),
    stop: stop.signal,
  });
  const reply = await authenticate(t, await ready.promise);
  assert.equal(reply.displayName, 'Learner ada');
  stop.abort();
  assert.equal(await ended, 0);
});

test('a service that is unknown is a configuration error that names those there are', async () => {
  await assert.rejects(
    runDemoService({ name: 'nobody', port: 0, clock, orders: new PassThrough(), say: () => {}, stop: new AbortController().signal }),
    { name: 'ConfigurationError', remedy: 'write one of auth-svc, learner-svc, event-collector-svc' },
  );
});
