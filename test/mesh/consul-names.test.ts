import assert from 'node:assert/strict';
import { test } from 'node:test';
import { healthEntry, StandInConsul } from '../discovery/stand-in-consul.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { ConsulMesh, clusterStat, registrationOf } from './consul-mesh.ts';
import { until } from './upstream.ts';

checkLeaks();
const { path, skip } = await peerProgram('consul');

test('services are called by their names alone, in every form that a name has', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const instance = await mesh.instance('learner-svc');
  await consul.register(registrationOf(instance));
  const client = mesh.caller.caller();
  for (const authority of [
    'learner-svc',
    'learner-svc:50051',
    'LEARNER-SVC',
    'learner-svc.default.svc.cluster.local:50051',
    'learner-svc.service.consul',
  ]) {
    const { status, message } = await client.call({ authority });
    assert.equal(status, 0, `${authority}: ${message}`);
  }
  assert.equal(mesh.caller.stat('cluster_manager.on_demand_clusters'), 1);
  assert.equal(clusterStat(mesh.caller, 'learner-svc', 'upstream_rq_total'), 5);
  const { text } = await mesh.caller.admin('GET', '/clusters?format=json');
  const [cluster] = JSON.parse(text).cluster_statuses;
  assert.equal(cluster.endpoint_source.name, 'consul:learner-svc');
  assert.equal(cluster.endpoint_source.on_demand, true);
  assert.equal(cluster.host_statuses[0].instance, instance.id);
  assert.match(cluster.host_statuses[0].discovered_at, /^\d{4}-/);
  const metrics = (await mesh.caller.admin('GET', '/metrics')).text;
  assert.match(metrics, /grpc_requests_total\{[^}]*service="learner-svc"[^}]*\} 5/);
  assert.match(metrics, /outrider_cluster_discovery_staleness_seconds\{cluster="learner-svc"\} 0/);
});

test('a name that Consul does not know fails clearly, and is known as soon as Consul knows it', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const client = mesh.caller.caller();
  const unknown = await client.call({ authority: 'learner-svc' });
  assert.equal(unknown.reason, 'no_endpoint');
  assert.match(unknown.message, /cluster "learner-svc" has no endpoint: Consul knows no passing instance of "learner-svc"/);
  for (const authority of ['10.0.0.1:50051', '[::1]:50051', 'localhost', 'learner-']) {
    assert.equal((await client.call({ authority })).reason, 'no_route', authority);
  }
  const metrics = (await mesh.caller.admin('GET', '/metrics')).text;
  assert.doesNotMatch(metrics, /service="learner-svc"|cluster="learner-svc"/, 'names of callers are no labels');
  const instance = await mesh.instance('learner-svc');
  await consul.register(registrationOf(instance));
  await until(() => clusterStat(mesh.caller, 'learner-svc', 'membership_total') === 1, 'the instance to be found');
  assert.equal((await client.call({ authority: 'learner-svc' })).status, 0);
});

