import { Deadline } from '../core/index.ts';
import type { Engine } from '../http2/index.ts';
import type { ConcurrencyLimits } from '../resilience/index.ts';
import { type StreamWaiter, WaiterQueue } from './stream-waiter.ts';

/** Tells a call that it has waited for `max_pending_duration`. It is in no queue any more, and its place is given back. */
export type OnWaitedTooLong = (waiter: StreamWaiter, limits: ConcurrencyLimits) => void;

/**
 * Calls of one priority that wait at one endpoint: first in, first out. Where they may wait for so long only, one deadline watches the
 * oldest; and a queue that has not been empty for that long serves the newest first (adaptive LIFO): whoever has waited longest has the
 * least time left, and its answer would come too late.
 */
class PendingQueue extends WaiterQueue {
  readonly #engine: Engine;
  readonly #onWaitedTooLong: OnWaitedTooLong;
  #deadline: Deadline | undefined = undefined;
  /** Since when somebody waits, in whole milliseconds. */
  #busySinceMs = 0;

  constructor(limits: ConcurrencyLimits, engine: Engine, onWaitedTooLong: OnWaitedTooLong) {
    super(limits);
    this.#engine = engine;
    this.#onWaitedTooLong = onWaitedTooLong;
  }

  override push(waiter: StreamWaiter): void {
    const nowMs = Math.ceil(this.#engine.clock.now());
    waiter.waiterSinceMs = nowMs;
    if (this.length === 0) this.#busySinceMs = nowMs;
    super.push(waiter);
    if (this.length === 1) this.watch();
  }

  override remove(waiter: StreamWaiter): boolean {
    const removed = super.remove(waiter);
    if (this.length === 0 && this.#deadline !== undefined) this.#engine.wheel.cancel(this.#deadline);
    return removed;
  }

  /** Who is served next. */
  next(): StreamWaiter | undefined {
    const { pendingMs } = this.#limits;
    const standing = pendingMs !== Number.POSITIVE_INFINITY && this.#engine.clock.now() - this.#busySinceMs >= pendingMs;
    return standing ? this.pop() : this.shift();
  }

  /** The limit may have changed. */
  watch(): void {
    const { pendingMs } = this.#limits;
    const oldest = this.first;
    if (oldest === undefined || (pendingMs === Number.POSITIVE_INFINITY && this.#deadline === undefined)) return;
    this.#deadline ??= new Deadline({ expire: () => this.#endOldest() });
    this.#engine.wheel.arm(this.#deadline, sinceOf(oldest) + pendingMs);
  }

  get #limits(): ConcurrencyLimits {
    return this.limits as ConcurrencyLimits;
  }

  #endOldest(): void {
    const nowMs = this.#engine.tick();
    const limits = this.#limits;
    for (let oldest = this.first; oldest !== undefined && nowMs >= sinceOf(oldest) + limits.pendingMs; oldest = this.first) {
      this.remove(oldest);
      limits.pending.leave();
      this.#onWaitedTooLong(oldest, limits);
    }
    this.watch();
  }
}

const sinceOf = (waiter: StreamWaiter): number => waiter.waiterSinceMs ?? 0;

/** Calls that wait at one endpoint for a connection or a free stream: those of high priority before the others. */
export class PendingCalls {
  readonly #engine: Engine;
  readonly #onWaitedTooLong: OnWaitedTooLong;
  readonly #default: PendingQueue;
  #high: PendingQueue | undefined = undefined;

  /** @param limits of calls of default priority. */
  constructor(limits: ConcurrencyLimits, engine: Engine, onWaitedTooLong: OnWaitedTooLong) {
    this.#engine = engine;
    this.#onWaitedTooLong = onWaitedTooLong;
    this.#default = new PendingQueue(limits, engine, onWaitedTooLong);
  }

  get length(): number {
    return this.#high === undefined ? this.#default.length : this.#default.length + this.#high.length;
  }

  /** The limits of calls of high priority, where such wait. */
  get highLimits(): ConcurrencyLimits | undefined {
    return this.#high !== undefined && this.#high.length > 0 ? this.#high.limits : undefined;
  }

  /** The caller has taken a place in `limits.pending`, and owes it no longer: whoever takes the waiter out gives it back. */
  push(waiter: StreamWaiter, limits: ConcurrencyLimits): void {
    if (limits === this.#default.limits) this.#default.push(waiter);
    else {
      this.#high ??= new PendingQueue(limits, this.#engine, this.#onWaitedTooLong);
      this.#high.push(waiter);
    }
  }

  /** Takes out who is served next. */
  next(): StreamWaiter | undefined {
    const queue = this.#high !== undefined && this.#high.length > 0 ? this.#high : this.#default;
    const waiter = queue.next();
    if (waiter !== undefined) queue.limits?.pending.leave();
    return waiter;
  }

  /** Empties the queues into new ones, the one of high priority first. */
  takeAll(): readonly WaiterQueue[] {
    return this.#high === undefined ? [this.#default.takeAll()] : [this.#high.takeAll(), this.#default.takeAll()];
  }

  /** How long calls may wait has changed. */
  limitsChanged(): void {
    this.#default.watch();
    this.#high?.watch();
  }
}
