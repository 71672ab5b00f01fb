import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { ConsulMesh, clusterStat } from './consul-mesh.ts';
import { startSidecar, type TestSidecar } from './mesh.ts';
import { SteadyLoad } from './steady-load.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();
const { path, skip } = await peerProgram('consul');

test('a service of three instances that is restarted one after another under 500 calls a second fails none, without any policy', {
  skip,
}, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const certificates = await mesh.certificates.issue('learner-svc');
  const begin = async (): Promise<TestSidecar> => {
    const service = await startUpstream(t, (call) => answerOk(call));
    return await startSidecar(t, {
      name: 'learner-svc',
      localService: service.port,
      certificates,
      endsItself: true,
      environment: { CONSUL_HTTP_ADDR: consul.address, SERVICE_ADDRESS: '127.0.0.1', DRAIN_DELAY: '500ms' },
    });
  };
  const members = () => clusterStat(mesh.caller, 'learner-svc', 'membership_total');
  let instances = [await begin(), await begin(), await begin()];
  assert.equal((await mesh.caller.caller().call({ authority: 'learner-svc' })).status, 0);
  await until(() => members() === 3, 'three endpoints');
  const load = new SteadyLoad(mesh.caller.caller(), 500, { authority: 'learner-svc' });
  for (const instance of [...instances]) {
    const ended = instance.sidecar.drain();
    await until(() => members() === 2, 'one less');
    await ended;
    instances = [...instances.filter((other) => other !== instance), await begin()];
    await until(() => members() === 3, 'another one');
  }
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.ok(load.calls > 500, `${load.calls} calls`);
  await Promise.all(instances.map(({ sidecar }) => sidecar.drain()));
});
