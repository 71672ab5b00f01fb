import type { Stream } from './stream.ts';

const smallestCapacity = 16;
/** An empty table above this is given back: a connection that was busy once may idle for days. */
const keptCapacity = 1_024;

/**
 * The open streams of one connection by id: open addressing with linear probing, in place.
 *
 * Not a `Map`: each time a `Map` has collected enough deletions it moves into a new table, and its old one keeps pointing to the new
 * one and to all that was in it. One old table that reaches the old generation then keeps every later table alive, and with them
 * every call that ever went through: three quarters of all garbage survived, and was collected late and at length.
 */
export class StreamTable {
  size = 0;
  #ids = new Int32Array(smallestCapacity);
  #streams: (Stream | undefined)[] = new Array<Stream | undefined>(smallestCapacity).fill(undefined);
  #mask = smallestCapacity - 1;

  get(id: number): Stream | undefined {
    const ids = this.#ids;
    const mask = this.#mask;
    let at = slotOf(id, mask);
    for (;;) {
      const found = ids[at];
      if (found === id) return this.#streams[at];
      if (found === 0) return undefined;
      at = (at + 1) & mask;
    }
  }

  /** The id must not be in the table. */
  add(stream: Stream): void {
    if ((this.size + 1) * 2 > this.#mask) this.#resize((this.#mask + 1) * 2);
    this.#put(stream);
    this.size++;
  }

  /** Harmless where it is not in the table. */
  delete(id: number): void {
    const ids = this.#ids;
    const mask = this.#mask;
    let hole = slotOf(id, mask);
    while (ids[hole] !== id) {
      if (ids[hole] === 0) return;
      hole = (hole + 1) & mask;
    }
    this.size--;
    // What stands behind the hole and belongs at or before it moves up, so that no search ends too early.
    for (let at = (hole + 1) & mask; ids[at] !== 0; at = (at + 1) & mask) {
      const home = slotOf(ids[at] as number, mask);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      ids[hole] = ids[at] as number;
      this.#streams[hole] = this.#streams[at];
      hole = at;
    }
    ids[hole] = 0;
    this.#streams[hole] = undefined;
    if (this.size === 0 && mask >= keptCapacity) this.#resize(smallestCapacity);
  }

  /** Calls `visit` with each stream, in no order that means anything; the table must not change meanwhile. */
  forEach(visit: (stream: Stream) => void): void {
    for (const stream of this.#streams) if (stream !== undefined) visit(stream);
  }

  /** The streams that are open now; the table may change while they are gone through. */
  snapshot(): readonly Stream[] {
    const streams: Stream[] = [];
    for (const stream of this.#streams) if (stream !== undefined) streams.push(stream);
    // In the order in which they were opened, which is the order that peers expect to be served in.
    return streams.sort((a, b) => a.id - b.id);
  }

  #put(stream: Stream): void {
    let at = slotOf(stream.id, this.#mask);
    while (this.#ids[at] !== 0) at = (at + 1) & this.#mask;
    this.#ids[at] = stream.id;
    this.#streams[at] = stream;
  }

  #resize(capacity: number): void {
    const streams = this.#streams;
    this.#ids = new Int32Array(capacity);
    this.#streams = new Array<Stream | undefined>(capacity).fill(undefined);
    this.#mask = capacity - 1;
    for (const stream of streams) if (stream !== undefined) this.#put(stream);
  }
}

/** Ids of one side are all odd or all even: their lowest bit says nothing. Neighbours stand beside each other. */
const slotOf = (id: number, mask: number): number => (id >>> 1) & mask;
