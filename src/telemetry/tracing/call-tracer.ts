import type { Clock } from '../../core/index.ts';
import type { HeaderBlock } from '../../http2/index.ts';
import { Token } from '../../http2/index.ts';
import type { Direction, TracingPolicy } from '../../policy/index.ts';
import { TokenBucket } from '../../resilience/index.ts';
import type { EndedCall } from '../ended-call.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { AttemptSpan, CallSpan } from './call-span.ts';
import { CallTrace, TraceFlag } from './call-trace.ts';
import { hasFailed } from './failures.ts';
import { FinishedCall } from './finished-call.ts';
import { isSampled, type SamplerOptions } from './sampling.ts';
import type { SpanSink } from './span-export.ts';
import { CallerContext } from './trace-context.ts';
import { TraceIds } from './trace-ids.ts';
import { WallTime } from './wall-time.ts';

export interface CallTracerOptions {
  readonly sampler: SamplerOptions;
  /** Calls that fail and were not sampled, of which so many are kept in a second all the same; 0: none. */
  readonly failedPerSecond: number;
  /** Written into every request, whatever the caller speaks. */
  readonly b3Single: boolean;
  readonly b3Multiple: boolean;
  /** Four words, for ids that a test knows. */
  readonly seed?: Int32Array;
}

/** As many as there are calls at once where there are many; a hundred bytes each. */
const mostPooled = 1_024;

/**
 * Gives every call its place in a trace, and decides what is kept: when it begins by share, and when it has failed by that. A call of
 * which nothing is kept costs its ids, and the header that it carries on.
 */
export class CallTracer implements StatSource {
  readonly #options: CallTracerOptions;
  readonly #sink: SpanSink;
  readonly #ids: TraceIds;
  readonly #context = new CallerContext();
  readonly #wall: WallTime;
  readonly #failures: TokenBucket | undefined;
  readonly #pool: CallTrace[] = [];
  #sampled = 0;
  #keptFailed = 0;
  #keptFailedDropped = 0;

  constructor(options: CallTracerOptions, clock: Clock, sink: SpanSink) {
    const { failedPerSecond, seed } = options;
    this.#options = options;
    this.#sink = sink;
    this.#ids = new TraceIds(seed);
    this.#wall = new WallTime(clock);
    const bucket = { maxTokens: failedPerSecond, tokensPerFill: failedPerSecond, fillIntervalMs: 1_000 };
    this.#failures = failedPerSecond === 0 ? undefined : new TokenBucket(bucket, clock.now());
  }

  /** Reads where the call belongs. Nothing is written yet: what is sent names the span that sends it. */
  begin(request: HeaderBlock, direction: Direction, policy: TracingPolicy | undefined): CallTrace {
    const context = this.#context;
    const ids = this.#ids;
    context.read(request);
    const { found, trace: words } = context;
    const trace0 = found ? (words[0] as number) : ids.next();
    const trace1 = found ? (words[1] as number) : ids.next();
    const trace2 = found ? (words[2] as number) : ids.next();
    const trace3 = found ? (words[3] as number) : ids.nextNonZero();
    // It means something beside the traceparent that it came with alone (W3C Trace Context 3.3).
    if (!context.inTraceparent) request.removeToken(Token.tracestate);
    const { b3Multiple, b3Single, sampler } = this.#options;
    let flags = direction === 'outbound' ? TraceFlag.spanPerAttempt : 0;
    if (context.inTraceparent) flags |= TraceFlag.inPlace;
    if (context.debug) flags |= TraceFlag.debug;
    if (b3Single || context.b3Single) flags |= TraceFlag.b3Single;
    if (b3Multiple || context.b3Multiple) flags |= TraceFlag.b3Multiple;
    if (isSampled(sampler, policy, context.said, trace0, trace1, trace2, trace3)) flags |= TraceFlag.sampled;
    if (policy !== undefined && policy.overallShare === 0) flags |= TraceFlag.never;
    const parentHigh = found ? context.parentHigh : 0;
    const parentLow = found ? context.parentLow : 0;
    const trace = this.#pool.pop() ?? new CallTrace();
    return trace.begin(trace0, trace1, trace2, trace3, parentHigh, parentLow, ids.nextNonZero(), ids.next(), flags);
  }

  /** The call has ended; times are monotonic. One that was not sampled and went well need not be told: nothing is kept of it. */
  end(call: EndedCall, trace: CallTrace, startMs: number, endMs: number): void {
    if (trace.sampled) this.#sampled++;
    else if (!this.#keepsFailure(call, trace, endMs)) return;
    trace.keep();
    const sink = this.#sink;
    const attempts = trace.spanPerAttempt ? trace.attempts : undefined;
    // Beyond what can be sent nothing is made.
    if (!sink.hasRoom) {
      sink.drop(1 + (attempts === undefined ? 0 : attempts.length));
      return;
    }
    const finished = new FinishedCall(call, trace, startMs, endMs, this.#wall.offsetMs());
    sink.add(new CallSpan(finished, sink.resource));
    if (attempts !== undefined) for (const attempt of attempts) sink.add(new AttemptSpan(finished, attempt, sink.resource));
  }

  /** Nobody will ask for `trace` any more: nothing of it was kept, and its call has let go of it. */
  recycle(trace: CallTrace): void {
    if (this.#pool.length < mostPooled) this.#pool.push(trace);
  }

  collectStats(sink: StatSink): void {
    sink.counter('tracing.calls_sampled', this.#sampled);
    sink.counter('tracing.calls_kept_failed', this.#keptFailed);
    sink.counter('tracing.calls_failed_dropped', this.#keptFailedDropped);
  }

  #keepsFailure(call: EndedCall, trace: CallTrace, nowMs: number): boolean {
    const failures = this.#failures;
    if (failures === undefined || trace.never || !hasFailed(call.fate, call.grpcStatus)) return false;
    if (failures.tokens(nowMs) <= 0) {
      this.#keptFailedDropped++;
      return false;
    }
    failures.take();
    this.#keptFailed++;
    return true;
  }
}
