import { isConsistentHash, type SubsetOptions, subsetKeys, subsetsOfWish } from '../resilience/index.ts';
import type { CompiledRoute } from './compile-routes.ts';
import type { Place, Problems } from './problems.ts';
import type { ClusterPolicy, Route } from './types.ts';

/** What a route asks of the endpoint, and its cluster does not look at; and the other way round. */
export const warnOfBalancing = (
  routes: readonly CompiledRoute[],
  clusters: ReadonlyMap<string, ClusterPolicy>,
  problems: Problems,
): void => {
  warnOfMissingHashes(routes, clusters, problems);
  for (const { route, actionPlace } of routes) {
    warnOfUnusedHash(route, actionPlace, clusters, problems);
    const cluster = clusters.get(route.cluster);
    // Of several clusters each may look at something else.
    if (cluster === undefined || route.traffic?.weightedClusters !== undefined) continue;
    const { subsets } = cluster.loadBalancer;
    if (route.metadataMatch !== undefined && subsets === undefined) {
      problems.warning(
        actionPlace,
        `metadata_match has no effect: cluster "${cluster.name}" has no lb_subset_config`,
        'write lb_subset_config: { subset_selectors: [{ keys: [...] }] }, or remove metadata_match',
      );
    }
    if (route.metadataMatch !== undefined && subsets !== undefined)
      warnOfUnknownSubset(route.metadataMatch, subsets, cluster.name, actionPlace, problems);
    if (route.metadataMatch === undefined && subsets?.fallback === 'no_fallback') {
      problems.warning(
        actionPlace,
        `asks for no subset, and cluster "${cluster.name}" has fallback_policy: no_fallback: its calls end with no_endpoint`,
        'write metadata_match, or fallback_policy: any_endpoint on the cluster',
      );
    }
  }
};

/** A hash that neither chooses a cluster nor an endpoint. */
const warnOfUnusedHash = (
  { cluster, hashPolicies, traffic }: Route,
  place: Place,
  clusters: ReadonlyMap<string, ClusterPolicy>,
  problems: Problems,
): void => {
  const weighted = traffic?.weightedClusters;
  if (hashPolicies.length === 0 || weighted?.by === 'hash_policy') return;
  const called = (weighted?.clusters.map(({ name }) => name) ?? [cluster]).map((name) => clusters.get(name));
  const [first] = called;
  // Of one that is not defined nothing is known.
  if (first === undefined || called.some((one) => one === undefined || isConsistentHash(one.loadBalancer.policy))) return;
  problems.warning(
    place,
    `hash_policy has no effect: cluster "${first.name}" has lb_policy: ${first.loadBalancer.policy}`,
    'write lb_policy: ring_hash or maglev, or remove hash_policy',
  );
};

/** A cluster that balances by a hash which no route gives: its calls go anywhere. */
const warnOfMissingHashes = (routes: readonly CompiledRoute[], clusters: ReadonlyMap<string, ClusterPolicy>, problems: Problems): void => {
  const callers = Map.groupBy(
    routes.filter(({ route }) => route.traffic?.weightedClusters === undefined),
    ({ route }) => route.cluster,
  );
  for (const [name, here] of callers) {
    const policy = clusters.get(name)?.loadBalancer.policy;
    const [first] = here;
    if (policy === undefined || first === undefined || !isConsistentHash(policy)) continue;
    if (here.some(({ route }) => route.hashPolicies.length > 0)) continue;
    problems.warning(
      first.actionPlace,
      `cluster "${name}" has lb_policy: ${policy}, and no route that calls it has a hash_policy: its calls stick to nothing`,
      'write hash_policy: [{ header: { header_name: ... } }], or another lb_policy',
    );
  }
};

/** A route that asks for keys by which no subsets are formed. */
const warnOfUnknownSubset = (wish: string, subsets: SubsetOptions, name: string, place: Place, problems: Problems): void => {
  const { allowRedundantKeys = false, metadataFallback = false, selectors } = subsets;
  const [first = '', ...fallbacks] = subsetsOfWish(wish);
  if (fallbacks.length > 0 && !metadataFallback) {
    problems.warning(
      place,
      `fallback_list of metadata_match has no effect: cluster "${name}" has no metadata_fallback_policy`,
      'write metadata_fallback_policy: FALLBACK_LIST under its lb_subset_config, or remove fallback_list',
    );
  }
  const isFound = (keys: readonly string[]): boolean =>
    selectors.some((selector) =>
      allowRedundantKeys ? selector.keys.every((key) => keys.includes(key)) : selector.keys.join() === keys.join(),
    );
  const unknown = (metadataFallback && fallbacks.length > 0 ? fallbacks : [first]).map(subsetKeys).find((keys) => !isFound(keys));
  if (unknown === undefined) return;
  const keys = unknown;
  problems.warning(
    place,
    `metadata_match finds no subset: no subset_selectors of cluster "${name}" have the keys ${keys.join(', ')}`,
    `add { keys: [${keys.join(', ')}] } to them, or ask for others`,
  );
};
