import type { PendingCounts, RollingCounts, RollingStatistics, RollingWindow } from './rolling-window.ts';

export type BreakerState = 'CLOSED' | 'OPEN' | 'HALF_OPEN';

export interface BreakerOptions {
  /** Failures without a success in between that open it; at least 1. Of calls that run beside one another it takes more: see `Breaker`. */
  readonly consecutiveFailures: number;
  /** How long it stays open before a probe is let through, in milliseconds. */
  readonly recoveryTimeoutMs: number;
  /** Probes in a row that have to succeed, one after another, before it closes; 1 where left out. */
  readonly successThreshold?: number;
  /** A share of failures that opens it as well; `undefined`: none does. Needs a `RollingWindow` of `windowMs`. */
  readonly failureRate?: FailureRateOptions | undefined;
  /** An answer that begins later than this, in milliseconds, counts as a failure; `undefined`: however late. */
  readonly slowCallDurationMs?: number | undefined;
  /** gRPC statuses of an answer that are failures, one bit for each (`statusBits`); UNAVAILABLE where left out. */
  readonly failureStatuses?: number;
  /**
   * How long a probe may take before it counts as failed, in milliseconds. Default: as long as the breaker would stay open, but
   * between 1 s and 30 s. A hung probe then keeps callers out no longer than an open breaker does.
   */
  readonly probeTimeoutMs?: number;
}

export interface FailureRateOptions {
  /** Share of failures from which on it opens; above 0, at most 100. */
  readonly percent: number;
  /** What the share is taken of, in milliseconds: the results of this time. */
  readonly windowMs: number;
  /** Results that have to be in the window before their share means anything. */
  readonly minimumRequests: number;
}

/** A set of gRPC statuses (0 to 16), for one comparison per answer. */
export const statusBits = (statuses: Iterable<number>): number => {
  let bits = 0;
  for (const status of statuses) bits |= 1 << status;
  return bits;
};

/** UNAVAILABLE: what other statuses say is about the call, not about the upstream. */
export const defaultFailureStatuses = statusBits([14]);

/** What a cluster gets for which nobody wrote a breaker. */
export const defaultBreaker: BreakerOptions = { consecutiveFailures: 5, recoveryTimeoutMs: 60_000 };

/**
 * After so many milliseconds without a success, failures in a row are that, however many calls run at once: about the longest that an
 * instance is away when it restarts, or collects garbage, and loses what it had.
 */
const successLastsMs = 3_000;

export interface BreakerChange {
  readonly from: BreakerState;
  readonly to: BreakerState;
  readonly why:
    | 'failures'
    | 'failure_rate'
    | 'probe_started'
    | 'probe_succeeded'
    | 'probe_failed'
    | 'probe_hung'
    | 'held'
    | 'hold_ended'
    | 'reset';
  readonly nowMs: number;
}

/** Held open or closed by hand until `untilMs` (monotonic; infinite: until a reset). */
export interface BreakerHold {
  readonly state: 'OPEN' | 'CLOSED';
  readonly untilMs: number;
}

/**
 * Stops calling what does not answer: `consecutiveFailures` in a row open it, or too large a share of failures does; after
 * `recoveryTimeoutMs` one probe at a time is let through, and when `successThreshold` of them have succeeded it closes. Without it
 * every caller waits for its own timeout, and the upstream never rests.
 *
 * Calls that overlap are not in a row: among a hundred at once, five of which fail one after the other say that some fail, and a connection
 * that is lost is one event for all of them. So while calls go on beside one another, failures are counted in rounds: one ends when as many
 * attempts have failed as were under way when it began, and `consecutiveFailures` rounds open it. Where the last success had nothing
 * beside it, where there has been none yet, and when it is `successLastsMs` ago, each failure counts (`docs/simulation.md`).
 *
 * Each admission is a permit that carries its generation. Every change of state, and every probe, begins a new generation, and a result
 * of an earlier one is void: the late success of a call from before an outage must not close the breaker, nor its late failure open it again.
 *
 * Time is handed in as monotonic milliseconds; nothing happens by itself, so that a breaker owns no timer. opossum keeps the rolling
 * statistics (`RollingWindow`); the states are our own, since opossum trips on percentages, closes on a cancelled probe, and waits
 * for a hung one for ever.
 */
