/** Outlier detection through a real sidecar: fed by what a call came to, in headers or in trailers. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { clusterRows } from '../../src/cli/admin-tables.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { echoPolicies, pass, startSidecar, virtualClock } from './mesh.ts';
import {
  answerOk,
  answerTrailers,
  answerTrailersOnly,
  beginAnswer,
  closedPort,
  endAnswer,
  type Handler,
  hold,
  resetWith,
  startUpstream,
} from './upstream.ts';

checkLeaks();

const outliers = (more = ''): string =>
  `outlier_detection: { consecutive_5xx: 3, interval: 2s, base_ejection_time: 4s, max_ejection_percent: 50${more} }`;

/** Three instances, one of which answers as the test says, and a sidecar that watches them. */
const oneOfThree = async (t: TestContext, sick: Handler, { cluster = outliers(), route = 'timeout: 1s', realTime = false } = {}) => {
  const clock = virtualClock();
  const answer = { handler: sick };
  const bad = await startUpstream(t, (call, i) => answer.handler(call, i));
  const good = [await startUpstream(t, (call) => answerOk(call)), await startUpstream(t, (call) => answerOk(call))];
  const text = (now: string): string => echoPolicies({ endpoints: [bad, ...good].map(({ address }) => address), route, cluster: now });
  // Its own breaker must not speak for the endpoint.
  const outrider = await startSidecar(t, {
    ...(realTime ? {} : { clock }),
    policies: text(`${cluster}\ncircuit_breakers: { consecutive_failures: 1000 }`),
  });
  const client = outrider.caller();
  /** Calls until the sick one has had `calls`. */
  const provoke = async (calls = 3): Promise<void> => {
    const before = bad.received.length;
    for (let i = 0; bad.received.length < before + calls && i < 30; i++) await client.call();
  };
  const flags = async (): Promise<readonly string[]> => {
    const { text: page } = await outrider.admin('GET', '/clusters?format=json');
    const [cluster] = JSON.parse(page).cluster_statuses;
    return cluster.host_statuses
      .filter(({ health_status }: { health_status: { failed_outlier_check?: boolean } }) => health_status.failed_outlier_check === true)
      .map(({ address }: { address: { socket_address: { port_value: number } } }) => `127.0.0.1:${address.socket_address.port_value}`);
  };
  /** Calls that reach the sick one out of nine. */
  const reached = async (): Promise<number> => {
    const before = bad.received.length;
    for (let i = 0; i < 9; i++) await client.call();
    return bad.received.length - before;
  };
  return { answer, bad, client, clock, flags, good, outrider, provoke, reached, text };
};

const ways: readonly (readonly [name: string, handler: Handler])[] = [
  ['UNAVAILABLE in one block with the headers', (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE)],
  ['UNAVAILABLE in trailers', (call) => answerTrailers(call, GrpcStatus.UNAVAILABLE)],
  [
    'INTERNAL in trailers after a message',
    (call) => {
      beginAnswer(call, 'half');
      endAnswer(call, GrpcStatus.INTERNAL);
    },
  ],
  ['a reset', (call) => resetWith(call, 2)],
  ['HTTP 503', ({ stream }) => stream.respond({ ':status': 503 }, { endStream: true })],
];

for (const [name, handler] of ways) {
  test(`an instance that gives ${name} is ejected, and the others go on`, async (t) => {
    const { bad, flags, outrider, provoke, reached } = await oneOfThree(t, handler);
    await provoke();
    assert.deepEqual(await flags(), [bad.address]);
    assert.equal(await reached(), 0);
    assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_active'), 1);
    assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_enforced_consecutive_5xx'), 1);
    assert.equal(outrider.stat('cluster.echo.membership_healthy'), 2);
    const event = outrider.log.find(({ msg }) => msg === 'endpoint ejected');
    assert.deepEqual(
      [event?.['cluster'], event?.['endpoint'], event?.['type'], event?.['num_ejections'], event?.['enforced'], event?.['for_ms']],
      ['echo', bad.address, 'consecutive_5xx', 1, true, 4_000],
    );
  });
}

