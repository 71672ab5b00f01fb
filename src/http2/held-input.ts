import type { Engine } from './engine.ts';

/**
 * Bytes of one connection that wait to be read, copied behind each other: behind TLS each call may come by itself, and an object for each
 * of thousands that wait would cost more than to refuse it.
 */
export class HeldInput {
  readonly #engine: Engine;
  readonly #slabs: Buffer[] = [];
  /** Of the first slab so much is read, and of the last one so much is filled. */
  #start = 0;
  #end = 0;
  /** Somebody looks at the first slab. */
  #reading = false;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get isEmpty(): boolean {
    return this.#slabs.length === 0;
  }

  append(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      let last = this.#slabs.at(-1);
      if (last === undefined || this.#end === last.length) {
        last = this.#engine.takeSlab(0, false);
        this.#slabs.push(last);
        this.#end = 0;
      }
      const copied = bytes.copy(last, this.#end, at, end);
      this.#end += copied;
      at += copied;
    }
  }

  /** Lets `read` have the first `bytes[start, end)`; it returns how far it came, and may clear this. False where it left some of them. */
  read(read: (bytes: Buffer, start: number, end: number) => number): boolean {
    const [first] = this.#slabs;
    if (first === undefined) return true;
    const end = this.#slabs.length === 1 ? this.#end : first.length;
    this.#reading = true;
    const at = read(first, this.#start, end);
    this.#reading = false;
    if (this.#slabs[0] !== first) return true;
    this.#start = at;
    if (at < end) return false;
    this.#start = 0;
    this.#slabs.shift();
    this.#engine.returnSlab(first);
    return true;
  }

  clear(): void {
    // Whoever is reading it has not left it yet.
    if (this.#reading) this.#engine.forgetSlab(this.#slabs.shift() as Buffer);
    for (const slab of this.#slabs) this.#engine.returnSlab(slab);
    this.#slabs.length = 0;
    this.#start = 0;
  }
}
