import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SystemClock } from '../../src/core/index.ts';
import { DemoService } from '../../src/demo/service.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { peerProgram } from './peer-programs.ts';
import { type Mesh, startMesh } from './sidecar-processes.ts';

checkLeaks();

const ghz = await peerProgram('ghz');
const protoFolder = join(import.meta.dirname, '../../proto');

interface LoadReport {
  readonly count: number;
  readonly statusCodeDistribution: Readonly<Record<string, number>> | null;
  readonly errorDistribution?: Readonly<Record<string, number>>;
}

describe('ghz loads two sidecars', { skip: ghz.skip }, () => {
  const owned = new AsyncDisposableStack();
  let mesh: Mesh;
  before(async () => {
    const clock = new SystemClock();
    const learner = owned.adopt(await DemoService.start({ name: 'learner-svc', clock }), (service) => service.stop());
    const events = owned.adopt(await DemoService.start({ name: 'event-collector-svc', clock }), (service) => service.stop());
    mesh = owned.use(await startMesh({ 'learner-svc': learner.port, 'event-collector-svc': events.port }));
  });
  after(() => owned.disposeAsync());

  /** So many calls from 40 workers on 4 connections. Every one must be OK, in ghz's books and in those of both sidecars. */
  const load = async (service: string, proto: string, call: string, calls: number, more: readonly string[]): Promise<void> => {
    const callee = mesh.callee(service);
    const earlier = [await mesh.caller.fates(), await callee.fates()] as const;
    const { code, stdout, stderr } = await runProgram(ghz.path, [
      ...['--insecure', `--authority=${service}`, `--proto=${join(protoFolder, proto)}`, `--call=${call}`, '--format=json'],
      ...[`--total=${calls}`, '--concurrency=40', '--connections=4', ...more, mesh.entrance],
    ]);
    assert.equal(code, 0, stderr);
    const { count, statusCodeDistribution, errorDistribution } = JSON.parse(stdout) as LoadReport;
    assert.deepEqual(
      { count, statusCodeDistribution, errorDistribution },
      {
        count: calls,
        statusCodeDistribution: { OK: calls },
        errorDistribution: {},
      },
    );
    await mesh.caller.idleStats('outbound');
    await callee.idleStats('inbound');
    const later = [await mesh.caller.fates(), await callee.fates()] as const;
    assert.deepEqual(later[0], { ...earlier[0], 'outbound ok': (earlier[0]['outbound ok'] ?? 0) + calls });
    assert.deepEqual(later[1], { ...earlier[1], 'inbound ok': (earlier[1]['inbound ok'] ?? 0) + calls });
  };

  test('with 4,000 calls', () =>
    load('learner-svc', 'learner.proto', 'learner.LearnerService/GetProfile', 4_000, ['--data={"user":"ada"}']));

  test('with compressed requests', () =>
    load('learner-svc', 'learner.proto', 'learner.LearnerService/GetProfile', 500, ['--data={"user":"ada"}', '--enable-compression']));

  test('with large messages', () =>
    load('learner-svc', 'learner.proto', 'learner.LearnerService/GetProfile', 200, [
      `--data=${JSON.stringify({ user: 'a'.repeat(100_000) })}`,
    ]));

  test('with streams of answers', () =>
    load('learner-svc', 'learner.proto', 'learner.LearnerService/WatchLessons', 400, ['--data={"count":50}']));

  test('with streams both ways', () =>
    load('event-collector-svc', 'events.proto', 'events.EventCollectorService/Exchange', 400, [
      '--data=[{"number":1},{"number":2},{"number":3}]',
      '--stream-call-count=20',
    ]));

  test('and they drain and end with 0', () => mesh.stop());
});
