/** What happens later. Cancelled events stay in the queue until their time, and do nothing. */
export interface SimulatedEvent {
  readonly atMs: number;
  readonly order: number;
  fire: (() => void) | undefined;
}

/** Virtual time, and what happens in it: a binary heap, ties in the order of scheduling. */
export class EventQueue {
  nowMs = 0;
  /** Events that happened. */
  happened = 0;
  readonly #heap: SimulatedEvent[] = [];
  #order = 0;

  after(delayMs: number, fire: () => void): SimulatedEvent {
    const event = { atMs: this.nowMs + Math.max(delayMs, 0), order: this.#order++, fire };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as SimulatedEvent;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
    return event;
  }

  at(atMs: number, fire: () => void): SimulatedEvent {
    return this.after(atMs - this.nowMs, fire);
  }

  /** Lets everything happen that is due until `endMs`. */
  run(endMs: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= endMs; next = this.#heap[0]) {
      this.#removeFirst();
      if (next.fire === undefined) continue;
      this.nowMs = next.atMs;
      this.happened++;
      next.fire();
    }
    this.nowMs = endMs;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as SimulatedEvent;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as SimulatedEvent, heap[child] as SimulatedEvent)) child++;
      const below = heap[child] as SimulatedEvent;
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (one: SimulatedEvent, other: SimulatedEvent): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
