import type { FinishedSpan } from './call-span.ts';
import type { SpanOutput } from './span-output.ts';
import type { SpanResource } from './span-resource.ts';

const chunkBytes = 64 * 1_024;
const recorded = { traceId: '', spanId: '', traceFlags: 1 };

/** A span as the bytes that will be sent. The queue of the SDK looks at these few fields of it. */
export class WrittenSpan {
  readonly resource: SpanResource;
  readonly instrumentationScope: { readonly name: string };
  readonly chunk: Buffer;
  readonly start: number;
  readonly end: number;

  constructor({ instrumentationScope, resource }: FinishedSpan, chunk: Buffer, start: number, end: number) {
    this.resource = resource;
    this.instrumentationScope = instrumentationScope;
    this.chunk = chunk;
    this.start = start;
    this.end = end;
  }

  get length(): number {
    return this.end - this.start;
  }

  spanContext(): typeof recorded {
    return recorded;
  }
}

/**
 * Writes spans soon after their calls have ended. What waits for its collector is then bytes outside of the heap: objects would outlive the young
 * generation, where those of calls die, and moving them costs several times what writing them does.
 */
export class SpanWriter {
  readonly #out: SpanOutput;
  readonly #mostBytes: number;
  #chunk = Buffer.alloc(0);
  #at = 0;

  /** @param mostBytes of a span: what is larger cannot be sent. */
  constructor(out: SpanOutput, mostBytes = Number.POSITIVE_INFINITY) {
    this.#out = out;
    this.#mostBytes = mostBytes;
  }

  /** `undefined`: it is too large. */
  write(span: FinishedSpan): WrittenSpan | undefined {
    const out = this.#out;
    out.span(span);
    const { length } = out;
    if (length > this.#mostBytes) {
      out.clear();
      return undefined;
    }
    if (this.#at + length > this.#chunk.length) {
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, length));
      this.#at = 0;
    }
    const start = this.#at;
    this.#at += length;
    out.moveTo(this.#chunk, start);
    return new WrittenSpan(span, this.#chunk, start, this.#at);
  }
}
