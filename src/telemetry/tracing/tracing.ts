import { randomUUID } from 'node:crypto';
import type { Clock, Logger } from '../../core/index.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { CallTracer } from './call-tracer.ts';
import { SpanExport } from './span-export.ts';
import type { TracingOptions } from './tracing-options.ts';

export interface TracingContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** `service.name`. */
  readonly serviceName: string;
}

/** The traces of one sidecar: who decides and records, and the way out. */
export class Tracing implements StatSource {
  readonly tracer: CallTracer;
  readonly #spans: SpanExport;

  constructor(options: TracingOptions, { clock, log, serviceName }: TracingContext) {
    const attributes = { 'service.instance.id': randomUUID(), ...options.resource, 'service.name': serviceName };
    this.#spans = new SpanExport(attributes, options, { clock, log });
    this.tracer = new CallTracer(options, clock, this.#spans);
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
