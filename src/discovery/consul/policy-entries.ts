import { type ConsulEntry, type ConsulEntryKind, consulEntryKinds, translateConsulEntries } from '../../policy/index.ts';
import { ConsulPolicies, type ConsulPolicyOptions } from './consul-policies.ts';
import { getPath } from './package-get.ts';

export interface ConsulPolicyEntriesOptions extends ConsulPolicyOptions {
  /** Whose `service-defaults` says how it calls others. */
  readonly serviceName: string;
}

/** Config entries of a Consul mesh as policies. What changes in one kind is in force at once, since each says something by itself. */
export const consulPolicyEntries = ({ serviceName, ...options }: ConsulPolicyEntriesOptions): ConsulPolicies => {
  const known = new Map<ConsulEntryKind, readonly ConsulEntry[]>();
  return new ConsulPolicies({
    ...options,
    where: 'consul:config-entries',
    name: 'config entries of Consul',
    initial: { texts: [], descriptorSets: [], problems: [] },
    initially: 'none is in force',
    questions: consulEntryKinds.map((kind) => ({
      fields: { kind },
      ask: (api, ctx) => getPath(api, `/config/${kind}`, {}, ctx),
      read: (body) => {
        known.set(kind, readEntries(kind, body));
        // A splitter without its resolver names subsets that are not there: until all kinds are known there is nothing to say.
        if (known.size < consulEntryKinds.length) return undefined;
        return translateConsulEntries([...known.values()].flat(), serviceName);
      },
    })),
  });
};

const readEntries = (kind: ConsulEntryKind, body: unknown): readonly ConsulEntry[] => {
  if (body === null) return [];
  if (!Array.isArray(body)) throw new Error(`Consul answered what is no list of ${kind}`);
  return body.flatMap((value: { readonly Name?: unknown } | null) =>
    typeof value?.Name === 'string' && value.Name !== '' ? [{ kind, name: value.Name, value }] : [],
  );
};
