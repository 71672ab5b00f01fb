import { subsetWish, type WantedMetadata } from '../resilience/index.ts';
import { field, group, refused, required } from './group.ts';
import { compileHeaderChanges, headerChangeFields } from './header-changes.ts';
import { homeOf } from './homes.ts';
import { wantedMetadataShape } from './metadata-shape.ts';
import type { Place, Problems } from './problems.ts';
import { count, either, flag, list, type Placed, placed, type Read, text } from './shape.ts';
import type { WeightedClusters } from './traffic-types.ts';

/** Names travel in headers, statistics and log lines. */
export const nameText = text('a name of visible characters without blanks', { pattern: /^[\x21-\x7e]{1,255}$/ });
const headerName = text('the name of a header', { pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ });
const greatestTotal = 4_294_967_295;

const clusterWeights = list(
  group(
    'cluster_weight',
    'a group with "name:" and "weight:"',
    {
      name: required(placed(nameText), 'Name of the cluster'),
      weight: required(placed(count()), 'Its share of the calls in relation to the sum of all weights; 0: none'),
      metadata_match: field(wantedMetadataShape, "Metadata of the endpoints that may serve, beside the route's"),
      ...headerChangeFields,
      cluster_header: refused('write name'),
      host_rewrite_literal: refused('remove it: the authority reaches the service as it came'),
      typed_per_filter_config: refused('remove it: there are no filters'),
    },
    homeOf,
  ),
  { minItems: 1 },
);

/** A list, or Envoy's group with a list. */
export const weightedClustersShape = either(
  'list',
  clusterWeights,
  group(
    'weighted_clusters',
    'a group with "clusters:"',
    {
      clusters: required(clusterWeights, 'The clusters and their weights'),
      total_weight: field(placed(count(1)), 'The sum of the weights, to be checked'),
      use_hash_policy: field(placed(flag), 'By the hash_policy of the route: calls that stick to an endpoint stick to a cluster'),
      header_name: field(placed(headerName), 'By the whole number in this header, where the call has one'),
      runtime_key_prefix: refused('remove it: there is no runtime'),
    },
    homeOf,
  ),
);

interface Surroundings {
  readonly place: Place;
  readonly wroteHashPolicy: boolean;
  readonly metadata: WantedMetadata | undefined;
}

export interface CompiledWeights {
  readonly weights: WeightedClusters;
  /** Where each cluster is named. */
  readonly references: readonly { readonly cluster: string; readonly place: Place }[];
}

export const compileWeightedClusters = (
  written: Read<typeof weightedClustersShape> | undefined,
  { place, wroteHashPolicy, metadata }: Surroundings,
  problems: Problems,
): CompiledWeights | undefined => {
  if (written === undefined) return undefined;
  const options = 'place' in written ? written.values : undefined;
  const entries = 'place' in written ? written.values.clusters : written;
  if (entries === undefined) return undefined;
  const found: { readonly name: Placed<string>; readonly weight: number; readonly entry: (typeof entries)[number] }[] = [];
  for (const entry of entries) {
    const { name, weight } = entry.values;
    if (name === undefined || weight === undefined) return undefined;
    if (found.some((other) => other.name.value === name.value))
      problems.error(name.place, `cluster "${name.value}" is named twice`, 'add up its weights');
    found.push({ name, weight: weight.value, entry });
  }
  const total = found.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) problems.error(place, 'all weights are 0: no cluster would be called', 'write a weight above 0');
  if (total > greatestTotal)
    problems.error(place, `the weights are ${total} together`, `write weights of at most ${greatestTotal} together`);
  const { total_weight: wanted, use_hash_policy: useHash, header_name: header } = options ?? {};
  if (wanted !== undefined && wanted.value !== total)
    problems.error(wanted.place, `is ${wanted.value}, and the weights are ${total} together`, 'correct the weights, or remove it');
  if (useHash?.value === true && header !== undefined)
    problems.error(header.place, 'is written beside use_hash_policy', 'keep one of them');
  if (useHash?.value === true && !wroteHashPolicy)
    problems.error(useHash.place, 'needs a hash_policy, and the route has none', 'write hash_policy beside weighted_clusters');
  const weights: WeightedClusters = {
    clusters: Object.freeze(
      found.map(({ name, weight, entry: { values } }) =>
        Object.freeze({
          name: name.value,
          weight,
          metadataMatch: values.metadata_match === undefined ? undefined : subsetWish(merged(metadata, values.metadata_match)),
          requestHeaders: compileHeaderChanges(values.request_headers_to_add, values.request_headers_to_remove, problems),
          responseHeaders: compileHeaderChanges(values.response_headers_to_add, values.response_headers_to_remove, problems),
        }),
      ),
    ),
    by: useHash?.value === true ? 'hash_policy' : header === undefined ? 'chance' : { header: header.value.toLowerCase() },
  };
  return { weights: Object.freeze(weights), references: found.map(({ name }) => ({ cluster: name.value, place: name.place })) };
};

/** What a cluster among several asks for, beside its route: its own keys override, and its list takes the place of the other one. */
const merged = (route: WantedMetadata | undefined, { pairs, fallbacks }: WantedMetadata): WantedMetadata => ({
  pairs: { ...route?.pairs, ...pairs },
  fallbacks: fallbacks.length > 0 ? fallbacks : (route?.fallbacks ?? []),
});
