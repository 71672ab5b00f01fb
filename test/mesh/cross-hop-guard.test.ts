import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Caller } from './caller.ts';
import { startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, answerTrailersOnly, type Handler, startUpstream, type Upstream } from './upstream.ts';

checkLeaks();

const traceparent = (i: number): string => `00-${(i + 1).toString(16).padStart(32, '0')}-00f067aa0ba902b7-01`;

/** Breakers that stay shut, so that it is retries that are seen. */
const policiesFor = (endpoint: string, retries = 3): string => `routes:
  - name: next
    match: { prefix: / }
    route:
      cluster: next
      timeout: 20s
      idempotent: true
      retry_policy: { retry_on: unavailable, num_retries: ${retries}, retry_back_off: { base_interval: 5ms } }
clusters:
  next:
    endpoints: ["${endpoint}"]
    tls: { mode: disable }
    circuit_breakers: { consecutive_failures: 1000000 }
`;

interface Tiers {
  readonly top: TestSidecar;
  readonly middle: TestSidecar;
  readonly client: Caller;
  readonly bottom: Upstream;
  /** Calls that reach the services of the two tiers between. */
  readonly between: readonly Upstream[];
}

/** A service that calls the next one, passes the trace on and says what it heard: all that a service does of itself. */
const passingOn =
  (next: () => Caller, names: readonly string[]): Handler =>
  (call) => {
    const headers = Object.fromEntries(names.map((name) => [name, call.headers[name] as string | undefined]));
    void next()
      .call({ headers })
      .then(({ status }) => (status === GrpcStatus.OK ? answerOk(call) : answerTrailersOnly(call, status)));
  };

const startTiers = async (t: TestContext, answer: Handler, names: readonly string[] = ['traceparent']): Promise<Tiers> => {
  const bottom = await startUpstream(t, answer);
  const callers: Caller[] = [];
  const tier = async (index: number, below: string): Promise<{ sidecar: TestSidecar; service: Upstream }> => {
    const service = await startUpstream(
      t,
      passingOn(() => callers[index] as Caller, names),
    );
    const sidecar = await startSidecar(t, { name: `tier-${index}`, localService: service.port, policies: policiesFor(below) });
    callers[index] = sidecar.caller();
    return { sidecar, service };
  };
  const lower = await tier(1, bottom.address);
  const upper = await tier(0, `127.0.0.1:${lower.sidecar.inboundPort}`);
  const top = await startSidecar(t, { name: 'top', policies: policiesFor(`127.0.0.1:${upper.sidecar.inboundPort}`) });
  return { top, middle: upper.sidecar, client: top.caller(), bottom, between: [upper.service, lower.service] };
};

const dead: Handler = (call) => answerTrailersOnly(call, 14);

test('a call to a dead bottom is tried again on the last hop alone, and the caller hears that it is not to be tried again', async (t) => {
  const { between, bottom, client } = await startTiers(t, dead);
  const answer = await client.call({ headers: { traceparent: traceparent(0) } });
  assert.equal(answer.status, GrpcStatus.UNAVAILABLE);
  assert.equal(answer.headers['grpc-retry-pushback-ms'], '-1');
  assert.equal(bottom.received.length, 4, 'not 64');
  assert.deepEqual(
    between.map(({ received }) => received.length),
    [1, 1],
  );
});

for (const headers of [
  { b3: '00000000000000000000000000000abc-00f067aa0ba902b7-1' },
  { 'x-b3-traceid': '0000000000000abc', 'x-b3-spanid': '00f067aa0ba902b7' },
]) {
  test(`the trace is also known by ${Object.keys(headers)[0]}`, async (t) => {
    const { bottom, client } = await startTiers(t, dead, Object.keys(headers));
    assert.equal((await client.call({ headers })).status, GrpcStatus.UNAVAILABLE);
    assert.equal(bottom.received.length, 4);
  });
}

