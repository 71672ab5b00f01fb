import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonLogger, VirtualClock } from '../../../src/core/index.ts';
import { CallMetrics, StatRegistry, type StatSink, type StatsdOptions } from '../../../src/telemetry/index.ts';
import { type LookUp, StatsdReporter } from '../../../src/telemetry/statsd/statsd-reporter.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { freePort } from '../../harness/ports.ts';
import { StatsdReceiver } from './receiver.ts';

checkLeaks();

const setUp = async (options: Partial<StatsdOptions> & { readonly port: number; readonly lookUp?: LookUp }) => {
  const clock = new VirtualClock();
  const calls = new CallMetrics();
  const stats = new StatRegistry();
  const logged: Record<string, unknown>[] = [];
  const counters = new Map<string, number>();
  const gauges = new Map<string, number>();
  const source = {
    collectStats: (sink: StatSink) => {
      for (const [name, value] of counters) sink.counter(name, value);
      for (const [name, value] of gauges) sink.gauge(name, value);
    },
  };
  stats.add(source);
  const { lookUp, ...written } = options;
  const reporter = new StatsdReporter(
    { host: '127.0.0.1', format: 'statsd', prefix: 'outrider.auth-svc', intervalMs: 10_000, tags: { service: 'auth-svc' }, ...written },
    {
      clock,
      log: new JsonLogger(clock, (line) => logged.push(JSON.parse(line))),
      metrics: { stats, calls, clusterNames: () => ['learner.svc', 'auth'], certificates: () => [] },
      ...(lookUp === undefined ? {} : { lookUp }),
    },
  );
  await reporter.load();
  const own = () => {
    const found: Record<string, number> = {};
    reporter.collectStats({ counter: (name, value) => (found[name] = value), gauge: () => {} });
    return found;
  };
  return {
    calls,
    clock,
    counters,
    gauges,
    logged,
    own,
    reporter,
    async [Symbol.asyncDispose]() {
      await reporter.close(0);
    },
  };
};

test('counters are sent as what they have risen by, also after they were made anew, and gauges where they have changed', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ port: receiver.port });
  const { counters, gauges, reporter } = sending;
  counters.set('cluster.learner.svc.upstream_rq_total', 5);
  counters.set('policy.reload_ok', 0);
  gauges.set('cluster.auth.membership_total', 3);
  await reporter.flush();
  assert.deepEqual(await receiver.take(), [
    'outrider.auth-svc.cluster.learner_svc.upstream_rq_total:5|c',
    'outrider.auth-svc.cluster.auth.membership_total:3|g',
  ]);
  counters.set('cluster.learner.svc.upstream_rq_total', 12);
  counters.set('policy.reload_ok', 1);
  await reporter.flush();
  assert.deepEqual(await receiver.take(), [
    'outrider.auth-svc.cluster.learner_svc.upstream_rq_total:7|c',
    'outrider.auth-svc.policy.reload_ok:1|c',
  ]);
  // A cluster was removed and added: it begins at 0.
  counters.set('cluster.learner.svc.upstream_rq_total', 2);
  gauges.set('cluster.auth.membership_total', -1);
  await reporter.flush();
  assert.deepEqual(await receiver.take(), [
    'outrider.auth-svc.cluster.learner_svc.upstream_rq_total:2|c',
    'outrider.auth-svc.cluster.auth.membership_total:0|g',
    'outrider.auth-svc.cluster.auth.membership_total:-1|g',
  ]);
  counters.delete('cluster.learner.svc.upstream_rq_total');
  gauges.set('cluster.auth.membership_total', 4);
  await reporter.flush();
  await receiver.take();
  counters.set('cluster.learner.svc.upstream_rq_total', 4);
  await reporter.flush();
  assert.deepEqual(await receiver.take(), ['outrider.auth-svc.cluster.learner_svc.upstream_rq_total:4|c']);
});

test('a gauge that stays is told again now and then, for a receiver that was started anew', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ port: receiver.port });
  sending.gauges.set('server.sockets', 3);
  for (let i = 0; i < 7; i++) await sending.reporter.flush();
  const lines = await receiver.take((all) => all.length >= 2);
  assert.deepEqual(lines, ['outrider.auth-svc.server.sockets:3|g', 'outrider.auth-svc.server.sockets:3|g']);
});

