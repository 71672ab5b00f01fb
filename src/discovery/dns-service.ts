import type { EndpointAddress } from './endpoints.ts';
import type { EndpointResolver } from './resolver.ts';

/** Envoy's greatest priority. */
const mostPriorities = 128;

export interface ServiceAnswer {
  readonly values: readonly EndpointAddress[];
  readonly ttlMs?: number;
}

/**
 * The endpoints behind one name of SRV records. Their priorities may be any numbers; ours count from 0 without gaps. A target whose
 * address nobody could tell keeps the one that it had: one lookup of a hundred that times out is no reason to leave an instance out.
 */
export class DnsService {
  readonly #name: string;
  readonly #resolver: EndpointResolver;
  readonly #select: (addresses: readonly string[]) => readonly string[];
  #remembered: ReadonlyMap<string, readonly string[]> = new Map();

  /** @param select takes out of the addresses of a target those that count. */
  constructor(name: string, resolver: EndpointResolver, select: (addresses: readonly string[]) => readonly string[]) {
    this.#name = name;
    this.#resolver = resolver;
    this.#select = select;
  }

  async ask(): Promise<ServiceAnswer> {
    const answer = await this.#resolver.resolveService?.(this.#name);
    if (answer === undefined) throw new Error('the resolver knows no SRV records');
    const { records, ttlMs } = answer;
    const known = new Map<string, readonly string[]>();
    for (const { target, addresses = this.#remembered.get(target) } of records) if (addresses !== undefined) known.set(target, addresses);
    const lost = records.find(({ target }) => !known.has(target));
    if (lost !== undefined && known.size === 0) throw new Error(`the address of its target ${lost.target} could not be found`);
    this.#remembered = known;
    const ranks = [...new Set(records.map(({ priority }) => priority))].sort((a, b) => a - b);
    const values = records
      .filter(({ port }) => port > 0)
      .flatMap(({ target, port, priority, weight }): EndpointAddress[] => {
        const rank = Math.min(ranks.indexOf(priority), mostPriorities);
        // RFC 2782 gives weight 0 a very small share beside others, and an equal one among themselves.
        const address = { port, weight: Math.max(weight, 1), hostname: target, ...(rank > 0 && { priority: rank }) };
        return this.#select(known.get(target) ?? []).map((host) => ({ host, ...address }));
      });
    return { values, ...(ttlMs !== undefined && { ttlMs }) };
  }
}
