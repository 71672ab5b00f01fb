import type { Clock, Timer } from '../core/index.ts';

export interface DnsNameOptions<T> {
  readonly clock: Clock;
  readonly random: () => number;
  /** Milliseconds between two looks where the resolver knows no TTL. */
  readonly refreshMs: number;
  /** One look. "There are none" is an answer, and empty; rejects where there is none. */
  readonly ask: () => Promise<{ readonly values: readonly T[]; readonly ttlMs?: number }>;
  /** What an empty answer lacks: `address`, `SRV record`. */
  readonly sought: string;
  /** How long a name that has no addresses any more keeps its last ones. */
  readonly keepLastMs: number;
  /** Called after each answer and each failure. */
  readonly onLook: () => void;
}

/** No name is asked for more often than this, whatever its TTL or the policy says. */
export const shortestRefreshMs = 1_000;
/** A TTL of a day must not hide a move for a day. */
const longestRefreshMs = 300_000;
const jitterShare = 0.1;

/**
 * One name, looked up again and again, for addresses or for SRV records. The last good ones outlive failures: no answer at all keeps them as long as it
 * lasts, since an outage of DNS says nothing about the service; an empty answer keeps them for `keepLastMs`, since a restart
 * of a whole service looks just like that.
 */
export class DnsName<T> {
  readonly name: string;
  readonly counts = { update_attempt: 0, update_success: 0, update_failure: 0, update_empty: 0 };
  values: readonly T[] = [];
  updatedAtMs = 0;
  error: string | undefined;
  readonly #options: DnsNameOptions<T>;
  #timer: Timer | undefined;
  #failuresInARow = 0;
  #emptySinceMs: number | undefined;
  #closed = false;

  constructor(name: string, options: DnsNameOptions<T>) {
    this.name = name;
    this.#options = options;
  }

  start(): void {
    void this.#look();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Never rejects: what goes wrong becomes `error`. */
  async #look(): Promise<void> {
    const { ask, onLook, clock } = this.#options;
    this.counts.update_attempt++;
    let delayMs: number;
    try {
      const { values, ttlMs } = await ask();
      if (this.#closed) return;
      delayMs = values.length > 0 ? this.#found(values, ttlMs) : this.#foundNothing();
    } catch (error) {
      if (this.#closed) return;
      this.counts.update_failure++;
      this.error = `resolving ${this.name} failed: ${error instanceof Error ? error.message : String(error)}`;
      delayMs = this.#backOffMs();
    }
    this.#timer = clock.setTimer(() => void this.#look(), delayMs);
    onLook();
  }

  #found(values: readonly T[], ttlMs: number | undefined): number {
    this.counts.update_success++;
    this.values = values;
    this.updatedAtMs = this.#options.clock.wallNow();
    this.error = undefined;
    this.#failuresInARow = 0;
    this.#emptySinceMs = undefined;
    const holdsMs = Math.min(Math.max(ttlMs ?? this.#options.refreshMs, shortestRefreshMs), longestRefreshMs);
    // Jitter only lengthens: asking before the TTL has run out gets the same answer from a cache.
    return holdsMs * (1 + jitterShare * this.#options.random());
  }

  #foundNothing(): number {
    const nowMs = this.#options.clock.now();
    this.counts.update_empty++;
    this.#emptySinceMs ??= nowMs;
    this.error = `${this.name} has no ${this.#options.sought}`;
    const keepForMs = this.#emptySinceMs + this.#options.keepLastMs - nowMs;
    if (keepForMs <= 0) this.values = [];
    const backOffMs = this.#backOffMs();
    return this.values.length > 0 ? Math.min(backOffMs, Math.max(keepForMs, shortestRefreshMs)) : backOffMs;
  }

  /** Soon at first (a neighbour that is just starting), then at most twice the ordinary interval. */
  #backOffMs(): number {
    const { refreshMs, random } = this.#options;
    const ceilingMs = Math.min(shortestRefreshMs * 2 ** Math.min(this.#failuresInARow++, 16), Math.max(2 * refreshMs, shortestRefreshMs));
    return Math.max(shortestRefreshMs, ceilingMs * (0.5 + random() / 2));
  }
}
