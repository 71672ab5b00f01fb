import type { PolicyProblem, PolicyReading } from '../../policy/index.ts';
import { ConsulPolicies, type ConsulPolicyOptions } from './consul-policies.ts';
import { getPath } from './package-get.ts';

export interface ConsulPolicyIntentionsOptions extends ConsulPolicyOptions {
  /** Who is called. */
  readonly serviceName: string;
}

/** A service that nobody has an intention about: what holds for it is what holds without one. */
const nobody = 'outrider-nobody';

/**
 * Consul's intentions about who may call this service, as `inbound.access`: by their precedence, and below them what holds without one
 * (which the default policy of ACLs says). Until they have been read nobody may call; in an outage the last ones stay in force.
 */
export const consulPolicyIntentions = ({ serviceName, ...options }: ConsulPolicyIntentionsOptions): ConsulPolicies => {
  const where = `consul:intentions/${serviceName}`;
  /** What holds without an intention has no index to wait by: it is asked for beside each answer. */
  const askDefault = async (): Promise<boolean> => {
    const query = { source: nobody, destination: serviceName };
    const { body } = await options.client.call((api, ctx) => getPath(api, '/connect/intentions/check', query, ctx));
    const { Allowed: allowed } = (body ?? {}) as { readonly Allowed?: unknown };
    if (typeof allowed !== 'boolean') throw new Error('Consul does not say what holds without an intention');
    return allowed;
  };
  return new ConsulPolicies({
    ...options,
    where,
    name: 'intentions of Consul',
    initial: translate([], false, where),
    initially: 'nobody may call',
    questions: [
      {
        fields: {},
        ask: (api, ctx) => getPath(api, '/connect/intentions/match', { by: 'destination', name: serviceName }, ctx),
        read: async (body) => {
          const intentions = (body as Readonly<Record<string, unknown>> | null)?.[serviceName] ?? [];
          if (!Array.isArray(intentions)) throw new Error('Consul answered what is no list of intentions');
          return translate(intentions, await askDefault(), where);
        },
      },
    ],
  });
};

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
