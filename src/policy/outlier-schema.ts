import { field, group, later } from './group.ts';
import { homeOf } from './homes.ts';
import { count, duration, flag, placed } from './shape.ts';

const enforcing = (what: string, otherwise: number) =>
  field(count(0, 100), `Percent of the outliers by ${what} that are ejected; the others are only counted. ${otherwise} where left out`);

/** Envoy's, field by field. */
export const outlierShape = group(
  'outlier_detection',
  'a group such as { consecutive_5xx: 5 }',
  {
    consecutive_5xx: field(
      count(1),
      'Failures in a row that eject: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, DATA_LOSS, UNIMPLEMENTED, HTTP 5xx, and no answer at all; 5 where left out',
    ),
    consecutive_gateway_failure: field(
      count(1),
      'UNAVAILABLE, DEADLINE_EXCEEDED, HTTP 502 to 504, and no answer at all in a row that eject; 5 where left out',
    ),
    consecutive_local_origin_failure: field(
      count(1),
      'With split_external_local_origin_errors: connect failures, resets and time limits in a row that eject; 5 where left out',
    ),
    interval: field(duration({ minMs: 1, example: '10s' }), 'How often rates are compared, and endpoints return; 10s where left out'),
    base_ejection_time: field(
      duration({ example: '30s' }),
      'How long the first ejection lasts; the n-th lasts n times as long. 30s where left out',
    ),
    max_ejection_time: field(placed(duration({ example: '300s' })), 'How long an ejection lasts at most; 300s where left out'),
    max_ejection_time_jitter: field(duration({ example: '5s' }), 'Up to so much is added to each ejection, at random; 0s where left out'),
    max_ejection_percent: field(placed(count(0, 100)), 'Percent of the endpoints that may be ejected at once; 10 where left out'),
    always_eject_one_host: field(flag, 'One endpoint may be ejected whatever max_ejection_percent says; false where left out'),
    split_external_local_origin_errors: field(
      flag,
      'Failures without an answer are counted apart from failures that an endpoint answered; false where left out',
    ),
    success_rate_minimum_hosts: field(count(), 'Endpoints with enough calls that success rates are compared at all; 5 where left out'),
    success_rate_request_volume: field(count(), 'Calls in an interval that are enough; 100 where left out'),
    success_rate_stdev_factor: field(count(), 'Standard deviations below the mean that eject, in thousandths; 1900 where left out'),
    failure_percentage_threshold: field(count(0, 100), 'Percent of failed calls in an interval that eject; 85 where left out'),
    failure_percentage_minimum_hosts: field(count(), 'Endpoints with enough calls that percentages are looked at; 5 where left out'),
    failure_percentage_request_volume: field(count(), 'Calls in an interval that are enough; 50 where left out'),
    enforcing_consecutive_5xx: enforcing('consecutive_5xx', 100),
    enforcing_consecutive_gateway_failure: enforcing('consecutive_gateway_failure', 0),
    enforcing_consecutive_local_origin_failure: enforcing('consecutive_local_origin_failure', 100),
    enforcing_success_rate: enforcing('success rate', 100),
    enforcing_local_origin_success_rate: enforcing('success rate of connecting', 100),
    enforcing_failure_percentage: enforcing('failure percentage', 0),
    enforcing_failure_percentage_local_origin: enforcing('failure percentage of connecting', 0),
    successful_active_health_check_uneject_host: field(flag, 'With health_checks: a passing check ends an ejection; true where left out'),
    monitors: later(),
  },
  homeOf,
);
