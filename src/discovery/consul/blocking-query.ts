import type Consul from 'consul';
import type { ConsulAnswer, ConsulCallContext, ConsulClient } from './consul-client.ts';
import { ConsulError } from './consul-error.ts';

export interface BlockingQueryOptions<T> {
  readonly client: ConsulClient;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** One method of the package, given `ctx`. */
  readonly ask: (api: Consul, ctx: ConsulCallContext) => Promise<T>;
  /** Also where nothing has changed. What it throws is a failure of the answer. */
  readonly onAnswer: (answer: ConsulAnswer<Awaited<T>>) => void | Promise<void>;
  readonly onFailure: (error: Error) => void;
}

/** As long as Consul's own default; it adds up to a sixteenth. */
const waitMs = 300_000;
const answerTimeMs = 10_000;
const longestExtraShare = 1 / 16;
/** Somebody who changes a key a thousand times a second is heard ten times. */
const shortestPauseMs = 100;
/** Where Consul gives no index to wait with. */
const pollMs = 5_000;
const shortestBackOffMs = 500;
const longestBackOffMs = 30_000;

/**
 * A question that Consul answers when the answer changes, asked again and again by the rules of
 * https://developer.hashicorp.com/consul/api-docs/features/blocking: the index begins anew where it went backwards, and is never 0.
 * After a failure the next question is answered at once, so that the end of an outage is seen and not only the next change.
 */
export class BlockingQuery<T> {
  readonly #options: BlockingQueryOptions<T>;
  readonly #giveUp = new AbortController();
  #index = 0n;
  #failures = 0;

  constructor(options: BlockingQueryOptions<T>) {
    this.#options = options;
  }

  start(): void {
    void this.#run();
  }

  /** Nothing is told any more. Idempotent. */
  close(): void {
    this.#giveUp.abort();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#giveUp;
    while (!signal.aborted) {
      try {
        const pauseMs = await this.#ask();
        this.#failures = 0;
        await this.#sleep(pauseMs);
      } catch (error) {
        if (signal.aborted) return;
        this.#index = 0n;
        this.#options.onFailure(error instanceof Error ? error : new Error(String(error)));
        await this.#sleep(this.#backOffMs());
      }
    }
  }

  /** One question. Returns how long to wait before the next one, in milliseconds. */
  async #ask(): Promise<number> {
    const { client, ask, onAnswer } = this.#options;
    const waits = this.#index > 0n;
    const answer = await client.call(ask, {
      signal: this.#giveUp.signal,
      timeoutMs: waits ? waitMs * (1 + longestExtraShare) + answerTimeMs : answerTimeMs,
      query: waits ? { index: String(this.#index), wait: `${waitMs / 1_000}s` } : {},
    });
    if (this.#giveUp.signal.aborted) throw new ConsulError('aborted', 'given up');
    await onAnswer(answer);
    const index = indexOf(answer.headers['x-consul-index']);
    // Backwards: the state is another one, and waiting for a later index than it has could take for ever.
    this.#index = index < this.#index ? 0n : index;
    return index === 0n ? pollMs : shortestPauseMs;
  }

  #backOffMs(): number {
    const ceilingMs = Math.min(shortestBackOffMs * 2 ** Math.min(this.#failures++, 16), longestBackOffMs);
    return ceilingMs * (0.5 + this.#options.random() / 2);
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#giveUp;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.#options.client.clock.setTimer(done, ms);
      signal.addEventListener('abort', done);
    });
  }
}

const indexOf = (header: string | readonly string[] | undefined): bigint =>
  typeof header === 'string' && /^\d{1,20}$/.test(header) ? BigInt(header) : 0n;
