import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { atEnd } from './at-end.ts';
import { echoPolicies, pass, startSidecar, virtualClock } from './mesh.ts';
import { answerOk, hold, startUpstream, until } from './upstream.ts';

checkLeaks();

const mebibyte = 2 ** 20;

/** A sidecar with 100 MiB whose use the test sets, in percent. */
const withMemory = async (t: TestContext) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call, index) => (index === 1 ? hold(call, index) : answerOk(call)));
  const used = { percent: 50, heapShare: 0.1 };
  const outrider = await startSidecar(t, {
    policies: echoPolicies({ endpoints: [service.address] }),
    environment: { MAX_MEMORY: '100Mi' },
    clock,
    readMemory: () => ({ rssBytes: used.percent * mebibyte, heapShare: used.heapShare }),
  });
  const use = async (percent: number): Promise<void> => {
    used.percent = percent;
    await pass(clock, 501);
  };
  return { outrider, service, used, use, clock };
};

const active = async (outrider: Awaited<ReturnType<typeof startSidecar>>): Promise<readonly string[]> =>
  JSON.parse((await outrider.admin('GET', '/server_info')).text).overload_actions;

test('at 92 % of the memory idle connections are told to go, and calls are served', async (t) => {
  const { outrider, use } = await withMemory(t);
  const idle = outrider.caller();
  assert.equal((await idle.call()).status, GrpcStatus.OK);
  const busy = outrider.caller();
  const underWay = busy.start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_active') === 1, 'the call');
  await use(92);
  assert.deepEqual(await active(outrider), ['disable_http_keepalive']);
  await until(() => idle.goAways.length > 0, 'GOAWAY for the idle one');
  assert.equal(idle.goAways[0]?.debug, 'overloaded');
  assert.equal(busy.goAways.length, 0);
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  assert.equal((await outrider.admin('GET', '/ready')).status, 200);
  underWay.cancel();
  await use(91);
  assert.deepEqual(await active(outrider), ['disable_http_keepalive']);
  await use(89);
  assert.deepEqual(await active(outrider), []);
});

test('at 95 % of the memory new connections and calls are refused, what is under way goes on, and admin answers', async (t) => {
  const { outrider, service, use } = await withMemory(t);
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  const underWay = client.start();
  const held = await service.call(1);
  await use(96);

  const refused = await client.call();
  assert.equal(refused.status, GrpcStatus.RESOURCE_EXHAUSTED);
  assert.equal(refused.reason, 'overloaded');
  assert.match(refused.message, /96 % of its memory limit of 100 MiB; raise MAX_MEMORY/);
  assert.equal(refused.trailersOnly, true);
  // With a body that is larger than the first window: it goes nowhere, and the connection keeps its credit.
  for (let i = 0; i < 3; i++) assert.equal((await client.call({ body: Buffer.alloc(50_000) })).reason, 'overloaded');
  const newcomer = net.connect(outrider.outboundPort, '127.0.0.1');
  atEnd(t, () => newcomer.destroy());
  newcomer.on('error', () => {});
  newcomer.resume();
  await new Promise((resolve) => newcomer.once('close', resolve));
  assert.equal(outrider.stat('listener.outbound.downstream_cx_overload_reject'), 1);
  assert.equal(outrider.stat('overload.stop_accepting_connections.active'), 1);
  assert.equal(outrider.stat('overload.stop_accepting_requests.active'), 1);
  assert.equal(outrider.stat('overload.stop_accepting_requests.shed_load_count'), 4);
  assert.equal(outrider.stat('overload.memory.pressure'), 96);
  assert.equal(outrider.fates().overloaded, 4);
  const { status, text } = await outrider.admin('GET', '/ready');
  assert.equal(status, 503);
  assert.match(text, /^LIVE: the sidecar uses 96 %/);
  answerOk(held);
  assert.equal((await underWay.answer).status, GrpcStatus.OK);

  await use(94);
  assert.equal(outrider.stat('overload.stop_accepting_requests.active'), 1);
  await use(90);
  assert.equal((await outrider.admin('GET', '/ready')).status, 200);
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
  const said = outrider.log.filter(({ msg }) => msg === 'overloaded' || msg === 'no longer overloaded');
  assert.deepEqual(
    said.map(({ msg, action }) => `${msg}: ${action}`),
    ['overloaded: stop_accepting_connections', 'overloaded: disable_http_keepalive', 'no longer overloaded: stop_accepting_connections'],
  );
});

test('a JavaScript heap that is nearly full is memory too, whatever the process may use', async (t) => {
  const { outrider, used, use } = await withMemory(t);
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  // An idle connection would be told to go.
  const underWay = client.start();
  await until(() => outrider.stat('cluster.echo.upstream_rq_active') === 1, 'the call');
  used.heapShare = 0.97;
  await use(20);
  const refused = await client.call();
  assert.equal(refused.reason, 'overloaded');
  assert.match(refused.message, /97 % of its JavaScript heap; raise --max-old-space-size/);
  underWay.cancel();
  used.heapShare = 0.1;
  await use(20);
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
});
