import { randomUUID } from 'node:crypto';
import type { Clock, Logger, Shortcoming } from '../../core/index.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { CallTracer } from './call-tracer.ts';
import { SpanExport, type SpanSink } from './span-export.ts';
import type { TracingOptions } from './tracing-options.ts';

export interface TracingContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** `service.name`. */
  readonly serviceName: string;
  /** Gets the spans in the place of the destinations. */
  readonly sink?: SpanSink;
}

/** The traces of one sidecar: who decides and records, and the way out. */
export class Tracing implements StatSource {
  readonly tracer: CallTracer;
  readonly #spans: SpanExport;

  constructor(options: TracingOptions, { clock, log, serviceName, sink }: TracingContext) {
    const attributes = { 'service.instance.id': randomUUID(), 'service.name': serviceName, ...options.resource };
    this.#spans = new SpanExport(attributes, sink === undefined ? options : { ...options, destinations: [] }, { clock, log });
    this.tracer = new CallTracer(options, clock, sink ?? this.#spans);
  }

  /** Why spans do not arrive now; `undefined` while they do. */
  get shortcoming(): Shortcoming | undefined {
    return this.#spans.shortcoming;
  }

  /** To be awaited before there are calls. */
  async load(): Promise<void> {
    await this.#spans.load();
  }

  /** Sends what waits, for no longer than `timeoutMs`. Idempotent. */
  async close(timeoutMs: number): Promise<void> {
    await this.#spans.close(timeoutMs);
  }

  collectStats(sink: StatSink): void {
    this.tracer.collectStats(sink);
    this.#spans.collectStats(sink);
  }
}
