import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ConsulCluster, ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { ConsulMesh, clusterStat, type Instance, registrationOf } from './consul-mesh.ts';
import { SteadyLoad } from './steady-load.ts';
import { until } from './upstream.ts';

checkLeaks();
const { path, skip } = await peerProgram('consul');

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const members = ({ caller }: ConsulMesh) => clusterStat(caller, 'learner-svc', 'membership_total');
const idempotent = {
  policies:
    'routes: [{ match: { prefix: / }, route: { cluster: learner-svc, idempotent: true, timeout: 5s } }]\nclusters: { learner-svc: {} }',
};

/** Some instances of learner-svc in the catalogue, known to the caller's sidecar. */
const known = async (mesh: ConsulMesh, consul: ConsulProcess, count: number): Promise<readonly Instance[]> => {
  const instances: Instance[] = [];
  for (let i = 0; i < count; i++) instances.push(await mesh.instance('learner-svc'));
  for (const instance of instances) await consul.register(registrationOf(instance));
  // The first call makes the cluster, where no policy has it.
  await mesh.caller.caller().call({ authority: 'learner-svc' });
  await until(() => members(mesh) === count, `${count} endpoints`);
  assert.equal((await mesh.caller.caller().call({ authority: 'learner-svc' })).status, 0);
  return instances;
};

test('an agent that is killed under load fails no call, and how long ago that was is seen', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  await known(mesh, consul, 2);
  const load = new SteadyLoad(mesh.caller.caller(), 200, { authority: 'learner-svc' });
  const staleness = () => clusterStat(mesh.caller, 'learner-svc', 'discovery_staleness_seconds');
  assert.equal(staleness(), 0);
  await consul.kill();
  await until(() => staleness() > 0, 'staleness');
  const former = staleness();
  await until(() => staleness() > former + 2, 'staleness that rises');
  const { text } = await mesh.caller.admin('GET', '/clusters');
  assert.match(text, /learner-svc::endpoint_source::error::Consul at http:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.equal(members(mesh), 2);
});

test('an agent that comes back empty takes nobody away while services are registered again, and then knows who is new', {
  skip,
}, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const instances = await known(mesh, consul, 3);
  const load = new SteadyLoad(mesh.caller.caller(), 200, { authority: 'learner-svc' });
  let fewest = 3;
  const watching = setInterval(() => {
    fewest = Math.min(fewest, members(mesh));
  }, 5);
  await consul.kill();
  await until(() => clusterStat(mesh.caller, 'learner-svc', 'discovery_staleness_seconds') > 0, 'the outage to be seen');
  await consul.begin();
  await consul.ready();
  // One after another, as their sidecars find out.
  for (const instance of instances) {
    await consul.register(registrationOf(instance));
    await sleep(300);
  }
  await until(() => clusterStat(mesh.caller, 'learner-svc', 'discovery_staleness_seconds') === 0, 'the end of the outage');
  const another = await mesh.instance('learner-svc');
  await consul.register(registrationOf(another));
  await until(() => members(mesh) === 4, 'the new one');
  clearInterval(watching);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.equal(fewest, 3);
});

test('a cluster of three servers that loses its leader fails no call, and changes are seen under the next one', { skip }, async (t) => {
  await using cluster = await ConsulCluster.start({ path });
  const leader = await cluster.leader();
  const agent = cluster.servers.find((server) => server !== leader) as ConsulProcess;
  const mesh = await ConsulMesh.start(t, agent);
  await known(mesh, agent, 2);
  const load = new SteadyLoad(mesh.caller.caller(), 200, { authority: 'learner-svc' });
  await leader.kill();
  const third = await mesh.instance('learner-svc');
  // The agent takes it and tells the catalogue when there is a leader again.
  await agent.register(registrationOf(third));
  await until(() => members(mesh) === 3, 'the third instance, under another leader');
  await load.stop();
  assert.deepEqual(load.failures, []);
});

