import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshError, silentLogger, TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { Engine, HeaderBlock } from '../../src/http2/index.ts';
import { Overload } from '../../src/proxy/overload/overload.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, startSidecar, virtualClock } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const memory = { rssBytes: 1, heapShare: 0.1 };

const fresh = () => {
  const clock = new VirtualClock();
  const engine = new Engine(clock, new TimerWheel(clock));
  const overload = new Overload(engine, silentLogger, { memoryLimitBytes: 100 });
  /** What a call hears that is read in a turn of this age. */
  const refusalAt = (turnAgeMs: number, priority: 'high' | 'default' = 'default') => {
    engine.turnStartedMs = 1_000;
    engine.nowMs = 1_000 + turnAgeMs;
    return overload.refusal({ isHigh: () => priority === 'high' }, new HeaderBlock());
  };
  const sample = (longestTurnMs: number): void => {
    engine.longestTurnMs = longestTurnMs;
    overload.sample(memory);
  };
  return { overload, refusalAt, sample };
};

test('one long turn of the event loop sheds nothing, two samples of them do', () => {
  const { overload, refusalAt, sample } = fresh();
  for (const turnMs of [900, 10, 300, 249, 251]) {
    sample(turnMs);
    assert.equal(refusalAt(499), undefined);
    assert.deepEqual(overload.activeActions, []);
  }
  sample(260);
  assert.deepEqual(overload.activeActions, ['shed_newest_requests']);
});

test('no turn reads calls for longer than half a second, whatever the samples say', () => {
  const { overload, refusalAt, sample } = fresh();
  assert.equal(refusalAt(499), undefined);
  assert.equal(refusalAt(500)?.reason, 'overloaded');
  sample(10);
  assert.deepEqual(overload.activeActions, []);
});

test('a turn that has written nothing yet has no age', () => {
  const clock = new VirtualClock();
  const engine = new Engine(clock, new TimerWheel(clock));
  const overload = new Overload(engine, silentLogger, { memoryLimitBytes: 100 });
  clock.advance(60_000);
  engine.tick();
  assert.equal(overload.refusal({ isHigh: () => assert.fail() }, new HeaderBlock()), undefined);
});

test('while calls are shed, those that a turn reads first are served, and the newest refused', () => {
  const { overload, refusalAt, sample } = fresh();
  sample(400);
  sample(400);
  assert.equal(refusalAt(0), undefined);
  assert.equal(refusalAt(59), undefined);
  const refusal = refusalAt(60);
  assert.equal(refusal?.status, GrpcStatus.RESOURCE_EXHAUSTED);
  assert.equal(refusal?.reason, 'overloaded');
  // Nothing to be done about readiness: the instance serves as much as it can.
  assert.equal(overload.unready, undefined);
});

test('shedding ends when two samples have passed in which nothing was refused and no turn was long', () => {
  const { overload, refusalAt, sample } = fresh();
  sample(400);
  sample(400);
  for (let i = 0; i < 5; i++) {
    assert.notEqual(refusalAt(100), undefined);
    sample(100);
  }
  sample(100);
  assert.equal(overload.isActive('shed_newest_requests'), true);
  sample(300);
  sample(100);
  assert.equal(overload.isActive('shed_newest_requests'), true);
  sample(100);
  assert.equal(overload.isActive('shed_newest_requests'), false);
  assert.equal(refusalAt(499), undefined);
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

test('what is of high priority is shed last: only where it could not be answered in time either, or memory is short', () => {
  const { overload, refusalAt, sample } = fresh();
  sample(400);
  sample(400);
  assert.notEqual(refusalAt(60), undefined);
  assert.equal(refusalAt(60, 'high'), undefined);
  assert.equal(refusalAt(499, 'high'), undefined);
  assert.equal(refusalAt(500, 'high')?.reason, 'overloaded');
  overload.sample({ rssBytes: 99, heapShare: 0.1 });
  assert.equal(refusalAt(0, 'high')?.reason, 'overloaded');
  const counters = new Map<string, number>();
  overload.collectStats({ counter: (name, value) => void counters.set(name, value), gauge: () => {} });
  assert.equal(counters.get('overload.shed_newest_requests.spared_count'), 2);
});

test('a route says which calls are of high priority', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    policies: `routes:
  - match: { path: /acme.Echo/Important }
    route: { cluster: echo, timeout: 5s, priority: HIGH }
  - match: { prefix: / }
    route: { cluster: echo, timeout: 5s }
clusters: { echo: { endpoints: ["${service.address}"], tls: { mode: disable } } }
`,
  });
  const client = outrider.caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  // A sidecar whose every turn is as old as one that sheds: the clock of the turn is set back.
  const { engine, overload } = outrider.sidecar.proxy;
  Object.defineProperty(engine, 'turnStartedMs', { get: () => engine.nowMs - 200, set: () => {} });
  for (let i = 0; i < 2; i++) {
    engine.longestTurnMs = 400;
    overload.sample(memory);
  }
  assert.equal((await client.call({ path: '/acme.Echo/Important' })).status, GrpcStatus.OK);
  assert.equal((await client.call()).reason, 'overloaded');
  assert.equal(outrider.stat('overload.shed_newest_requests.spared_count'), 1);
});

test('an error that ends a call has no stack, which costs more than the call; others keep theirs', () => {
  const error = new MeshError('circuit_open', 'why', { source: 'local' });
  assert.equal(error.stack, 'MeshError: why');
  assert.match(new Error('another').stack ?? '', /overload-time/);
});
