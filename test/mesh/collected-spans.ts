import { type FinishedSpan, SpanResource, type SpanSink } from '../../src/telemetry/index.ts';

/** A span as a test reads it. */
export interface CollectedSpan {
  readonly name: string;
  readonly kind: 'server' | 'client';
  readonly traceId: string;
  readonly spanId: string;
  /** `undefined`: the trace begins with it. */
  readonly parent: string | undefined;
  readonly error: boolean;
  readonly message: string | undefined;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly { readonly name: string; readonly attributes: Readonly<Record<string, unknown>> }[];
  /** Milliseconds since the Unix epoch. */
  readonly startMs: number;
  readonly endMs: number;
}

const kinds = { 1: 'server', 2: 'client' } as const;
const msOf = ([seconds, nanos]: readonly [number, number]): number => seconds * 1_000 + nanos / 1e6;

const collected = (span: FinishedSpan): CollectedSpan => {
  const { spanId, traceId } = span.spanContext();
  return {
    name: span.name,
    kind: kinds[span.kind as 1 | 2],
    traceId,
    spanId,
    parent: span.parentSpanContext?.spanId,
    error: span.status.code === 2,
    message: span.status.message,
    attributes: { ...span.attributes },
    events: span.events.map(({ attributes = {}, name }) => ({ name, attributes })),
    startMs: msOf(span.startTime),
    endMs: msOf(span.endTime),
  };
};

/** Takes spans in the place of an exporter. */
export class CollectedSpans implements SpanSink {
  readonly resource = new SpanResource({ 'service.name': 'test' });
  hasRoom = true;
  readonly all: CollectedSpan[] = [];
  dropped = 0;

  add(span: FinishedSpan): void {
    this.all.push(collected(span));
  }

  drop(spans: number): void {
    this.dropped += spans;
  }

  /** The only span of a call that there is. */
  get call(): CollectedSpan {
    const calls = this.all.filter(({ name }) => !name.startsWith('Attempt.'));
    if (calls.length !== 1 || calls[0] === undefined) throw new Error(`${calls.length} calls: ${JSON.stringify(this.all)}`);
    return calls[0];
  }

  /** Those of attempts, in their order. */
  get attempts(): readonly CollectedSpan[] {
    return this.all
      .filter(({ name }) => name.startsWith('Attempt.'))
      .toSorted((a, b) => Number(a.attributes['outrider.attempt']) - Number(b.attributes['outrider.attempt']));
  }
}
