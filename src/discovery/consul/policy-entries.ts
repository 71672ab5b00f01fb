import { type Logger, WatchSource } from '../../core/index.ts';
import {
  type ConsulEntry,
  type ConsulEntryKind,
  consulEntryKinds,
  type PolicyReading,
  type PolicyTexts,
  translateConsulEntries,
} from '../../policy/index.ts';
import { BlockingQuery } from './blocking-query.ts';
import type { ConsulClient } from './consul-client.ts';
import { getPath } from './package-get.ts';

export interface ConsulPolicyEntriesOptions {
  readonly client: ConsulClient;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** Whose `service-defaults` says how it calls others. */
  readonly serviceName: string;
}

/** Config entries of a Consul mesh as policies. What changes in one kind is in force at once, since each says something by itself. */
export class ConsulPolicyEntries implements PolicyTexts {
  readonly where = 'consul:config-entries';
  /** Settles when Consul has answered about every kind, well or not. Bound the wait yourself. */
  readonly first: Promise<unknown>;
  /** Why the last question had no answer. */
  error: string | undefined;
  readonly #reading: WatchSource<PolicyReading>;
  readonly #queries: readonly BlockingQuery<unknown>[];
  readonly #entries = new Map<ConsulEntryKind, readonly ConsulEntry[]>();
  readonly #onClose: (() => void)[] = [];
  readonly #serviceName: string;
  #fingerprint = '';

  constructor({ client, log, random, serviceName }: ConsulPolicyEntriesOptions) {
    this.#serviceName = serviceName;
    this.#reading = new WatchSource<PolicyReading>({ texts: [], descriptorSets: [], problems: [] });
    const firsts: Promise<void>[] = [];
    this.#queries = consulEntryKinds.map((kind) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      firsts.push(promise);
      this.#onClose.push(resolve);
      return new BlockingQuery<unknown>({
        client,
        random,
        ask: (api, ctx) => getPath(api, `/config/${kind}`, {}, ctx),
        onAnswer: ({ body }) => {
          this.#entries.set(kind, readEntries(kind, body));
          this.error = undefined;
          this.#take();
          resolve();
        },
        onFailure: ({ message }) => {
          if (this.error !== message)
            log.warning('config entries of Consul cannot be read, the last ones stay in force', { kind, why: message });
          this.error = message;
          resolve();
        },
      });
    });
    this.first = Promise.all(firsts);
    for (const query of this.#queries) query.start();
  }

  get value(): PolicyReading {
    return this.#reading.value;
  }

  subscribe(listener: (reading: PolicyReading) => void): () => void {
    return this.#reading.subscribe(listener);
  }

  /** Idempotent. */
  close(): void {
    for (const query of this.#queries) query.close();
    for (const resolve of this.#onClose) resolve();
  }

  #take(): void {
    // A splitter without its resolver names subsets that are not there: until all kinds are known there is nothing to say.
    if (this.#entries.size < consulEntryKinds.length) return;
    const entries = [...this.#entries.values()].flat();
    const fingerprint = JSON.stringify(entries);
    if (fingerprint === this.#fingerprint) return;
    this.#fingerprint = fingerprint;
    this.#reading.set(translateConsulEntries(entries, this.#serviceName));
  }
}

const readEntries = (kind: ConsulEntryKind, body: unknown): readonly ConsulEntry[] => {
  if (body === null) return [];
  if (!Array.isArray(body)) throw new Error(`Consul answered what is no list of ${kind}`);
  return body.flatMap((value: { readonly Name?: unknown } | null) =>
    typeof value?.Name === 'string' && value.Name !== '' ? [{ kind, name: value.Name, value }] : [],
  );
};
