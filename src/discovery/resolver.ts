import { promises as dns } from 'node:dns';

export interface ResolvedName {
  /** IPv4 and IPv6 addresses; empty where the answer is that there are none. */
  readonly addresses: readonly string[];
  /** How long the answer holds, where the resolver knows. */
  readonly ttlMs?: number;
}

/**
 * Turns a name into addresses. "No such name" and "no addresses" are answers, and empty; only getting no answer (a timeout,
 * SERVFAIL) rejects. The two are told apart because an outage of DNS must not take the endpoints away.
 */
export interface EndpointResolver {
  resolve(name: string): Promise<ResolvedName>;
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

export interface NameServerOptions {
  /** `address` or `address:port`; without it those of `/etc/resolv.conf`. */
  readonly servers?: readonly string[];
  readonly timeoutMs?: number;
  readonly tries?: number;
}

/** Asks name servers directly for A and AAAA, and so knows the TTL; sees neither `/etc/hosts` nor search domains. */
export const nameServerResolver = ({ servers, timeoutMs = 2_000, tries = 2 }: NameServerOptions = {}): EndpointResolver => {
  const resolver = new dns.Resolver({ timeout: timeoutMs, tries });
  if (servers !== undefined) resolver.setServers(servers);
  return {
    resolve: async (name) => {
      const answers = await Promise.allSettled([resolver.resolve4(name, { ttl: true }), resolver.resolve6(name, { ttl: true })]);
      const records = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      const failed = answers.find((answer) => answer.status === 'rejected' && !isNegative(answer.reason));
      // One family is enough to go on with: many name servers answer AAAA badly where nobody uses IPv6.
      if (records.length === 0 && failed?.status === 'rejected') throw failed.reason;
      const addresses = records.map(({ address }) => address);
      if (addresses.length === 0) return { addresses };
      return { addresses, ttlMs: Math.min(...records.map(({ ttl }) => ttl)) * 1_000 };
    },
  };
};