test('a token that is revoked keeps the endpoints, and its successor is used as soon as it is in the file', { skip }, async (t) => {
  const master = '11111111-2222-3333-4444-555555555555';
  await using consul = await ConsulProcess.start({
    path,
    token: master,
    configuration: { acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: master, agent: master } } },
  });
  using folder = temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  const rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
  await consul.ask('PUT', '/acl/policy', { Name: 'reader', Rules: rules });
  const create = async () =>
    (await consul.ask('PUT', '/acl/token', { Policies: [{ Name: 'reader' }] })) as {
      readonly AccessorID: string;
      readonly SecretID: string;
    };
  const first = await create();
  writeFileSync(tokenFile, first.SecretID);
  const mesh = await ConsulMesh.start(t, consul, { environment: { CONSUL_HTTP_TOKEN_FILE: tokenFile } });
  const [one] = await known(mesh, consul, 1);
  await consul.ask('DELETE', `/acl/token/${first.AccessorID}`);
  // Wakes the question that waits under the old token.
  const another = await mesh.instance('learner-svc');
  await consul.register(registrationOf(another));
  await until(() => clusterStat(mesh.caller, 'learner-svc', 'update_failure') > 0, 'a refusal');
  assert.equal(members(mesh), 1);
  assert.equal((await mesh.caller.caller().call({ authority: 'learner-svc' })).status, 0);
  writeFileSync(tokenFile, (await create()).SecretID);
  await until(() => members(mesh) === 2, 'the second instance, under the new token');
  assert.ok(one);
});

for (const [what, keepLast, survives] of [
  ['keeps the last endpoints by default', '', true],
  ['fails clearly where keep_last is 0', ', keep_last: 0s', false],
] as const) {
  test(`a service without instances ${what}`, { skip }, async (t) => {
    await using consul = await ConsulProcess.start({ path });
    const mesh = await ConsulMesh.start(t, consul, {
      policies: `clusters: { learner-svc: { consul: { service: learner-svc${keepLast} } } }`,
    });
    const [instance] = await known(mesh, consul, 1);
    await consul.deregister((instance as Instance).id);
    await until(() => clusterStat(mesh.caller, 'learner-svc', 'update_empty') > 0, 'an empty answer');
    const answer = await mesh.caller.caller().call({ authority: 'learner-svc' });
    if (survives) assert.equal(answer.status, 0);
    else {
      assert.equal(answer.reason, 'no_endpoint');
      assert.match(answer.message, /Consul knows no passing instance of "learner-svc"/);
    }
  });
}

test('a hundred instances that come and go fail no call', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul, idempotent);
  const [stable] = await known(mesh, consul, 1);
  // Many places of one real instance: each address of 127.0.0.0/8 leads to it.
  const flapping = Array.from({ length: 100 }, (_, i) => ({
    ...registrationOf(stable as Instance),
    ID: `flapping-${i}`,
    Address: `127.0.1.${i + 1}`,
  }));
  const load = new SteadyLoad(mesh.caller.caller(), 200, { authority: 'learner-svc' });
  const asked = () => clusterStat(mesh.caller, 'learner-svc', 'update_attempt');
  const [askedBefore, startMs] = [asked(), performance.now()];
  for (let round = 0; round < 3; round++) {
    await Promise.all(flapping.map((instance) => consul.register(instance)));
    await until(() => members(mesh) > 90, 'most of them');
    await Promise.all(flapping.map(({ ID }) => consul.deregister(ID)));
    await until(() => members(mesh) < 10, 'hardly any of them');
  }
  const seconds = (performance.now() - startMs) / 1_000;
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.ok(asked() - askedBefore <= 11 + 10 * seconds, `${asked() - askedBefore} questions in ${seconds} s`);
});

test('an endpoint that leaves finishes its calls, and one that stays keeps its connection whatever comes and goes', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const instances = await known(mesh, consul, 2);
  const [stays, leaves] = instances as [Instance, Instance];
  const client = mesh.caller.caller();
  for (let i = 0; i < 8; i++) assert.equal((await client.call({ authority: 'learner-svc' })).status, 0);
  const connections = ({ sidecar }: Instance) => sidecar.stat('listener.inbound.downstream_cx_total');
  assert.deepEqual(instances.map(connections), [1, 1]);
  const open = Array.from({ length: 4 }, () => client.start({ authority: 'learner-svc', open: true, body: 'first' }));
  await until(() => leaves.sidecar.stat('cluster.local_service.upstream_rq_active') === 2, 'two calls at the one that leaves');
  await consul.deregister(leaves.id);
  await until(() => members(mesh) === 1, 'one endpoint');
  // Another order, another id, other metadata: the same place.
  await consul.register(registrationOf(await mesh.instance('learner-svc')));
  await consul.register(registrationOf(stays, { Tags: ['v2'], Meta: { version: '2' }, Weights: { Passing: 5, Warning: 1 } }));
  await consul.register({ ...registrationOf(stays), ID: 'another-id' });
  await consul.deregister(stays.id);
  await until(() => members(mesh) === 2, 'two endpoints');
  for (let i = 0; i < 8; i++) assert.equal((await client.call({ authority: 'learner-svc' })).status, 0);
  for (const call of open) call.end();
  for (const { answer } of open) assert.equal((await answer).status, 0);
  assert.deepEqual(instances.map(connections), [1, 1]);
});
