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
  readonly #subscriptions = new Set<{ readonly listener: (value: T) => void }>();
  #value: T;
  #version = 0;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /**
   * Publishes `value`, also when it equals the former one: whoever compares knows better what equal means. A listener that throws
   * keeps no other from hearing; the first such error is thrown when all have heard.
   */
  set(value: T): void {
    this.#value = value;
    const version = ++this.#version;
    const errors: unknown[] = [];
    for (const subscription of [...this.#subscriptions]) {
      // A listener has published a newer value, which everybody has heard: this one would put the clock back.
      if (version !== this.#version) break;
      if (!this.#subscriptions.has(subscription)) continue;
      try {
        subscription.listener(value);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  subscribe(listener: (value: T) => void): () => void {
    const subscription = { listener };
    this.#subscriptions.add(subscription);
    return () => void this.#subscriptions.delete(subscription);
  }

  /** Subscriptions that are open now: zero after an orderly end. */
  get listeners(): number {
    return this.#subscriptions.size;
  }
}

/** A value that never changes, as a `Watch`. */
export const constantWatch = <T>(value: T): Watch<T> => ({ value, subscribe: () => () => {} });
