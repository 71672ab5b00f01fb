import type { CallObserver, EndedCall } from '../ended-call.ts';

/**
 * Keeps the last traced call of each bucket of durations, so that whoever looks at slow calls finds the trace of one. Bounded by the buckets
 * there are; of a call that is not traced nothing is read but that.
 */
export class ExemplarRecorder implements CallObserver {
  onCallEnd(call: EndedCall): void {
    if (!call.sampled) return;
    const { durationMs, startedAtMs, traceId } = call;
    if (traceId !== undefined) call.metrics.keepExemplar({ traceId, durationMs, atMs: startedAtMs + durationMs });
  }
}
