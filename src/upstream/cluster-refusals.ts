import { MeshError } from '../core/index.ts';
import { type ConcurrencyLimits, subsetPairs, subsetsOfWish } from '../resilience/index.ts';
import type { Cluster } from './cluster.ts';
import { type Endpoint, Unhealthy } from './endpoint.ts';

/** What a call hears that the cluster does not let go anywhere. None of them was processed, and none is to be tried again. */
const refusal = (
  reason: 'all_instances_busy' | 'overloaded' | 'too_many_requests' | 'no_endpoint' | 'circuit_open',
  message: string,
  remedy: string,
): MeshError => new MeshError(reason, message, { source: 'local', unprocessed: true, remedy });

export const tooManyRequests = ({ limits: ofDefault, name }: Cluster, limits: ConcurrencyLimits): MeshError =>
  refusal(
    'too_many_requests',
    `cluster "${name}": ${limits.requests.max} calls are in flight already (max_requests${limits === ofDefault ? '' : ' of priority HIGH'})`,
    'raise max_requests of the cluster, or find out why its calls take so long',
  );

export const tooMuchAtOnce = ({ adaptiveLimit, name }: Cluster): MeshError =>
  refusal(
    'overloaded',
    `cluster "${name}": ${adaptiveLimit?.active} calls are under way, and adaptive_concurrency allows ${adaptiveLimit?.limit} now, so that the service does not slow down`,
    'call again later, or give the service more instances',
  );

const whyNone = ({ endpointSet: { error, source, updatedAtMs } }: Cluster): string =>
  error ?? (updatedAtMs === 0 ? `${source} has not answered yet` : `none is known (${source})`);

export const noEndpoint = (cluster: Cluster): MeshError =>
  refusal(
    'no_endpoint',
    `cluster "${cluster.name}" has no endpoint: ${whyNone(cluster)}`,
    'check that the service runs and is registered, and the endpoints of the cluster in the policy files',
  );

/** None of its endpoints is to be called, each for its reason; the first that fails its checks says why. */
export const allBusy = ({ endpointSet, name }: Cluster): MeshError =>
  refusal(
    'all_instances_busy',
    `cluster "${name}": all instances are busy: ${endpointSet.source} lists none`,
    'start more instances, or let callers try again later',
  );

export const allUnhealthy = ({ endpoints, name }: Cluster): MeshError => {
  const having = (reason: number): number => endpoints.filter(({ unhealthyFor }) => (unhealthyFor & reason) !== 0).length;
  const failed = having(Unhealthy.failedCheck);
  const unchecked = having(Unhealthy.uncheckedYet);
  if (failed + unchecked === 0) {
    return refusal(
      'no_endpoint',
      `cluster "${name}": all ${endpoints.length} endpoints are ejected by outlier_detection`,
      'they return on their own; a healthy_panic_threshold above 0 calls them all the same',
    );
  }
  const example = endpoints.find(({ unhealthyFor }) => (unhealthyFor & Unhealthy.failedCheck) !== 0);
  const parts = [
    failed === 0 ? '' : `${failed} fail their health checks (${example?.key}: ${example?.checker?.why})`,
    unchecked === 0 ? '' : `${unchecked} have not passed their first one yet`,
    having(Unhealthy.ejected) === 0 ? '' : `${having(Unhealthy.ejected)} are ejected by outlier_detection`,
  ];
  return refusal(
    'no_endpoint',
    `cluster "${name}": none of ${endpoints.length} endpoints is healthy: ${parts.filter((part) => part !== '').join(', ')}`,
    'find out why they fail in /clusters; a healthy_panic_threshold above 0 calls them all the same',
  );
};

/** `fail_traffic_on_panic`: some are healthy, and too few. */
export const tooFewHealthy = ({ endpoints, name, policy }: Cluster): MeshError =>
  refusal(
    'no_endpoint',
    `cluster "${name}": ${endpoints.filter(({ healthy }) => healthy).length} of ${endpoints.length} endpoints are healthy, which is below healthy_panic_threshold (${policy.loadBalancer.panicThreshold} %)`,
    'find out why the others are not in /clusters; without fail_traffic_on_panic calls go to all of them',
  );

/** @param wish what the route asks for, as `subsetWish` writes it. */
export const noSubset = ({ name }: Cluster, wish: string | undefined): MeshError =>
  refusal(
    'no_endpoint',
    wish === undefined
      ? `cluster "${name}" is called by subset, and the route asks for none`
      : `cluster "${name}" has no endpoint with ${subsetsOfWish(wish).map(readable).join(', or in its place ')}`,
    'write metadata_match on the route, metadata on endpoints, or a fallback_policy under lb_subset_config',
  );

const readable = (subset: string): string =>
  subsetPairs(subset)
    .map(([key, value]) => `${key}: ${value}`)
    .join(', ');

/** @param endpoint `undefined`: all of them. */
export const circuitOpen = ({ breakers, name }: Cluster, endpoint: Endpoint | undefined, method: string | undefined): MeshError => {
  const places = {
    cluster: '',
    endpoint: endpoint === undefined ? ', all endpoints' : `, endpoint ${endpoint.key}`,
    method: method === undefined ? '' : `, method ${method}`,
  };
  return refusal(
    'circuit_open',
    `Circuit breaker OPEN: cluster "${name}"${places[breakers.scope]}`,
    `it lets a probe through on its own; "outrider breaker reset ${name}" closes it at once`,
  );
};
