import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { ConfigurationError } from '../../src/core/index.ts';

const smallest = { SERVICE_NAME: 'auth-svc', INBOUND_TLS: 'off', OTEL_TRACES_EXPORTER: 'none' };
const read = (environment: Record<string, string>) => readSidecarConfiguration({ environment: { ...smallest, ...environment } });
const placeOf = (environment: Record<string, string>) => {
  const { destination } = read(environment).otlpMetrics ?? assert.fail('no metrics are sent');
  return [destination.protocol, destination.url];
};

test('metrics go to a collector where somebody has said so of metrics', () => {
  assert.equal(read({}).otlpMetrics, undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://jaeger:4318' }).otlpMetrics, undefined);
  const both = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/', OTEL_METRICS_EXPORTER: 'otlp' };
  assert.deepEqual(placeOf(both), ['http/protobuf', 'http://collector:4318/v1/metrics']);
  assert.deepEqual(placeOf({ ...both, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317' }), ['grpc', 'http://collector:4317']);
  assert.deepEqual(placeOf({ OTEL_METRICS_EXPORTER: 'otlp' }), ['http/protobuf', 'http://localhost:4318/v1/metrics']);
  const own = { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://metrics:9090/api/v1/otlp/v1/metrics' };
  assert.deepEqual(placeOf(own), ['http/protobuf', own.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT]);
  assert.equal(read({ ...own, OTEL_METRICS_EXPORTER: 'none' }).otlpMetrics, undefined);
  assert.equal(read({ ...own, OTEL_METRICS_EXPORTER: 'prometheus' }).otlpMetrics, undefined);
});

test('an export takes no longer than the interval, and headers of metrics come on top of those of all signals', () => {
  const options = read({
    OTEL_METRICS_EXPORTER: 'otlp',
    OTEL_METRIC_EXPORT_INTERVAL: '5000',
    OTEL_EXPORTER_OTLP_HEADERS: 'a=1,b=1',
    OTEL_EXPORTER_OTLP_METRICS_HEADERS: 'b=2',
    OTEL_RESOURCE_ATTRIBUTES: 'service.instance.id=seven',
  }).otlpMetrics;
  assert.deepEqual([options?.intervalMs, options?.timeoutMs], [5_000, 5_000]);
  assert.deepEqual(options?.destination.headers, { a: '1', b: '2' });
  assert.equal(options?.resource['service.instance.id'], 'seven');
});

test('what is wrong is told once, though traces read it as well, and what has no effect is a warning', () => {
  assert.throws(
    () => read({ OTEL_EXPORTER_OTLP_TIMEOUT: 'soon', OTEL_METRICS_EXPORTER: 'olpt' }),
    (error: unknown) => {
      assert.ok(error instanceof ConfigurationError);
      assert.equal(error.message.match(/OTEL_EXPORTER_OTLP_TIMEOUT:/g)?.length, 1);
      assert.match(error.message, /write OTEL_METRICS_EXPORTER=otlp$/m);
      return true;
    },
  );
  assert.deepEqual(read({ OTEL_METRIC_EXPORT_INTERVAL: '5000' }).warnings, [
    'OTEL_METRIC_EXPORT_INTERVAL is set, and no metrics are sent to a collector: write OTEL_METRICS_EXPORTER=otlp',
  ]);
});

test('what is written for metrics alone comes before what is written for all signals', () => {
  const { destination } =
    read({
      OTEL_METRICS_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_TIMEOUT: '9000',
      OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: '700',
      OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: 'gzip',
      OTEL_EXPORTER_OTLP_CERTIFICATE: 'all.pem',
      OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE: 'ca.pem',
      OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE: 'cert.pem',
      OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY: 'key.pem',
    }).otlpMetrics ?? assert.fail('no metrics are sent');
  assert.deepEqual([destination.timeoutMs, destination.compression], [700, 'gzip']);
  assert.deepEqual([destination.caPath, destination.certPath, destination.keyPath], ['ca.pem', 'cert.pem', 'key.pem']);
});

test('OTEL_SDK_DISABLED ends metrics by OTLP, and says nothing of what else is set', () => {
  const disabled = read({ OTEL_SDK_DISABLED: 'true', OTEL_METRICS_EXPORTER: 'otlp', OTEL_METRIC_EXPORT_INTERVAL: '5000' });
  assert.equal(disabled.otlpMetrics, undefined);
  assert.deepEqual(disabled.warnings, []);
});

test('deltas are not what is sent, and whoever wants some is told', () => {
  const wanted = read({ OTEL_METRICS_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'Delta' });
  assert.match(wanted.warnings.join(), /TEMPORALITY_PREFERENCE is delta, and has no effect/);
});
