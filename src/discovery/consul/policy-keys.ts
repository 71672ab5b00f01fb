import { type Logger, WatchSource } from '../../core/index.ts';
import type { PolicyProblem, PolicyReading, PolicyText, PolicyTexts } from '../../policy/index.ts';
import { BlockingQuery } from './blocking-query.ts';
import type { ConsulClient } from './consul-client.ts';

export interface ConsulPolicyKeysOptions {
  readonly client: ConsulClient;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** The keys that begin with it hold policies: `outrider/policies/`. */
  readonly prefix: string;
}

const mostKeys = 1_000;

/**
 * Policy texts under the keys of a prefix in Consul's KV store, each as if it were a file of that name. An outage, or a token that may not
 * read, leaves the last texts as they are; what is wrong with a text, or that all keys are gone, is for whoever compiles to say.
 */
export class ConsulPolicyKeys implements PolicyTexts {
  /** As problems name it. */
  readonly where: string;
  /** Settles when Consul has answered for the first time, well or not. Bound the wait yourself. */
  readonly first: Promise<void>;
  /** Why the last question had no answer. */
  error: string | undefined;
  readonly #reading: WatchSource<PolicyReading>;
  readonly #query: BlockingQuery<unknown>;
  #onFirst: () => void = () => {};

  constructor({ client, log, random, prefix }: ConsulPolicyKeysOptions) {
    this.where = `consul:${prefix}`;
    this.#reading = new WatchSource<PolicyReading>({ texts: [], descriptorSets: [], problems: [] });
    this.first = new Promise((resolve) => {
      this.#onFirst = resolve;
    });
    this.#query = new BlockingQuery<unknown>({
      client,
      random,
      // The package's types know no `ctx` here.
      ask: (api, ctx) => api.kv.get({ key: prefix, recurse: true, ctx } as { key: string; recurse: true }),
      onAnswer: ({ body }) => {
        if (this.error !== undefined) log.info('policies in Consul can be read again', { prefix });
        this.error = undefined;
        // Also where nothing is new: whoever compiles compares what it has read.
        this.#reading.set(readEntries(body, prefix));
        this.#onFirst();
      },
      onFailure: ({ message }) => {
        if (this.error !== message) log.warning('policies in Consul cannot be read, the last ones stay in force', { prefix, why: message });
        this.error = message;
        this.#onFirst();
      },
    });
    this.#query.start();
  }

  get value(): PolicyReading {
    return this.#reading.value;
  }

  subscribe(listener: (reading: PolicyReading) => void): () => void {
    return this.#reading.subscribe(listener);
  }

  /** Idempotent. */
  close(): void {
    this.#query.close();
    this.#onFirst();
  }
}

/** `undefined` where Consul answers that there is no such key. */
const readEntries = (body: unknown, prefix: string): PolicyReading => {
  if (body !== undefined && !Array.isArray(body)) throw new Error('Consul answered what is no list of keys');
  const texts: PolicyText[] = [];
  const problems: PolicyProblem[] = [];
  for (const entry of (body ?? []) as readonly { readonly Key?: unknown; readonly Value?: unknown }[]) {
    const { Key: key, Value: value } = entry ?? {};
    if (typeof key !== 'string' || !key.startsWith(prefix)) throw new Error('Consul answered with keys that nobody asked for');
    // A folder, as Consul's own pages make them.
    if (key.endsWith('/') && (value === null || value === undefined || value === '')) continue;
    texts.push({ path: `consul:${key}`, bytes: Buffer.from(typeof value === 'string' ? value : '') });
  }
  texts.sort((a, b) => (a.path < b.path ? -1 : 1));
  if (texts.length > mostKeys) {
    const location = { file: `consul:${prefix}`, line: 0, column: 0 };
    problems.push({ severity: 'error', location, path: '', message: `holds more than ${mostKeys} keys`, remedy: 'merge some of them' });
    texts.length = 0;
  }
  return { texts, descriptorSets: [], problems };
};
