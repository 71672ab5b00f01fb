import { type Logger, WatchSource } from '../../core/index.ts';
import type { PolicyProblem, PolicyReading, PolicyTexts } from '../../policy/index.ts';
import { BlockingQuery } from './blocking-query.ts';
import type { ConsulClient } from './consul-client.ts';
import { getPath } from './package-get.ts';

export interface ConsulPolicyIntentionsOptions {
  readonly client: ConsulClient;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** Who is called. */
  readonly serviceName: string;
}

/** A service that nobody has an intention about: what holds for it is what holds without one. */
const nobody = 'outrider-nobody';

/**
 * Consul's intentions about who may call this service, as `inbound.access`: by their precedence, and below them what holds without one
 * (which the default policy of ACLs says). Until they have been read nobody may call; in an outage the last ones stay in force.
 */
export class ConsulPolicyIntentions implements PolicyTexts {
  readonly where: string;
  /** Settles when Consul has answered for the first time, well or not. Bound the wait yourself. */
  readonly first: Promise<void>;
  /** Why the last question had no answer. */
  error: string | undefined;
  readonly #reading: WatchSource<PolicyReading>;
  readonly #query: BlockingQuery<unknown>;
  readonly #log: Logger;
  readonly #askDefault: () => Promise<unknown>;
  #fingerprint = '';
  #closed = false;
  #onFirst: () => void = () => {};

  constructor({ client, log, random, serviceName }: ConsulPolicyIntentionsOptions) {
    this.where = `consul:intentions/${serviceName}`;
    this.#log = log;
    this.#reading = new WatchSource<PolicyReading>(translate([], false, this.where));
    this.first = new Promise((resolve) => {
      this.#onFirst = resolve;
    });
    this.#askDefault = async () => {
      const query = { source: nobody, destination: serviceName };
      return (await client.call((api, ctx) => getPath(api, '/connect/intentions/check', query, ctx))).body;
    };
    this.#query = new BlockingQuery<unknown>({
      client,
      random,
      ask: (api, ctx) => getPath(api, '/connect/intentions/match', { by: 'destination', name: serviceName }, ctx),
      onAnswer: ({ body }) => {
        const intentions = (body as Readonly<Record<string, unknown>> | null)?.[serviceName] ?? [];
        if (!Array.isArray(intentions)) throw new Error('Consul answered what is no list of intentions');
        return this.#take(intentions);
      },
      onFailure: (error) => this.#fail(error),
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
    this.#closed = true;
    this.#query.close();
    this.#onFirst();
  }

  /** What holds without an intention has no index to wait by: it is asked for beside each answer. */
  async #take(intentions: readonly unknown[]): Promise<void> {
    const { Allowed: allowed } = ((await this.#askDefault()) ?? {}) as { readonly Allowed?: unknown };
    if (this.#closed) return;
    if (typeof allowed !== 'boolean') throw new Error('Consul does not say what holds without an intention');
    const fingerprint = JSON.stringify([intentions, allowed]);
    this.error = undefined;
    if (fingerprint !== this.#fingerprint) {
      this.#fingerprint = fingerprint;
      this.#reading.set(translate(intentions, allowed, this.where));
    }
    this.#onFirst();
  }

  #fail({ message }: Error): void {
    if (this.#closed) return;
    if (this.error !== message) {
      const now = this.#fingerprint === '' ? 'nobody may call' : 'the last ones stay in force';
      this.#log.warning(`intentions of Consul cannot be read, ${now}`, { why: message });
    }
    this.error = message;
    this.#onFirst();
  }
}

interface Intention {
  readonly SourceName?: unknown;
  readonly SourceType?: unknown;
  readonly SourcePeer?: unknown;
  readonly Action?: unknown;
  readonly Permissions?: readonly unknown[] | null;
  readonly Precedence?: unknown;
}

const translate = (intentions: readonly unknown[], allowed: boolean, where: string): PolicyReading => {
  const problems: PolicyProblem[] = [];
  const rules = (intentions as readonly Intention[])
    .toSorted((a, b) => Number(b.Precedence ?? 0) - Number(a.Precedence ?? 0))
    .flatMap(({ SourceName: from, Action: action, Permissions: permissions, SourcePeer: peer }) => {
      if (typeof from !== 'string') return [];
      const warn = (message: string, remedy: string): void => {
        problems.push({ severity: 'warning', location: { file: `${where}: ${from}`, line: 0, column: 0 }, path: '', message, remedy });
      };
      if (typeof peer === 'string' && peer !== '') {
        warn(
          `comes from the peer "${peer}", whose services are not known here; it is left out`,
          'write a rule with a spiffe:// URI into a policy file',
        );
        return [];
      }
      if ((permissions?.length ?? 0) > 0)
        warn('Permissions are not translated; the source is denied', 'write Action, or allow it in a policy file');
      return [{ from, action: action === 'allow' && (permissions?.length ?? 0) === 0 ? 'allow' : 'deny' }];
    });
  const access = { rules, default: allowed ? 'allow' : 'deny' };
  return { texts: [{ path: where, bytes: Buffer.from(JSON.stringify({ inbound: { access } }, null, 2)) }], descriptorSets: [], problems };
};