test('calls are counters by status, and one timing for each bucket at the rate that stands for its calls', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ port: receiver.port });
  const metrics = sending.calls.method('outbound', 'learner.svc', '/learner.v1.Learner/Get');
  for (let i = 0; i < 49; i++) metrics.record(0, 3);
  metrics.record(14, 0.3);
  await sending.reporter.flush();
  const name = 'outrider.auth-svc.calls.outbound.learner_svc.learner_v1_Learner-Get';
  const lines = await receiver.take((all) => all.length >= 4);
  assert.deepEqual(lines.slice(0, 2), [`${name}.OK:49|c`, `${name}.UNAVAILABLE:1|c`]);
  const timings = lines.slice(2).map((line) => {
    const [, value, rate = '1'] = new RegExp(`^${name}\\.duration:([0-9.]+)\\|ms(?:\\|@([0-9.e-]+))?$`).exec(line) ?? [];
    return { value: Number(value), calls: Math.trunc(1 / Number(rate)) };
  });
  assert.deepEqual(
    timings.map(({ calls }) => calls),
    [1, 49],
  );
  const totalMs = timings.reduce((sum, { calls, value }) => sum + calls * value, 0);
  assert.ok(Math.abs(totalMs - 147.3) < 0.01, String(totalMs));
  await sending.reporter.flush();
  metrics.record(0, 100_000);
  await sending.reporter.flush();
  assert.deepEqual(await receiver.take(), [`${name}.OK:1|c`, `${name}.duration:100000|ms`]);
});

test('with DogStatsD labels are tags', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ port: receiver.port, format: 'dogstatsd', prefix: 'outrider' });
  sending.counters.set('cluster.learner.svc.upstream_rq_total', 5);
  sending.counters.set('fates.inbound.ok', 2);
  sending.counters.set('per-user.http_local_rate_limit.enforced', 1);
  sending.gauges.set('server.sockets', 3);
  sending.gauges.set('cluster.auth.x', -1);
  sending.calls.method('inbound', 'auth-svc', '/a|b,c#d/E').record(0, 100_000);
  await sending.reporter.flush();
  assert.deepEqual(await receiver.take((all) => all.length >= 7), [
    'outrider.cluster.upstream_rq_total:5|c|#service:auth-svc,cluster:learner.svc',
    'outrider.fates:2|c|#service:auth-svc,direction:inbound,fate:ok',
    'outrider.http_local_rate_limit.enforced:1|c|#service:auth-svc,stat_prefix:per-user',
    'outrider.server.sockets:3|g|#service:auth-svc',
    'outrider.cluster.x:-1|g|#service:auth-svc,cluster:auth',
    'outrider.calls.total:1|c|#service:auth-svc,direction:inbound,called_service:auth-svc,method:/a_b_c_d/E,status:OK',
    'outrider.calls.duration:100000|ms|#service:auth-svc,direction:inbound,called_service:auth-svc,method:/a_b_c_d/E',
  ]);
});

test('packets fit into the MTU, all of a thousand methods arrive, and what fits into none is dropped and counted', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ port: receiver.port });
  const { calls, clock, counters, own, reporter } = sending;
  for (let i = 0; i < 1_000; i++) calls.method('inbound', 'auth-svc', `/a.package.of.some.Service/Method${i}`, true).record(0, 2);
  counters.set(`cluster.${'x'.repeat(2_000)}.y`, 1);
  const flushed = reporter.flush();
  let done = false;
  void flushed.then(() => {
    done = true;
  });
  while (!done) {
    clock.advance(20);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { packets } = receiver;
  await receiver.take((lines) => lines.length >= 2_000);
  assert.ok(packets.every(({ length }) => length <= 1_432));
  assert.equal(own()['statsd.send_failed'], 1);
  assert.match(String(sending.logged[0]?.['why']), /does not fit into a packet/);
});

