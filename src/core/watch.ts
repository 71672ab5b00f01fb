/**
 * The latest value of something that changes: a policy table, the endpoints of a cluster, a certificate. Every source of
 * truth is read through this one shape, so that whoever reads cannot tell a file from Consul.
 */
export interface Watch<T> {
  /** The latest value. */
  readonly value: T;
  /**
   * Calls `listener` after each later change, never with the value of now, in the turn of the change.
   * Returns what ends the subscription; ending it twice is harmless.
   */
  subscribe(listener: (value: T) => void): () => void;
}

/** The end that writes. One owner holds it; everyone else sees a `Watch`. */
export class WatchSource<T> implements Watch<T> {
  readonly #listeners = new Set<(value: T) => void>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Publishes `value`, also when it equals the former one: whoever compares knows better what equal means. */
  set(value: T): void {
    this.#value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Subscriptions that are open now: zero after an orderly end. */
  get listeners(): number {
    return this.#listeners.size;
  }
}

/** A value that never changes, as a `Watch`. */
export const constantWatch = <T>(value: T): Watch<T> => ({ value, subscribe: () => () => {} });
