import type { MeshError } from '../core/index.ts';
import type { Connection } from '../http2/index.ts';
import type { ConcurrencyLimits } from '../resilience/index.ts';

/**
 * An attempt that wants a stream. It may stand in one queue at a time and is a node of that queue itself, so that waiting
 * allocates nothing and leaving costs a few pointer writes. The fields belong to the queue; extend the class or, where
 * another one is extended already, implement it.
 */
export abstract class StreamWaiter {
  waiterQueue: WaiterQueue | undefined = undefined;
  waiterPrevious: StreamWaiter | undefined = undefined;
  waiterNext: StreamWaiter | undefined = undefined;
  /** Monotonic, in whole milliseconds: since when it waits. */
  waiterSinceMs?: number;

  /**
   * `connection.canOpen` is true now and for as long as this call lasts: open the stream before returning, or leave the room to
   * the next in the queue.
   */
  abstract onConnection(connection: Connection): void;

  /**
   * There will be no connection. The call never left: every error here has `unprocessed: true`, except for `too_many_pending`,
   * which is a refusal of ours that is not to be tried again. May call `acquire` again, also of the same endpoint.
   */
  abstract onUnavailable(error: MeshError): void;
}

/** First in, first out; whoever stands in it may leave at any time. */
export class WaiterQueue {
  #first: StreamWaiter | undefined = undefined;
  #last: StreamWaiter | undefined = undefined;
  length = 0;
  /** Where those who wait take a place, which whoever takes one of them out gives back; `undefined`: nowhere. */
  readonly limits: ConcurrencyLimits | undefined;

  constructor(limits?: ConcurrencyLimits) {
    this.limits = limits;
  }

  get first(): StreamWaiter | undefined {
    return this.#first;
  }

  push(waiter: StreamWaiter): void {
    waiter.waiterQueue = this;
    waiter.waiterPrevious = this.#last;
    if (this.#last === undefined) this.#first = waiter;
    else this.#last.waiterNext = waiter;
    this.#last = waiter;
    this.length++;
  }

  shift(): StreamWaiter | undefined {
    const waiter = this.#first;
    if (waiter !== undefined) this.remove(waiter);
    return waiter;
  }

  /** The last one that came. */
  pop(): StreamWaiter | undefined {
    const waiter = this.#last;
    if (waiter !== undefined) this.remove(waiter);
    return waiter;
  }

  /** Returns false where the waiter does not stand in this queue. */
  remove(waiter: StreamWaiter): boolean {
    if (waiter.waiterQueue !== this) return false;
    const { waiterPrevious, waiterNext } = waiter;
    if (waiterPrevious === undefined) this.#first = waiterNext;
    else waiterPrevious.waiterNext = waiterNext;
    if (waiterNext === undefined) this.#last = waiterPrevious;
    else waiterNext.waiterPrevious = waiterPrevious;
    waiter.waiterQueue = undefined;
    waiter.waiterPrevious = undefined;
    waiter.waiterNext = undefined;
    this.length--;
    return true;
  }

  /** Empties this queue into a new one, for whoever tells all of them something that makes them queue again. */
  takeAll(): WaiterQueue {
    const taken = new WaiterQueue(this.limits);
    for (let waiter = this.shift(); waiter !== undefined; waiter = this.shift()) taken.push(waiter);
    return taken;
  }
}
