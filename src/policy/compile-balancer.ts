import {
  defaultLoadBalancer,
  isConsistentHash,
  type LbPolicy,
  type LoadBalancerOptions,
  type SlowStartOptions,
  type SubsetOptions,
  type ZoneAwareOptions,
} from '../resilience/index.ts';
import type { ListedCluster, MappedCluster } from './cluster-schema.ts';
import type { Problems } from './problems.ts';

type ClusterGroup = MappedCluster | ListedCluster;
type SlowStartGroup = NonNullable<NonNullable<ClusterGroup['values']['round_robin_lb_config']>['values']['slow_start_config']>;

/** Which group of options belongs to which policy. */
const configOf = {
  round_robin: 'round_robin_lb_config',
  random: undefined,
  least_request: 'least_request_lb_config',
  peak_ewma: 'peak_ewma_lb_config',
  ring_hash: 'ring_hash_lb_config',
  maglev: 'maglev_lb_config',
  client_side_weighted_round_robin: 'client_side_weighted_round_robin_lb_config',
} as const satisfies Record<LbPolicy, string | undefined>;

/** Envoy's. */
const defaultMinClusterSize = 6;

/** A percentage as a number or as Envoy's group. */
export const percentOf = (
  written: number | { readonly values: { readonly value?: number | undefined } } | undefined,
): number | undefined => (typeof written === 'object' ? written.values.value : written);

const doubleOf = (
  written: number | { readonly values: { readonly default_value?: number | undefined } } | undefined,
): number | undefined => (typeof written === 'object' ? written.values.default_value : written);

/** Who gets the next call. */
export const compileBalancer = (written: ClusterGroup, problems: Problems): LoadBalancerOptions => {
  const { values } = written;
  const policy = values.lb_policy ?? defaultLoadBalancer.policy;
  for (const [name, key] of Object.entries(configOf)) {
    if (key !== undefined && name !== policy && written.wrote(key))
      problems.warning(written.placeOf(key), `has no effect with lb_policy: ${policy}`, `remove it, or write lb_policy: ${name}`);
  }
  const common = values.common_lb_config?.values;
  if (common?.consistent_hashing_lb_config !== undefined && !isConsistentHash(policy)) {
    problems.warning(
      values.common_lb_config?.placeOf('consistent_hashing_lb_config') ?? written.place,
      `has no effect with lb_policy: ${policy}`,
      'remove it, or write lb_policy: ring_hash or maglev',
    );
  }
  if (common?.locality_weighted_lb_config === undefined) {
    const weighted = values.load_assignment?.values.endpoints?.find((group) => group.wrote('load_balancing_weight'));
    if (weighted !== undefined)
      problems.warning(
        weighted.placeOf('load_balancing_weight'),
        'has no effect without locality_weighted_lb_config',
        'write common_lb_config: { locality_weighted_lb_config: {} } on the cluster, or remove it',
      );
  }
  const assignment = values.load_assignment?.values.policy?.values;
  const leastRequest = values.least_request_lb_config?.values;
  const peakEwma = values.peak_ewma_lb_config?.values;
  const slowStart = policy === 'least_request' ? leastRequest?.slow_start_config : values.round_robin_lb_config?.values.slow_start_config;
  return Object.freeze<LoadBalancerOptions>({
    policy,
    leastRequest: {
      choiceCount: leastRequest?.choice_count ?? defaultLoadBalancer.leastRequest.choiceCount,
      activeRequestBias: doubleOf(leastRequest?.active_request_bias) ?? defaultLoadBalancer.leastRequest.activeRequestBias,
    },
    peakEwma: {
      decayTimeMs: peakEwma?.decay_time ?? defaultLoadBalancer.peakEwma.decayTimeMs,
      defaultRttMs: peakEwma?.default_rtt ?? defaultLoadBalancer.peakEwma.defaultRttMs,
    },
    ringHash: compileRing(written, problems),
    maglev: compileMaglev(written, problems),
    reportedLoad: compileReportedLoad(written),
    overprovisioningFactor: assignment?.overprovisioning_factor ?? defaultLoadBalancer.overprovisioningFactor,
    weightedPriorityHealth: assignment?.weighted_priority_health ?? defaultLoadBalancer.weightedPriorityHealth,
    panicThreshold: percentOf(common?.healthy_panic_threshold) ?? defaultLoadBalancer.panicThreshold,
    localityWeighted: common?.locality_weighted_lb_config !== undefined,
    zoneAware: compileZoneAware(written, policy, problems),
    hashBalanceFactor: common?.consistent_hashing_lb_config?.values.hash_balance_factor ?? defaultLoadBalancer.hashBalanceFactor,
    slowStart: slowStart === undefined ? defaultLoadBalancer.slowStart : compileSlowStart(slowStart, problems),
    subsets: compileSubsets(written, problems),
  });
};