test('an instance that cannot be reached is ejected', async (t) => {
  const dead = `127.0.0.1:${await closedPort()}`;
  const good = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { policies: echoPolicies({ endpoints: [dead, good.address], cluster: outliers() }) });
  const client = outrider.caller();
  for (let i = 0; i < 12; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_enforced_total'), 1);
  assert.equal(outrider.stat('cluster.echo.upstream_cx_connect_fail'), 3);
});

test('time limits of the route count, those of the caller do not', async (t) => {
  const { client, clock, flags, bad, good } = await oneOfThree(t, hold as Handler);
  const outcome = async (headers: Record<string, string>, ms: number): Promise<void> => {
    const before = bad.received.length;
    let call = client.start({ headers });
    for (let i = 0; i < 6 && bad.received.length === before; i++) {
      while (!call.settled && bad.received.length === before) await new Promise((resolve) => setImmediate(resolve));
      if (bad.received.length === before) call = client.start({ headers });
    }
    await pass(clock, ms);
    await call.answer;
  };
  for (let i = 0; i < 4; i++) await outcome({ 'grpc-timeout': '100m' }, 104);
  assert.deepEqual(await flags(), []);
  for (let i = 0; i < 3; i++) await outcome({}, 1_004);
  assert.deepEqual(await flags(), [bad.address]);
  assert.ok(good.length === 2);
});

test('what the application chose to answer ejects nobody', async (t) => {
  const statuses = [1, 3, 5, 6, 7, 8, 9, 10, 11, 16];
  const { flags, provoke } = await oneOfThree(t, (call, i) => answerTrailers(call, statuses[i % statuses.length] as number));
  await provoke(20);
  assert.deepEqual(await flags(), []);
});

test('it returns after base_ejection_time, at the end of an interval, and the next ejection is longer', async (t) => {
  const { clock, flags, bad, outrider, provoke, reached } = await oneOfThree(t, (call) => answerTrailersOnly(call, 14));
  await provoke();
  await pass(clock, 2_004);
  assert.deepEqual(await flags(), [bad.address]);
  await pass(clock, 2_004);
  assert.deepEqual(await flags(), []);
  const back = outrider.log.filter(({ msg }) => msg === 'endpoint returned');
  assert.deepEqual(
    back.map(({ endpoint, why }) => [endpoint, why]),
    [[bad.address, 'time']],
  );
  assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_active'), 0);
  assert.ok((await reached()) > 0);
  await provoke();
  for (let i = 0; i < 4; i++) await pass(clock, 2_004);
  assert.deepEqual(await flags(), [bad.address], 'eight seconds this time');
  await pass(clock, 2_004);
  assert.deepEqual(await flags(), []);
});

test('an admin’s POST takes it back at once', async (t) => {
  const { answer, bad, flags, good, outrider, provoke, reached } = await oneOfThree(t, (call) => answerTrailersOnly(call, 14));
  await provoke();
  assert.deepEqual(await flags(), [bad.address]);
  answer.handler = (call) => answerOk(call);
  const taken = await outrider.admin('POST', `/clusters/echo/endpoints/${bad.address}/uneject`);
  assert.deepEqual([taken.status, JSON.parse(taken.text).unejected], [200, true]);
  assert.deepEqual(await flags(), []);
  assert.equal(await reached(), 3);
  const again = await outrider.admin('POST', `/clusters/echo/endpoints/${(good[0] as { address: string }).address}/uneject`);
  assert.equal(JSON.parse(again.text).unejected, false);
  assert.equal((await outrider.admin('POST', '/clusters/echo/endpoints/127.0.0.1:1/uneject')).status, 404);
});

