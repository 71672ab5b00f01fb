import { defaultOutlier, type OutlierOptions } from '../resilience/index.ts';
import type { outlierShape } from './outlier-schema.ts';
import type { Problems } from './problems.ts';
import type { Read } from './shape.ts';
import type { EndpointSourcePolicy } from './types.ts';

type OutlierGroup = Read<typeof outlierShape>;

/** @param endpoints to say where the numbers can eject nobody, or everybody. */
export const compileOutlier = (written: OutlierGroup, endpoints: EndpointSourcePolicy, problems: Problems): OutlierOptions => {
  const { values } = written;
  const baseEjectionTimeMs = values.base_ejection_time ?? defaultOutlier.baseEjectionTimeMs;
  const longest = values.max_ejection_time;
  if (longest !== undefined && longest.value < baseEjectionTimeMs)
    problems.error(longest.place, 'is shorter than base_ejection_time', 'write a longer max_ejection_time, or leave it out');
  const options: OutlierOptions = Object.freeze({
    consecutive5xx: values.consecutive_5xx ?? defaultOutlier.consecutive5xx,
    consecutiveGatewayFailure: values.consecutive_gateway_failure ?? defaultOutlier.consecutiveGatewayFailure,
    consecutiveLocalOriginFailure: values.consecutive_local_origin_failure ?? defaultOutlier.consecutiveLocalOriginFailure,
    intervalMs: values.interval ?? defaultOutlier.intervalMs,
    baseEjectionTimeMs,
    maxEjectionTimeMs: longest?.value ?? Math.max(defaultOutlier.maxEjectionTimeMs, baseEjectionTimeMs),
    maxEjectionTimeJitterMs: values.max_ejection_time_jitter ?? defaultOutlier.maxEjectionTimeJitterMs,
    maxEjectionPercent: values.max_ejection_percent?.value ?? defaultOutlier.maxEjectionPercent,
    alwaysEjectOneHost: values.always_eject_one_host ?? defaultOutlier.alwaysEjectOneHost,
    splitExternalLocalOriginErrors: values.split_external_local_origin_errors ?? defaultOutlier.splitExternalLocalOriginErrors,
    successfulActiveHealthCheckUnejectHost:
      values.successful_active_health_check_uneject_host ?? defaultOutlier.successfulActiveHealthCheckUnejectHost,
    successRateMinimumHosts: values.success_rate_minimum_hosts ?? defaultOutlier.successRateMinimumHosts,
    successRateRequestVolume: values.success_rate_request_volume ?? defaultOutlier.successRateRequestVolume,
    successRateStdevFactor: values.success_rate_stdev_factor ?? defaultOutlier.successRateStdevFactor,
    failurePercentageThreshold: values.failure_percentage_threshold ?? defaultOutlier.failurePercentageThreshold,
    failurePercentageMinimumHosts: values.failure_percentage_minimum_hosts ?? defaultOutlier.failurePercentageMinimumHosts,
    failurePercentageRequestVolume: values.failure_percentage_request_volume ?? defaultOutlier.failurePercentageRequestVolume,
    enforcing: Object.freeze({
      consecutive_5xx: values.enforcing_consecutive_5xx ?? defaultOutlier.enforcing.consecutive_5xx,
      consecutive_gateway_failure: values.enforcing_consecutive_gateway_failure ?? defaultOutlier.enforcing.consecutive_gateway_failure,
      consecutive_local_origin_failure:
        values.enforcing_consecutive_local_origin_failure ?? defaultOutlier.enforcing.consecutive_local_origin_failure,
      success_rate: values.enforcing_success_rate ?? defaultOutlier.enforcing.success_rate,
      local_origin_success_rate: values.enforcing_local_origin_success_rate ?? defaultOutlier.enforcing.local_origin_success_rate,
      failure_percentage: values.enforcing_failure_percentage ?? defaultOutlier.enforcing.failure_percentage,
      local_origin_failure_percentage:
        values.enforcing_failure_percentage_local_origin ?? defaultOutlier.enforcing.local_origin_failure_percentage,
    }),
  });
  warnOfEffect(written, options, endpoints, problems);
  if (!options.splitExternalLocalOriginErrors) {
    for (const key of splitKeys) {
      if (written.wrote(key))
        problems.warning(written.placeOf(key), 'has no effect', 'write split_external_local_origin_errors: true beside it, or remove it');
    }
  }
  return options;
};

const splitKeys = [
  'consecutive_local_origin_failure',
  'enforcing_consecutive_local_origin_failure',
  'enforcing_local_origin_success_rate',
  'enforcing_failure_percentage_local_origin',
] as const;

const warnOfEffect = (written: OutlierGroup, options: OutlierOptions, endpoints: EndpointSourcePolicy, problems: Problems): void => {
  const { maxEjectionPercent, alwaysEjectOneHost } = options;
  if (maxEjectionPercent === 100) {
    problems.warning(
      written.placeOf('max_ejection_percent'),
      'ejects all endpoints at once where all fail, which is no fault of one',
      'write 50 or less; above that calls go to all of them anyway (healthy_panic_threshold)',
    );
  }
  const count = endpoints.kind === 'static' ? endpoints.endpoints.length : 0;
  if (alwaysEjectOneHost || count === 0 || 100 / count <= maxEjectionPercent) return;
  problems.warning(
    written.placeOf('max_ejection_percent'),
    `ejects nobody: one of ${count} endpoint${count === 1 ? '' : 's'} is more than ${maxEjectionPercent} % of them`,
    count === 1
      ? 'remove outlier_detection: there is no other endpoint'
      : `write always_eject_one_host: true, or max_ejection_percent: ${Math.ceil(100 / count)}`,
  );
};
