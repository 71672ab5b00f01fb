import { promises as dns } from 'node:dns';
import { canonicalName, RecordType } from './dns-message.ts';
import { addressesIn, NameServerClient, type NameServerOptions } from './name-server-client.ts';

export type { NameServerOptions };

export interface ResolvedName {
  /** IPv4 and IPv6 addresses; empty where the answer is that there are none. */
  readonly addresses: readonly string[];
  /** How long the answer holds, where the resolver knows. */
  readonly ttlMs?: number;
}

/** One SRV record (RFC 2782). */
export interface ServiceRecord {
  readonly target: string;
  readonly port: number;
  /** The lowest one is called first. */
  readonly priority: number;
  readonly weight: number;
  /** Of the target; `undefined` where nobody could tell. */
  readonly addresses: readonly string[] | undefined;
}

export interface ResolvedService {
  /** Empty where the answer is that there are none. */
  readonly records: readonly ServiceRecord[];
  readonly ttlMs?: number;
}

/**
 * Turns a name into addresses. "No such name" and "no addresses" are answers, and empty; only getting no answer (a timeout,
 * SERVFAIL) rejects. The two are told apart because an outage of DNS must not take the endpoints away.
 */
export interface EndpointResolver {
  resolve(name: string): Promise<ResolvedName>;
  /** SRV records; missing where the resolver knows only addresses. */
  resolveService?(name: string): Promise<ResolvedService>;
  /** Gives up what is under way. */
  close?(): void;
}

const errorCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** ENODATA: the name exists but has no record of the kind. */
const isNegative = (error: unknown): boolean => ['ENOTFOUND', 'ENODATA'].includes(errorCode(error) ?? '');

/**
 * getaddrinfo, the default: what every other program of the machine sees, so `/etc/hosts`, `localhost`, search domains and
 * the names of docker compose work. It knows no TTL. It runs on Node's thread pool; since a source asks for a name only
 * after its last question was answered, a dead name server occupies at most one thread per name.
 */
export const systemResolver: EndpointResolver = {
  resolve: async (name) => {
    try {
      const found = await dns.lookup(name, { all: true, order: 'verbatim' });
      return { addresses: found.map(({ address }) => address) };
    } catch (error) {
      if (isNegative(error)) return { addresses: [] };
      throw error;
    }
  },
};

/** Targets that are asked for at once, where the server did not add their addresses. */
const mostAtOnce = 16;

/** Asks name servers directly for A, AAAA and SRV, and so knows the TTL; sees neither `/etc/hosts` nor search domains. */
export const nameServerResolver = (options: NameServerOptions = {}): EndpointResolver => {
  const client = new NameServerClient(options);

  const resolve = async (name: string): Promise<ResolvedName> => {
    const answers = await Promise.allSettled([client.ask(name, RecordType.a), client.ask(name, RecordType.aaaa)]);
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? addressesIn(answer.value.answers, name) : []));
    const addresses = found.flatMap((answer) => answer.addresses);
    const failed = answers.find(({ status }) => status === 'rejected');
    // One family is enough to go on with: many name servers answer AAAA badly where nobody uses IPv6.
    if (addresses.length === 0 && failed?.status === 'rejected') throw failed.reason;
    if (addresses.length === 0) return { addresses };
    return { addresses, ttlMs: Math.min(...found.map(({ ttlSeconds }) => ttlSeconds)) * 1_000 };
  };

  const resolveService = async (name: string): Promise<ResolvedService> => {
    const { answers, additional } = await client.ask(name, RecordType.srv);
    // Of an alias, too. A target of a single dot: "decidedly not available" (RFC 2782).
    const services = answers.filter((record) => record.type === RecordType.srv).filter(({ target }) => target !== '');
    if (services.length === 0) return { records: [] };
    const ttls = services.map(({ ttlSeconds }) => ttlSeconds * 1_000);
    const known = new Map<string, readonly string[] | undefined>();
    const byOwner = Map.groupBy(additional, (record) => record.name);
    const unknown: string[] = [];
    for (const { target } of services) {
      if (known.has(target)) continue;
      const added = addressesIn(byOwner.get(target) ?? [], target);
      known.set(target, added.addresses.length > 0 ? added.addresses : undefined);
      if (added.addresses.length > 0) ttls.push(added.ttlSeconds * 1_000);
      else unknown.push(target);
    }
    const askNext = async (): Promise<void> => {
      for (let target = unknown.pop(); target !== undefined; target = unknown.pop()) {
        try {
          const { addresses, ttlMs } = await resolve(target);
          known.set(target, addresses);
          if (ttlMs !== undefined) ttls.push(ttlMs);
        } catch {
          // Stays unknown: whoever asks may remember it from an earlier answer.
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(mostAtOnce, unknown.length) }, askNext));
    const records = services.map(({ target, port, priority, weight }) => ({
      target: canonicalName(target),
      port,
      priority,
      weight,
      addresses: known.get(target),
    }));
    return { records, ttlMs: ttls.reduce((least, ttl) => Math.min(least, ttl)) };
  };

  return { resolve, resolveService, close: () => client.close() };
};
