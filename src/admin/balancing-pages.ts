import type { EndpointPolicy } from '../policy/index.ts';
import type { LoadBalancerOptions, OutlierOptions, SlowStartOptions } from '../resilience/index.ts';
import { protoDuration } from './durations.ts';

const slowStartJson = ({ windowMs, aggression, minWeightPercent }: SlowStartOptions) =>
  windowMs > 0 && {
    slow_start_config: {
      slow_start_window: protoDuration(windowMs),
      aggression: { default_value: aggression },
      min_weight_percent: { value: minWeightPercent },
    },
  };

/** The options of the policy that is chosen, as the cluster writes them. */
const optionsJson = (options: LoadBalancerOptions) => {
  const { policy, leastRequest, maglev, peakEwma, reportedLoad, ringHash, slowStart } = options;
  switch (policy) {
    case 'random':
      return {};
    case 'round_robin':
      return slowStart.windowMs > 0 ? { round_robin_lb_config: { ...slowStartJson(slowStart) } } : {};
    case 'least_request':
      return {
        least_request_lb_config: {
          choice_count: leastRequest.choiceCount,
          active_request_bias: { default_value: leastRequest.activeRequestBias },
          ...slowStartJson(slowStart),
        },
      };
    case 'peak_ewma':
      return {
        peak_ewma_lb_config: { decay_time: protoDuration(peakEwma.decayTimeMs), default_rtt: protoDuration(peakEwma.defaultRttMs) },
      };
    case 'ring_hash':
      return {
        ring_hash_lb_config: {
          minimum_ring_size: ringHash.minimumRingSize,
          maximum_ring_size: ringHash.maximumRingSize,
          hash_function: ringHash.hashFunction.toUpperCase(),
        },
      };
    case 'maglev':
      return { maglev_lb_config: { table_size: maglev.tableSize } };
    case 'client_side_weighted_round_robin':
      return {
        client_side_weighted_round_robin_lb_config: {
          blackout_period: protoDuration(reportedLoad.blackoutPeriodMs),
          weight_expiration_period: protoDuration(reportedLoad.weightExpirationPeriodMs),
          weight_update_period: protoDuration(reportedLoad.weightUpdatePeriodMs),
          error_utilization_penalty: reportedLoad.errorUtilizationPenalty,
          metric_names_for_computing_utilization: reportedLoad.metricNames,
        },
      };
  }
};

/** What of Envoy's `Cluster` says who gets the next call. */
export const balancerJson = (options: LoadBalancerOptions) => {
  const { hashBalanceFactor, localityWeighted, panicThreshold, policy, subsets, zoneAware } = options;
  return {
    lb_policy: policy.toUpperCase(),
    ...optionsJson(options),
    common_lb_config: {
      healthy_panic_threshold: { value: panicThreshold },
      ...(localityWeighted && { locality_weighted_lb_config: {} }),
      ...(zoneAware !== undefined && {
        zone_aware_lb_config: {
          routing_enabled: { value: zoneAware.share * 100 },
          min_cluster_size: zoneAware.minClusterSize,
          ...(zoneAware.byWeight === true && { locality_basis: 'HEALTHY_HOSTS_WEIGHT' }),
          ...(zoneAware.failTrafficOnPanic === true && { fail_traffic_on_panic: true }),
          ...(zoneAware.forceLocalMinSize !== undefined && { force_local_zone: { min_size: zoneAware.forceLocalMinSize } }),
        },
      }),
      ...(hashBalanceFactor > 0 && { consistent_hashing_lb_config: { hash_balance_factor: hashBalanceFactor } }),
    },
    ...(subsets !== undefined && {
      lb_subset_config: {
        fallback_policy: subsets.fallback.toUpperCase(),
        default_subset: subsets.defaultSubset,
        ...(subsets.panicModeAny === true && { panic_mode_any: true }),
        ...(subsets.scaleLocalityWeight === true && { scale_locality_weight: true }),
        ...(subsets.listAsAny === true && { list_as_any: true }),
        ...(subsets.allowRedundantKeys === true && { allow_redundant_keys: true }),
        ...(subsets.metadataFallback === true && { metadata_fallback_policy: 'FALLBACK_LIST' }),
        subset_selectors: subsets.selectors.map(({ keys, fallback, fallbackKeys, singleHost }) => ({
          keys,
          ...(fallback !== undefined && { fallback_policy: fallback.toUpperCase() }),
          ...(fallbackKeys !== undefined && { fallback_keys_subset: fallbackKeys }),
          ...(singleHost === true && { single_host_per_subset: true }),
        })),
      },
    }),
  };
};

/** Envoy's `OutlierDetection`. */
export const outlierJson = (options: OutlierOptions) => ({
  consecutive_5xx: options.consecutive5xx,
  interval: protoDuration(options.intervalMs),
  base_ejection_time: protoDuration(options.baseEjectionTimeMs),
  max_ejection_percent: options.maxEjectionPercent,
  enforcing_consecutive_5xx: options.enforcing.consecutive_5xx,
  enforcing_success_rate: options.enforcing.success_rate,
  success_rate_minimum_hosts: options.successRateMinimumHosts,
  success_rate_request_volume: options.successRateRequestVolume,
  success_rate_stdev_factor: options.successRateStdevFactor,
  consecutive_gateway_failure: options.consecutiveGatewayFailure,
  enforcing_consecutive_gateway_failure: options.enforcing.consecutive_gateway_failure,
  split_external_local_origin_errors: options.splitExternalLocalOriginErrors,
  consecutive_local_origin_failure: options.consecutiveLocalOriginFailure,
  enforcing_consecutive_local_origin_failure: options.enforcing.consecutive_local_origin_failure,
  enforcing_local_origin_success_rate: options.enforcing.local_origin_success_rate,
  failure_percentage_threshold: options.failurePercentageThreshold,
  enforcing_failure_percentage: options.enforcing.failure_percentage,
  enforcing_failure_percentage_local_origin: options.enforcing.local_origin_failure_percentage,
  failure_percentage_minimum_hosts: options.failurePercentageMinimumHosts,
  failure_percentage_request_volume: options.failurePercentageRequestVolume,
  max_ejection_time: protoDuration(options.maxEjectionTimeMs),
  max_ejection_time_jitter: protoDuration(options.maxEjectionTimeJitterMs),
  always_eject_one_host: options.alwaysEjectOneHost,
});

/** `region/zone/sub_zone` in Envoy's form. */
export const localityJson = (locality: string | undefined) => {
  const [region = '', zone = '', subZone = ''] = (locality ?? '').split('/');
  return { ...(region !== '' && { region }), ...(zone !== '' && { zone }), ...(subZone !== '' && { sub_zone: subZone }) };
};

/** Envoy's `LocalityLbEndpoints`, one for each priority and locality. */
export const lbEndpointsJson = (endpoints: readonly EndpointPolicy[]) =>
  [...Map.groupBy(endpoints, ({ priority = 0, locality = '' }) => `${priority} ${locality}`).values()].map((here) => ({
    lb_endpoints: here.map(({ host, port, weight, metadata }) => ({
      endpoint: { address: { socket_address: { address: host, port_value: port } } },
      load_balancing_weight: weight,
      ...(metadata !== undefined && { metadata: { filter_metadata: { 'envoy.lb': metadata } } }),
    })),
    ...(here[0]?.locality !== undefined && { locality: localityJson(here[0].locality) }),
    ...(here[0]?.localityWeight !== undefined && { load_balancing_weight: here[0].localityWeight }),
    ...(here[0]?.priority !== undefined && { priority: here[0].priority }),
  }));
