import type { OtlpMetricsOptions } from '../telemetry/index.ts';
import type { SettingReader } from './configuration.ts';
import { readResource } from './otel-resource.ts';
import { otlpSettingsOf, readOtlpDestination } from './otlp-destination.ts';
import { settings } from './settings.ts';

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
  const destination = readOtlpDestination(reader, { signal: 'metrics', localByDefault: true });
  const intervalMs = reader.get('metricExportIntervalMs') ?? 1;
  const exportTimeoutMs = reader.get('metricExportTimeoutMs') ?? 1;
  const wanted = chosen === undefined ? own !== undefined : chosen.includes('otlp');
  if (!wanted || destination === undefined || reader.get('otelDisabled') === true) return undefined;
  return {
    destination,
    intervalMs,
    timeoutMs: Math.min(exportTimeoutMs, intervalMs),
    resource: readResource(reader, serviceVersion, version),
  };
};

const dependent = [...otlpSettingsOf('metrics'), 'otlpTemporality', 'metricExportIntervalMs', 'metricExportTimeoutMs'] as const;

/** What is set and has no effect. */
export const otlpMetricsWarnings = (reader: SettingReader, metrics: OtlpMetricsOptions | undefined): readonly string[] => {
  const temporality = reader.get('otlpTemporality');
  if (metrics !== undefined) {
    return temporality === undefined || temporality === 'cumulative'
      ? []
      : [
          `${settings.otlpTemporality.variable} is ${temporality}, and has no effect: metrics by OTLP are cumulative; have the collector make deltas`,
        ];
  }
  if (reader.written('metricsExporter') !== undefined || reader.get('otelDisabled') === true) return [];
  return dependent
    .filter((name) => reader.written(name) !== undefined)
    .map((name) => `${settings[name].variable} is set, and no metrics are sent to a collector: write OTEL_METRICS_EXPORTER=otlp`);
};
