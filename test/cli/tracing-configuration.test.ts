import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';

const smallest = { SERVICE_NAME: 'auth-svc', INBOUND_TLS: 'off' };
const read = (more: Readonly<Record<string, string>>) => readSidecarConfiguration({ environment: { ...smallest, ...more } });
const problem = (more: Readonly<Record<string, string>>): string => {
  try {
    read(more);
  } catch (error) {
    return (error as Error).message.split('\n').slice(1).join('\n');
  }
  throw new Error('nothing was wrong');
};

test('without a destination there are no traces', () => {
  assert.equal(read({}).tracing, undefined);
});

test('JAEGER_HOST is a host, and the exporter has the rest of its own', () => {
  const [destination] = read({ JAEGER_HOST: 'jaeger' }).tracing?.destinations ?? [];
  assert.deepEqual(destination, {
    kind: 'jaeger',
    host: 'jaeger',
    port: 6832,
    endpoint: undefined,
    username: undefined,
    password: undefined,
  });
  const own = { OTEL_EXPORTER_JAEGER_AGENT_HOST: '10.0.0.9', OTEL_EXPORTER_JAEGER_AGENT_PORT: '7000' };
  assert.deepEqual({ ...read(own).tracing?.destinations[0] }, { ...destination, host: '10.0.0.9', port: 7000 });
});

for (const [written, expected] of [
  ['http://jaeger', /without scheme and port.*; write JAEGER_HOST=jaeger$/],
  ['jaeger:6831', /OTEL_EXPORTER_JAEGER_AGENT_PORT has the port.*; write JAEGER_HOST=jaeger$/],
  ['::1', /IPv4/],
  ['a b', /write JAEGER_HOST=jaeger$/],
] as const) {
  test(`JAEGER_HOST=${written} is refused with what to write`, () => {
    assert.match(problem({ JAEGER_HOST: written }), expected);
  });
}

test('the protocol of OTLP follows from the port where nobody says it, and the path from the protocol', () => {
  const urlAndProtocol = (more: Readonly<Record<string, string>>) => {
    const [destination] = read(more).tracing?.destinations ?? [];
    return destination?.kind === 'otlp' ? [destination.protocol, destination.url] : undefined;
  };
  const base = 'OTEL_EXPORTER_OTLP_ENDPOINT';
  assert.deepEqual(urlAndProtocol({ [base]: 'http://c:4318' }), ['http/protobuf', 'http://c:4318/v1/traces']);
  assert.deepEqual(urlAndProtocol({ [base]: 'http://c:4318/' }), ['http/protobuf', 'http://c:4318/v1/traces']);
  assert.deepEqual(urlAndProtocol({ [base]: 'http://c:4317' }), ['grpc', 'http://c:4317']);
  assert.deepEqual(urlAndProtocol({ [base]: 'http://c:80', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }), ['grpc', 'http://c:80']);
  assert.deepEqual(urlAndProtocol({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://c/x' }), ['http/protobuf', 'https://c/x']);
});

test('values that are wrong say what is right', () => {
  const url = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' };
  assert.match(problem({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }), /write OTEL_EXPORTER_OTLP_ENDPOINT=http:\/\/collector:4318$/);
  assert.match(problem({ ...url, OTEL_TRACES_SAMPLER: 'traceidratios' }), /write OTEL_TRACES_SAMPLER=traceidratio$/);
  assert.match(problem({ ...url, OTEL_TRACES_SAMPLER_ARG: '5%' }), /write OTEL_TRACES_SAMPLER_ARG=0\.05$/);
  assert.match(problem({ ...url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }), /grpc \| http\/protobuf/);
  assert.match(problem({ ...url, OTEL_EXPORTER_OTLP_HEADERS: 'nothing' }), /key=value/);
  assert.match(problem({ ...url, OTEL_PROPAGATORS: 'jaeger' }), /tracecontext \| baggage \| b3 \| b3multi/);
  assert.match(problem({ OTEL_TRACES_EXPORTER: 'jaeger' }), /jaeger has no address; write JAEGER_HOST/);
});

test('what has no effect is a warning', () => {
  assert.match(read({ OTEL_TRACES_SAMPLER_ARG: '0.5' }).warnings[0] ?? '', /nothing takes traces/);
  assert.match(
    read({ JAEGER_HOST: 'j', OTEL_TRACES_SAMPLER: 'always_on', OTEL_TRACES_SAMPLER_ARG: '0.5' }).warnings[0] ?? '',
    /does not look/,
  );
  assert.match(read({ JAEGER_HOST: 'j', OTEL_EXPORTER_JAEGER_AGENT_PORT: '6831' }).warnings[0] ?? '', /write 6832/);
  assert.deepEqual(read({ JAEGER_HOST: 'j' }).warnings, []);
  assert.equal(read({ JAEGER_HOST: 'j', OTEL_TRACES_EXPORTER: 'none' }).tracing, undefined);
});

test('headers are decoded, and those of traces come last', () => {
  const { tracing } = read({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318',
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20abc,x-a=1',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x-a=2',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=blue,service.version=7',
    SERVICE_VERSION: '6',
  });
  const [destination] = tracing?.destinations ?? [];
  assert.deepEqual(destination?.kind === 'otlp' && destination.headers, { authorization: 'Bearer abc', 'x-a': '2' });
  assert.equal(tracing?.resource['deployment.environment.name'], 'blue');
  assert.equal(tracing?.resource['service.version'], '7');
});

test('what is written for traces alone comes before what is written for all signals', () => {
  const own = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c:4318',
    OTEL_EXPORTER_OTLP_CERTIFICATE: 'all.pem',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '300',
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: 'none',
    OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: 'ca.pem',
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: 'cert.pem',
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: 'key.pem',
  };
  const [destination] = read(own).tracing?.destinations ?? [];
  assert.ok(destination?.kind === 'otlp');
  assert.deepEqual([destination.timeoutMs, destination.compression], [300, 'none']);
  assert.deepEqual([destination.caPath, destination.certPath, destination.keyPath], ['ca.pem', 'cert.pem', 'key.pem']);
  const { OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: _, ...withoutKey } = own;
  assert.match(problem(withoutKey), /^ *OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: one is set/);
  assert.match(read({ OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '300' }).warnings.join(), /OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is set, and nothing/);
});

test('OTEL_SDK_DISABLED ends traces, wherever they would go, and says nothing of what else is set', () => {
  const { tracing, warnings } = read({
    OTEL_SDK_DISABLED: 'TRUE',
    JAEGER_HOST: 'jaeger',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318',
    OTEL_TRACES_SAMPLER_ARG: '1',
  });
  assert.equal(tracing, undefined);
  assert.deepEqual(warnings, []);
  assert.notEqual(read({ OTEL_SDK_DISABLED: 'false', JAEGER_HOST: 'jaeger' }).tracing, undefined);
});

test('OTEL_SERVICE_NAME comes before what OTEL_RESOURCE_ATTRIBUTES call the service, and neither is needed', () => {
  const nameOf = (more: Readonly<Record<string, string>>) => read({ JAEGER_HOST: 'jaeger', ...more }).tracing?.resource['service.name'];
  assert.equal(nameOf({}), undefined);
  assert.equal(nameOf({ OTEL_RESOURCE_ATTRIBUTES: 'service.name=shop' }), 'shop');
  assert.equal(nameOf({ OTEL_RESOURCE_ATTRIBUTES: 'service.name=shop', OTEL_SERVICE_NAME: 'till' }), 'till');
});
