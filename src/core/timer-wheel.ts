import type { Clock, Timer } from './clock.ts';

/** Whoever has a deadline. */
export interface DeadlineOwner {
  /** Called once, at or after the time it was armed for, when the deadline is no longer armed. May arm it again. */
  expire(): void;
}

/**
 * A deadline that can sit in a `TimerWheel`, made once by whoever has it: arming allocates nothing. All are of this one class and none
 * of another, since the wheel reads and writes their fields for every call: where each owner was a deadline by itself, with a shape of its own,
 * looking fields up took a twentieth of a call.
 */
export class Deadline {
  readonly owner: DeadlineOwner;
  /** Monotonic milliseconds at which it is due; meaningful while armed. */
  dueMs = 0;
  /** These belong to the wheel. */
  wheelSlot: Deadline | undefined = undefined;
  wheelPrevious: Deadline | undefined = undefined;
  wheelNext: Deadline | undefined = undefined;

  constructor(owner: DeadlineOwner) {
    this.owner = owner;
  }

  get armed(): boolean {
    return this.wheelSlot !== undefined;
  }
}

const nobody: DeadlineOwner = { expire: () => {} };

/** The head of a list of them. */
const newSlot = (): Deadline => {
  const slot = new Deadline(nobody);
  slot.wheelPrevious = slot;
  slot.wheelNext = slot;
  return slot;
};

const slots = 512;

/**
 * Hashed timer wheel: arming and cancelling cost a few pointer writes, whatever the number of deadlines, and one clock timer
 * serves them all. A timer of the event loop per call would cost more than the rest of the call's policies together.
 *
 * Precision is one tick, never early. Deadlines further away than a turn of the wheel stay in their slot and are passed by.
 * The clock's timer is set only while there is a deadline; one that was set for deadlines since cancelled fires once, for nothing,
 * which is cheaper than setting it anew for each call.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #slots: readonly Deadline[] = Array.from({ length: slots }, newSlot);
  readonly #due = newSlot();
  #lastTick: number;
  #wakeTick = 0;
  #armed = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, tickMs = 4) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#lastTick = Math.floor(clock.now() / tickMs);
  }

  /**
   * Arms `deadline` to expire at `dueMs` (monotonic); one that is armed already is moved. One in the past expires at the next tick,
   * an infinite one is disarmed.
   */
  arm(deadline: Deadline, dueMs: number): void {
    if (deadline.wheelSlot !== undefined) this.#unlink(deadline);
    if (dueMs === Number.POSITIVE_INFINITY) return;
    if (this.#armed === 0) this.#lastTick = Math.floor(this.#clock.now() / this.#tickMs);
    deadline.dueMs = dueMs;
    const tick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#lastTick + 1);
    this.#link(deadline, this.#slots[tick % slots] as Deadline);
    this.#armed++;
    if (this.#timer === undefined || tick < this.#wakeTick) this.#schedule(Math.min(tick, this.#lastTick + slots));
  }

  /** Disarms; harmless where it is not armed. */
  cancel(deadline: Deadline): void {
    if (deadline.wheelSlot !== undefined) this.#unlink(deadline);
  }

  /** Deadlines that are armed now: zero when nothing is in flight. */
  get armed(): number {
    return this.#armed;
  }

  /** Stops the clock's timer; armed deadlines never expire. For the end of the process or of a test. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #link(deadline: Deadline, slot: Deadline): void {
    const last = slot.wheelPrevious as Deadline;
    deadline.wheelSlot = slot;
    deadline.wheelPrevious = last;
    deadline.wheelNext = slot;
    last.wheelNext = deadline;
    slot.wheelPrevious = deadline;
  }

  #unlink(deadline: Deadline): void {
    (deadline.wheelPrevious as Deadline).wheelNext = deadline.wheelNext;
    (deadline.wheelNext as Deadline).wheelPrevious = deadline.wheelPrevious;
    deadline.wheelSlot = undefined;
    deadline.wheelPrevious = undefined;
    deadline.wheelNext = undefined;
    this.#armed--;
  }

  #schedule(tick: number): void {
    this.#timer?.cancel();
    this.#wakeTick = tick;
    this.#timer = this.#clock.setTimer(this.#onTimer, tick * this.#tickMs - this.#clock.now());
  }

  /** The next tick whose slot holds anything: an idle sidecar with one long deadline must not wake 250 times a second. */
  #nextOccupiedTick(): number {
    let tick = this.#lastTick + 1;
    while (tick < this.#lastTick + slots && this.#slots[tick % slots]?.wheelNext === this.#slots[tick % slots]) tick++;
    return tick;
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    const nowMs = this.#clock.now();
    const tick = Math.floor(nowMs / this.#tickMs);
    const first = Math.max(this.#lastTick + 1, tick - slots + 1);
    this.#lastTick = Math.max(tick, this.#lastTick);
    for (let t = first; t <= tick; t++) this.#collectDue(this.#slots[t % slots] as Deadline, nowMs);
    // Taken one by one from a list of its own, since `expire` may cancel or arm any other deadline.
    try {
      for (let due = this.#due.wheelNext as Deadline; due !== this.#due; due = this.#due.wheelNext as Deadline) {
        this.#unlink(due);
        due.owner.expire();
      }
    } finally {
      // Also where `expire` has armed something and so set the timer: what was armed before may be due earlier. Where it has
      // thrown, the rest of the list has its turn at the next tick.
      if (this.#armed > 0) {
        const next = this.#due.wheelNext === this.#due ? this.#nextOccupiedTick() : this.#lastTick + 1;
        if (this.#timer === undefined || next < this.#wakeTick) this.#schedule(next);
      }
    }
  };

  #collectDue(slot: Deadline, nowMs: number): void {
    let deadline = slot.wheelNext as Deadline;
    while (deadline !== slot) {
      const next = deadline.wheelNext as Deadline;
      if (deadline.dueMs <= nowMs) {
        this.#unlink(deadline);
        this.#link(deadline, this.#due);
        this.#armed++;
      }
      deadline = next;
    }
  }
}
