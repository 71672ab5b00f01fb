import type { BatchSpanProcessor, ReadableSpan } from '@opentelemetry/sdk-trace';
import type { Clock, Logger } from '../../core/index.ts';
import type { StatSink, StatSource } from '../stats.ts';
import type { FinishedSpan } from './call-span.ts';
import { CountingExporter, type ExportCounts } from './counting-exporter.ts';
import { loadExporter } from './exporters.ts';
import { SpanWriter, type WrittenSpan } from './otlp-spans.ts';
import { SpanResource } from './span-resource.ts';
import type { SpanDestination, SpanQueueOptions } from './tracing-options.ts';

/** What has been given up must not go on by itself. */
const bounded = (destination: SpanDestination, mostMs: number): SpanDestination =>
  destination.kind === 'otlp' ? { ...destination, timeoutMs: Math.min(destination.timeoutMs, mostMs) } : destination;

/** Where spans of calls go. */
export interface SpanSink {
  readonly resource: SpanResource;
  /** Whether what is handed over now would be sent. */
  readonly hasRoom: boolean;
  add(span: FinishedSpan): void;
  /** So many were not made for want of room. */
  drop(spans: number): void;
}

/** Jaeger's exporter makes hundreds of objects for a span; a few spans at a time are garbage before it is collected. */
const jaegerBatchSize = 16;

interface Pipeline {
  readonly processor: BatchSpanProcessor;
  readonly exporter: CountingExporter;
  readonly takesWritten: boolean;
}

/**
 * The way of spans out of the process: for each destination a bounded queue and an exporter. Nobody waits for it: what does not fit is
 * dropped and counted, and so is what a collector does not take.
 */
export class SpanExport implements SpanSink, StatSource {
  /** Of each span. Jaeger has what describes the process once in a packet; its exporter would repeat for every span what stands here. */
  readonly resource: SpanResource;
  readonly #whole: SpanResource;
  readonly #destinations: readonly SpanDestination[];
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: SpanQueueOptions;
  readonly #pipelines: Pipeline[] = [];
  readonly #writer = new SpanWriter();
  readonly #counts: ExportCounts = { exported: 0, failed: 0, requestsFailed: 0 };
  #dropped = 0;
  #closed = false;

  constructor(
    attributes: Readonly<Record<string, string>> & { readonly 'service.name': string },
    { destinations, queue }: { readonly destinations: readonly SpanDestination[]; readonly queue: SpanQueueOptions },
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#whole = new SpanResource(attributes);
    const onlyJaeger = destinations.every(({ kind }) => kind === 'jaeger');
    this.resource = onlyJaeger ? new SpanResource({ 'service.name': attributes['service.name'] }) : this.#whole;
    this.#destinations = destinations;
    this.#queue = queue;
    this.#clock = clock;
    this.#log = log;
  }

  /** Loads what the destinations need, before there are calls: it would hold them up. Rejects with a ConfigurationError for files that cannot be read. */
  async load(): Promise<void> {
    if (this.#destinations.length === 0) return;
    // Only this one file of the package: the rest of it makes spans, and we have our own.
    const { BatchSpanProcessor: Processor } = await import('@opentelemetry/sdk-trace/build/src/platform/node/export/BatchSpanProcessor.js');
    const { exportTimeoutMs, maxExportBatchSize, maxQueueSize, scheduledDelayMs } = this.#queue;
    for (const destination of this.#destinations) {
      const loaded = await loadExporter(bounded(destination, exportTimeoutMs), this.#whole);
      const exporter = new CountingExporter(loaded, destination, {
        clock: this.#clock,
        log: this.#log,
        timeoutMs: exportTimeoutMs,
        counts: this.#counts,
      });
      const processor = new Processor({
        exporter,
        maxQueueSize,
        maxExportBatchSize: destination.kind === 'jaeger' ? Math.min(maxExportBatchSize, jaegerBatchSize) : maxExportBatchSize,
        scheduledDelayMillis: scheduledDelayMs,
        // Ours comes first: what the processor gives up by itself is told to nobody.
        exportTimeoutMillis: 2 * exportTimeoutMs,
      });
      this.#pipelines.push({ processor, exporter, takesWritten: loaded.takesWritten });
    }
  }

  get hasRoom(): boolean {
    for (const { exporter } of this.#pipelines) if (exporter.waiting < this.#queue.maxQueueSize) return !this.#closed;
    return false;
  }

  add(span: FinishedSpan): void {
    let written: WrittenSpan | undefined;
    for (const { exporter, processor, takesWritten } of this.#pipelines) {
      if (exporter.waiting >= this.#queue.maxQueueSize) {
        this.#dropped++;
        continue;
      }
      exporter.waiting++;
      if (takesWritten) written ??= this.#writer.write(span);
      processor.onEnd((takesWritten ? written : span) as unknown as ReadableSpan);
    }
  }

  drop(spans: number): void {
    this.#dropped += spans * Math.max(this.#pipelines.length, 1);
  }

  /** Sends what waits, for no longer than `timeoutMs`; afterwards nothing is left over. Idempotent. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const late = Promise.withResolvers<void>();
    const giveUp = (): void => {
      for (const { exporter } of this.#pipelines) exporter.giveUp();
      setImmediate(late.resolve);
    };
    const timer = timeoutMs === 0 ? undefined : this.#clock.setTimer(giveUp, timeoutMs);
    if (timeoutMs === 0) giveUp();
    await Promise.race([Promise.allSettled(this.#pipelines.map(({ processor }) => processor.shutdown())), late.promise]);
    timer?.cancel();
  }

  collectStats(sink: StatSink): void {
    sink.counter('tracing.spans_exported', this.#counts.exported);
    sink.counter('tracing.spans_dropped', this.#dropped);
    sink.counter('tracing.spans_failed', this.#counts.failed);
    sink.counter('tracing.export_requests_failed', this.#counts.requestsFailed);
    sink.gauge(
      'tracing.spans_waiting',
      this.#pipelines.reduce((sum, { exporter }) => sum + exporter.waiting, 0),
    );
  }
}
