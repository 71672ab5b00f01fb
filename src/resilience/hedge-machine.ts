import { parsePushback } from './back-off.ts';
import { type AttemptOutcome, isRetriable, provablyUnprocessed, type RetryPolicyOptions } from './retry-conditions.ts';
import type { RetryContext, RetryMachine } from './retry-machine.ts';

/** Attempts of one call beside each other (gRFC A6 `hedgingPolicy`, Envoy's `HedgePolicy`). Only for calls that may be processed twice. */
export interface HedgePolicyOptions {
  /** Attempts that begin at once. */
  readonly initialRequests: number;
  /** How often one more begins at once, 0 to 1. */
  readonly additionalRequestChance: number;
  /** Attempts in all, the first one included. */
  readonly maxAttempts: number;
  /** Time from one attempt to the next; infinite: none begins by time. */
  readonly hedgingDelayMs: number;
  /** Sum of `1 << status`: what does not end the call while others go on. `undefined`: what the retry policy names. */
  readonly nonFatalStatuses: number | undefined;
  /** At the per-try timeout another attempt begins beside the late one, which goes on. */
  readonly onPerTryTimeout: boolean;
}

/** What the machine has to know of the call before another attempt begins. */
export interface HedgeCircumstances {
  readonly nowMs: number;
  readonly startMs: number;
  /** The call's deadline, infinite where there is none. */
  readonly dueMs: number;
  /** Response headers went downstream, or what was sent cannot be sent again. */
  readonly committed: boolean;
  readonly breakerOpen: boolean;
}

export type HedgeDecision =
  /** The answer is the call's; the others are cancelled. */
  | { readonly kind: 'fatal' }
  /** Nothing begins on account of this failure. */
  | { readonly kind: 'wait' }
  /** Another attempt may begin after `delayMs`. */
  | { readonly kind: 'hedge'; readonly delayMs: number };

const fatal: HedgeDecision = { kind: 'fatal' };
const wait: HedgeDecision = { kind: 'wait' };

/**
 * Which attempts of one call run beside each other. Each beyond the first is charged to `max_retries` and the retry budget for as long
 * as it lasts, and counts as a retry. Whoever makes one owes it a `finish()` when the call has ended.
 */
export class HedgeMachine {
  readonly policy: HedgePolicyOptions;
  readonly #retry: RetryPolicyOptions | undefined;
  readonly #machine: RetryMachine;
  readonly #context: RetryContext;
  #begun = 1;
  #rooms = 0;
  #stopped = false;

  /** @param machine of the same call, with which attempts are counted together. */
  constructor(policy: HedgePolicyOptions, retry: RetryPolicyOptions | undefined, machine: RetryMachine, context: RetryContext) {
    this.policy = policy;
    this.#retry = retry;
    this.#machine = machine;
    this.#context = context;
  }

  /** Attempts to begin at once beside the first one; asked once. */
  atOnce(): number {
    const { additionalRequestChance, hedgingDelayMs, initialRequests, maxAttempts } = this.policy;
    if (hedgingDelayMs === 0) return maxAttempts - 1;
    const more = additionalRequestChance > 0 && this.#context.random() < additionalRequestChance ? 1 : 0;
    return Math.min(initialRequests + more, maxAttempts) - 1;
  }

  /** Whether another attempt would be allowed by number, and nobody has asked for none. */
  get mayGoOn(): boolean {
    return !this.#stopped && this.#begun < this.policy.maxAttempts;
  }

  /** Another attempt is to begin now. True where it may: it owes one `attemptEnded()`, as every attempt of the call does. */
  tryBegin(now: HedgeCircumstances): boolean {
    if (!this.mayGoOn || now.committed || now.breakerOpen || now.nowMs >= now.dueMs) return false;
    const maxElapsedMs = this.#retry?.maxElapsedMs;
    if (maxElapsedMs !== undefined && now.nowMs - now.startMs >= maxElapsedMs) return false;
    if (this.#context.throttle?.allows === false || !this.#takeRoom()) return false;
    this.#begun++;
    this.#machine.countHedge();
    return true;
  }

  /** An attempt has ended, however it did: there is one less beside the others. */
  attemptEnded(): void {
    if (this.#rooms > 0) this.#giveRoom();
  }

  /** No further attempt begins; those that go on do. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * An attempt has failed, of which `attemptEnded` was told. @param status that the caller would see. @param pushback value of
   * `grpc-retry-pushback-ms`.
   */
  onFailure(outcome: AttemptOutcome, status: number, idempotent: boolean | undefined, pushback: string | undefined): HedgeDecision {
    if (!this.#isNonFatal(outcome, status, idempotent)) return fatal;
    this.#context.throttle?.failed();
    const pushbackMs = pushback === undefined ? 0 : parsePushback(pushback);
    if (pushbackMs < 0) this.#stopped = true;
    return this.mayGoOn ? { kind: 'hedge', delayMs: pushbackMs } : wait;
  }

  /** The call has ended. Idempotent. */
  finish(): void {
    this.#stopped = true;
    while (this.#rooms > 0) this.#giveRoom();
  }

  #isNonFatal(outcome: AttemptOutcome, status: number, idempotent: boolean | undefined): boolean {
    if (outcome.kind === 'refused_here') return false;
    if (provablyUnprocessed(outcome)) return true;
    const { nonFatalStatuses } = this.policy;
    if (nonFatalStatuses !== undefined) return status >= 0 && status < 31 && (nonFatalStatuses & (1 << status)) !== 0;
    return this.#retry !== undefined && isRetriable(outcome, this.#retry, idempotent);
  }

  #takeRoom(): boolean {
    const { budget, limits } = this.#context;
    if (!limits.retries.tryEnter()) return false;
    if (!budget.tryAcquire()) {
      limits.retries.leave();
      limits.retries.countOverflow();
      return false;
    }
    this.#rooms++;
    return true;
  }

  #giveRoom(): void {
    this.#rooms--;
    this.#context.limits.retries.leave();
    this.#context.budget.release();
  }
}
