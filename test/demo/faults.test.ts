import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Faults, parseFault } from '../../src/demo/faults.ts';

/** A mesh that writes down what is done to it. */
const recordedMesh = () => {
  const done: string[] = [];
  const gate = { start: Promise.resolve() };
  return {
    done,
    gate,
    mesh: {
      killService: async (name: string) => void done.push(`kill ${name}`),
      startService: async (name: string) => void done.push(`start ${name}`),
      order: (name: string, order: object) => void done.push(`${name} ${JSON.stringify(order)}`),
      replaceByStranger: async (name: string) => {
        await gate.start;
        done.push(`replace ${name}`);
      },
      removeStranger: async (name: string) => void done.push(`bring back ${name}`),
    },
  };
};

test('a fault is read with its times', () => {
  assert.deepEqual(parseFault('kill:learner-svc@3s'), { kind: 'kill', service: 'learner-svc', fromMs: 3_000 });
  assert.deepEqual(parseFault('slow:event-collector-svc@2s-5500ms'), {
    kind: 'slow',
    service: 'event-collector-svc',
    fromMs: 2_000,
    toMs: 5_500,
  });
});

test('a fault that is not understood is refused with what to write', () => {
  const remedyOf = (text: string): string | undefined => {
    try {
      parseFault(text);
    } catch (error) {
      return (error as { remedy?: string }).remedy;
    }
    return undefined;
  };
  const form = 'write kind:service@from or kind:service@from-to, such as kill:learner-svc@3s-8s';
  assert.equal(remedyOf('kill'), form);
  assert.equal(remedyOf('kill:learner-svc@3'), form);
  assert.equal(remedyOf('kill:learner-svc@3s-2s'), form);
  assert.equal(remedyOf('slwo:learner-svc@3s'), 'write slow');
  assert.equal(remedyOf('kill:leaner-svc@3s'), 'write learner-svc');
});

test('each fault does what its name says, and undoes it', async () => {
  const { mesh, done } = recordedMesh();
  const faults = new Faults(mesh, () => 0);
  for (const kind of ['kill', 'slow', 'fail', 'foreign'] as const) {
    await faults.switch(kind, 'learner-svc', true);
    await faults.switch(kind, 'learner-svc', false);
  }
  assert.deepEqual(done, [
    'kill learner-svc',
    'start learner-svc',
    'learner-svc {"order":"delay","ms":3000}',
    'learner-svc {"order":"delay","ms":0}',
    'learner-svc {"order":"fail_every","calls":3}',
    'learner-svc {"order":"fail_every","calls":0}',
    'replace learner-svc',
    'bring back learner-svc',
  ]);
});

test('switching twice is once, and a switch waits for the one before it', async () => {
  const { mesh, done, gate } = recordedMesh();
  const start = Promise.withResolvers<void>();
  gate.start = start.promise;
  const faults = new Faults(mesh, () => 0);
  const first = faults.switch('foreign', 'auth-svc', true);
  await faults.switch('foreign', 'auth-svc', true);
  const second = faults.switch('kill', 'auth-svc', true);
  assert.deepEqual(done, []);
  start.resolve();
  await Promise.all([first, second]);
  assert.deepEqual(done, ['replace auth-svc', 'kill auth-svc']);
  assert.equal(faults.active.length, 2);
});

test('a failure is explained by a fault of its service, while it is on and until the breaker has recovered', async () => {
  const { mesh } = recordedMesh();
  let nowMs = 1_000;
  const faults = new Faults(mesh, () => nowMs);
  assert.equal(faults.explains('learner-svc', 0, 1_000), false);
  await faults.switch('kill', 'learner-svc', true);
  nowMs = 2_000;
  await faults.switch('kill', 'learner-svc', false);
  assert.equal(faults.explains('learner-svc', 0, 999), false);
  assert.equal(faults.explains('learner-svc', 900, 1_001), true);
  assert.equal(faults.explains('learner-svc', 7_000, 7_001), true);
  assert.equal(faults.explains('learner-svc', 30_000, 30_001), false);
  // auth-svc asks learner-svc; the event collector has nothing to do with it.
  assert.equal(faults.explains('auth-svc', 1_500, 1_600), true);
  assert.equal(faults.explains('event-collector-svc', 1_500, 1_600), false);
});
