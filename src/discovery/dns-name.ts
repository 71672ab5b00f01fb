import type { Clock, Timer } from '../core/index.ts';
import type { EndpointResolver } from './resolver.ts';

export interface DnsNameOptions {
  readonly clock: Clock;
  readonly resolver: EndpointResolver;
  readonly random: () => number;
  /** Milliseconds between two looks where the resolver knows no TTL. */
  readonly refreshMs: number;
  /** Takes out of an answer what counts. */
  readonly select: (addresses: readonly string[]) => readonly string[];
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
 * One name, looked up again and again. The last good addresses outlive failures: no answer at all keeps them as long as it
 * lasts, since an outage of DNS says nothing about the service; an empty answer keeps them for `keepLastMs`, since a restart
 * of a whole service looks just like that.
 */
export class DnsName {
  readonly name: string;
  readonly counts = { update_attempt: 0, update_success: 0, update_failure: 0, update_empty: 0 };
  addresses: readonly string[] = [];
  updatedAtMs = 0;
  error: string | undefined;
  readonly #options: DnsNameOptions;
  #timer: Timer | undefined;
  #failuresInARow = 0;
  #emptySinceMs: number | undefined;
  #closed = false;

  constructor(name: string, options: DnsNameOptions) {
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
    const { resolver, select, onLook, clock } = this.#options;
    this.counts.update_attempt++;
    let delayMs: number;
    try {
      const { addresses: answered, ttlMs } = await resolver.resolve(this.name);
      if (this.#closed) return;
      const addresses = select(answered);
      delayMs = addresses.length > 0 ? this.#found(addresses, ttlMs) : this.#foundNothing();
    } catch (error) {
      if (this.#closed) return;
      this.counts.update_failure++;
      this.error = `resolving ${this.name} failed: ${error instanceof Error ? error.message : String(error)}`;
      delayMs = this.#backOffMs();
    }
    this.#timer = clock.setTimer(() => void this.#look(), delayMs);
    onLook();
  }

  #found(addresses: readonly string[], ttlMs: number | undefined): number {
    this.counts.update_success++;
    this.addresses = addresses;
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
    this.error = `${this.name} has no address`;
    const keepForMs = this.#emptySinceMs + this.#options.keepLastMs - nowMs;
    if (keepForMs <= 0) this.addresses = [];
    const backOffMs = this.#backOffMs();
    return this.addresses.length > 0 ? Math.min(backOffMs, Math.max(keepForMs, shortestRefreshMs)) : backOffMs;
  }

  /** Soon at first (a neighbour that is just starting), then at most twice the ordinary interval. */
  #backOffMs(): number {
    const { refreshMs, random } = this.#options;
    const ceilingMs = Math.min(shortestRefreshMs * 2 ** Math.min(this.#failuresInARow++, 16), Math.max(2 * refreshMs, shortestRefreshMs));
    return Math.max(shortestRefreshMs, ceilingMs * (0.5 + random() / 2));
  }
}