const compileZoneAware = ({ values }: ClusterGroup, policy: LbPolicy, problems: Problems): ZoneAwareOptions | undefined => {
  const common = values.common_lb_config?.values;
  const written = common?.zone_aware_lb_config;
  if (written === undefined) return undefined;
  const {
    fail_traffic_on_panic: fails,
    force_local_zone: forced,
    locality_basis: basis,
    min_cluster_size: least,
    routing_enabled: share,
  } = written.value.values;
  if (common?.locality_weighted_lb_config !== undefined)
    problems.error(written.place, 'is written beside locality_weighted_lb_config', 'keep one of them');
  if (isConsistentHash(policy))
    problems.warning(written.place, `has no effect with lb_policy: ${policy}`, 'remove it, or write lb_policy: least_request');
  return Object.freeze({
    share: (percentOf(share) ?? 100) / 100,
    minClusterSize: least ?? defaultMinClusterSize,
    forceLocalMinSize: forced === undefined ? undefined : (forced.values.min_size ?? 1),
    ...(basis === 'healthy_hosts_weight' ? { byWeight: true } : {}),
    ...(fails === true ? { failTrafficOnPanic: true } : {}),
  });
};

const compileSlowStart = ({ values }: SlowStartGroup, problems: Problems): SlowStartOptions => {
  const aggression = doubleOf(values.aggression?.value);
  if (values.aggression !== undefined && aggression === 0)
    problems.error(values.aggression.place, 'is 0', 'write a number above 0; 1 warms up evenly');
  return {
    windowMs: values.slow_start_window ?? 0,
    aggression: aggression ?? defaultLoadBalancer.slowStart.aggression,
    minWeightPercent: percentOf(values.min_weight_percent) ?? defaultLoadBalancer.slowStart.minWeightPercent,
  };
};

const compileRing = ({ values: { ring_hash_lb_config: written } }: ClusterGroup, problems: Problems): LoadBalancerOptions['ringHash'] => {
  const minimum = written?.values.minimum_ring_size;
  const maximum = written?.values.maximum_ring_size;
  const minimumRingSize =
    minimum?.value ?? Math.min(defaultLoadBalancer.ringHash.minimumRingSize, maximum?.value ?? Number.POSITIVE_INFINITY);
  const maximumRingSize = maximum?.value ?? defaultLoadBalancer.ringHash.maximumRingSize;
  if (maximum !== undefined && maximumRingSize < minimumRingSize)
    problems.error(maximum.place, 'is less than minimum_ring_size', 'write a larger one, or leave it out');
  return { minimumRingSize, maximumRingSize, hashFunction: written?.values.hash_function ?? defaultLoadBalancer.ringHash.hashFunction };
};

const compileMaglev = ({ values: { maglev_lb_config: written } }: ClusterGroup, problems: Problems): LoadBalancerOptions['maglev'] => {
  const size = written?.values.table_size;
  if (size !== undefined && !isPrime(size.value)) {
    let prime = size.value;
    while (!isPrime(prime)) prime++;
    problems.error(size.place, `${size.value} is no prime number`, `write ${prime}`);
  }
  return { tableSize: size?.value ?? defaultLoadBalancer.maglev.tableSize };
};

const isPrime = (number: number): boolean => {
  if (number < 2) return false;
  for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return false;
  return true;
};