test('nobody listens: a counter, one line in the log with a remedy, one when it is over, and counters go on', async () => {
  const port = await freePort();
  await using sending = await setUp({ port });
  const { counters, logged, own, reporter } = sending;
  for (let i = 1; i <= 20; i++) {
    counters.set('policy.reload_ok', i);
    await reporter.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok((own()['statsd.send_failed'] ?? 0) > 0);
  // Where nothing is sent, or was sent a moment ago, nobody can know that somebody listens again.
  for (const value of [20, 20, 20, 21, 21, 21]) {
    counters.set('policy.reload_ok', value);
    await reporter.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(
    logged.map(({ msg, to }) => [msg, to]),
    [['metrics could not be sent to StatsD', `127.0.0.1:${port}`]],
  );
  assert.match(String(logged[0]?.['remedy']), /METRICS_HOST/);
  await using receiver = await StatsdReceiver.listen('127.0.0.1', port);
  for (let i = 22; i <= 30 && receiver.lines.length === 0; i++) {
    counters.set('policy.reload_ok', i);
    await reporter.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.match((await receiver.take()).join(), /^outrider\.auth-svc\.policy\.reload_ok:\d+\|c/);
  await reporter.flush();
  assert.equal(logged.at(-1)?.['msg'], 'metrics are sent to StatsD again');
  assert.equal(logged.length, 2);
});

test('a name that does not resolve costs no counts, and one that moves is followed, also to IPv6', async () => {
  await using first = await StatsdReceiver.listen();
  await using second = await StatsdReceiver.listen('::1', first.port);
  let addresses: readonly string[] | undefined;
  const lookUp: LookUp = async (host) => {
    assert.equal(host, 'statsd');
    if (addresses === undefined) throw new Error('getaddrinfo ENOTFOUND statsd');
    return addresses.map((address) => ({ address }));
  };
  await using sending = await setUp({ host: 'statsd', port: first.port, lookUp });
  const { counters, logged, own, reporter } = sending;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(own()['statsd.resolve_failed'], 1, 'told at the start, before anything is to be sent');
  assert.match(reporter.shortcoming?.why ?? '', /^METRICS_HOST cannot be found \(statsd:\d+\): getaddrinfo ENOTFOUND statsd$/);
  counters.set('policy.reload_ok', 1);
  await reporter.flush();
  counters.set('policy.reload_ok', 2);
  await reporter.flush();
  assert.equal(own()['statsd.resolve_failed'], 3);
  assert.deepEqual(
    logged.map(({ msg, to, why }) => [msg, to, why]),
    [['METRICS_HOST cannot be found', `statsd:${first.port}`, 'getaddrinfo ENOTFOUND statsd']],
  );
  addresses = ['127.0.0.1', '127.0.0.2'];
  await reporter.flush();
  assert.deepEqual(await first.take(), ['outrider.auth-svc.policy.reload_ok:2|c']);
  assert.equal(reporter.shortcoming, undefined);
  // One of several stays; it is left when it is no longer among them.
  addresses = ['127.0.0.2', '127.0.0.1'];
  counters.set('policy.reload_ok', 5);
  await reporter.flush();
  assert.deepEqual(await first.take(), ['outrider.auth-svc.policy.reload_ok:3|c']);
  addresses = ['::1'];
  counters.set('policy.reload_ok', 6);
  await reporter.flush();
  assert.deepEqual(await second.take(), ['outrider.auth-svc.policy.reload_ok:1|c']);
  // A name server that is gone does not take away what is known.
  addresses = undefined;
  counters.set('policy.reload_ok', 10);
  await reporter.flush();
  assert.deepEqual(await second.take(), ['outrider.auth-svc.policy.reload_ok:4|c']);
});

test('a name server that does not answer holds up nothing for longer than its time', async () => {
  await using receiver = await StatsdReceiver.listen();
  await using sending = await setUp({ host: 'statsd', port: receiver.port, lookUp: () => new Promise(() => {}) });
  const flushed = sending.reporter.flush();
  assert.equal(sending.reporter.flush(), flushed, 'one flush at a time');
  await new Promise((resolve) => setImmediate(resolve));
  sending.clock.advance(5_000);
  await flushed;
  assert.equal(sending.own()['statsd.resolve_failed'], 2, 'the one of the start, and this');
});

test('what was never found is not looked for once more at the end', async () => {
  let asked = 0;
  const lookUp: LookUp = async () => {
    asked++;
    throw new Error('getaddrinfo ENOTFOUND statsd');
  };
  const sending = await setUp({ host: 'statsd', port: 8_125, lookUp });
  await new Promise((resolve) => setImmediate(resolve));
  await sending.reporter.close(60_000);
  assert.equal(asked, 1);
});

test('it is sent every interval, and once more at the end', async () => {
  await using receiver = await StatsdReceiver.listen();
  const sending = await setUp({ port: receiver.port });
  sending.counters.set('policy.reload_ok', 1);
  for (const total of [3, 6]) {
    sending.counters.set('policy.reload_ok', total);
    sending.clock.advance(10_000);
    assert.deepEqual(await receiver.take(), ['outrider.auth-svc.policy.reload_ok:3|c']);
  }
  sending.counters.set('policy.reload_ok', 8);
  await sending.reporter.close(1_000);
  await sending.reporter.close(1_000);
  assert.deepEqual(await receiver.take(), ['outrider.auth-svc.policy.reload_ok:2|c']);
  assert.equal(sending.clock.pending, 0);
});
