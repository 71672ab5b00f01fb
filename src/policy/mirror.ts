import { runtimeFractionShape, runtimeShareOf } from './fractional-percent.ts';
import { field, group, inert, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { flag, list, placed, type Read } from './shape.ts';
import type { MirrorPolicy } from './traffic-types.ts';
import { nameText } from './weighted-clusters.ts';

/** Envoy's `RequestMirrorPolicy`. */
export const mirrorPoliciesShape = list(
  group(
    'request_mirror_policy',
    'a group with "cluster:"',
    {
      cluster: required(placed(nameText), 'Name of the cluster that gets a copy'),
      runtime_fraction: field(runtimeFractionShape, 'Share of the calls that are copied; all where left out'),
      disable_shadow_host_suffix_append: field(flag, 'Leaves the authority as it is; without it -shadow is appended'),
      trace_sampled: inert(flag, 'remove it'),
      cluster_header: refused('write cluster'),
      request_headers_mutations: refused('remove it'),
      host_rewrite_literal: refused('remove it'),
    },
    homeOf,
  ),
  { minItems: 1 },
);

export interface CompiledMirrors {
  readonly mirrors: readonly MirrorPolicy[];
  readonly references: readonly { readonly cluster: string; readonly place: Place }[];
}

export const compileMirrors = (written: Read<typeof mirrorPoliciesShape> | undefined, problems: Problems): CompiledMirrors | undefined => {
  if (written === undefined) return undefined;
  const references: { cluster: string; place: Place }[] = [];
  const mirrors = written.flatMap(({ values, placeOf }): readonly MirrorPolicy[] => {
    const { cluster, runtime_fraction: fraction, disable_shadow_host_suffix_append: plain = false } = values;
    if (cluster === undefined) return [];
    references.push({ cluster: cluster.value, place: cluster.place });
    const share = runtimeShareOf(fraction, 1);
    if (share === 0)
      problems.warning(placeOf('runtime_fraction'), 'is 0: nothing is copied', 'write a share above 0, or remove the mirror');
    return [Object.freeze({ cluster: cluster.value, share, suffix: plain ? '' : '-shadow' })];
  });
  return { mirrors: Object.freeze(mirrors), references };
};