test('while Consul is away a call fails at once and says so, and goes through as soon as Consul is there', { skip }, async (t) => {
  await using consul = await ConsulProcess.prepare({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const client = mesh.caller.caller();
  const early = await client.call({ authority: 'learner-svc' });
  assert.equal(early.reason, 'no_endpoint');
  assert.match(early.message, /Consul at http:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/);
  await consul.begin();
  await consul.ready();
  await consul.register(registrationOf(await mesh.instance('learner-svc')));
  await until(() => clusterStat(mesh.caller, 'learner-svc', 'membership_total') === 1, 'the instance to be found');
  assert.equal((await client.call({ authority: 'learner-svc' })).status, 0);
});

test('the first call waits for a Consul that is slow, and no longer than a connection may take', { skip }, async (t) => {
  await using slow = await StandInConsul.start();
  // A sidecar waits for the first endpoints of its policies: this cluster comes later.
  const mesh = await ConsulMesh.start(t, slow, { policies: 'clusters: {}' });
  const instance = await mesh.instance('learner-svc');
  const held: (() => void)[] = [];
  slow.script = (_request, response) => {
    held.push(() => {
      response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': '5' });
      response.end(JSON.stringify([healthEntry({ host: '127.0.0.1', port: instance.sidecar.inboundPort })]));
    });
  };
  const client = mesh.caller.caller();
  mesh.caller.writePolicies('clusters: { strict: { service_name: other-svc, connect_timeout: 0.3s } }');
  await until(() => held.length === 1, 'the question');
  const late = await client.call({ authority: 'strict' });
  assert.equal(late.reason, 'no_endpoint');
  assert.match(late.message, /consul:other-svc has not answered yet/);
  const waiting = client.start({ authority: 'learner-svc' });
  const cancelled = client.start({ authority: 'learner-svc' });
  const impatient = await client.call({ authority: 'learner-svc', headers: { 'grpc-timeout': '50m' } });
  assert.equal(impatient.reason, 'caller_deadline');
  cancelled.cancel();
  await cancelled.answer;
  for (const answer of held) answer();
  assert.equal((await waiting.answer).status, 0);
});

test('a caller that makes up names costs a bounded number of clusters, and takes none from those that are called', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  await consul.register(registrationOf(await mesh.instance('learner-svc')));
  const client = mesh.caller.caller();
  assert.equal((await client.call({ authority: 'learner-svc' })).status, 0);
  const answers: Awaited<ReturnType<typeof client.call>>[] = [];
  const refused = () => mesh.caller.stat('cluster_manager.on_demand_refused') > 0;
  for (let burst = 0; burst === 0 || (!refused() && burst < 10); burst++)
    answers.push(...(await Promise.all(Array.from({ length: 1_500 }, (_, i) => client.call({ authority: `made-up-${burst}-${i}` })))));
  // Under a burst like this the sidecar may shed calls, too.
  assert.deepEqual(
    [...new Set(answers.map(({ reason }) => reason))].filter((reason) => reason !== 'overloaded'),
    ['no_endpoint'],
  );
  assert.ok(answers.some(({ message }) => message.startsWith('too many services were named for the first time')));
  assert.ok(refused());
  assert.ok(mesh.caller.stat('cluster_manager.on_demand_clusters') <= 512);
  const after: number[] = [];
  for (let i = 0; i < 20 && !after.includes(0); i++) after.push((await client.call({ authority: 'learner-svc' })).status);
  assert.ok(after.includes(0), `${after.join(' ')}`);
});

test('a cluster of the policies without endpoints is looked up by its service name, and one with consul as it says', {
  skip,
}, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const policies = `
clusters:
  learner: { service_name: learner-svc, lb_policy: random }
  canary: { consul: { service: learner-svc, tag: canary } }
  query: { service_name: learner-svc, consul: { prepared_query: near-learner } }
  gold: { consul: { service: learner-svc, filter: 'Service.Meta.tier == "gold"' } }
`;
  const mesh = await ConsulMesh.start(t, consul, { policies });
  const [plain, canary] = [await mesh.instance('learner-svc'), await mesh.instance('learner-svc')];
  await consul.register(registrationOf(plain, { Meta: { tier: 'gold' } }));
  await consul.register(registrationOf(canary, { Tags: ['canary'] }));
  await consul.ask('POST', '/query', { Name: 'near-learner', Service: { Service: 'learner-svc', OnlyPassing: true } });
  const sizes = { learner: 2, canary: 1, gold: 1, query: 2 };
  for (const [name, size] of Object.entries(sizes)) {
    await until(() => clusterStat(mesh.caller, name, 'membership_total') === size, `${size} endpoints of ${name}`);
    assert.equal((await mesh.caller.caller().call({ authority: name })).status, 0, name);
  }
  assert.equal(mesh.caller.stat('cluster_manager.on_demand_clusters'), 0);
});

test('an instance registered with the address of another service is refused by its certificate', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul);
  const foreign = await mesh.instance('event-svc');
  await consul.register({ ...registrationOf(foreign), Name: 'learner-svc', ID: 'a-lie' });
  const answer = await mesh.caller.caller().call({ authority: 'learner-svc' });
  assert.equal(answer.reason, 'tls_peer_not_allowed');
  assert.equal(foreign.service.received.length, 0);
});

test('a service with a warning takes calls where the policy lets it, and critical and maintained ones never do', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const policies =
    'clusters: { lenient: { consul: { service: learner-svc, passing: false } }, strict: { consul: { service: learner-svc } } }';
  const mesh = await ConsulMesh.start(t, consul, { policies });
  const [good, warned, kept] = [await mesh.instance('learner-svc'), await mesh.instance('learner-svc'), await mesh.instance('learner-svc')];
  const ttl = (Status: string) => ({ Check: { TTL: '60s', Status }, Weights: { Passing: 9, Warning: 3 } });
  await consul.register(registrationOf(good, ttl('passing')));
  await consul.register(registrationOf(warned, ttl('warning')));
  await consul.register(registrationOf(kept, ttl('passing')));
  await consul.ask('PUT', `/agent/service/maintenance/${kept.id}?enable=true`);
  await until(() => clusterStat(mesh.caller, 'lenient', 'membership_total') === 2, 'two that are not critical');
  await until(() => clusterStat(mesh.caller, 'strict', 'membership_total') === 1, 'one that passes');
  const { text } = await mesh.caller.admin('GET', '/clusters?format=json');
  const lenient = JSON.parse(text).cluster_statuses.find(({ name }: { name: string }) => name === 'lenient');
  const weights = Object.fromEntries(
    lenient.host_statuses.map(({ instance, weight }: { instance: string; weight: number }) => [instance, weight]),
  );
  assert.deepEqual(weights, { [good.id]: 9, [warned.id]: 3 });
});
