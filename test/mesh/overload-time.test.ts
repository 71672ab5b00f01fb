import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshError, silentLogger, TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { Engine, HeaderBlock } from '../../src/http2/index.ts';
import { Overload } from '../../src/proxy/overload/overload.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, startSidecar, virtualClock } from './mesh.ts';
import { burst, callUntilShed } from './overloaded.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const memory = { rssBytes: 1, heapShare: 0.1 };

const fresh = () => {
  const clock = new VirtualClock();
  const overload = new Overload(new Engine(clock, new TimerWheel(clock)), silentLogger, { memoryLimitBytes: 100 });
  return { overload, sample: () => overload.sample(memory) };
};

test('shedding is in force from the first sample in which a call was refused until two have passed in which none was', () => {
  const { overload, sample } = fresh();
  sample();
  assert.deepEqual(overload.activeActions, []);
  overload.onShed();
  sample();
  assert.deepEqual(overload.activeActions, ['shed_newest_requests']);
  // Nothing to be done about readiness: the instance serves as much as it can.
  assert.equal(overload.unready, undefined);
  sample();
  overload.onShed();
  sample();
  sample();
  assert.equal(overload.isActive('shed_newest_requests'), true);
  sample();
  assert.deepEqual(overload.activeActions, []);
});

test('of calls that would be refused those of high priority are spared, but not where memory is short', () => {
  const { overload } = fresh();
  const block = new HeaderBlock();
  assert.equal(overload.spares({ isHigh: () => true }, block), true);
  assert.equal(overload.spares({ isHigh: () => false }, block), false);
  assert.equal(overload.refuseForMemory(), undefined);
  overload.sample({ rssBytes: 99, heapShare: 0.1 });
  assert.equal(overload.refuseForMemory()?.reason, 'overloaded');
  const counters = new Map<string, number>();
  overload.collectStats({ counter: (name, value) => void counters.set(name, value), gauge: () => {} });
  assert.equal(counters.get('overload.shed_newest_requests.spared_count'), 1);
  assert.equal(counters.get('overload.stop_accepting_requests.shed_load_count'), 1);
});

test('turns of a real sidecar are measured, and sampled once', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [service.address] }), clock });
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  const requests = () => outrider.stat('listener.outbound.downstream_rq_total');
  /** One call whose turn takes 300 ms, since time moves between its being read and the end of that turn. */
  const slowTurn = async (): Promise<void> => {
    const before = requests();
    const call = client.start();
    await until(() => requests() > before, 'the call');
    clock.advance(300);
    assert.equal((await call.answer).status, GrpcStatus.OK);
    clock.advance(201);
  };
  await slowTurn();
  await slowTurn();
  assert.equal(outrider.stat('overload.event_loop.longest_turn_ms'), 300);
  assert.equal((await outrider.admin('GET', '/server_info')).status, 200);
  clock.advance(500);
  clock.advance(500);
  assert.equal(outrider.stat('overload.event_loop.longest_turn_ms'), 0);
});

test('calls that wait too long before they are read are refused, each with its fate and reason, and those of high priority are not', async (t) => {
  const clock = virtualClock();
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    clock,
    policies: `routes:
  - match: { path: /acme.Echo/Important }
    route: { cluster: echo, priority: HIGH }
  - match: { prefix: / }
    route: { cluster: echo }
clusters: { echo: { endpoints: ["${service.address}"], tls: { mode: disable } } }
`,
  });
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  const answers = await callUntilShed(outrider, clock, client, '/acme.Echo/Call');
  const refused = outrider.stat('overload.shed_newest_requests.shed_load_count');
  const { ok = 0, overloaded } = outrider.fates();
  assert.equal(overloaded, refused);
  assert.equal(ok + refused, answers.length + 1);
  assert.equal(outrider.stat('listener.outbound.downstream_rq_total'), answers.length + 1);
  const shed = answers.filter(({ status }) => status === GrpcStatus.RESOURCE_EXHAUSTED);
  assert.equal(shed.length, refused);
  for (const { reason, message } of shed) {
    assert.equal(reason, 'overloaded');
    assert.match(message ?? '', /short of CPU/);
  }
  for (const { status } of await burst(clock, client, '/acme.Echo/Important', 150)) assert.equal(status, GrpcStatus.OK);
});

test('an error that ends a call has no stack, which costs more than the call; others keep theirs', () => {
  const error = new MeshError('circuit_open', 'why', { source: 'local' });
  assert.equal(error.stack, 'MeshError: why');
  assert.match(new Error('another').stack ?? '', /overload-time/);
});