export class Breaker {
  /** Hears each change of state after it has happened, for the log. Must not throw. */
  onChange: ((change: BreakerChange) => void) | undefined = undefined;
  #options: BreakerOptions;
  #state: BreakerState = 'CLOSED';
  #generation = 1;
  #consecutiveFailures = 0;
  /** Attempts under way that were let in since it closed. */
  #underWay = 0;
  /** Of `#underWay`, those beside the last success when it came. */
  #besideSuccess = 0;
  #succeededMs = Number.NEGATIVE_INFINITY;
  /** Rounds that have begun since the last success, and the failure with which the next one begins. */
  #rounds = 0;
  #nextRoundAt = 0;
  #openedAtMs: number | undefined;
  /** Until when the probe under way may take; `undefined` while there is none. */
  #probeDueMs: number | undefined;
  #hold: BreakerHold | undefined;
  /** Probes that have succeeded since it is half open. */
  #probesSucceeded = 0;
  #failuresTotal = 0;
  #slowTotal = 0;
  #opensTotal = 0;
  #rejectedTotal = 0;
  #window: RollingWindow | undefined;
  readonly #pending: PendingCounts = { attempts: 0, successes: 0, failures: 0, slow: 0, rejected: 0 };
  #statistics: RollingStatistics | undefined;

  /** Without a `window` there are no rolling statistics. */
  constructor(options: BreakerOptions, window?: RollingWindow) {
    this.#options = options;
    this.#window = window;
    this.#statistics = window?.track(this.#pending);
  }

