import { isConsistentHash } from '../resilience/index.ts';
import type { CompiledRoute } from './compile-routes.ts';
import type { Problems } from './problems.ts';
import type { ClusterPolicy } from './types.ts';

/** What a route asks of the endpoint, and its cluster does not look at; and the other way round. */
export const warnOfBalancing = (
  routes: readonly CompiledRoute[],
  clusters: ReadonlyMap<string, ClusterPolicy>,
  problems: Problems,
): void => {
  for (const { route, actionPlace } of routes) {
    const cluster = clusters.get(route.cluster);
    // Of several clusters each may look at something else, and a hash may choose between them.
    if (cluster === undefined || route.traffic?.weightedClusters !== undefined) continue;
    const { policy, subsets } = cluster.loadBalancer;
    if (route.hashPolicies.length > 0 && !isConsistentHash(policy)) {
      problems.warning(
        actionPlace,
        `hash_policy has no effect: cluster "${cluster.name}" has lb_policy: ${policy}`,
        'write lb_policy: ring_hash or maglev, or remove hash_policy',
      );
    }
    if (route.metadataMatch !== undefined && subsets === undefined) {
      problems.warning(
        actionPlace,
        `metadata_match has no effect: cluster "${cluster.name}" has no lb_subset_config`,
        'write lb_subset_config: { subset_selectors: [{ keys: [...] }] }, or remove metadata_match',
      );
    }
    if (route.metadataMatch === undefined && subsets?.fallback === 'no_fallback') {
      problems.warning(
        actionPlace,
        `asks for no subset, and cluster "${cluster.name}" has fallback_policy: no_fallback: its calls end with no_endpoint`,
        'write metadata_match, or fallback_policy: any_endpoint on the cluster',
      );
    }
  }
};
