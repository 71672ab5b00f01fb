import type { PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { Clock, Logger } from '../../core/index.ts';
import { BoundedExports } from '../bounded-exports.ts';
import { describeDestination, type OtlpDestination, tlsRemedy } from '../tracing/tracing-options.ts';

type Done = Parameters<PushMetricExporter['export']>[1];

/** What the SDK calls SUCCESS. */
const success = 0;

export interface CountingMetricExporterContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a request may take. */
  readonly timeoutMs: number;
}

/**
 * Stands between the SDK's reader and an exporter: counts what becomes of requests, bounds their time, and says once when the collector stops
 * taking metrics, and once when it takes them again.
 */
export class CountingMetricExporter implements PushMetricExporter {
  /** Requests that the collector has taken, and those that it has not. */
  exported = 0;
  failed = 0;
  readonly #exporter: PushMetricExporter;
  readonly #destination: OtlpDestination;
  readonly #context: CountingMetricExporterContext;
  readonly #requests: BoundedExports;
  #failing = false;

  constructor(exporter: PushMetricExporter, destination: OtlpDestination, context: CountingMetricExporterContext) {
    this.#exporter = exporter;
    this.#destination = destination;
    this.#context = context;
    this.#requests = new BoundedExports(context.clock, context.timeoutMs);
  }

  export(metrics: ResourceMetrics, done: Done): void {
    this.#requests.run(
      (taken) => this.#exporter.export(metrics, taken),
      (problem) => {
        if (problem === undefined) this.#onSuccess();
        else this.#onFailure(problem);
        // The failure has been told: the reader would only report it to a handler that nobody has set.
        done({ code: success });
      },
    );
  }

  /** Ends every request under way, and those that come: there is no more time. */
  giveUp(): void {
    this.#requests.giveUp();
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    await this.#exporter.shutdown();
  }

  #onSuccess(): void {
    this.exported++;
    if (!this.#failing) return;
    this.#failing = false;
    this.#context.log.info('metrics are taken by the collector again', { to: describeDestination(this.#destination) });
  }

  #onFailure(why: string): void {
    this.failed++;
    if (this.#failing) return;
    this.#failing = true;
    const port = this.#destination.protocol === 'grpc' ? 'gRPC (usually port 4317)' : 'HTTP (usually port 4318)';
    this.#context.log.warning('metrics could not be sent to the collector; calls go on, and numbers are sent with the next interval', {
      to: describeDestination(this.#destination),
      why,
      remedy: `see that a collector takes metrics by OTLP and ${port} there, or correct OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_PROTOCOL, or write OTEL_METRICS_EXPORTER=none${tlsRemedy(this.#destination)}`,
    });
  }
}