const compileReportedLoad = ({ values }: ClusterGroup): LoadBalancerOptions['reportedLoad'] => {
  const written = values.client_side_weighted_round_robin_lb_config?.values;
  const { reportedLoad: otherwise } = defaultLoadBalancer;
  return {
    blackoutPeriodMs: written?.blackout_period ?? otherwise.blackoutPeriodMs,
    weightExpirationPeriodMs: written?.weight_expiration_period ?? otherwise.weightExpirationPeriodMs,
    weightUpdatePeriodMs: written?.weight_update_period ?? otherwise.weightUpdatePeriodMs,
    errorUtilizationPenalty: written?.error_utilization_penalty ?? otherwise.errorUtilizationPenalty,
    metricNames: written?.metric_names_for_computing_utilization ?? otherwise.metricNames,
  };
};

const compileSubsets = ({ values: { lb_subset_config: written } }: ClusterGroup, problems: Problems): SubsetOptions | undefined => {
  if (written === undefined) return undefined;
  const { values } = written;
  const seen = new Set<string>();
  const selectors = (values.subset_selectors ?? []).map(({ value, place }) => {
    const keys = [...new Set(value.values.keys ?? [])].sort();
    if (seen.has(keys.join(' '))) problems.error(place, 'has the same keys as an earlier selector', 'keep one of them');
    seen.add(keys.join(' '));
    const fallback = value.values.fallback_policy;
    const fallbackKeys = compileFallbackKeys(keys, value, problems);
    const single = value.values.single_host_per_subset;
    if (single?.value === true && keys.length !== 1)
      problems.error(single.place, 'needs just one key', 'write one key in keys, or remove single_host_per_subset');
    return {
      keys,
      fallback: fallback === 'not_defined' ? undefined : fallback,
      ...(fallbackKeys === undefined ? {} : { fallbackKeys }),
      ...(single?.value === true ? { singleHost: true } : {}),
    };
  });
  const fallback = values.fallback_policy ?? 'no_fallback';
  const usesDefault = fallback === 'default_subset' || selectors.some((selector) => selector.fallback === 'default_subset');
  if (values.default_subset !== undefined && !usesDefault)
    problems.warning(
      values.default_subset.place,
      'has no effect: no fallback_policy says default_subset',
      'write fallback_policy: default_subset',
    );
  return {
    selectors,
    fallback,
    defaultSubset: values.default_subset?.value ?? {},
    ...(values.panic_mode_any === true ? { panicModeAny: true } : {}),
    ...(values.scale_locality_weight === true ? { scaleLocalityWeight: true } : {}),
    ...(values.list_as_any === true ? { listAsAny: true } : {}),
    ...(values.allow_redundant_keys === true ? { allowRedundantKeys: true } : {}),
    ...(values.metadata_fallback_policy === 'fallback_list' ? { metadataFallback: true } : {}),
  };
};

type SelectorGroup = NonNullable<NonNullable<ClusterGroup['values']['lb_subset_config']>['values']['subset_selectors']>[number]['value'];

const compileFallbackKeys = (keys: readonly string[], selector: SelectorGroup, problems: Problems): readonly string[] | undefined => {
  const { fallback_keys_subset: written, fallback_policy: fallback } = selector.values;
  if (fallback !== 'keys_subset') {
    if (written !== undefined)
      problems.error(
        written.place,
        'has no effect without fallback_policy: keys_subset',
        'write fallback_policy: keys_subset, or remove it',
      );
    return undefined;
  }
  if (written === undefined) {
    if (!selector.wrote('fallback_keys_subset'))
      problems.error(
        selector.placeOf('fallback_policy'),
        'keys_subset needs fallback_keys_subset',
        'add "fallback_keys_subset:" with some of the keys',
      );
    return undefined;
  }
  const fewer = [...new Set(written.value)].sort();
  const strange = fewer.filter((key) => !keys.includes(key));
  if (strange.length > 0)
    problems.error(written.place, `${strange.join(', ')} is none of the keys`, 'write some of the keys of this selector');
  else if (fewer.length === keys.length) problems.error(written.place, 'has all of the keys', 'write fewer of them');
  return fewer;
};
