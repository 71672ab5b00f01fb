import type { BatchSpanProcessor, ReadableSpan } from '@opentelemetry/sdk-trace';
import type { Clock, Logger, Shortcoming, Timer } from '../../core/index.ts';
import type { StatSink, StatSource } from '../stats.ts';
import type { FinishedSpan } from './call-span.ts';
import { CountingExporter, type ExportCounts } from './counting-exporter.ts';
import { loadExporter } from './exporters.ts';
import { SpanResource } from './span-resource.ts';
import type { SpanWriter } from './span-writer.ts';
import type { SpanDestination, SpanQueueOptions } from './tracing-options.ts';

/** Where spans of calls go. */
export interface SpanSink {
  readonly resource: SpanResource;
  /** Whether what is handed over now would be sent. */
  readonly hasRoom: boolean;
  add(span: FinishedSpan): void;
  /** So many were not made for want of room. */
  drop(spans: number): void;
}

/** So many spans are written in one go, or those of this long. */
const mostUnwritten = 64;
const longestUnwrittenMs = 250;

interface Pipeline {
  readonly processor: BatchSpanProcessor;
  readonly exporter: CountingExporter;
  readonly writer: SpanWriter | undefined;
}

/**
 * The way of spans out of the process: for each destination a bounded queue and an exporter. Nobody waits for it: what does not fit is
 * dropped and counted, and so is what a collector does not take.
 */
export class SpanExport implements SpanSink, StatSource {
  readonly resource: SpanResource;
  readonly #destinations: readonly SpanDestination[];
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: SpanQueueOptions;
  readonly #pipelines: Pipeline[] = [];
  #unwritten: FinishedSpan[] = [];
  #timer: Timer | undefined;
  readonly #counts: ExportCounts = { exported: 0, failed: 0, requestsFailed: 0 };
  #dropped = 0;
  #tooLarge = 0;
  #closed = false;

  constructor(
    attributes: Readonly<Record<string, string>> & { readonly 'service.name': string },
    { destinations, queue }: { readonly destinations: readonly SpanDestination[]; readonly queue: SpanQueueOptions },
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.resource = new SpanResource(attributes);
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
      const loaded = await loadExporter(destination, this.resource, exportTimeoutMs);
      const exporter = new CountingExporter(loaded, destination, {
        clock: this.#clock,
        log: this.#log,
        timeoutMs: exportTimeoutMs,
        counts: this.#counts,
      });
      const processor = new Processor({
        exporter,
        maxQueueSize,
        maxExportBatchSize,
        scheduledDelayMillis: scheduledDelayMs,
        // Ours comes first: what the processor gives up by itself is told to nobody.
        exportTimeoutMillis: 2 * exportTimeoutMs,
      });
      this.#pipelines.push({ processor, exporter, writer: loaded.writer });
    }
  }

  /** Of the first destination that gets nothing; `undefined` while all do. */
  get shortcoming(): Shortcoming | undefined {
    return this.#pipelines.find(({ exporter }) => exporter.shortcoming !== undefined)?.exporter.shortcoming;
  }

  get hasRoom(): boolean {
    const room = this.#queue.maxQueueSize - this.#unwritten.length;
    for (const { exporter } of this.#pipelines) if (exporter.waiting < room) return !this.#closed;
    return false;
  }

  /**
   * Spans are written a few dozen at a time: one of a hundred calls has some, and by itself each of them would find nothing of what writes it in
   * the processor's caches, and leave nothing of what the other calls had there.
   */
  add(span: FinishedSpan): void {
    if (this.#unwritten.push(span) >= mostUnwritten) this.#write();
    else this.#timer ??= this.#clock.setTimer(() => this.#write(), longestUnwrittenMs);
  }

  drop(spans: number): void {
    this.#dropped += spans * Math.max(this.#pipelines.length, 1);
  }

  /** Sends what waits, for no longer than `timeoutMs`; afterwards nothing is left over. Idempotent. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#write();
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
    // Only then is it known what has no room.
    this.#write();
    sink.counter('tracing.spans_exported', this.#counts.exported);
    sink.counter('tracing.spans_dropped', this.#dropped);
    sink.counter('tracing.spans_too_large', this.#tooLarge);
    sink.counter('tracing.spans_failed', this.#counts.failed);
    sink.counter('tracing.export_requests_failed', this.#counts.requestsFailed);
    sink.gauge(
      'tracing.spans_waiting',
      this.#pipelines.reduce((sum, { exporter }) => sum + exporter.waiting, 0),
    );
  }

  #write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#unwritten.length === 0) return;
    const spans = this.#unwritten;
    this.#unwritten = [];
    for (const pipeline of this.#pipelines) for (const span of spans) this.#queueFor(pipeline, span);
  }

  #queueFor({ exporter, processor, writer }: Pipeline, span: FinishedSpan): void {
    if (exporter.waiting >= this.#queue.maxQueueSize) {
      this.#dropped++;
      return;
    }
    const written = writer === undefined ? span : writer.write(span);
    if (written === undefined) {
      this.#tooLarge++;
      return;
    }
    exporter.waiting++;
    processor.onEnd(written as unknown as ReadableSpan);
  }
}