test('over three hops a dead bottom hears at most 1.5 times the calls that were made, and each hop at most 1.25 times', async (t) => {
  const { between, bottom, client, middle } = await startTiers(t, dead);
  const calls = 256;
  const answers = await Promise.all(Array.from({ length: calls }, (_, i) => client.call({ headers: { traceparent: traceparent(i) } })));
  for (const { status } of answers) assert.equal(status, GrpcStatus.UNAVAILABLE);
  const amplification = bottom.received.length / calls;
  t.diagnostic(`${bottom.received.length} calls reached the bottom: ${amplification.toFixed(2)} for each`);
  assert.ok(bottom.received.length >= calls, 'every call was tried');
  assert.ok(amplification <= 1.5, `${amplification}`);
  const reached = [calls, ...between.map(({ received }) => received.length), bottom.received.length];
  const perHop = reached.slice(1).map((count, hop) => count / (reached[hop] as number));
  assert.ok(Math.max(...perHop) <= 1.25, perHop.join(' '));
  assert.equal(middle.stat('cluster.next.circuit_breaker.state'), 0);
});

test('a retry further down that works out changes nothing further up', async (t) => {
  let failures = 0;
  const { between, bottom, client } = await startTiers(t, (call) => {
    if (failures++ % 2 === 0) dead(call, 0);
    else answerOk(call);
  });
  for (let i = 0; i < 5; i++) {
    const answer = await client.call({ headers: { traceparent: traceparent(i) } });
    assert.equal(answer.status, GrpcStatus.OK);
    assert.equal(answer.headers['grpc-retry-pushback-ms'], undefined);
  }
  assert.equal(bottom.received.length, 10);
  assert.deepEqual(
    between.map(({ received }) => received.length),
    [5, 5],
  );
});

test('a failure of a tier’s own is tried again, also within a trace whose other call was', async (t) => {
  const bottom = await startUpstream(t, (call, index) => (index === 0 ? dead(call, index) : answerOk(call)));
  let calls = 0;
  let caller: Caller | undefined;
  const service = await startUpstream(t, (call) => {
    calls++;
    const headers = { traceparent: String(call.headers['traceparent']) };
    void (caller as Caller).call({ headers }).then(() => (calls === 1 ? answerTrailersOnly(call, 14) : answerOk(call)));
  });
  const sidecar = await startSidecar(t, { localService: service.port, policies: policiesFor(bottom.address) });
  caller = sidecar.caller();
  const top = await startSidecar(t, { name: 'top', policies: policiesFor(`127.0.0.1:${sidecar.inboundPort}`) });
  assert.equal((await top.caller().call({ headers: { traceparent: traceparent(7) } })).status, GrpcStatus.OK);
  assert.equal(calls, 2);
  assert.equal(bottom.received.length, 3, 'the retry that worked out is no reason against one further up');
});

test('without a trace nobody knows what belongs together, and each hop tries for itself', async (t) => {
  const { bottom, client } = await startTiers(t, dead, []);
  assert.equal((await client.call()).status, GrpcStatus.UNAVAILABLE);
  assert.equal(bottom.received.length, 64);
});

test('an answer that only passes a failure on opens no breaker of the hops above', async (t) => {
  const bottom = await startUpstream(t, dead);
  let caller: Caller | undefined;
  const service = await startUpstream(
    t,
    passingOn(() => caller as Caller, ['traceparent']),
  );
  const sidecar = await startSidecar(t, { localService: service.port, policies: policiesFor(bottom.address) });
  caller = sidecar.caller();
  const above = policiesFor(`127.0.0.1:${sidecar.inboundPort}`).replace('1000000', '5');
  const top = await startSidecar(t, { name: 'top', policies: above });
  const client = top.caller();
  for (let i = 0; i < 12; i++) {
    assert.equal((await client.call({ headers: { traceparent: traceparent(i) } })).reason, undefined);
  }
  assert.equal(top.stat('cluster.next.circuit_breaker.state'), 0);
  assert.equal(service.received.length, 12);
});
