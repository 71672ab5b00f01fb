import type { PolicyProblem, PolicyReading, PolicyText } from '../../policy/index.ts';
import { ConsulPolicies, type ConsulPolicyOptions } from './consul-policies.ts';

export interface ConsulPolicyKeysOptions extends ConsulPolicyOptions {
  /** The keys that begin with it hold policies: `outrider/policies/`. */
  readonly prefix: string;
}

const mostKeys = 1_000;

/**
 * Policy texts under the keys of a prefix in Consul's KV store, each as if it were a file of that name. An outage, or a token that may not
 * read, leaves the last texts as they are; what is wrong with a text, or that all keys are gone, is for whoever compiles to say.
 */
export const consulPolicyKeys = ({ prefix, ...options }: ConsulPolicyKeysOptions): ConsulPolicies =>
  new ConsulPolicies({
    ...options,
    where: `consul:${prefix}`,
    name: 'policies in Consul',
    initial: { texts: [], descriptorSets: [], problems: [] },
    initially: 'none of them is in force',
    questions: [
      {
        fields: { prefix },
        // The package's types know no `ctx` here.
        ask: (api, ctx) => api.kv.get({ key: prefix, recurse: true, ctx } as { key: string; recurse: true }),
        read: (body) => readEntries(body, prefix),
      },
    ],
  });

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
