import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Caller } from './caller.ts';
import { echoPolicies, pass, startMesh, startSidecar, throughOne, virtualClock } from './mesh.ts';
import { answerOk, answerTrailersOnly, beginAnswer, endAnswer, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

/** Traffic until it is told to stop; what failed, and how many calls there were. */
const load = (client: Caller, width = 8) => {
  const failures: string[] = [];
  let calls = 0;
  let stopped = false;
  const run = async (): Promise<void> => {
    while (!stopped) {
      const { message, reason, resetCode, status } = await client.call();
      calls++;
      if (status !== GrpcStatus.OK) failures.push(`${status} ${reason ?? ''} ${message} ${resetCode}`);
    }
  };
  const running = Promise.all(Array.from({ length: width }, run));
  return {
    failures,
    more: async (count: number): Promise<void> => {
      const enough = calls + count;
      await until(() => calls >= enough, `${count} more calls`);
    },
    stop: async (): Promise<void> => {
      stopped = true;
      await running;
    },
  };
};

interface Reload {
  readonly ok: boolean;
  readonly problems?: readonly unknown[];
}

test('a policy file that is edited wrongly and then rightly under load costs no call, and /policies tells the story', async (t) => {
  const service = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const good = echoPolicies({ endpoints: [service.address], route: 'timeout: 5s' });
  const outrider = await startSidecar(t, { policies: good });
  const traffic = load(outrider.caller());
  await traffic.more(100);
  const policies = async () => JSON.parse((await outrider.admin('GET', '/policies')).text) as Record<string, unknown>;

  outrider.writePolicies(good.replace('timeout: 5s', 'timeuot: 5s'));
  await until(() => outrider.log.some(({ msg }) => /not reloaded/.test(String(msg))), 'the refusal');
  await traffic.more(100);
  const wrong = JSON.stringify(await policies());
  assert.match(wrong, /timeuot/);
  assert.match(wrong, /did you mean|timeout/);

  outrider.writePolicies(good.replace('timeout: 5s', 'timeout: 7s'));
  await until(() => outrider.log.some(({ msg }) => msg === 'policies reloaded'), 'the reload');
  await traffic.more(100);
  await traffic.stop();
  assert.deepEqual(traffic.failures, []);
  assert.equal(outrider.sidecar.proxy.clusters.size, 1);
  const history = Object.values(await policies()).find(
    (value): value is Reload[] => Array.isArray(value) && value.some((entry) => 'ok' in Object(entry)),
  );
  assert.deepEqual(
    history?.map(({ ok }) => ok),
    [true, false, true],
  );
  const stats = (await outrider.admin('GET', '/stats?filter=policy')).text;
  assert.match(stats, /policy\.reload_ok: 1/);
  assert.match(stats, /policy\.reload_failed: 1/);
});

test('a call keeps the route that it began with', async (t) => {
  const clock = virtualClock();
  const { client, outrider, service } = await throughOne(t, hold, { clock, route: 'timeout: 2s' });
  const call = client.start();
  await service.call(0);
  outrider.writePolicies(echoPolicies({ endpoints: [service.address], route: 'timeout: 60s' }));
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  await pass(clock, 2_004);
  const answer = await call.answer;
  assert.equal(answer.reason, 'route_timeout');
  assert.match(answer.message, /2000 ms/);
});

test('a cluster that leaves the policies finishes its calls', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => beginAnswer(call, 'first'));
  const call = client.start();
  await until(() => call.receivedBytes > 0, 'the first message');
  outrider.writePolicies('routes: []\n');
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  assert.equal((await client.call()).reason, 'no_route');
  const [received] = service.received;
  if (received !== undefined) endAnswer(received, 0);
  assert.equal((await call.answer).status, GrpcStatus.OK);
});