  /**
   * Asks to start one attempt. Returns a permit above 0, or 0 where it is refused. Who gets a permit owes one `succeed`, `fail` or
   * `neutral` with it.
   */
  tryEnter(nowMs: number): number {
    this.#window?.advance(nowMs);
    if (this.#state !== 'CLOSED' || this.#hold !== undefined) this.#settle(nowMs);
    if (this.#state === 'CLOSED') {
      this.#pending.attempts++;
      this.#underWay++;
      return this.#generation * 2;
    }
    if (this.#state === 'OPEN' || this.#probeDueMs !== undefined) {
      this.#rejectedTotal++;
      this.#pending.rejected++;
      return 0;
    }
    this.#pending.attempts++;
    // A generation of its own: of two probes that overlap, since the first was let go, only the later one counts.
    this.#generation++;
    this.#probeDueMs = nowMs + this.probeTimeoutMs;
    return this.#generation * 2 + 1;
  }

  /** Whether `tryEnter` would refuse now. Takes nothing and changes nothing: for a balancer that skips what is open. */
  refuses(nowMs: number): boolean {
    const state = this.stateAt(nowMs);
    if (state !== 'HALF_OPEN') return state === 'OPEN';
    return this.#state === 'HALF_OPEN' && this.#probeDueMs !== undefined && !this.#probeHung(nowMs);
  }

  /** Whether an answer with this gRPC status is to be told by `fail`. */
  isFailure(status: number): boolean {
    // A shift goes by the number modulo 32, and a status that nobody knows can be any.
    return status < 32 && (((this.#options.failureStatuses ?? defaultFailureStatuses) >>> status) & 1) === 1;
  }

  /** Whether slowness is a failure at all. */
  get watchesSlowness(): boolean {
    return this.#options.slowCallDurationMs !== undefined;
  }

  /** Whether an answer that begins after this long is to be told by `failSlowly`, or one that has not begun by then. */
  isSlow(elapsedMs: number): boolean {
    const { slowCallDurationMs } = this.#options;
    return slowCallDurationMs !== undefined && elapsedMs > slowCallDurationMs;
  }

  /** The attempt worked; a stream's probe does so with its response headers. */
  succeed(permit: number, nowMs: number): void {
    if (!this.#isCurrent(permit, nowMs)) return;
    this.#pending.successes++;
    this.#consecutiveFailures = 0;
    if (this.#state === 'HALF_OPEN') {
      this.#onProbeSucceeded(nowMs);
      return;
    }
    this.#besideSuccess = --this.#underWay;
    this.#succeededMs = nowMs;
  }

  /** The attempt failed in a way that speaks about the upstream. */
  fail(permit: number, nowMs: number): void {
    this.#failuresTotal++;
    if (!this.#isCurrent(permit, nowMs)) return;
    this.#pending.failures++;
    this.#consecutiveFailures++;
    if (this.#state === 'HALF_OPEN') {
      this.#open('probe_failed', nowMs);
      return;
    }
    this.#underWay--;
    this.#countRound();
    if (this.#hold === undefined) {
      if (this.#inARow(this.#options.consecutiveFailures, nowMs)) this.#open('failures', nowMs);
      else if (this.#options.failureRate !== undefined && this.#rateExceeded(this.#options.failureRate, nowMs))
        this.#open('failure_rate', nowMs);
    }
  }

  /** The attempt took so long that it counts as failed, whatever the answer says. */
  failSlowly(permit: number, nowMs: number): void {
    this.#slowTotal++;
    if (this.#isCurrent(permit, nowMs)) this.#pending.slow++;
    this.fail(permit, nowMs);
  }

  /** The attempt says nothing about the upstream, such as one that its caller gave up. A probe makes room for the next one. */
  neutral(permit: number, nowMs: number): void {
    if (!this.#isCurrent(permit, nowMs)) return;
    if (this.#state !== 'HALF_OPEN') {
      this.#underWay--;
      return;
    }
    this.#probeDueMs = undefined;
    // The probe is over: whatever its permit brings from here on is void.
    this.#generation++;
  }

  /** By hand: closes it and forgets failures and hold. */
  reset(nowMs: number): void {
    this.#hold = undefined;
    this.#consecutiveFailures = 0;
    this.#change('CLOSED', 'reset', nowMs);
  }

  /** By hand: open or closed until `untilMs`, whatever happens meanwhile. Infinite: until `reset`. */
  hold(state: 'OPEN' | 'CLOSED', untilMs: number, nowMs: number): void {
    this.#hold = { state, untilMs };
    if (state === 'OPEN') this.#open('held', nowMs);
    else {
      this.#consecutiveFailures = 0;
      this.#change('CLOSED', 'held', nowMs);
    }
  }

  /** New options of a reload; the state stays. Another `window` begins anew. */
  update(options: BreakerOptions, window = this.#window): void {
    this.#options = options;
    if (window === this.#window) return;
    this.#window = window;
    this.#forgetResults();
  }

  /** Ends the rolling statistics. For a breaker whose cluster is gone. */
  dispose(): void {
    this.#statistics?.stop();
  }

  /** The state as of the last call. Without traffic an open breaker stays `OPEN`: `stateAt` says what the next attempt will meet. */
  get state(): BreakerState {
    return this.#state;
  }

  /** What the state is at `nowMs`, for gauges; changes nothing. */
  stateAt(nowMs: number): BreakerState {
    if (this.#holdEnded(nowMs)) return this.#hold?.state === 'OPEN' ? 'HALF_OPEN' : 'CLOSED';
    if (this.#hold !== undefined) return this.#state;
    // A probe that hung failed at the end of its time, from where the recovery counts anew.
    const hungAtMs = this.#probeHung(nowMs) ? this.#probeDueMs : undefined;
    const openedAtMs = hungAtMs ?? (this.#state === 'OPEN' ? this.#openedAtMs : undefined);
    if (openedAtMs === undefined) return this.#state;
    return nowMs - openedAtMs >= this.#options.recoveryTimeoutMs ? 'HALF_OPEN' : 'OPEN';
  }

  /** Failures since the last success; those that opened it, while it is open. */
  get consecutiveFailures(): number {
    return this.#consecutiveFailures;
  }
  /** When it opened, in monotonic milliseconds; `undefined` while it is closed. */
  get openedAtMs(): number | undefined {
    return this.#openedAtMs;
  }
  /** The hold by hand, also one that has run out without a call since: compare its `untilMs`. */
  get currentHold(): BreakerHold | undefined {
    return this.#hold;
  }
  get failuresTotal(): number {
    return this.#failuresTotal;
  }
  /** Of `failuresTotal`, those that were failures since they were slow. */
  get slowTotal(): number {
    return this.#slowTotal;
  }
  get opensTotal(): number {
    return this.#opensTotal;
  }
  get rejectedTotal(): number {
    return this.#rejectedTotal;
  }
  /** Time limit of a probe that is in force, in milliseconds. */
  get probeTimeoutMs(): number {
    return this.#options.probeTimeoutMs ?? Math.min(Math.max(this.#options.recoveryTimeoutMs, 1_000), 30_000);
  }

  /** Length of the window of `rollingCounts`, in milliseconds; 0 without a window. */
  get windowMs(): number {
    return this.#window?.windowMs ?? 0;
  }

  /** What attempts did within the window until `nowMs`; `undefined` without a window. */
  rollingCounts(nowMs: number): RollingCounts | undefined {
    this.#window?.advance(nowMs);
    return this.#statistics?.counts;
  }

  #countRound(): void {
    if (this.#consecutiveFailures === 1) this.#rounds = this.#nextRoundAt = 0;
    if (this.#consecutiveFailures < this.#nextRoundAt) return;
    this.#rounds++;
    this.#nextRoundAt = this.#consecutiveFailures + Math.max(1, this.#underWay);
  }

  /** Whether what has failed since the last success is `count` in a row, and not some that failed beside one another. */
  #inARow(count: number, nowMs: number): boolean {
    if (this.#consecutiveFailures < count) return false;
    return this.#besideSuccess === 0 || this.#rounds >= count || nowMs - this.#succeededMs >= successLastsMs;
  }

  /** Whether the present results of the window are reason enough to open. */
  #rateExceeded({ percent, minimumRequests }: FailureRateOptions, nowMs: number): boolean {
    const counts = this.rollingCounts(nowMs);
    if (counts === undefined) return false;
    const results = counts.successes + counts.failures;
    return results >= minimumRequests && counts.failures * 100 >= results * percent;
  }

  #onProbeSucceeded(nowMs: number): void {
    this.#probesSucceeded++;
    if (this.#probesSucceeded >= (this.#options.successThreshold ?? 1)) {
      this.#change('CLOSED', 'probe_succeeded', nowMs);
      return;
    }
    this.#probeDueMs = undefined;
    this.#generation++;
  }

  /** What led to an opening must not count against what comes after it. */
  #forgetResults(): void {
    this.#statistics?.stop();
    const pending = this.#pending;
    pending.attempts = pending.successes = pending.failures = pending.slow = pending.rejected = 0;
    this.#statistics = this.#window?.track(pending);
  }

  #isCurrent(permit: number, nowMs: number): boolean {
    if (this.#state !== 'CLOSED' || this.#hold !== undefined) this.#settle(nowMs);
    // In CLOSED a permit is even, in HALF_OPEN the probe's is odd: one comparison tells generation and kind.
    return permit === this.#generation * 2 + (this.#state === 'HALF_OPEN' ? 1 : 0);
  }

  /** Takes the steps that time alone has brought. */
  #settle(nowMs: number): void {
    if (this.#holdEnded(nowMs)) this.#endHold(nowMs);
    if (this.#hold !== undefined) return;
    if (this.#probeHung(nowMs)) this.#open('probe_hung', this.#probeDueMs ?? nowMs);
    if (this.#state === 'OPEN' && nowMs - (this.#openedAtMs ?? nowMs) >= this.#options.recoveryTimeoutMs) {
      this.#change('HALF_OPEN', 'probe_started', nowMs);
    }
  }

  #holdEnded(nowMs: number): boolean {
    return this.#hold !== undefined && nowMs >= this.#hold.untilMs;
  }

  /** What was held open is probed first, rather than getting the whole load at once. */
  #endHold(nowMs: number): void {
    const held = this.#hold?.state;
    this.#hold = undefined;
    this.#consecutiveFailures = 0;
    this.#change(held === 'OPEN' ? 'HALF_OPEN' : 'CLOSED', 'hold_ended', nowMs);
  }

  #probeHung(nowMs: number): boolean {
    return this.#state === 'HALF_OPEN' && this.#probeDueMs !== undefined && nowMs >= this.#probeDueMs;
  }

  #open(why: BreakerChange['why'], nowMs: number): void {
    this.#openedAtMs = nowMs;
    this.#opensTotal++;
    this.#change('OPEN', why, nowMs);
  }

  #change(to: BreakerState, why: BreakerChange['why'], nowMs: number): void {
    const from = this.#state;
    this.#state = to;
    this.#generation++;
    this.#probeDueMs = undefined;
    this.#probesSucceeded = 0;
    if (to === 'CLOSED') {
      this.#openedAtMs = undefined;
      // Permits of before are void, and are not given back.
      this.#underWay = this.#besideSuccess = 0;
      if (this.#options.failureRate !== undefined) this.#forgetResults();
    }
    if (from !== to || why === 'held') this.onChange?.({ from, to, why, nowMs });
  }
}
