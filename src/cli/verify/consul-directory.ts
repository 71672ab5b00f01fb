import type { Clock } from '../../core/index.ts';
import type { ConsulAnswer, ConsulClient } from '../../discovery/index.ts';
import { type Json, list, object, text } from '../json.ts';
import type { Address } from './address.ts';
import { type ClockReading, clockReading } from './http-question.ts';

/** One check of an instance or of its node, as Consul has it. */
export interface ConsulCheck {
  readonly name: string;
  /** Of the machine, and of all instances there; not of this one alone. */
  readonly isOfNode: boolean;
  readonly status: string;
  /** What whoever checks has said last; one line. */
  readonly output: string;
}

/** An instance in the catalogue. */
export interface RegisteredInstance {
  readonly id: string;
  readonly address: Address;
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  readonly checks: readonly ConsulCheck[];
}

export interface DirectoryAnswer<T> {
  readonly value: T;
  readonly time: ClockReading | undefined;
  /** Consul has left out what the token may not read. */
  readonly isFiltered: boolean;
}

const longestOutput = 200;

const checkOf = (check: Json): ConsulCheck => ({
  name: text(check['Name'], text(check['CheckID'])),
  isOfNode: text(check['ServiceID'], '') === '',
  status: text(check['Status']),
  // Of maintenance the reason stands in the notes.
  output: text(check['Output'], text(check['Notes'], '')).replaceAll(/\s+/g, ' ').trim().slice(0, longestOutput),
});

const instanceOf = (entry: Json): RegisteredInstance => {
  const [service, node] = [object(entry['Service']), object(entry['Node'])];
  const meta = Object.entries(object(service['Meta'])).filter((pair): pair is [string, string] => typeof pair[1] === 'string');
  return {
    id: text(service['ID']),
    // Where an instance says nothing of its address it has that of its node.
    address: { host: text(service['Address'], text(node['Address'])), port: Number(service['Port']) || 0 },
    tags: Array.isArray(service['Tags']) ? service['Tags'].map(String) : [],
    meta: Object.fromEntries(meta),
    checks: list(entry['Checks']).map(checkOf),
  };
};

/** What the catalogue says. Every method rejects with a `ConsulError`. */
export class ConsulDirectory {
  readonly #client: ConsulClient;
  readonly #clock: Clock;

  constructor(client: ConsulClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** As people write it. */
  get address(): string {
    return this.#client.address;
  }

  /** `host:port` of the server that leads; empty where none does. */
  leader(): Promise<DirectoryAnswer<string>> {
    return this.#timed(
      () => this.#client.call((api, ctx) => api.status.leader({ ctx })),
      (body) => text(body, ''),
    );
  }

  /** All instances of a service, whatever their checks say, in the order of their ids. */
  instances(service: string): Promise<DirectoryAnswer<readonly RegisteredInstance[]>> {
    return this.#timed(
      () => this.#client.call((api, ctx) => api.health.service({ service, ctx })),
      (body) =>
        list(body)
          .map(instanceOf)
          .sort((a, b) => (a.id < b.id ? -1 : 1)),
    );
  }

  /** Names of all services with the tag that sidecars register, sorted. */
  async servicesOfSidecars(): Promise<readonly string[]> {
    const { body } = await this.#client.call((api, ctx) => api.catalog.service.list({ ctx }));
    const names = Object.entries(object(body)).filter(([, tags]) => Array.isArray(tags) && tags.includes(sidecarTag));
    return names.map(([name]) => name).sort();
  }

  async #timed<T>(ask: () => Promise<ConsulAnswer<unknown>>, read: (body: unknown) => T): Promise<DirectoryAnswer<T>> {
    const askedAtMs = this.#clock.wallNow();
    const { headers, body } = await ask();
    const isFiltered = headers['x-consul-results-filtered-by-acls'] === 'true';
    return { value: read(body), time: clockReading(headers.date, askedAtMs, this.#clock.wallNow()), isFiltered };
  }
}

const sidecarTag = 'protocol=grpc';
