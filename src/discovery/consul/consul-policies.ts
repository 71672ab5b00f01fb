import type Consul from 'consul';
import { type Logger, WatchSource } from '../../core/index.ts';
import type { PolicyReading, PolicyTexts } from '../../policy/index.ts';
import { BlockingQuery } from './blocking-query.ts';
import type { ConsulCallContext, ConsulClient } from './consul-client.ts';

export interface ConsulPolicyOptions {
  readonly client: ConsulClient;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
}

/** One thing that Consul is asked about again and again. */
export interface ConsulPolicyQuestion {
  readonly ask: (api: Consul, ctx: ConsulCallContext) => Promise<unknown>;
  /**
   * What the answer makes of all policies, or `undefined` where that cannot be said yet; also where nothing is new, since whoever compiles compares what
   * it has read. Throws where the answer makes no sense.
   */
  readonly read: (body: unknown) => PolicyReading | undefined | Promise<PolicyReading | undefined>;
  /** Which question it is, for the log. */
  readonly fields: Readonly<Record<string, string>>;
}

interface ConsulPoliciesOptions extends ConsulPolicyOptions {
  /** As problems name them all. */
  readonly where: string;
  /** For the log: "intentions of Consul". */
  readonly name: string;
  /** What is in force until there is an answer. */
  readonly initial: PolicyReading;
  /** For the log: what that means. */
  readonly initially: string;
  readonly questions: readonly ConsulPolicyQuestion[];
}

/** Policies that Consul knows, by blocking queries. In an outage, or where an answer makes no sense, the last ones stay in force. */
export class ConsulPolicies implements PolicyTexts {
  readonly where: string;
  /** Settles when Consul has answered each question for the first time, well or not. Bound the wait yourself. */
  readonly first: Promise<unknown>;
  /** Why questions have had no answer, each the last time. */
  readonly #errors = new Map<ConsulPolicyQuestion, string>();
  readonly #reading: WatchSource<PolicyReading>;
  readonly #queries: readonly BlockingQuery<unknown>[];
  readonly #onClose: (() => void)[] = [];
  #closed = false;
  #read = false;

  constructor({ client, log, random, where, name, initial, initially, questions }: ConsulPoliciesOptions) {
    this.where = where;
    this.#reading = new WatchSource(initial);
    const firsts: Promise<void>[] = [];
    this.#queries = questions.map((question) => {
      const { ask, read, fields } = question;
      const { promise, resolve } = Promise.withResolvers<void>();
      firsts.push(promise);
      this.#onClose.push(resolve);
      return new BlockingQuery<unknown>({
        client,
        random,
        ask,
        onAnswer: async ({ body }) => {
          const reading = await read(body);
          if (this.#closed) return;
          if (this.#errors.delete(question)) log.info(`${name} can be read again`, fields);
          if (reading !== undefined) {
            this.#read = true;
            this.#reading.set(reading);
          }
          resolve();
        },
        onFailure: ({ message }) => {
          const now = this.#read ? 'the last ones stay in force' : initially;
          if (this.#errors.get(question) !== message) log.warning(`${name} cannot be read, ${now}`, { ...fields, why: message });
          this.#errors.set(question, message);
          resolve();
        },
      });
    });
    this.first = Promise.all(firsts);
    for (const query of this.#queries) query.start();
  }

  /** Why Consul does not say what is in force; `undefined` where it does. */
  get error(): string | undefined {
    return this.#errors.values().next().value;
  }

  get value(): PolicyReading {
    return this.#reading.value;
  }

  subscribe(listener: (reading: PolicyReading) => void): () => void {
    return this.#reading.subscribe(listener);
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    for (const query of this.#queries) query.close();
    for (const resolve of this.#onClose) resolve();
  }
}
