import { EventEmitter } from 'node:events';
import CircuitBreaker from 'opossum';

export interface RollingWindowOptions {
  /** What the statistics look back on, in milliseconds. */
  readonly windowMs: number;
  /** Slices of the window: the oldest leaves at once. */
  readonly buckets: number;
}

/** What attempts did within the window. */
export interface RollingCounts {
  readonly attempts: number;
  readonly successes: number;
  readonly failures: number;
  /** Of the failures, those that were failures since they were slow. */
  readonly slow: number;
  readonly rejected: number;
}

/** What has happened since the last turn. Plain numbers, so that an attempt costs an increment. */
export interface PendingCounts {
  attempts: number;
  successes: number;
  failures: number;
  slow: number;
  rejected: number;
}

/**
 * The rolling statistics of all breakers, kept by opossum. They share one rotation, which moves when somebody asks or counts:
 * opossum's own would leave an interval timer per breaker behind.
 *
 * opossum is fed once per turn, from numbers that the breaker counts by itself. Its `fire` makes a promise per attempt and its
 * `Status.increment` keeps every latency of the window in an array; the costs stand in `bench/micro/breaker.ts`.
 */
export class RollingWindow {
  readonly #options: CircuitBreaker.StatusOptions & { readonly rotateBucketController: EventEmitter; readonly enableSnapshots: false };
  readonly #rotation = new EventEmitter();
  readonly #turnMs: number;
  #nextTurnMs: number;

  constructor(nowMs: number, { windowMs, buckets }: RollingWindowOptions = { windowMs: 10_000, buckets: 10 }) {
    this.#options = {
      rollingCountTimeout: windowMs,
      rollingCountBuckets: buckets,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#rotation,
    };
    this.#rotation.setMaxListeners(0);
    this.#turnMs = windowMs / buckets;
    this.#nextTurnMs = nowMs + this.#turnMs;
  }

  /** Starts statistics that take what `pending` has counted at each turn, and set it to zero. */
  track(pending: PendingCounts): RollingStatistics {
    return new RollingStatistics(this.#rotation, CircuitBreaker.newStatus(this.#options), pending);
  }

  get windowMs(): number {
    return this.#options.rollingCountTimeout ?? 0;
  }

  /** Lets the slices pass that are over. Whoever counts or reads calls it before; a comparison unless a turn is due. */
  advance(nowMs: number): void {
    if (nowMs < this.#nextTurnMs) return;
    const due = Math.floor((nowMs - this.#nextTurnMs) / this.#turnMs) + 1;
    this.#nextTurnMs += due * this.#turnMs;
    const buckets = this.#options.rollingCountBuckets ?? 0;
    for (let turn = 0; turn < Math.min(due, buckets); turn++) this.#rotation.emit('rotate');
  }

  /** Statistics that are tracked now: zero after an orderly end. */
  get tracked(): number {
    return this.#rotation.listenerCount('rotate') / 2;
  }
}

/** opossum's declarations leave out the one method that lets go of the rotation. */
type EndableStatus = CircuitBreaker.Status & { shutdown(): void };

/** The statistics of one breaker. */
export class RollingStatistics {
  readonly #rotation: EventEmitter;
  readonly #status: EndableStatus;
  readonly #pending: PendingCounts;

  constructor(rotation: EventEmitter, status: CircuitBreaker.Status, pending: PendingCounts) {
    this.#rotation = rotation;
    this.#status = status as EndableStatus;
    this.#pending = pending;
    // Before opossum's own listener, which opens the next slice: what was counted belongs to the one that ends.
    rotation.prependListener('rotate', this.#flush);
  }

  /** What happened within the window, as of the last `advance`. */
  get counts(): RollingCounts {
    this.#flush();
    const { fires, successes, failures, timeouts, rejects } = this.#status.stats;
    return { attempts: fires, successes, failures, slow: timeouts, rejected: rejects };
  }

  stop(): void {
    this.#rotation.off('rotate', this.#flush);
    this.#status.shutdown();
  }

  readonly #flush = (): void => {
    const slice = this.#status.window[0];
    if (slice === undefined) return;
    const pending = this.#pending;
    slice.fires += pending.attempts;
    slice.successes += pending.successes;
    slice.failures += pending.failures;
    slice.timeouts += pending.slow;
    slice.rejects += pending.rejected;
    pending.attempts = 0;
    pending.successes = 0;
    pending.failures = 0;
    pending.slow = 0;
    pending.rejected = 0;
  };
}
