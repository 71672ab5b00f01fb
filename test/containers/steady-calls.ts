import type { Client } from '@grpc/grpc-js';
import { call } from './compose-mesh.ts';

/** How the calls ended so far: with the profile of learner-svc, or why not. */
export interface CallTally {
  readonly asked: number;
  readonly complete: number;
  /** Reason, and how often: what auth-svc was told of learner-svc, or the status of a call that failed itself. */
  readonly failures: ReadonlyMap<string, number>;
}

const batchMs = 20;
const longestCatchUpMs = 100;

/** Calls auth-svc at a steady rate, whatever becomes of the calls, until it is stopped. */
export class SteadyCalls {
  readonly #client: Client;
  readonly #timer: NodeJS.Timeout;
  readonly #failures = new Map<string, number>();
  readonly #underWay = new Set<Promise<void>>();
  #asked = 0;
  #complete = 0;
  #owed = 0;
  #lastMs = performance.now();

  constructor(client: Client, callsPerSecond: number) {
    this.#client = client;
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      // A caller that was away for long does not catch up with a burst.
      this.#owed += (Math.min(nowMs - this.#lastMs, longestCatchUpMs) / 1_000) * callsPerSecond;
      this.#lastMs = nowMs;
      for (; this.#owed >= 1; this.#owed--) this.#call();
    }, batchMs);
  }

  get tally(): CallTally {
    return { asked: this.#asked, complete: this.#complete, failures: new Map(this.#failures) };
  }

  /** Resolves when this many more calls are complete. */
  async complete(more: number): Promise<void> {
    const goal = this.#complete + more;
    const deadline = performance.now() + 60_000;
    while (this.#complete < goal) {
      if (performance.now() > deadline) throw new Error(`${goal - this.#complete} of ${more} calls are missing: ${this.describe()}`);
      await new Promise((resolve) => setTimeout(resolve, batchMs));
    }
  }

  /** No new calls; resolves with how all of them ended. */
  async stop(): Promise<CallTally> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
    return this.tally;
  }

  describe(): string {
    return `${this.#complete} of ${this.#asked} complete; ${[...this.#failures].map(([why, times]) => `${times} x ${why}`).join(', ')}`;
  }

  #call(): void {
    this.#asked++;
    const ended = call(this.#client).then(
      ({ withoutProfile, reason }) => {
        if (withoutProfile) this.#fail(`learner-svc: ${reason}`);
        else this.#complete++;
      },
      (error: Error) => this.#fail(error.message),
    );
    this.#underWay.add(ended);
    void ended.then(() => this.#underWay.delete(ended));
  }

  #fail(why: string): void {
    this.#failures.set(why, (this.#failures.get(why) ?? 0) + 1);
  }
}
