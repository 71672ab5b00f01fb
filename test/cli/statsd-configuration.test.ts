import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { ConfigurationError } from '../../src/core/index.ts';

const smallest = { SERVICE_NAME: 'auth.svc', INBOUND_TLS: 'off' };
const read = (environment: Record<string, string>) => readSidecarConfiguration({ environment: { ...smallest, ...environment } });

test('METRICS_HOST alone is enough', () => {
  assert.equal(read({}).statsd, undefined);
  assert.deepEqual(read({ METRICS_HOST: 'prometheus' }).statsd, {
    host: 'prometheus',
    port: 8125,
    format: 'statsd',
    prefix: 'outrider.auth_svc',
    intervalMs: 10_000,
    tags: { service: 'auth.svc' },
  });
  const tagged = read({ METRICS_HOST: 'agent:9125', METRICS_FORMAT: 'DogStatsD', METRICS_INTERVAL: '1s' }).statsd;
  assert.deepEqual([tagged?.port, tagged?.format, tagged?.prefix, tagged?.intervalMs], [9125, 'dogstatsd', 'outrider', 1_000]);
  assert.equal(read({ METRICS_HOST: 'a', METRICS_PREFIX: 'shop.eu.' }).statsd?.prefix, 'shop.eu');
});

test('hosts are names and addresses of both kinds, with and without a port', () => {
  for (const [text, host, port] of [
    ['10.0.0.4', '10.0.0.4', 8125],
    ['10.0.0.4:9', '10.0.0.4', 9],
    ['::1', '::1', 8125],
    ['[::1]', '::1', 8125],
    ['[fd00::7]:9125', 'fd00::7', 9125],
    ['statsd.internal.:8126', 'statsd.internal.', 8126],
  ] as const) {
    const { statsd } = read({ METRICS_HOST: text });
    assert.deepEqual([statsd?.host, statsd?.port], [host, port], text);
  }
});

test('what is wrong is told with what to write', () => {
  for (const [environment, why] of [
    [{ METRICS_HOST: 'http://statsd:8125/x' }, /METRICS_HOST: .* write METRICS_HOST=statsd:8125$/m],
    [{ METRICS_HOST: 'statsd:0' }, /METRICS_HOST: .* write METRICS_HOST=statsd:8125$/m],
    [{ METRICS_HOST: 'unix:///var/run/dsd.socket' }, /sockets of the file system are not written to/],
    [{ METRICS_HOST: '[statsd]:1' }, /METRICS_HOST/],
    [{ METRICS_HOST: 'a b' }, /METRICS_HOST/],
    [{ METRICS_FORMAT: 'dogstatd' }, /METRICS_FORMAT: .* write METRICS_FORMAT=dogstatsd$/m],
    [{ METRICS_INTERVAL: '5' }, /METRICS_INTERVAL: .* write METRICS_INTERVAL=5s$/m],
    [{ METRICS_INTERVAL: '60s' }, /METRICS_INTERVAL: .* write METRICS_INTERVAL=10s$/m],
    [{ METRICS_PREFIX: 'a..b' }, /METRICS_PREFIX/],
    [{ METRICS_EXEMPLARS: 'maybe' }, /METRICS_EXEMPLARS: .* on or off/],
  ] as const) {
    assert.throws(
      () => read(environment),
      (error: unknown) => error instanceof ConfigurationError && why.test(error.message),
      JSON.stringify(environment),
    );
  }
});

test('settings without METRICS_HOST are warnings', () => {
  assert.deepEqual(read({ METRICS_PREFIX: 'a' }).warnings, ['METRICS_PREFIX is set without METRICS_HOST, and has no effect']);
  assert.equal(read({ METRICS_EXEMPLARS: 'on' }).metricsExemplars, true);
});
