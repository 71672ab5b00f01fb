import type { PeriodicExportingMetricReader, PushMetricExporter } from '@opentelemetry/sdk-metrics';
import type { Clock, Logger } from '../../core/index.ts';
import { type MetricsInputs, MetricsReader } from '../metrics/metrics-reader.ts';
import { grpcOptions, httpOptions, tlsOptions } from '../otlp-connection.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { SpanResource } from '../tracing/span-resource.ts';
import type { OtlpDestination } from '../tracing/tracing-options.ts';
import { CountingMetricExporter } from './counting-metric-exporter.ts';
import type { OtlpMetricsOptions } from './otlp-metrics-options.ts';
import { RegistryProducer } from './registry-producer.ts';

export interface OtlpMetricsContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricsInputs;
  /** `service.name`. */
  readonly serviceName: string;
  /** Of Outrider. */
  readonly version: string;
}

/** Points that are put into one request: a thousand routes at once would hold calls up while they are written. */
const pointsPerRequest = 500;

/** @param timeoutMs how long a request may take. */
const loadExporter = async (destination: OtlpDestination, timeoutMs: number): Promise<PushMetricExporter> => {
  const bounded = { ...destination, timeoutMs };
  if (destination.protocol === 'grpc') {
    const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-grpc');
    return new OTLPMetricExporter(await grpcOptions(bounded));
  }
  const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto');
  return new OTLPMetricExporter({ ...httpOptions(bounded), httpAgentOptions: { keepAlive: true, ...tlsOptions(bounded) } });
};

/** Sends all metrics to a collector of OpenTelemetry, every interval and at the end. A collector that is slow or gone costs a counter. */
export class OtlpMetrics implements StatSource {
  readonly #exporter: CountingMetricExporter;
  readonly #reader: PeriodicExportingMetricReader;
  readonly #clock: Clock;
  #closed = false;

  private constructor(exporter: CountingMetricExporter, reader: PeriodicExportingMetricReader, clock: Clock) {
    this.#exporter = exporter;
    this.#reader = reader;
    this.#clock = clock;
  }

  /** Loads the libraries, and begins. To be awaited before there are calls: loading would hold them up. */
  static async open(options: OtlpMetricsOptions, context: OtlpMetricsContext): Promise<OtlpMetrics> {
    const { destination, intervalMs, timeoutMs } = options;
    const { clock, log, metrics, serviceName, version } = context;
    const requestMs = Math.min(destination.timeoutMs, timeoutMs);
    const sdk = await import('@opentelemetry/sdk-metrics');
    const exporter = new CountingMetricExporter(await loadExporter(destination, requestMs), destination, {
      clock,
      log,
      timeoutMs: requestMs,
    });
    const reader = new sdk.PeriodicExportingMetricReader({
      exporter,
      exportIntervalMillis: intervalMs,
      // Ours comes first: what the reader gives up by itself is told to nobody.
      exportTimeoutMillis: intervalMs,
      maxExportBatchSize: pointsPerRequest,
    });
    const resource = new SpanResource({ 'service.name': serviceName, ...options.resource });
    reader.setMetricProducer(new RegistryProducer(new MetricsReader(metrics), sdk, { resource, version, clock }));
    return new OtlpMetrics(exporter, reader, clock);
  }

  /** Sends the numbers as they are now, for no longer than `timeoutMs`, and ends. Idempotent. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (timeoutMs === 0) this.#exporter.giveUp();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.setTimer(() => {
      this.#exporter.giveUp();
      resolve();
    }, timeoutMs);
    // The library waits for the answers of requests that have been given up as well.
    await Promise.race([this.#reader.shutdown().catch(() => {}), promise]);
    timer.cancel();
  }

  collectStats(sink: StatSink): void {
    sink.counter('otlp_metrics.exports', this.#exporter.exported);
    sink.counter('otlp_metrics.exports_failed', this.#exporter.failed);
  }
}
