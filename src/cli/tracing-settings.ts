import { isIP } from 'node:net';
import { parseDurationMs } from '../core/index.ts';
import { accepted, anyText, hostName, oneOf, type Parsed, secret, setting, truth } from './setting.ts';

/** Settings of traces, under the names that OpenTelemetry has for them, with its values. */

/** Jaeger's library sends datagrams by IPv4. */
const jaegerHost = (text: string): Parsed<string> => {
  if (isIP(text) === 4 || (isIP(text) === 0 && hostName.test(text))) return accepted(text);
  const bare = text.replace(/^[a-z]+:\/\//i, '').replace(/[:/].*$/, '');
  const allowed =
    isIP(text.replace(/^\[(.*)\]$/, '$1')) === 6
      ? 'a host name or an IPv4 address (by IPv6 Jaeger is reached with OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_JAEGER_ENDPOINT)'
      : 'a host name or an IPv4 address, without scheme and port (OTEL_EXPORTER_JAEGER_AGENT_PORT has the port)';
  return { ok: false, allowed, write: hostName.test(bare) ? bare : 'jaeger' };
};

const port = (text: string): Parsed<number> => {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= 65_535 ? accepted(value) : { ok: false, allowed: 'a port from 1 to 65535', write: '6832' };
};

/** A URL of http or https. */
export const url = (example: string) => {
  return (text: string): Parsed<string> => {
    const parsed = URL.canParse(text) ? new URL(text) : undefined;
    if (parsed !== undefined && /^https?:$/.test(parsed.protocol) && parsed.hostname !== '') return accepted(text);
    const bare = /^[A-Za-z0-9_.-]+(:\d{1,5})?(\/\S*)?$/.test(text);
    return { ok: false, allowed: 'a URL with http:// or https://', write: bare ? `http://${text}` : example };
  };
};

export const someOf = <W extends string>(words: readonly W[], example: W) => {
  return (text: string): Parsed<readonly W[]> => {
    const parsed = text.split(',').map((entry) => oneOf(words, example)(entry.trim()));
    const wrong = parsed.find((entry) => !entry.ok);
    if (wrong !== undefined && !wrong.ok) return { ...wrong, allowed: `${wrong.allowed}, separated by commas` };
    return accepted(parsed.flatMap((entry) => (entry.ok ? [entry.value] : [])));
  };
};

const ratio = (text: string): Parsed<number> => {
  const value = /^(\d+(\.\d+)?|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= 1) return accepted(value);
  const percent = /^(\d+(?:\.\d+)?)%?$/.exec(text)?.[1];
  const write = percent !== undefined && Number(percent) <= 100 ? String(Number(percent) / 100) : '0.01';
  return { ok: false, allowed: 'a share from 0 to 1', write };
};

const count = (lowest: number, highest: number, example: string) => {
  return (text: string): Parsed<number> => {
    const value = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= lowest && value <= highest) return accepted(value);
    return { ok: false, allowed: `a number from ${lowest} to ${highest}`, write: example };
  };
};

/** OpenTelemetry writes milliseconds without a unit; with one it is taken as well. */
export const milliseconds = (example: string) => {
  return (text: string): Parsed<number> => {
    const value = /^\d{1,8}$/.test(text) ? Number(text) : parseDurationMs(text);
    if (value !== undefined && value >= 1 && value <= 3_600_000) return accepted(value);
    return { ok: false, allowed: 'milliseconds, or a duration with its unit, up to 1h', write: example };
  };
};

/** `key=value,key=value`; values may be percent-encoded. */
const pairs = (example: string) => {
  return (text: string): Parsed<Readonly<Record<string, string>>> => {
    const found: Record<string, string> = Object.create(null);
    for (const entry of text.split(',')) {
      if (entry.trim() === '') continue;
      const [, key, value] = /^\s*([^\s=,;]+)\s*=\s*(.*?)\s*$/.exec(entry) ?? [];
      const decoded = value === undefined ? undefined : decode(value);
      if (key === undefined || decoded === undefined) return { ok: false, allowed: 'pairs key=value, separated by commas', write: example };
      found[key] = decoded;
    }
    return accepted({ ...found });
  };
};

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};

/** Metadata of gRPC and fields of HTTP: what neither may hold would be refused at every export. */
export const headers = (example: string) => {
  return (text: string): Parsed<Readonly<Record<string, string>>> => {
    const parsed = pairs(example)(text);
    if (!parsed.ok) return parsed;
    const wrong = Object.entries(parsed.value).find(([name, value]) => !/^[A-Za-z0-9_.-]+$/.test(name) || !/^[\x20-\x7e]*$/.test(value));
    return wrong === undefined ? parsed : { ok: false, allowed: `names and values of headers ("${wrong[0]}" is none)`, write: example };
  };
};

export const samplers = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;
export const protocols = ['grpc', 'http/protobuf'] as const;
export const compressions = ['none', 'gzip'] as const;
const propagators = ['tracecontext', 'baggage', 'b3', 'b3multi'] as const;
const exporters = ['otlp', 'jaeger', 'none'] as const;