test('its state survives a reload that changes the numbers; without outlier_detection it returns', async (t) => {
  const { bad, flags, outrider, provoke, text } = await oneOfThree(t, (call) => answerTrailersOnly(call, 14));
  await provoke();
  outrider.writePolicies(text(outliers().replace('consecutive_5xx: 3', 'consecutive_5xx: 4')));
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  assert.deepEqual(await flags(), [bad.address]);
  outrider.writePolicies(text('lb_policy: round_robin'));
  assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  assert.deepEqual(await flags(), []);
  assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_active'), 0);
});

test('a retry goes to one that is not ejected, and breakers by endpoint and ejections do not get in each other’s way', async (t) => {
  const { client, bad, provoke, reached } = await oneOfThree(t, (call) => answerTrailersOnly(call, 14), {
    cluster: `${outliers()}\nlb_policy: least_request`,
    route: 'timeout: 1s\nidempotent: true\nretry_policy: { retry_on: unavailable, num_retries: 2 }',
    realTime: true,
  });
  await provoke();
  assert.equal(await reached(), 0);
  for (let i = 0; i < 5; i++) assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(bad.received.length, 3);
});

test('where so many are ejected that it must be a fault of something else, calls go to all of them', async (t) => {
  const clock = virtualClock();
  const services = [];
  for (let i = 0; i < 4; i++) services.push(await startUpstream(t, (call) => answerTrailersOnly(call, 14)));
  const outrider = await startSidecar(t, {
    clock,
    policies: echoPolicies({
      endpoints: services.map(({ address }) => address),
      route: 'timeout: 1s',
      cluster: `${outliers().replace('max_ejection_percent: 50', 'max_ejection_percent: 75')}\ncircuit_breakers: { consecutive_failures: 1000 }`,
    }),
  });
  const client = outrider.caller();
  for (let i = 0; i < 40; i++) assert.equal((await client.call()).reason, undefined);
  assert.equal(outrider.stat('cluster.echo.outlier_detection.ejections_active'), 3);
  assert.ok(outrider.stat('cluster.echo.outlier_detection.ejections_overflow') >= 1);
  assert.ok(outrider.stat('cluster.echo.lb_healthy_panic') > 10);
  for (const { received } of services) assert.ok(received.length >= 6, `${received.length} calls`);
});

test('with a panic threshold of 0 and all ejected, the reply says so', async (t) => {
  const service = await startUpstream(t, (call) => answerTrailersOnly(call, 14));
  const outrider = await startSidecar(t, {
    policies: echoPolicies({
      endpoints: [service.address],
      cluster: `${outliers(', always_eject_one_host: true')}\ncommon_lb_config: { healthy_panic_threshold: 0 }\ncircuit_breakers: { consecutive_failures: 1000 }`,
    }),
  });
  const client = outrider.caller();
  for (let i = 0; i < 3; i++) await client.call();
  const answer = await client.call();
  assert.deepEqual([answer.reason, answer.status], ['no_endpoint', GrpcStatus.UNAVAILABLE]);
  assert.match(answer.message, /all 1 endpoints are ejected by outlier_detection/);
  assert.equal(outrider.stat('cluster.echo.upstream_cx_none_healthy'), 1);
});

test('an ejected instance says for what it is out, since when and until when, in /clusters and in the terminal', async (t) => {
  const { bad, outrider, provoke } = await oneOfThree(t, (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE));
  await provoke();
  const told = JSON.parse((await outrider.admin('GET', '/clusters?format=json')).text);
  type Host = { readonly ejection?: { readonly type: string; readonly since: string; readonly until: string } };
  const out = (told.cluster_statuses[0].host_statuses as readonly Host[]).filter(({ ejection }) => ejection !== undefined);
  assert.equal(out.length, 1);
  assert.equal(out[0]?.ejection?.type, 'consecutive_5xx');
  assert.ok(Date.parse(out[0]?.ejection?.until ?? '') > Date.parse(out[0]?.ejection?.since ?? ''));
  const row = clusterRows(told).find((cells) => cells.includes(bad.address));
  assert.equal(row?.[4], 'unhealthy: ejected (consecutive_5xx)');
});
