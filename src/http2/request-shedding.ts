import type { Connection } from './connection.ts';
import type { HeaderBlock } from './header-block.ts';

/** What a server does with requests for which it has no time. */
export interface SheddingOwner {
  /** Header block that ends a call which is refused: see `encodePlainBlock`. */
  readonly refusal: Uint8Array;
  /** Some calls are worth more than others: `spares` wants to see their headers. */
  readonly looksAtHeaders: boolean;
  /** This one is served although it is one too many. */
  spares(block: HeaderBlock): boolean;
  /** A call has been refused. */
  onShed(connection: Connection): void;
}

const all = 1_024;
/** Calls that wait longer before they are read are too many. Deadlines are rarely shorter, and bursts rarely longer. */
export const longestDelayMs = 200;
/** What has waited for so long is of no use to many callers: to refuse all of it is the quickest way back to those that can be answered in time. */
const hopelessDelayMs = 400;
/** A process that stood still for a moment catches up by itself: only where every call has waited too long for this long, some are refused. */
const patienceMs = 500;
/** Of 1,024. */
const increase = 10;
/** Where requests do wait, if not too long: there is nothing to spare. */
const cautiousIncrease = 2;
const shortDelayMs = 50;
const increaseEveryMs = 20;
const decrease = 0.92;
const decreaseEveryMs = 50;
const hopelessDecrease = 0.75;
const fewest = 8;

/**
 * Which requests of one connection are refused as they are read, before anything is made for them. A call that is refused like this costs a
 * fraction of one that is served: whoever is offered twice what it can carry spends its time on those that it serves, and those it answers in time.
 *
 * It goes by how long requests of this connection wait before they are read, and not by how busy the process is: a neighbour on another connection that sends
 * little does not wait, and is never refused. The share that is admitted falls while they wait too long and rises slowly while they do not.
 */
export class RequestShedding {
  #share = all;
  #sum = 0;
  #steppedAtMs = 0;
  /** How long a request has waited that was read last. */
  #delayMs = 0;
  #hopeless = false;
  /** No request has waited less since. */
  #tooLongSinceMs = Number.POSITIVE_INFINITY;

  /** Some requests are refused. */
  get active(): boolean {
    return this.#share < all;
  }

  /** Asked once for each request while `active`; spreads the refused ones evenly. */
  admits(): boolean {
    if (this.#hopeless) return false;
    this.#sum += this.#share;
    if (this.#sum < all) return false;
    this.#sum -= all;
    return true;
  }

  /** Requests wait `delayMs` until they are read, at least. */
  onDelay(delayMs: number, nowMs: number): void {
    this.#delayMs = delayMs;
    if (delayMs <= longestDelayMs) {
      this.#tooLongSinceMs = Number.POSITIVE_INFINITY;
      if (this.active) this.#admitMore(nowMs);
    } else if (this.active || nowMs - this.#tooLongSinceMs >= patienceMs) this.#admitLess(nowMs);
    else this.#tooLongSinceMs = Math.min(this.#tooLongSinceMs, nowMs);
  }

  /** By the time that has passed, however few requests there were in it. */
  #admitMore(nowMs: number): void {
    this.#hopeless = false;
    const steps = Math.floor((nowMs - this.#steppedAtMs) / increaseEveryMs);
    if (steps <= 0) return;
    this.#steppedAtMs = nowMs;
    this.#share = Math.min(all, this.#share + steps * (this.#delayMs < shortDelayMs ? increase : cautiousIncrease));
  }

  #admitLess(nowMs: number): void {
    if (this.#delayMs > hopelessDelayMs) {
      // All are refused until it is over: how long that takes says nothing about the share that can be served.
      if (!this.#hopeless) this.#share = Math.max(fewest, Math.floor(this.#share * hopelessDecrease));
      this.#hopeless = true;
      this.#steppedAtMs = nowMs;
    } else if (!this.#hopeless && nowMs - this.#steppedAtMs >= decreaseEveryMs) {
      this.#steppedAtMs = nowMs;
      this.#share = Math.max(fewest, Math.floor(this.#share * decrease));
    }
  }
}
