import { BackOff, parsePushback } from './back-off.ts';
import type { ConcurrencyLimits } from './concurrency-limits.ts';
import type { RetryBudget } from './retry-budget.ts';
import { type AttemptOutcome, isRetriable, provablyUnprocessed, type RetryPolicyOptions } from './retry-conditions.ts';
import type { RetryThrottle } from './retry-throttle.ts';

/** What the retries of one cluster share. */
export interface RetryContext {
  readonly budget: RetryBudget;
  readonly limits: ConcurrencyLimits;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** Tokens that all calls of the cluster share; `undefined`: none are counted. */
  readonly throttle?: RetryThrottle | undefined;
}

/** What the machine has to know of the call when an attempt has failed. */
export interface RetryCircumstances {
  readonly nowMs: number;
  /** When the call began; for `maxElapsedMs`. */
  readonly startMs?: number;
  /** The call's deadline, infinite where there is none. */
  readonly dueMs: number;
  /** Response headers went downstream, or what was sent does not fit the replay buffer: this attempt was the last. */
  readonly committed: boolean;
  /** Usable endpoints of the cluster that this call has not tried. */
  readonly untriedEndpoints: number;
  /** The cluster's (or method's) breaker is open. */
  readonly breakerOpen: boolean;
  /** Value of `grpc-retry-pushback-ms`, where the answer carried it. */
  readonly pushback?: string | undefined;
  /** How long the server is rate limited, where its answer says so and the policy looks at it. */
  readonly rateLimitedMs?: number | undefined;
}

export type RetryDecision =
  /**
   * `transparent`: the server never processed it, at once; once, or as often as `mostLeftOut` and `mostElsewhere` say. `repick`: it never left, so another endpoint gets it, at once.
   * `policy`: a counted retry after `delayMs`.
   */
  | { readonly kind: 'retry'; readonly delayMs: number; readonly via: 'transparent' | 'repick' | 'policy' }
  | { readonly kind: 'give_up'; readonly why: GiveUpReason };

export type GiveUpReason =
  | 'committed'
  | 'circuit_open'
  | 'deadline'
  | 'max_elapsed'
  | 'not_retriable'
  | 'pushback'
  | 'retries_exhausted'
  /** `retryThrottling` has no tokens left. */
  | 'throttled'
  /** The retry budget or `max_retries` is used up: `upstream_rq_retry_overflow`. */
  | 'overflow';

/**
 * How often a call goes elsewhere because a sidecar says that its service is away. The first time is free as after REFUSED_STREAM, and every
 * further one is charged to the retry budget, so that servers that say nothing else do not multiply calls.
 */
const mostElsewhere = 3;

/**
 * How often a call is left out by servers that serve some calls on each connection and then go: with 256 calls under way and a GOAWAY every
 * ten the last ones are left out 25 times. Each time others were served, so that no call goes round in circles.
 */
const mostLeftOut = 30;

const giveUp = (why: GiveUpReason): RetryDecision => ({ kind: 'give_up', why });
const transparently: RetryDecision = { kind: 'retry', delayMs: 0, via: 'transparent' };
const elsewhere: RetryDecision = { kind: 'retry', delayMs: 0, via: 'repick' };

/**
 * Decides what follows the failed attempts of one call (gRFC A6, and Envoy's retry state). Made at the first failure, so that a call
 * that succeeds never pays for it. Whoever makes one owes it a `finish()` when the call has ended.
 */
export class RetryMachine {
  readonly #policy: RetryPolicyOptions | undefined;
  readonly #idempotent: boolean | undefined;
  readonly #context: RetryContext;
  #backOff: BackOff | undefined;
  #retries = 0;
  #transparentUsed = false;
  #wentElsewhere = 0;
  #leftOut = 0;
  #holdsRoom = false;

  constructor(policy: RetryPolicyOptions | undefined, idempotent: boolean | undefined, context: RetryContext) {
    this.#policy = policy;
    this.#idempotent = idempotent;
    this.#context = context;
  }

