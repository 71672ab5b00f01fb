import type { Clock } from '../core/index.ts';
import type { ChangeIndex } from './change-index.ts';
import { longestWaitMs, usualWaitMs } from './limits.ts';
import { RegistryProblem } from './reply.ts';

interface WaitingQuery {
  readonly since: number;
  readonly indexNow: () => number;
  readonly resolve: () => void;
}

export interface WaitOptions {
  /** The index that the client knows; 0: it does not wait. */
  readonly since: number;
  /** 0: the usual five minutes. */
  readonly waitMs: number;
  /** The index now of what is watched. */
  readonly indexNow: () => number;
  /** Whoever asked has gone. */
  readonly gone: AbortSignal;
}

/** Blocking queries: those who ask for what comes after an index wait here, in bounded number, for a bounded time. */
export class WaitingQueries {
  readonly #clock: Clock;
  readonly #index: ChangeIndex;
  readonly #atMost: number;
  readonly #random: () => number;
  readonly #waiting = new Set<WaitingQuery>();
  readonly #unsubscribe: () => void;

  constructor(options: { readonly clock: Clock; readonly index: ChangeIndex; readonly atMost: number; readonly random: () => number }) {
    this.#clock = options.clock;
    this.#index = options.index;
    this.#atMost = options.atMost;
    this.#random = options.random;
    this.#unsubscribe = this.#index.subscribe(() => this.#look());
  }

  get count(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves once the index has risen above `since`, time is up, or the client has gone. An index that this registry has not come to
   * yet is of an earlier life of it: there is nothing to wait for, and the client hears at once. Rejects with 429 where too many wait.
   */
  async wait({ since, waitMs, indexNow, gone }: WaitOptions): Promise<void> {
    if (since === 0 || indexNow() > since || since > this.#index.current || gone.aborted) return;
    if (this.#waiting.size >= this.#atMost) {
      throw new RegistryProblem(429, `this registry holds at most ${this.#atMost} waiting queries; production wants Consul`);
    }
    const boundedMs = Math.min(waitMs === 0 ? usualWaitMs : waitMs, longestWaitMs);
    const { promise, resolve } = Promise.withResolvers<void>();
    const query: WaitingQuery = { since, indexNow, resolve };
    this.#waiting.add(query);
    // Consul adds up to a sixteenth, so that those who came together do not come back together.
    const timer = this.#clock.setTimer(resolve, boundedMs + (boundedMs / 16) * this.#random());
    gone.addEventListener('abort', resolve as () => void, { once: true });
    try {
      await promise;
    } finally {
      this.#waiting.delete(query);
      timer.cancel();
      gone.removeEventListener('abort', resolve as () => void);
    }
  }

  /** Answers everybody. */
  close(): void {
    this.#unsubscribe();
    for (const { resolve } of [...this.#waiting]) resolve();
  }

  #look(): void {
    for (const { since, indexNow, resolve } of [...this.#waiting]) if (indexNow() > since) resolve();
  }
}
