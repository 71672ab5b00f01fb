import type { SpanDestination, TracingOptions } from '../telemetry/index.ts';
import type { SettingReader } from './configuration.ts';
import { readResource } from './otel-resource.ts';
import { otlpSettingsOf, readOtlpDestination } from './otlp-destination.ts';
import { type SettingName, settings } from './settings.ts';

/** Of the other clients of Jaeger, whose settings people bring along. */
const compactThriftPort = 6831;

/** What the settings say of traces; `undefined`: nothing takes them, and nothing of them happens. */
export const readTracing = (reader: SettingReader, serviceVersion: string | undefined, version: string): TracingOptions | undefined => {
  const jaeger = readJaeger(reader);
  const otlp = readOtlpDestination(reader, { signal: 'traces', localByDefault: false });
  const sampler = readSampler(reader);
  const propagators = reader.get('propagators') ?? [];
  const failedPerSecond = reader.get('tracesFailedPerSecond') ?? 0;
  const maxQueueSize = reader.get('spanQueueSize') ?? 1;
  const queue = {
    maxQueueSize,
    maxExportBatchSize: Math.min(reader.get('spanBatchSize') ?? 1, maxQueueSize),
    scheduledDelayMs: reader.get('spanDelayMs') ?? 1,
    exportTimeoutMs: reader.get('spanTimeoutMs') ?? 1,
  };
  const chosen = reader.get('tracesExporter');
  const found: readonly SpanDestination[] = [...(jaeger === undefined ? [] : [jaeger]), ...(otlp === undefined ? [] : [otlp])];
  for (const kind of chosen ?? []) {
    if (kind === 'none' || found.some((destination) => destination.kind === kind)) continue;
    const variable = kind === 'jaeger' ? 'JAEGER_HOST' : 'OTEL_EXPORTER_OTLP_ENDPOINT';
    const bad = kind === 'jaeger' ? reader.written('jaegerHost') : (reader.written('otlpEndpoint') ?? reader.written('otlpTracesEndpoint'));
    if (bad === undefined)
      reader.problems.push(`OTEL_TRACES_EXPORTER: ${kind} has no address; write ${variable}, or OTEL_TRACES_EXPORTER=none`);
  }
  const destinations = found.filter(({ kind }) => chosen === undefined || chosen.includes(kind));
  if (destinations.length === 0 || reader.get('otelDisabled') === true) return undefined;
  return {
    sampler,
    failedPerSecond,
    b3Single: propagators.includes('b3'),
    b3Multiple: propagators.includes('b3multi'),
    destinations,
    queue,
    resource: readResource(reader, serviceVersion, version),
  };
};

const readJaeger = (reader: SettingReader): SpanDestination | undefined => {
  const host = reader.get('jaegerHost') ?? reader.get('jaegerAgentHost');
  const endpoint = reader.get('jaegerEndpoint');
  const port = reader.get('jaegerAgentPort') ?? 0;
  const [username, password] = [reader.get('jaegerUser'), reader.get('jaegerPassword')];
  if (host === undefined && endpoint === undefined) return undefined;
  return { kind: 'jaeger', host: host ?? '', port, endpoint, username, password };
};

const readSampler = (reader: SettingReader): TracingOptions['sampler'] => {
  const name = reader.get('tracesSampler') ?? 'parentbased_always_off';
  const share = reader.get('tracesSamplerArg') ?? 0;
  return {
    parentBased: name.startsWith('parentbased_'),
    ratio: name.endsWith('always_on') ? 1 : name.endsWith('always_off') ? 0 : share,
  };
};

/** Useless by themselves. */
const dependent: readonly SettingName[] = [
  'jaegerAgentPort',
  'jaegerUser',
  'jaegerPassword',
  ...otlpSettingsOf('traces'),
  'tracesSampler',
  'tracesSamplerArg',
  'tracesFailedPerSecond',
];

/** What is set and has no effect. */
export const tracingWarnings = (reader: SettingReader, tracing: TracingOptions | undefined): readonly string[] => {
  const exporters = reader.written('tracesExporter')?.text;
  if (tracing === undefined && exporters?.includes('none') !== true && reader.get('otelDisabled') !== true) {
    return dependent
      .filter((name) => reader.written(name) !== undefined)
      .map((name) => `${settings[name].variable} is set, and nothing takes traces: write JAEGER_HOST or OTEL_EXPORTER_OTLP_ENDPOINT`);
  }
  const warnings: string[] = [];
  const sampler = reader.written('tracesSampler')?.text;
  if (sampler !== undefined && !sampler.endsWith('traceidratio') && reader.written('tracesSamplerArg') !== undefined)
    warnings.push(`OTEL_TRACES_SAMPLER_ARG is set, and ${sampler} does not look at it`);
  if (tracing?.destinations.some(isForCompactThrift) === true)
    warnings.push(
      'OTEL_EXPORTER_JAEGER_AGENT_PORT: at 6831 agents of Jaeger read compact thrift, and drop the binary one that comes from here without a word; write 6832',
    );
  return warnings;
};

const isForCompactThrift = (destination: SpanDestination): boolean =>
  destination.kind === 'jaeger' && destination.endpoint === undefined && destination.port === compactThriftPort;
