import type { OtlpDestination } from '../telemetry/index.ts';
import type { SettingReader } from './configuration.ts';
import { settings } from './settings.ts';

/** What of a collector can be written for one kind of data alone; else what is written for all of them counts. */
const ownSettings = {
  traces: {
    path: '/v1/traces',
    endpoint: 'otlpTracesEndpoint',
    protocol: 'otlpTracesProtocol',
    headers: 'otlpTracesHeaders',
    timeoutMs: 'otlpTracesTimeoutMs',
    compression: 'otlpTracesCompression',
    certificate: 'otlpTracesCertificate',
    clientCertificate: 'otlpTracesClientCertificate',
    clientKey: 'otlpTracesClientKey',
  },
  metrics: {
    path: '/v1/metrics',
    endpoint: 'otlpMetricsEndpoint',
    protocol: 'otlpMetricsProtocol',
    headers: 'otlpMetricsHeaders',
    timeoutMs: 'otlpMetricsTimeoutMs',
    compression: 'otlpMetricsCompression',
    certificate: 'otlpMetricsCertificate',
    clientCertificate: 'otlpMetricsClientCertificate',
    clientKey: 'otlpMetricsClientKey',
  },
} as const;

const ports = { grpc: '4317', 'http/protobuf': '4318' } as const;

export interface OtlpWanted {
  readonly signal: keyof typeof ownSettings;
  /** Where nobody has written an address, a collector on this machine is meant, as OpenTelemetry has it. */
  readonly localByDefault: boolean;
}

/** A collector for one kind of data, and what helps to reach it; `undefined`: nobody has written an address. */
export const readOtlpDestination = (reader: SettingReader, { localByDefault, signal }: OtlpWanted): OtlpDestination | undefined => {
  const names = ownSettings[signal];
  const own = reader.get(names.endpoint);
  const base = reader.get('otlpEndpoint');
  const wanted = reader.get(names.protocol) ?? reader.get('otlpProtocol');
  const common = {
    headers: { ...reader.get('otlpHeaders'), ...reader.get(names.headers) },
    timeoutMs: reader.get(names.timeoutMs) ?? reader.get('otlpTimeoutMs') ?? 1,
    compression: reader.get(names.compression) ?? reader.get('otlpCompression') ?? 'none',
    caPath: reader.get(names.certificate) ?? reader.get('otlpCertificate'),
    certPath: reader.get(names.clientCertificate) ?? reader.get('otlpClientCertificate'),
    keyPath: reader.get(names.clientKey) ?? reader.get('otlpClientKey'),
  };
  if ((common.certPath === undefined) !== (common.keyPath === undefined)) {
    const hasOwn = reader.written(names.clientCertificate) !== undefined || reader.written(names.clientKey) !== undefined;
    const [certificate, key] = hasOwn
      ? ([names.clientCertificate, names.clientKey] as const)
      : (['otlpClientCertificate', 'otlpClientKey'] as const);
    const problem = `${settings[certificate].variable}, ${settings[key].variable}: one is set without the other; write the paths of both PEM files, or none`;
    if (!reader.problems.includes(problem)) reader.problems.push(problem);
  }
  const written = own ?? base ?? (localByDefault ? `http://localhost:${ports[wanted ?? 'http/protobuf']}` : undefined);
  if (written === undefined) return undefined;
  const protocol = wanted ?? (new URL(written).port === ports.grpc ? 'grpc' : 'http/protobuf');
  const url = protocol === 'grpc' || own !== undefined ? written : `${written.replace(/\/$/, '')}${names.path}`;
  return { kind: 'otlp', protocol, url, ...common };
};

/** Of one kind of data: without effect where it is not sent. */
export const otlpSettingsOf = (signal: OtlpWanted['signal']) => {
  const { path: _, endpoint: __, ...names } = ownSettings[signal];
  return Object.values(names);
};