export const tracingSettings = {
  jaegerHost: setting('JAEGER_HOST', undefined, jaegerHost, 'host of Jaeger, which gets traces by UDP'),
  jaegerAgentHost: setting('OTEL_EXPORTER_JAEGER_AGENT_HOST', undefined, jaegerHost, 'the same, where JAEGER_HOST is not set'),
  jaegerAgentPort: setting('OTEL_EXPORTER_JAEGER_AGENT_PORT', '6832', port, 'its port (thrift, binary)'),
  jaegerEndpoint: setting(
    'OTEL_EXPORTER_JAEGER_ENDPOINT',
    undefined,
    url('http://jaeger:14268/api/traces'),
    'URL of a collector of Jaeger, in the place of UDP',
  ),
  jaegerUser: setting('OTEL_EXPORTER_JAEGER_USER', undefined, anyText, 'user for it'),
  jaegerPassword: secret(setting('OTEL_EXPORTER_JAEGER_PASSWORD', undefined, anyText, 'password for it')),
  otlpEndpoint: setting('OTEL_EXPORTER_OTLP_ENDPOINT', undefined, url('http://collector:4318'), 'URL of a collector of OpenTelemetry'),
  otlpTracesEndpoint: setting(
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    undefined,
    url('http://collector:4318/v1/traces'),
    'another one for traces, with its path',
  ),
  otlpProtocol: setting(
    'OTEL_EXPORTER_OTLP_PROTOCOL',
    undefined,
    oneOf(protocols, 'grpc'),
    'grpc or http/protobuf (grpc for port 4317, else http/protobuf)',
  ),
  otlpTracesProtocol: setting('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', undefined, oneOf(protocols, 'grpc'), 'another one for traces'),
  otlpHeaders: secret(setting('OTEL_EXPORTER_OTLP_HEADERS', '', headers('authorization=Bearer%20abc'), 'headers for it, key=value,...')),
  otlpTracesHeaders: secret(setting('OTEL_EXPORTER_OTLP_TRACES_HEADERS', '', headers('x-tenant=shop'), 'more of them for traces')),
  otlpTimeoutMs: setting('OTEL_EXPORTER_OTLP_TIMEOUT', '10000', milliseconds('10000'), 'how long an export may take'),
  otlpCompression: setting('OTEL_EXPORTER_OTLP_COMPRESSION', 'none', oneOf(compressions, 'gzip'), 'none or gzip'),
  otlpCertificate: setting('OTEL_EXPORTER_OTLP_CERTIFICATE', undefined, anyText, 'PEM file of the authorities of the collector'),
  otlpClientCertificate: setting('OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE', undefined, anyText, 'PEM file of the certificate for it'),
  otlpClientKey: setting('OTEL_EXPORTER_OTLP_CLIENT_KEY', undefined, anyText, 'PEM file of its key'),
  otlpTracesTimeoutMs: setting('OTEL_EXPORTER_OTLP_TRACES_TIMEOUT', undefined, milliseconds('10000'), 'another one for traces'),
  otlpTracesCompression: setting('OTEL_EXPORTER_OTLP_TRACES_COMPRESSION', undefined, oneOf(compressions, 'gzip'), 'another one for traces'),
  otlpTracesCertificate: setting('OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE', undefined, anyText, 'other ones for traces'),
  otlpTracesClientCertificate: setting('OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE', undefined, anyText, 'another one for traces'),
  otlpTracesClientKey: setting('OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY', undefined, anyText, 'its key'),
  tracesExporter: setting('OTEL_TRACES_EXPORTER', undefined, someOf(exporters, 'otlp'), 'otlp, jaeger, none (those that have an address)'),
  tracesSampler: setting(
    'OTEL_TRACES_SAMPLER',
    'parentbased_traceidratio',
    oneOf(samplers, 'parentbased_traceidratio'),
    'which calls are recorded; parentbased_*: as their caller says',
  ),
  tracesSamplerArg: setting('OTEL_TRACES_SAMPLER_ARG', '0.01', ratio, 'share of the calls, from 0 to 1'),
  tracesFailedPerSecond: setting(
    'TRACES_FAILED_PER_SECOND',
    '10',
    count(0, 10_000, '10'),
    'calls that fail and are kept though not sampled; 0: none',
  ),
  propagators: setting(
    'OTEL_PROPAGATORS',
    'tracecontext',
    someOf(propagators, 'b3'),
    'b3, b3multi: written also where the caller did not speak it',
  ),
  otelDisabled: setting('OTEL_SDK_DISABLED', 'false', truth, 'true: neither traces nor metrics by OTLP, whatever else is set'),
  otelServiceName: setting('OTEL_SERVICE_NAME', undefined, anyText, 'what the service is called in traces and by OTLP (SERVICE_NAME)'),
  resourceAttributes: setting(
    'OTEL_RESOURCE_ATTRIBUTES',
    '',
    pairs('deployment.environment.name=production'),
    'what traces say of this service, key=value,...',
  ),
  spanDelayMs: setting('OTEL_BSP_SCHEDULE_DELAY', '5000', milliseconds('5000'), 'how long spans wait for others before they are sent'),
  spanQueueSize: setting('OTEL_BSP_MAX_QUEUE_SIZE', '2048', count(1, 100_000, '2048'), 'spans that wait, at most'),
  spanBatchSize: setting('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', '64', count(1, 10_000, '64'), 'spans sent at once, at most'),
  spanTimeoutMs: setting('OTEL_BSP_EXPORT_TIMEOUT', '30000', milliseconds('30000'), 'how long sending them may take'),
} as const;
