/**
 * The number of the latest change, as Consul's Raft index: it only rises, and is never 0, which clients take for "none". Whoever
 * waits for changes is told of them once per turn.
 */
export class ChangeIndex {
  readonly #listeners = new Set<() => void>();
  #current: number;
  #told = true;

  constructor(start = 1) {
    this.#current = Math.max(1, start);
  }

  get current(): number {
    return this.#current;
  }

  next(): number {
    this.#current++;
    if (this.#told) {
      this.#told = false;
      queueMicrotask(() => {
        this.#told = true;
        for (const listener of [...this.#listeners]) listener();
      });
    }
    return this.#current;
  }

  /** Goes on from where an earlier life of the registry had come to. */
  advanceTo(index: number): void {
    this.#current = Math.max(this.#current, index);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
