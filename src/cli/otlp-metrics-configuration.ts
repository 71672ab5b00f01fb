import type { OtlpMetricsOptions } from '../telemetry/index.ts';
import type { SettingReader } from './configuration.ts';
import { readResource } from './otel-resource.ts';
import { settings } from './settings.ts';

const grpcPort = '4317';

/**
 * Metrics for a collector; `undefined`: none are sent. An endpoint that is written for all signals is not enough: many collectors of traces take no
 * metrics.
 */
export const readOtlpMetrics = (
  reader: SettingReader,
  serviceVersion: string | undefined,
  version: string,
): OtlpMetricsOptions | undefined => {
  const chosen = reader.get('metricsExporter');
  const own = reader.get('otlpMetricsEndpoint');
  const base = reader.get('otlpEndpoint');
  const wantedProtocol = reader.get('otlpMetricsProtocol') ?? reader.get('otlpProtocol');
  const headers = { ...reader.get('otlpHeaders'), ...reader.get('otlpMetricsHeaders') };
  const timeoutMs = reader.get('otlpTimeoutMs') ?? 1;
  const compression = reader.get('otlpCompression') ?? 'none';
  const [caPath, certPath, keyPath] = [reader.get('otlpCertificate'), reader.get('otlpClientCertificate'), reader.get('otlpClientKey')];
  const intervalMs = reader.get('metricExportIntervalMs') ?? 1;
  const exportTimeoutMs = reader.get('metricExportTimeoutMs') ?? 1;
  const wanted = chosen === undefined ? own !== undefined : chosen.includes('otlp');
  if (!wanted) return undefined;
  const written = own ?? base ?? (wantedProtocol === 'grpc' ? 'http://localhost:4317' : 'http://localhost:4318');
  const protocol = wantedProtocol ?? (new URL(written).port === grpcPort ? 'grpc' : 'http/protobuf');
  const url = protocol === 'grpc' || own !== undefined ? written : `${written.replace(/\/$/, '')}/v1/metrics`;
  return {
    destination: { kind: 'otlp', protocol, url, headers, timeoutMs, compression, caPath, certPath, keyPath },
    intervalMs,
    timeoutMs: Math.min(exportTimeoutMs, intervalMs),
    resource: readResource(reader, serviceVersion, version),
  };
};

const dependent = ['otlpMetricsProtocol', 'otlpMetricsHeaders', 'metricExportIntervalMs', 'metricExportTimeoutMs'] as const;

/** What is set and has no effect. */
export const otlpMetricsWarnings = (reader: SettingReader, metrics: OtlpMetricsOptions | undefined): readonly string[] =>
  metrics !== undefined || reader.written('metricsExporter') !== undefined
    ? []
    : dependent
        .filter((name) => reader.written(name) !== undefined)
        .map((name) => `${settings[name].variable} is set, and no metrics are sent to a collector: write OTEL_METRICS_EXPORTER=otlp`);
