import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { ConsulMesh, clusterStat, registrationOf } from './consul-mesh.ts';
import { SteadyLoad } from './steady-load.ts';
import { answerOk, until } from './upstream.ts';

checkLeaks();
const { path, skip } = await peerProgram('consul');
const named = (name: string) => (call: Parameters<typeof answerOk>[0]) => answerOk(call, name);

test('where a service has no instance another one takes its calls, under its own name, until it is back', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul, {
    policies: 'clusters: { cart: { consul: { failover: [{ service: cart-backup }] } } }\n',
  });
  const [first, second, backup] = [
    await mesh.instance('cart', named('cart')),
    await mesh.instance('cart', named('cart')),
    await mesh.instance('cart-backup', named('backup')),
  ];
  for (const instance of [first, second, backup]) await consul.register(registrationOf(instance));
  const members = () => clusterStat(mesh.caller, 'cart', 'membership_total');
  await until(() => members() === 3, 'three endpoints');
  const client = mesh.caller.caller();
  const answers = async (count: number): Promise<ReadonlySet<string>> => {
    const said = new Set<string>();
    for (let i = 0; i < count; i++) said.add((await client.call({ authority: 'cart' })).body.toString('utf8', 5));
    return said;
  };
  assert.deepEqual(await answers(20), new Set(['cart']));
  const load = new SteadyLoad(client, 200, { authority: 'cart' });
  await consul.deregister(first.id);
  await until(() => members() === 2, 'one less');
  assert.deepEqual(await answers(20), new Set(['cart']), 'one that is left is enough');
  await consul.deregister(second.id);
  await until(() => members() === 1, 'none left');
  assert.deepEqual(await answers(20), new Set(['backup']));
  await consul.register(registrationOf(first));
  await until(() => members() === 2, 'one that is back');
  assert.deepEqual(await answers(20), new Set(['cart']));
  await load.stop();
  assert.deepEqual(load.failures, []);
});

test('an instance in the place of another service has to show the name that it was found as', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  const mesh = await ConsulMesh.start(t, consul, {
    policies: 'clusters: { cart: { consul: { failover: [{ service: cart-backup }] } } }\n',
  });
  // In the catalogue as cart-backup, with the certificate of the service whose place it takes.
  const wrong = await mesh.instance('cart-backup', named('wrong'), 'cart');
  await consul.register(registrationOf(wrong));
  await until(() => clusterStat(mesh.caller, 'cart', 'membership_total') === 1, 'the endpoint');
  const answer = await mesh.caller.caller().call({ authority: 'cart' });
  assert.equal(answer.reason, 'tls_peer_not_allowed', answer.message);
  assert.equal(wrong.service.received.length, 0);
});

test('a service-resolver of Consul with a failover is obeyed', { skip }, async (t) => {
  await using consul = await ConsulProcess.start({ path });
  await consul.ask('PUT', '/config', {
    Kind: 'service-resolver',
    Name: 'cart',
    ConnectTimeout: '2s',
    Failover: { '*': { Targets: [{ Datacenter: 'nowhere' }, { Service: 'cart-backup' }] } },
  });
  const mesh = await ConsulMesh.start(t, consul, { environment: { POLICY_CONSUL_CONFIG_ENTRIES: 'true' } });
  const backup = await mesh.instance('cart-backup', named('backup'));
  await consul.register(registrationOf(backup));
  await until(() => clusterStat(mesh.caller, 'cart', 'membership_total') === 1, 'the endpoint');
  const answer = await mesh.caller.caller().call({ authority: 'cart' });
  assert.equal(answer.body.toString('utf8', 5), 'backup', answer.message);
  // A datacenter that cannot be asked is told, and takes nothing away.
  const { text } = await mesh.caller.admin('GET', '/clusters');
  assert.match(text, /cart::endpoint_source::error::nowhere: Consul at .* answered 500/);
});
