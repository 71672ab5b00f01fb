/** Patterns of `policies/` at work: time limits, retries, hedging, breakers, outlier detection. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { WireCall } from './caller.ts';
import { pass, virtualClock } from './mesh.ts';
import { startPattern, wait } from './pattern.ts';
import { answerOk, answerTrailers, answerTrailersOnly, closedPort, type Handler, hold, until } from './upstream.ts';

checkLeaks();

const unavailable: Handler = (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE);
/** The first call fails, with its status in trailers; the others succeed. */
const oneFailure: Handler = (call, index) => (index === 0 ? answerTrailers(call, GrpcStatus.UNAVAILABLE) : answerOk(call));

/** Lets time pass until the call has ended, a bounded number of times. */
const ends = async (call: WireCall, clock: VirtualClock): Promise<void> => {
  for (let steps = 0; !call.settled && steps < 2_000; steps++) await pass(clock, 1);
};

test('deadline-budgets: a call ends with its route, and the service knows how much time is left', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'deadline-budgets.yaml', { clock, services: { orders: [hold] } });
  const call = client.start({ path: '/shop.Orders/Place', headers: { 'grpc-timeout': '30S' } });
  const received = await service('orders').call(0);
  assert.match(String(received.headers['grpc-timeout']), /^(2S|2000m|\d{7}u)$/);
  await pass(clock, 2_000);
  assert.deepEqual([(await call.answer).status, (await call.answer).reason], [GrpcStatus.DEADLINE_EXCEEDED, 'route_timeout']);
  await moved();
});

test('streaming: silence ends a stream, and a message keeps it', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'streaming.yaml', { clock, services: { store: [hold] } });
  const call = client.start({ path: '/files.Store/Watch', open: true, body: 'begin' });
  const received = await service('store').call(0);
  await until(() => received.bytes().length > 0, 'the first message');
  await wait(clock, 200);
  call.write('still here');
  await until(() => received.bytes().length > 15, 'the second message');
  await wait(clock, 200);
  assert.equal(call.settled, false);
  await wait(clock, 104);
  assert.equal((await call.answer).reason, 'idle_timeout');
  await moved();
});

test('retry-idempotent-reads: a failure in trailers is tried again at the other instance', async (t) => {
  const { client, moved, service } = await startPattern(t, 'retry-idempotent-reads.yaml', {
    services: { catalog: [(call) => answerTrailers(call, GrpcStatus.UNAVAILABLE)] },
  });
  for (let i = 0; i < 4; i++) assert.equal((await client.call({ path: '/shop.Catalog/GetItem' })).status, GrpcStatus.OK);
  assert.ok(service('catalog', 0).received.length > 0);
  assert.equal(service('catalog', 1).received.length, 4);
  await moved();
});

test('retry-writes: what failed before it was sent goes elsewhere, and what may have been processed is not sent again', async (t) => {
  const nobody = `127.0.0.1:${await closedPort()}`;
  const { client, moved, service } = await startPattern(t, 'retry-writes.yaml', { services: { ledger: [nobody, oneFailure] } });
  const path = '/bank.Ledger/Post';
  assert.equal((await client.call({ path })).status, GrpcStatus.UNAVAILABLE);
  for (let i = 0; i < 3; i++) assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  assert.equal(service('ledger').received.length, 4);
  await moved();
});

test('retry-budget: of twenty calls that fail at once two are tried again', async (t) => {
  let down = false;
  const { client, moved, service } = await startPattern(t, 'retry-budget.yaml', {
    services: { search: [(call) => (down ? unavailable(call, 0) : undefined)] },
  });
  const calls = Array.from({ length: 20 }, () => client.start({ path: '/shop.Search/Find' }));
  const received = await service('search')
    .call(19)
    .then(() => service('search').received.slice(0, 20));
  down = true;
  for (const one of received) unavailable(one, 0);
  for (const call of calls) assert.equal((await call.answer).status, GrpcStatus.UNAVAILABLE);
  await moved();
  assert.ok(service('search').received.length <= 20 + 6, `${service('search').received.length} attempts of 20 calls`);
});

test('hedging: a second attempt answers where the first one does not', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'hedging.yaml', {
    clock,
    services: { prices: [hold, (call) => answerOk(call), (call) => answerOk(call)] },
  });
  for (let i = 0; i < 3; i++) {
    const call = client.start({ path: '/shop.Prices/GetOne' });
    await ends(call, clock);
    assert.equal((await call.answer).status, GrpcStatus.OK);
  }
  const [slow] = service('prices').received;
  assert.equal(await slow?.closed, 8, 'the loser is cancelled');
  await moved();
});

