import { anyText, oneOf, secret, setting } from './setting.ts';
import { compressions, headers, milliseconds, protocols, someOf, url } from './tracing-settings.ts';

/** Settings of the metrics that are sent to a collector of OpenTelemetry, beside those that traces have as well. */

const exporters = ['otlp', 'prometheus', 'none'] as const;

export const otlpMetricsSettings = {
  metricsExporter: setting(
    'OTEL_METRICS_EXPORTER',
    undefined,
    someOf(exporters, 'otlp'),
    'otlp: metrics to OTEL_EXPORTER_OTLP_ENDPOINT as well; none (/metrics is always there)',
  ),
  otlpMetricsEndpoint: setting(
    'OTEL_EXPORTER_OTLP_METRICS_ENDPOINT',
    undefined,
    url('http://collector:4318/v1/metrics'),
    'a collector for metrics, with its path',
  ),
  otlpMetricsProtocol: setting('OTEL_EXPORTER_OTLP_METRICS_PROTOCOL', undefined, oneOf(protocols, 'grpc'), 'another one for metrics'),
  otlpMetricsHeaders: secret(setting('OTEL_EXPORTER_OTLP_METRICS_HEADERS', '', headers('x-tenant=shop'), 'more of them for metrics')),
  otlpMetricsTimeoutMs: setting('OTEL_EXPORTER_OTLP_METRICS_TIMEOUT', undefined, milliseconds('10000'), 'another one for metrics'),
  otlpMetricsCompression: setting(
    'OTEL_EXPORTER_OTLP_METRICS_COMPRESSION',
    undefined,
    oneOf(compressions, 'gzip'),
    'another one for metrics',
  ),
  otlpMetricsCertificate: setting('OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE', undefined, anyText, 'other ones for metrics'),
  otlpMetricsClientCertificate: setting('OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE', undefined, anyText, 'another one for metrics'),
  otlpMetricsClientKey: setting('OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY', undefined, anyText, 'its key'),
  otlpTemporality: setting(
    'OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE',
    undefined,
    oneOf(['cumulative', 'delta', 'lowmemory'], 'cumulative'),
    'cumulative, which is what there is',
  ),
  metricExportIntervalMs: setting('OTEL_METRIC_EXPORT_INTERVAL', '60000', milliseconds('60000'), 'how often metrics are sent there'),
  metricExportTimeoutMs: setting('OTEL_METRIC_EXPORT_TIMEOUT', '30000', milliseconds('30000'), 'how long sending them may take'),
} as const;