test('a call whose cluster goes away between two attempts ends with a reason', async (t) => {
  const clock = virtualClock();
  const { client, outrider } = await throughOne(t, (call) => answerTrailersOnly(call, 14, { 'grpc-retry-pushback-ms': '1000' }), {
    clock,
    route: 'retry_policy: { retry_on: unavailable, num_retries: 3 }',
  });
  const call = client.start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_retry') === 1, 'the back-off');
  outrider.writePolicies('routes: []\n');
  await outrider.admin('POST', '/reload');
  await pass(clock, 1_004);
  const answer = await call.answer;
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.reason, 'no_endpoint');
});

test('endpoints that change under load cost no call', async (t) => {
  const one = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const two = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [one.address] }) });
  const traffic = load(outrider.caller());
  for (const endpoints of [[one.address, two.address], [two.address], [one.address], [two.address, one.address]]) {
    outrider.writePolicies(echoPolicies({ endpoints }));
    assert.equal((await outrider.admin('POST', '/reload')).status, 200);
    await traffic.more(50);
  }
  await traffic.stop();
  assert.deepEqual(traffic.failures, []);
  assert.ok(two.received.length > 0);
});

test('policies for the inbound direction are reloaded as well', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, hold);
  const inbound = (timeout: string) => `inbound: { routes: [{ name: all, match: { prefix: / }, route: { timeout: ${timeout} } }] }\n`;
  const outrider = await startSidecar(t, { clock, localService: service.port, policies: inbound('60s') });
  outrider.writePolicies(inbound('1s'));
  await outrider.admin('POST', '/reload');
  const call = outrider.inboundCaller().start();
  await service.call(0);
  await pass(clock, 1_004);
  assert.equal((await call.answer).reason, 'route_timeout');
});

test('certificates that are rotated on both sides under load cost no call', async (t) => {
  const service = await startUpstream(t, (call) => setImmediate(() => answerOk(call)));
  const mesh = await startMesh(t, { services: { echo: service.port } });
  const { certificates, entrance } = mesh;
  const echo = mesh.sidecars['echo'];
  assert.ok(echo !== undefined);
  const traffic = load(entrance.caller());
  await traffic.more(50);
  const reload = async (): Promise<void> => {
    for (const sidecar of [entrance, echo]) assert.equal((await sidecar.admin('POST', '/reload')).status, 200);
  };
  for (let round = 0; round < 3; round++) {
    await certificates.issue('caller');
    await certificates.issue('echo');
    await reload();
    await traffic.more(50);
    // New connections are made with the new certificates.
    for (const cluster of entrance.sidecar.proxy.clusters) for (const endpoint of cluster.endpoints) endpoint.replaceConnections('test');
    await traffic.more(50);
  }
  await traffic.stop();
  assert.deepEqual(traffic.failures, []);
  const stats = (await entrance.admin('GET', '/stats?filter=certificates')).text;
  assert.ok(Number(/certificates\.reload_ok: (\d+)/.exec(stats)?.[1]) >= 3, stats);
});

test('a key that does not fit the new certificate is refused, and the old pair serves on', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const mesh = await startMesh(t, { services: { echo: service.port } });
  const { certificates, entrance } = mesh;
  const { keyPem } = await certificates.pair('echo');
  const keyPath = `${certificates.folder}/echo/tls.key`;
  const former = readFileSync(keyPath);
  writeFileSync(keyPath, keyPem);
  const reply = await mesh.sidecars['echo']?.admin('POST', '/reload');
  assert.match(String(reply?.text), /certificates/);
  assert.notEqual(reply?.status, 200);
  assert.equal((await entrance.caller().call()).status, GrpcStatus.OK);
  writeFileSync(keyPath, former);
});

test('many reloads leave no more than one', async (t) => {
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call));
  for (let i = 1; i <= 50; i++) {
    outrider.writePolicies(echoPolicies({ endpoints: [service.address], route: `timeout: ${i}s` }));
    outrider.sidecar.reload();
    assert.equal((await client.call()).status, GrpcStatus.OK);
  }
  assert.equal(service.accepted, 1, 'the connection was kept');
});
