import type { GiveUpReason } from './retry-machine.ts';

export interface CrossHopGuardOptions {
  /** Traces that are remembered at most; the one whose failure is oldest makes room. */
  readonly maxTraces: number;
  /** How long a failure is remembered, in milliseconds: longer than an inbound call goes on after it. */
  readonly rememberMs: number;
}

export const defaultCrossHopGuard: CrossHopGuardOptions = { maxTraces: 10_000, rememberMs: 60_000 };

/**
 * Whether a failed outbound call is one that the hops above must not repeat. `why`: the decision that ended it.
 *
 * Retries were spent on it, or the hop below said that it had spent them. A retry budget that is used up, and an open breaker, say the
 * same of all calls of the cluster: were they left out, each hop would add its own retries to an outage that is known below.
 */
export const exhaustsRetries = (why: GiveUpReason, previousAttempts: number): boolean =>
  previousAttempts > 0 || why === 'pushback' || why === 'overflow' || why === 'circuit_open';

/**
 * Keeps retries on one hop from being retried on the next: three tiers that try four times each call a dead bottom 64 times for one
 * call. A sidecar is told of outbound calls that failed although they had been retried, and when the inbound call that caused them
 * fails, its answer carries `grpc-retry-pushback-ms: -1`, which every gRPC client obeys (gRFC A6).
 *
 * Cause and effect are told by the trace id, and by time: only a failure since the inbound call began is its own. So a retry further up
 * that works out well below changes nothing, and a call that succeeds costs nothing here. Bounded: callers choose trace ids.
 *
 * To the breaker and the outlier detection of the hop above, an answer with this word is neutral: the failure is further down, where it
 * has been counted. Otherwise the breakers of all hops open in a row, and probes of each meet open ones below (`docs/simulation.md`).
 */
export class CrossHopGuard {
  readonly #options: CrossHopGuardOptions;
  /** When an outbound call failed last, by trace id; the oldest first. */
  readonly #failedAtMs = new Map<string, number>();

  constructor(options: CrossHopGuardOptions = defaultCrossHopGuard) {
    this.#options = options;
  }

  /** An outbound call has ended in a way that `exhaustsRetries`. */
  outboundFailed(traceId: string, nowMs: number): void {
    this.#forgetOld(nowMs);
    // Deleted first, so that it goes to the end of the order.
    this.#failedAtMs.delete(traceId);
    this.#failedAtMs.set(traceId, nowMs);
    if (this.#failedAtMs.size <= this.#options.maxTraces) return;
    const oldest = this.#failedAtMs.keys().next();
    if (oldest.done !== true) this.#failedAtMs.delete(oldest.value);
  }

  /** Whether the failing answer of an inbound call, which began at `startedMs`, has to say that it is not to be tried again. */
  forbidsRetry(traceId: string, startedMs: number, nowMs: number): boolean {
    const failedAtMs = this.#failedAtMs.get(traceId);
    return failedAtMs !== undefined && failedAtMs >= startedMs && nowMs - failedAtMs <= this.#options.rememberMs;
  }

  /** Traces that are remembered now. */
  get size(): number {
    return this.#failedAtMs.size;
  }

  #forgetOld(nowMs: number): void {
    for (const [traceId, failedAtMs] of this.#failedAtMs) {
      if (nowMs - failedAtMs <= this.#options.rememberMs) return;
      this.#failedAtMs.delete(traceId);
    }
  }
}
