import type { HeaderBlock } from '../../http2/index.ts';
import { type WrittenContext, writeContext } from './trace-context.ts';
import { hexOf } from './trace-ids.ts';

/** Something that happened to a call at one moment. */
export interface TraceEvent {
  readonly name: string;
  /** Monotonic. */
  readonly atMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

/** One attempt that has ended, as far as anybody will ask. */
export interface AttemptRecord {
  /** From 1. */
  readonly number: number;
  /** Monotonic. */
  readonly startMs: number;
  readonly endMs: number;
  /** `address:port`; `undefined`: it ended before one was picked. */
  readonly endpoint: string | undefined;
  readonly httpStatus: number;
  /** It was let through an open breaker, to see whether the upstream is back. */
  readonly probe: boolean;
  readonly outcome: 'success' | 'error' | 'timeout' | 'cancelled';
  /** What the server said; -1: nothing. */
  grpcStatus: number;
  /** Why it failed, in our own words. */
  failure: { readonly reason: string; readonly message: string } | undefined;
}

export const TraceFlag = {
  spanPerAttempt: 1,
  b3Single: 2,
  b3Multiple: 4,
  sampled: 8,
  never: 16,
  kept: 32,
  /** Where the request has a `traceparent`, it is of this trace. */
  inPlace: 64,
  /** Somebody wants to see it at every hop. */
  debug: 128,
} as const;

/** A call that is tried again for ever must not fill the memory with how. */
const recordsAtMost = 32;

/** What the id of an attempt's span differs by from that of its call: odd, so that no two of a call are the same. */
const attemptStep = 0x9e3779b1 | 0;

/**
 * The trace of one call: where it belongs, and while it lasts what happened. Ids are numbers, and those of attempts follow from the call's
 * own, so that a call of which nothing is kept makes no string; and its object is the next one's.
 */
export class CallTrace implements WrittenContext {
  trace0 = 0;
  trace1 = 0;
  trace2 = 0;
  trace3 = 0;
  /** Of the caller's span; both 0 where the trace begins here. */
  parentHigh = 0;
  parentLow = 0;
  spanHigh = 0;
  spanLow = 0;
  /** Bits of `TraceFlag`. */
  #flags = 0;
  events: TraceEvent[] | undefined = undefined;
  attempts: AttemptRecord[] | undefined = undefined;

  /** The trace of a call that begins, whatever it was before. @param flags bits of `TraceFlag`. */
  begin(
    trace0: number,
    trace1: number,
    trace2: number,
    trace3: number,
    parentHigh: number,
    parentLow: number,
    spanHigh: number,
    spanLow: number,
    flags: number,
  ): this {
    this.trace0 = trace0;
    this.trace1 = trace1;
    this.trace2 = trace2;
    this.trace3 = trace3;
    this.parentHigh = parentHigh;
    this.parentLow = parentLow;
    this.spanHigh = spanHigh;
    this.spanLow = spanLow;
    this.#flags = flags;
    this.events = undefined;
    this.attempts = undefined;
    return this;
  }

  /** Whether attempts have spans of their own; else they are events of the one span. */
  get spanPerAttempt(): boolean {
    return (this.#flags & TraceFlag.spanPerAttempt) !== 0;
  }

  get debug(): boolean {
    return (this.#flags & TraceFlag.debug) !== 0;
  }

  get b3Single(): boolean {
    return (this.#flags & TraceFlag.b3Single) !== 0;
  }

  get b3Multiple(): boolean {
    return (this.#flags & TraceFlag.b3Multiple) !== 0;
  }

  get inPlace(): boolean {
    return (this.#flags & TraceFlag.inPlace) !== 0;
  }

  /** Decided when the call began; what is sent on says so. */
  get sampled(): boolean {
    return (this.#flags & TraceFlag.sampled) !== 0;
  }

  /** Nobody wants to see its calls, not even those that fail. */
  get never(): boolean {
    return (this.#flags & TraceFlag.never) !== 0;
  }

  /** Its spans are exported: it was sampled, or it failed. */
  get kept(): boolean {
    return (this.#flags & TraceFlag.kept) !== 0;
  }

  keep(): void {
    this.#flags |= TraceFlag.kept;
  }

  /** Says in `request` which span calls: that of attempt `number`, or with 0 that of the call. */
  writeInto(request: HeaderBlock, number: number): void {
    writeContext(request, this, this.spanHigh, this.spanPerAttempt ? this.attemptSpanLow(number) : this.spanLow);
    this.#flags |= TraceFlag.inPlace;
  }

  /** For what is out of the ordinary: makes an object. */
  event(name: string, atMs: number, attributes: TraceEvent['attributes'] = {}): void {
    if (this.never) return;
    this.events ??= [];
    if (this.events.length < recordsAtMost) this.events.push({ name, atMs, attributes });
  }

  /** An attempt has ended. Only those of calls that may be kept are worth the record. */
  attemptEnded(record: AttemptRecord): void {
    this.attempts ??= [];
    if (this.attempts.length < recordsAtMost) this.attempts.push(record);
  }

  get traceId(): string {
    return hexOf(this.trace0, this.trace1, this.trace2, this.trace3);
  }

  get spanId(): string {
    return hexOf(this.spanHigh, this.spanLow);
  }

  /** Nobody has called within a trace. */
  get beginsHere(): boolean {
    return (this.parentHigh | this.parentLow) === 0;
  }

  /** `undefined`: the trace begins here. */
  get parentSpanId(): string | undefined {
    return this.beginsHere ? undefined : hexOf(this.parentHigh, this.parentLow);
  }

  attemptSpanId(number: number): string {
    return hexOf(this.spanHigh, this.attemptSpanLow(number));
  }

  /** The lower half of the id of an attempt's span; with 0 that of the call's. */
  attemptSpanLow(number: number): number {
    return (this.spanLow + Math.imul(number, attemptStep)) | 0;
  }
}