  /**
   * An attempt has failed. After `retry` the caller starts another one in `delayMs`; after `give_up` the call ends with what this
   * attempt brought.
   */
  decide(outcome: AttemptOutcome, now: RetryCircumstances): RetryDecision {
    this.#releaseRoom();
    if (now.committed) return giveUp('committed');
    if (now.breakerOpen) return giveUp('circuit_open');
    if (now.nowMs >= now.dueMs) return giveUp('deadline');
    if (this.#tooLate(now.nowMs, now)) return giveUp('max_elapsed');
    return this.#freeRetry(outcome, now) ?? this.#countedRetry(outcome, now);
  }

  /** An attempt has begun beside another one: it counts as a retry does. */
  countHedge(): void {
    this.#retries++;
  }

  /** The call has ended: what a last retry held goes back. Idempotent. */
  finish(): void {
    this.#releaseRoom();
  }

  /** Value of `grpc-previous-rpc-attempts` for the attempt to come, 0: leave it out. Free retries do not count (gRFC A6). */
  get previousAttempts(): number {
    return this.#retries;
  }

  /** Retries that cost neither budget nor attempts, since the server provably saw nothing. */
  #freeRetry(outcome: AttemptOutcome, now: RetryCircumstances): RetryDecision | undefined {
    // A per-try timeout is excluded: its time is spent, and at once would be a retry that nobody wrote.
    if (outcome.kind === 'per_try_timeout' || !provablyUnprocessed(outcome)) return undefined;
    const neverLeft = outcome.kind === 'connect_failure' || (outcome.kind === 'reset' && !outcome.requestSent);
    if (neverLeft && now.untriedEndpoints > 0) return elsewhere;
    if (outcome.kind === 'grpc') return this.#mayGoElsewhere(outcome, now) ? transparently : undefined;
    if (outcome.kind !== 'reset') return undefined;
    if (outcome.servedOthers === true && this.#leftOut < mostLeftOut) {
      this.#leftOut++;
      return transparently;
    }
    if (this.#transparentUsed) return undefined;
    this.#transparentUsed = true;
    return transparently;
  }

  /** To the same endpoint it would only hear the same. */
  #mayGoElsewhere(outcome: AttemptOutcome, now: RetryCircumstances): boolean {
    if (now.untriedEndpoints === 0 || now.pushback !== undefined || this.#wentElsewhere >= mostElsewhere) return false;
    if (this.#wentElsewhere > 0 && !this.#takeRoom(outcome)) return false;
    this.#wentElsewhere++;
    return true;
  }

  #countedRetry(outcome: AttemptOutcome, now: RetryCircumstances): RetryDecision {
    const policy = this.#policy;
    if (policy === undefined || !isRetriable(outcome, policy, this.#idempotent)) return giveUp('not_retriable');
    const pushbackMs = now.pushback === undefined ? undefined : parsePushback(now.pushback);
    const { throttle } = this.#context;
    throttle?.failed();
    if (pushbackMs !== undefined && pushbackMs < 0) return giveUp('pushback');
    if (this.#retries >= policy.numRetries) return giveUp('retries_exhausted');
    if (throttle?.allows === false) return giveUp('throttled');
    const delayMs = this.#delayMs(policy, pushbackMs, now.rateLimitedMs);
    if (this.#tooLate(now.nowMs + delayMs, now)) return giveUp('max_elapsed');
    // Waiting for a deadline would replace the server's own words by ours.
    if (now.nowMs + delayMs >= now.dueMs) return giveUp('deadline');
    if (!this.#takeRoom(outcome)) return giveUp('overflow');
    this.#retries++;
    return { kind: 'retry', delayMs, via: 'policy' };
  }

  #tooLate(nextMs: number, { startMs }: RetryCircumstances): boolean {
    const maxElapsedMs = this.#policy?.maxElapsedMs;
    return maxElapsedMs !== undefined && startMs !== undefined && nextMs - startMs >= maxElapsedMs;
  }

  #delayMs(policy: RetryPolicyOptions, pushbackMs: number | undefined, rateLimitedMs: number | undefined): number {
    // As Envoy: not before the limit is over, and not all at once then.
    if (pushbackMs === undefined && rateLimitedMs !== undefined) return rateLimitedMs * (1 + this.#context.random() / 2);
    this.#backOff ??= new BackOff(policy, this.#context.random);
    if (pushbackMs === undefined) return this.#backOff.nextMs();
    this.#backOff.reset();
    return pushbackMs;
  }

  /** What never left the proxy adds no load anywhere, and is not charged. */
  #takeRoom(outcome: AttemptOutcome): boolean {
    if (outcome.kind === 'connect_failure') return true;
    const { limits, budget } = this.#context;
    if (!limits.retries.tryEnter()) return false;
    if (!budget.tryAcquire()) {
      limits.retries.leave();
      limits.retries.countOverflow();
      return false;
    }
    this.#holdsRoom = true;
    return true;
  }

  #releaseRoom(): void {
    if (!this.#holdsRoom) return;
    this.#holdsRoom = false;
    this.#context.limits.retries.leave();
    this.#context.budget.release();
  }
}
