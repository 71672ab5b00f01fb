/** The patterns of who is called, and who may call, run as they stand: each with whoever knows the endpoints in its place. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { StandInDiscoverer } from '../discovery/stand-in-discoverer.ts';
import { StandInKubernetes } from '../discovery/stand-in-kubernetes.ts';
import { StandInNameServer } from '../discovery/stand-in-name-server.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { agentKinds } from '../registry/catalogue-agents.ts';
import { atEnd } from './at-end.ts';
import { MeshCertificates } from './mesh.ts';
import { startPattern } from './pattern.ts';
import { answerOk, closedPort, startUpstream, type Upstream, until } from './upstream.ts';

checkLeaks();

const portOf = ({ address }: Upstream): number => Number(address.split(':').at(-1));

for (const { name, skip, start } of agentKinds) {
  test(`consul: calls follow the catalogue, and those of the canary its tag (${name})`, { skip }, async (t) => {
    await using agent = await start();
    const [first, second] = [await startUpstream(t, (call) => answerOk(call)), await startUpstream(t, (call) => answerOk(call))];
    const put = async (path: string, body?: object): Promise<void> => {
      const init = { method: 'PUT', headers: { connection: 'close' }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
      assert.equal((await fetch(`http://${agent.address}/v1/agent/service/${path}`, init)).status, 200);
    };
    const register = (id: string, upstream: Upstream, tag: string) =>
      put('register', { Name: 'learner-svc', ID: id, Address: '127.0.0.1', Port: portOf(upstream), Tags: [tag] });
    await register('one', first, 'v1');
    await register('two', second, 'v2');
    const { client, moved, outrider } = await startPattern(t, 'consul.yaml', {
      sources: { 'learner-svc': {}, 'learner-canary': {} },
      environment: { CONSUL_HTTP_ADDR: agent.address, REGISTRATION: 'off' },
    });
    await until(() => outrider.stat('cluster.learner-svc.membership_total') === 2, 'both instances');
    await until(() => outrider.stat('cluster.learner-canary.membership_total') === 1, 'the canary');
    const canary = { path: '/mesh.Learner/Get', headers: { 'x-canary': 'true' } };
    for (let i = 0; i < 4; i++) assert.equal((await client.call(canary)).status, GrpcStatus.OK);
    assert.deepEqual([first.received.length, second.received.length], [0, 4]);
    await put('deregister/two');
    await until(() => outrider.stat('cluster.learner-svc.membership_total') === 1, 'the one that is left');
    for (let i = 0; i < 4; i++) assert.equal((await client.call({ path: '/mesh.Learner/Get' })).status, GrpcStatus.OK);
    assert.deepEqual([first.received.length, second.received.length], [4, 4]);
    await moved();
  });
}

test('dns-srv: ports, priorities and weights are those of the records', async (t) => {
  const server = new StandInNameServer();
  const resolver = await server.start();
  atEnd(t, () => server[Symbol.asyncDispose]());
  const [first, spare] = [await startUpstream(t, (call) => answerOk(call)), await startUpstream(t, (call) => answerOk(call))];
  const record = { target: 'one.node.consul', ttlSeconds: 5 };
  server.records.set('one.node.consul', [{ address: '127.0.0.1', ttlSeconds: 5 }]);
  server.services.set('_grpc._tcp.auth.service.consul', [
    { ...record, port: portOf(first), priority: 1 },
    { ...record, port: portOf(spare), priority: 2 },
  ]);
  const { client, moved, outrider } = await startPattern(t, 'dns-srv.yaml', {
    sources: { auth: { dns: { resolvers: [resolver] } } },
  });
  await until(() => outrider.stat('cluster.auth.membership_total') === 2, 'both records');
  for (let i = 0; i < 6; i++) assert.equal((await client.call({ path: '/shop.Auth/Get' })).status, GrpcStatus.OK);
  assert.deepEqual([first.received.length, spare.received.length], [6, 0]);
  await moved();
});

test('http-discoverer: a dead worker is unregistered while its calls go elsewhere, and nobody listed means that all are busy', async (t) => {
  const server = new StandInDiscoverer();
  const url = await server.start();
  atEnd(t, () => server[Symbol.asyncDispose]());
  const worker = await startUpstream(t, (call) => answerOk(call));
  server.instances = [
    { instance_id: 'alive', ipv4: '127.0.0.1', port: portOf(worker) },
    { instance_id: 'dead', ipv4: '127.0.0.1', port: await closedPort() },
  ];
  const { client, moved, outrider } = await startPattern(t, 'http-discoverer.yaml', {
    sources: { worker: { http: { url, interval: '1s' } } },
  });
  await until(() => outrider.stat('cluster.worker.membership_total') === 2, 'both workers');
  const work = { path: '/shop.Work/Do' };
  for (let i = 0; i < 1_000 && server.unregistered.length === 0; i++) assert.equal((await client.call(work)).status, GrpcStatus.OK);
  assert.deepEqual(server.unregistered, ['dead']);
  server.instances = [];
  await until(() => outrider.stat('cluster.worker.membership_total') === 0, 'the empty list');
  const { status, reason } = await client.call(work);
  assert.deepEqual([status, reason], [GrpcStatus.RESOURCE_EXHAUSTED, 'all_instances_busy']);
  await moved();
});

test('endpoint-files: a file is followed, and nonsense leaves the last good endpoints', async (t) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const path = join(folder.path, 'auth.yaml');
  const [first, second] = [await startUpstream(t, (call) => answerOk(call)), await startUpstream(t, (call) => answerOk(call))];
  writeFileSync(path, `endpoints: ["${first.address}"]\n`);
  const { client, moved, outrider } = await startPattern(t, 'endpoint-files.yaml', { sources: { auth: { file: { path } } } });
  const call = { path: '/shop.Auth/Get' };
  assert.equal((await client.call(call)).status, GrpcStatus.OK);
  writeFileSync(path, `endpoints: ["${second.address}"]\n`);
  await until(() => outrider.stat('cluster.auth.update_success') === 2, 'the change');
  writeFileSync(path, 'endpoints: nonsense\n');
  await until(() => outrider.stat('cluster.auth.update_failure') > 0, 'the nonsense');
  assert.equal((await client.call(call)).status, GrpcStatus.OK);
  assert.deepEqual([first.received.length, second.received.length], [1, 1]);
  await moved();
});

test('kubernetes: calls go to the endpoints of the slices that are ready', async (t) => {
  const server = new StandInKubernetes();
  const url = await server.start();
  atEnd(t, () => server[Symbol.asyncDispose]());
  const service = await startUpstream(t, (call) => answerOk(call));
  const endpoint = (address: string, ready: boolean) => ({
    addresses: [address],
    conditions: { ready, serving: ready, terminating: false },
  });
  server.put({
    metadata: { name: 'auth-1' },
    addressType: 'IPv4',
    ports: [{ name: 'grpc', port: portOf(service), protocol: 'TCP' }],
    endpoints: [endpoint('127.0.0.1', true), endpoint('127.0.0.2', false)],
  });
  const { client, moved, outrider } = await startPattern(t, 'kubernetes.yaml', { sources: { auth: { kubernetes: { api_server: url } } } });
  await until(() => outrider.stat('cluster.auth.membership_total') === 1, 'the endpoint that is ready');
  assert.equal((await client.call({ path: '/shop.Auth/Get' })).status, GrpcStatus.OK);
  assert.equal(service.received.length, 1);
  await moved();
});

test('who-may-call: services that a rule names are served, and others are not', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const { moved, outrider } = await startPattern(t, 'who-may-call.yaml', {
    name: 'echo',
    certificates: await certificates.issue('echo'),
    local: (call) => answerOk(call),
  });
  const statusFor = async (name: string): Promise<number | undefined> => {
    const { certPem, keyPem } = await certificates.pair(name);
    const caller = outrider.inboundCaller({ ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' });
    return (await caller.call()).status;
  };
  assert.equal(await statusFor('shop-svc'), GrpcStatus.OK);
  assert.equal(await statusFor('billing-svc'), GrpcStatus.OK);
  assert.equal(await statusFor('mail-svc'), GrpcStatus.PERMISSION_DENIED);
  await moved();
});