test('breaker-per-endpoint: the instance that fails is left out', async (t) => {
  const { client, moved, service } = await startPattern(t, 'breaker-per-endpoint.yaml', { services: { cart: [unavailable] } });
  const path = '/shop.Cart/Add';
  const seen: number[] = [];
  for (let i = 0; i < 9; i++) seen.push((await client.call({ path })).status);
  assert.equal(seen.filter((status) => status === GrpcStatus.UNAVAILABLE).length, 3);
  for (let i = 0; i < 6; i++) assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  assert.equal(service('cart').received.length, 3);
  await moved();
});

test('breaker-by-failure-rate: half of the answers are failures, and it opens; then a probe closes it', async (t) => {
  const clock = virtualClock();
  const { client, moved, outrider } = await startPattern(t, 'breaker-by-failure-rate.yaml', {
    clock,
    services: {
      payments: [
        (call, index) =>
          index % 2 === 0 && index < 20 ? answerOk(call) : index < 20 ? answerTrailers(call, GrpcStatus.INTERNAL) : answerOk(call),
      ],
    },
  });
  const path = '/bank.Payments/Pay';
  for (let i = 0; i < 20; i++) assert.equal((await client.call({ path })).reason, undefined);
  assert.equal((await client.call({ path })).reason, 'circuit_open');
  await moved();
  await pass(clock, 10_000);
  assert.equal((await client.call({ path })).status, GrpcStatus.OK);
  assert.equal(outrider.stat('cluster.payments.circuit_breaker.state'), 0);
});

test('breaker-per-method: other methods go on', async (t) => {
  const { client, moved } = await startPattern(t, 'breaker-per-method.yaml', {
    services: { reports: [(call) => (call.headers[':path'] === '/acme.Reports/Yearly' ? unavailable(call, 0) : answerOk(call))] },
  });
  for (let i = 0; i < 5; i++) assert.equal((await client.call({ path: '/acme.Reports/Yearly' })).reason, undefined);
  assert.equal((await client.call({ path: '/acme.Reports/Yearly' })).reason, 'circuit_open');
  assert.equal((await client.call({ path: '/acme.Reports/Daily' })).status, GrpcStatus.OK);
  await moved();
});

test('slow-calls: answers that come late open the breaker, although they say OK', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'slow-calls.yaml', { clock, services: { recommendations: [hold] } });
  const path = '/shop.Recommendations/For';
  for (let i = 0; i < 10; i++) {
    const call = client.start({ path });
    const received = await service('recommendations').call(i);
    await received.body;
    await pass(clock, 900);
    answerOk(received);
    assert.equal((await call.answer).status, GrpcStatus.OK);
  }
  assert.equal((await client.call({ path })).reason, 'circuit_open');
  await moved();
});

test('outlier-detection: the instance that fails is ejected, and its calls are tried elsewhere', async (t) => {
  const clock = virtualClock();
  const { client, moved, service } = await startPattern(t, 'outlier-detection.yaml', {
    clock,
    random: () => 0,
    services: { orders: [unavailable] },
  });
  for (let i = 0; i < 30; i++) {
    const call = client.start({ path: '/shop.Orders/Place' });
    await ends(call, clock);
    assert.equal((await call.answer).status, GrpcStatus.OK);
  }
  assert.equal(service('orders').received.length, 5);
  await moved();
});

test('service-config: gRPC’s own file says what is tried again', async (t) => {
  const { client, moved, service } = await startPattern(t, 'service-config.yaml', { services: { ledger: [oneFailure] } });
  assert.equal((await client.call({ path: '/bank.Ledger/Get', authority: 'ledger' })).status, GrpcStatus.OK);
  assert.equal(service('ledger').received.length, 2);
  await moved();
});

test('mesh: reads are tried again, events are not', async (t) => {
  const { client, moved, service } = await startPattern(t, 'mesh.yaml', {
    services: { 'learner-svc': [oneFailure], 'event-collector-svc': [oneFailure] },
  });
  assert.equal((await client.call({ path: '/learner.LearnerService/GetProfile' })).status, GrpcStatus.OK);
  assert.equal((await client.call({ path: '/events.EventCollectorService/Collect' })).status, GrpcStatus.UNAVAILABLE);
  assert.equal(service('event-collector-svc').received.length, 1);
  await moved();
});

test('envoy-snippets: a retry policy of Envoy’s sees the status in trailers, too', async (t) => {
  const { client, moved, service } = await startPattern(t, 'envoy-snippets.yaml', { services: { auth_service: [oneFailure] } });
  assert.equal((await client.call({ path: '/auth/authenticate' })).status, GrpcStatus.OK);
  assert.equal(service('auth_service').received.length, 2);
  await moved();
});
