import type { DemoServiceName } from './protocol.ts';

/** What became of one call, as its caller saw it. */
export interface CallOutcome {
  /** `Authenticate` and its like. */
  readonly method: string;
  readonly service: DemoServiceName;
  /** Monotonic milliseconds. */
  readonly startedMs: number;
  readonly durationMs: number;
  /** `degraded`: answered, but without what a further service should have added. `ended`: still in flight when the demo ended. */
  readonly result: 'ok' | 'degraded' | 'failed' | 'ended';
  /** The value of `x-outrider-reason`, else the gRPC status; empty for `ok`. */
  readonly reason: string;
  readonly message: string;
  /** Passes through a sidecar on the way of one attempt. */
  readonly passes: number;
}

/** Calls that one service received from the demo's client. */
export interface ServiceTally {
  calls: number;
  failed: number;
}

const keptDurations = 10_000;
const keptRecent = 50;

/**
 * Counts the calls of a run. A failure is expected only when a fault was asked for that explains it; everything else that fails
 * makes the run a failure.
 */
export class Ledger {
  readonly #isExpected: (outcome: CallOutcome) => boolean;
  readonly #durations: number[] = [];
  #nextDuration = 0;
  readonly byReason = new Map<string, number>();
  readonly byService = new Map<DemoServiceName, ServiceTally>();
  /** The latest outcomes, oldest first. */
  readonly recent: CallOutcome[] = [];
  calls = 0;
  ok = 0;
  degraded = 0;
  failed = 0;
  /** Still in flight at the end: neither a success nor a failure. */
  ended = 0;
  /** Failed or degraded although no fault explains it. */
  unexpected = 0;
  /** Passes through sidecars, attempts beyond the first not counted. */
  passes = 0;
  firstUnexpected: CallOutcome | undefined;

  constructor(isExpected: (outcome: CallOutcome) => boolean) {
    this.#isExpected = isExpected;
  }

  record(outcome: CallOutcome): void {
    this.calls++;
    this.passes += outcome.passes;
    this[outcome.result]++;
    this.recent.push(outcome);
    if (this.recent.length > keptRecent) this.recent.shift();
    const tally = this.byService.get(outcome.service) ?? { calls: 0, failed: 0 };
    this.byService.set(outcome.service, tally);
    tally.calls++;
    if (outcome.result === 'ended') return;
    if (outcome.result === 'ok' || outcome.result === 'degraded') this.#keepDuration(outcome.durationMs);
    if (outcome.result === 'ok') return;
    if (outcome.result === 'failed') tally.failed++;
    this.byReason.set(outcome.reason, (this.byReason.get(outcome.reason) ?? 0) + 1);
    if (this.#isExpected(outcome)) return;
    this.unexpected++;
    this.firstUnexpected ??= outcome;
  }

  /** Duration in milliseconds that `percent` of the answered calls stayed below (of the latest 10,000); 0 without calls. */
  percentileMs(percent: number): number {
    const sorted = this.#durations.toSorted((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
  }

  /** Reasons with the most frequent first. */
  get reasons(): readonly (readonly [string, number])[] {
    return [...this.byReason].sort((a, b) => b[1] - a[1]);
  }

  #keepDuration(durationMs: number): void {
    this.#durations[this.#nextDuration] = durationMs;
    this.#nextDuration = (this.#nextDuration + 1) % keptDurations;
  }
}
