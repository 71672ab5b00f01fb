import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SystemClock } from '../../src/core/index.ts';
import { DemoService } from '../../src/demo/service.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { peerProgram } from './peer-programs.ts';
import { type Mesh, startMesh } from './sidecar-processes.ts';

checkLeaks();

const grpcurl = await peerProgram('grpcurl');
const protoFolder = join(import.meta.dirname, '../../proto');

// grpcurl adds the gRPC status to 64 for its exit code.
const exitCodeOf = (grpcStatus: number): number => 64 + grpcStatus;

/** The JSON objects that grpcurl prints, one after another, for the messages of an answer. */
const messagesOf = (stdout: string): unknown[] => stdout.split(/^(?=\{)/m).map((text) => JSON.parse(text) as unknown);

describe('grpcurl', { skip: grpcurl.skip }, () => {
  const owned = new AsyncDisposableStack();
  let learner: DemoService;
  let mesh: Mesh;
  before(async () => {
    const clock = new SystemClock();
    learner = owned.adopt(await DemoService.start({ name: 'learner-svc', clock }), (service) => service.stop());
    const events = owned.adopt(await DemoService.start({ name: 'event-collector-svc', clock }), (service) => service.stop());
    mesh = owned.use(await startMesh({ 'learner-svc': learner.port, 'event-collector-svc': events.port }));
  });
  after(() => owned.disposeAsync());

  /** Through the caller's sidecar, to the service that the authority names. */
  const throughMesh = (service: string, flags: readonly string[], ...asked: readonly string[]): Promise<ProgramExit> =>
    runProgram(grpcurl.path, ['-plaintext', '-authority', service, ...flags, mesh.entrance, ...asked]);
  /** Past the caller's sidecar, to the inbound listener of learner-svc. */
  const direct = (...args: readonly string[]): Promise<ProgramExit> => {
    const address = `127.0.0.1:${mesh.callee('learner-svc').inboundPort}`;
    return runProgram(grpcurl.path, ['-max-time', '10', ...args, address, 'learner.LearnerService/GetProfile']);
  };
  /** So that a call is one call, without reflection before it. */
  const withoutReflection = ['-import-path', protoFolder, '-proto', 'learner.proto'];

  test('lists the services of the one that the authority names, by reflection', async () => {
    for (const [service, grpcService] of [
      ['learner-svc', 'learner.LearnerService'],
      ['event-collector-svc', 'events.EventCollectorService'],
    ] as const) {
      const { code, stdout, stderr } = await throughMesh(service, [], 'list');
      assert.equal(code, 0, stderr);
      assert.deepEqual(stdout.trim().split('\n'), [grpcService, 'grpc.health.v1.Health'].sort());
    }
  });

  test('describes a service, by reflection', async () => {
    const { stdout } = await throughMesh('learner-svc', [], 'describe', 'learner.LearnerService');
    assert.match(stdout, /rpc WatchLessons \( \.learner\.WatchLessonsRequest \) returns \( stream \.learner\.Lesson \);/);
  });

  test('calls a method with one answer', async () => {
    const { code, stdout, stderr } = await throughMesh('learner-svc', ['-d', '{"user":"ada"}'], 'learner.LearnerService/GetProfile');
    assert.equal(code, 0, stderr);
    assert.deepEqual(messagesOf(stdout), [{ user: 'ada', displayName: 'Learner ada' }]);
  });

  test('calls a method that answers with a stream', async () => {
    const { stdout } = await throughMesh('learner-svc', ['-d', '{"count":40}'], 'learner.LearnerService/WatchLessons');
    assert.deepEqual(
      messagesOf(stdout),
      Array.from({ length: 40 }, (_, at) => ({ number: at + 1, title: `Lesson ${at + 1}` })),
    );
  });

  test('calls methods that take a stream', async () => {
    const requests = [1, 2, 3].map((number) => JSON.stringify({ number })).join(' ');
    const service = 'event-collector-svc';
    const collected = await throughMesh(service, ['-d', requests], 'events.EventCollectorService/Collect');
    assert.deepEqual(messagesOf(collected.stdout), [{ received: 3 }]);
    const exchanged = await throughMesh(service, ['-d', requests], 'events.EventCollectorService/Exchange');
    assert.deepEqual(messagesOf(exchanged.stdout), [{ number: 1 }, { number: 2 }, { number: 3 }]);
  });

  test("asks for the service's health", async () => {
    const { stdout } = await throughMesh('learner-svc', [], 'grpc.health.v1.Health/Check');
    assert.deepEqual(messagesOf(stdout), [{ status: 'SERVING' }]);
  });

  test('is told why and what to do where the authority names nobody', async () => {
    const flags = [...withoutReflection, '-v'];
    const { code, stdout, stderr } = await throughMesh('lerner-svc', flags, 'learner.LearnerService/GetProfile');
    assert.equal(code, exitCodeOf(12));
    assert.match(stdout, /x-outrider-reason: no_route/);
    assert.match(stderr, /Code: Unimplemented\s+Message: .*lerner-svc.*add a route or a cluster to the policy files/);
  });

  test('meets its own deadline in front of a service that is too slow', async () => {
    learner.misbehaviour.delayMs = 60_000;
    const flags = [...withoutReflection, '-max-time', '0.3'];
    const { code, stderr } = await throughMesh('learner-svc', flags, 'learner.LearnerService/GetProfile');
    learner.misbehaviour.delayMs = 0;
    assert.equal(code, exitCodeOf(4), stderr);
    await mesh.callee('learner-svc').idleStats('inbound');
  });

  test('calls the inbound listener directly with a certificate of the mesh', async () => {
    const { ca, cert, key } = mesh.identity('mesh-client');
    const { stdout } = await direct('-cacert', ca, '-cert', cert, '-key', key, '-d', '{"user":"bob"}');
    assert.deepEqual(messagesOf(stdout), [{ user: 'bob', displayName: 'Learner bob' }]);
  });

  test('is refused by the inbound listener without a certificate, and in plain text', async () => {
    const callee = mesh.callee('learner-svc');
    assert.notEqual((await direct('-cacert', mesh.identity('mesh-client').ca)).code, 0);
    assert.ok((await callee.stat('listener.inbound.ssl.fail_verify_no_cert')) > 0);
    assert.notEqual((await direct('-plaintext')).code, 0);
    assert.ok((await callee.stat('listener.inbound.ssl.not_tls')) > 0);
  });

  test('leaves a mesh that drains and ends with 0', () => mesh.stop());
});
