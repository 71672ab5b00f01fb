import { field, group, inert, later, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import { metadataShape } from './metadata-shape.ts';
import { count, duration, either, flag, list, number, placed, text, word } from './shape.ts';

/** Envoy's Percent, and a plain number. */
export const percent = (doc: string) => {
  const shape = number({ min: 0, max: 100, integer: false });
  return either('scalar', shape, group(doc, 'a group with "value:"', { value: required(shape, 'Percent') }, homeOf));
};

/** Envoy's RuntimeDouble, and a plain number. */
const runtimeDouble = (min: number) => {
  const shape = number({ min, max: 1_000_000, integer: false });
  return either(
    'scalar',
    shape,
    group(
      'runtime_double',
      'a group with "default_value:"',
      { default_value: required(shape, 'The value'), runtime_key: inert(text('a name'), 'remove it: there is no runtime') },
      homeOf,
    ),
  );
};

const slowStart = field(
  group(
    'slow_start_config',
    'a group with "slow_start_window:"',
    {
      slow_start_window: required(duration({ minMs: 1, example: '60s' }), 'How long a new endpoint is warmed up'),
      aggression: field(placed(runtimeDouble(0)), 'Above 1 its share grows fast at first, below 1 late; 1 where left out'),
      min_weight_percent: field(percent('slow_start_percent'), 'Share that it begins with, in percent of its own; 10 where left out'),
    },
    homeOf,
  ),
  'Warms up endpoints that join: they get their share little by little',
);

export const roundRobinShape = group(
  'round_robin_lb_config',
  'a group with "slow_start_config:"',
  { slow_start_config: slowStart },
  homeOf,
);

export const leastRequestShape = group(
  'least_request_lb_config',
  'a group such as { choice_count: 2 }',
  {
    choice_count: field(count(2, 1_000), 'Random endpoints that are compared; 2 where left out'),
    active_request_bias: field(runtimeDouble(0), 'With unequal weights: weight / (active + 1) ^ bias; 1 where left out'),
    slow_start_config: slowStart,
    selection_method: refused('write a higher choice_count'),
    enable_full_scan: refused('write a higher choice_count'),
  },
  homeOf,
);

export const peakEwmaShape = group(
  'peak_ewma_lb_config',
  'a group such as { decay_time: 10s }',
  {
    decay_time: field(duration({ minMs: 1, example: '10s' }), 'After this long an old answer counts for a third; 10s where left out'),
    default_rtt: field(
      duration({ minMs: 1, example: '30ms' }),
      'What an endpoint is taken for before its first answer; 30ms where left out',
    ),
  },
  homeOf,
);

const ringSize = placed(count(1, 8_388_608));

export const ringHashShape = group(
  'ring_hash_lb_config',
  'a group such as { minimum_ring_size: 1024 }',
  {
    minimum_ring_size: field(ringSize, 'Entries of the ring at least; 1024 where left out'),
    maximum_ring_size: field(ringSize, 'Entries of the ring at most; 8388608 where left out'),
    hash_function: field(
      word(['xx_hash', 'murmur_hash_2'], { XX_HASH: 'xx_hash', MURMUR_HASH_2: 'murmur_hash_2', DEFAULT_HASH: 'xx_hash' }),
      'How endpoints are placed on the ring; xx_hash where left out',
    ),
  },
  homeOf,
);

export const maglevShape = group(
  'maglev_lb_config',
  'a group such as { table_size: 65537 }',
  { table_size: field(placed(count(2, 5_000_011)), 'Entries of the table, a prime number; 65537 where left out') },
  homeOf,
);

export const reportedLoadShape = group(
  'client_side_weighted_round_robin_lb_config',
  'a group such as { blackout_period: 10s }',
  {
    blackout_period: field(duration({ example: '10s' }), 'How long reports must have come before they count; 10s where left out'),
    weight_expiration_period: field(duration({ example: '180s' }), 'How long a report counts; 180s where left out'),
    weight_update_period: field(duration({ minMs: 100, example: '1s' }), 'How often weights are taken over; 1s where left out'),
    error_utilization_penalty: field(
      number({ min: 0, max: 1_000_000, integer: false }),
      'How much failed calls weigh: eps / qps times this is added to the utilization; 1 where left out',
    ),
    metric_names_for_computing_utilization: field(
      list(text('a name such as named_metrics.queue')),
      'Metrics of the report of which the greatest is the utilization, where the service reports no application_utilization',
    ),
    enable_oob_load_report: refused('remove it: reports are read from the trailers of calls'),
    oob_reporting_period: refused('remove it: reports are read from the trailers of calls'),
    slow_start_config: refused('remove it: blackout_period serves'),
  },
  homeOf,
);

const emptyGroup = (name: string) => group(name, '{}', {}, homeOf);

export const commonLbShape = group(
  'common_lb_config',
  'a group such as { healthy_panic_threshold: { value: 50 } }',
  {
    healthy_panic_threshold: field(
      percent('healthy_panic_percent'),
      'Percent of healthy endpoints below which calls go to all of them; 50 where left out, 0 = never',
    ),
    locality_weighted_lb_config: field(
      emptyGroup('locality_weighted_lb_config'),
      'Calls are shared out between localities first, by their weights',
    ),
    zone_aware_lb_config: field(
      placed(
        group(
          'zone_aware_lb_config',
          'a group such as { min_cluster_size: 6 }',
          {
            routing_enabled: field(
              percent('routing_enabled_percent'),
              'Percent of the calls for which the zone counts; 100 where left out',
            ),
            min_cluster_size: field(count(1), 'With fewer healthy endpoints zones do not count; 6 where left out'),
            force_local_zone: field(
              group(
                'force_local_zone',
                'a group such as { min_size: 3 }',
                { min_size: field(count(1), 'Healthy endpoints in our own zone that suffice for all calls; 1 where left out') },
                homeOf,
              ),
              'All calls stay in our own zone, however many callers it has',
            ),
            fail_traffic_on_panic: field(
              flag,
              'In a panic calls end with no_endpoint, and do not go to all endpoints; false where left out',
            ),
            locality_basis: field(
              word(['healthy_hosts_num', 'healthy_hosts_weight'], {
                HEALTHY_HOSTS_NUM: 'healthy_hosts_num',
                HEALTHY_HOSTS_WEIGHT: 'healthy_hosts_weight',
              }),
              'What a zone can carry goes by the number of its healthy endpoints, or by their weights; healthy_hosts_num where left out',
            ),
          },
          homeOf,
        ),
      ),
      'Calls stay in the zone of this sidecar (LOCALITY) as far as its endpoints can carry them',
    ),
    update_merge_window: inert(duration(), 'remove it: changes count at once'),
    ignore_new_hosts_until_first_hc: field(
      flag,
      'With health_checks: endpoints that wait for their first check count for nothing, and get nothing in a panic; false where left out',
    ),
    close_connections_on_host_set_change: refused('remove it: connections of endpoints that leave are drained'),
    consistent_hashing_lb_config: field(
      group(
        'consistent_hashing_lb_config',
        'a group such as { hash_balance_factor: 150 }',
        {
          hash_balance_factor: field(
            count(100),
            'An endpoint gets at most so many percent of its share of the calls under way; the rest goes on to others. No bound where left out',
          ),
          use_hostname_for_hashing: later('remove it: endpoints are placed by their addresses'),
        },
        homeOf,
      ),
      'Options of ring_hash and maglev',
    ),
    override_host_status: refused('remove it'),
  },
  homeOf,
);

const fallbackPolicy = word(['no_fallback', 'any_endpoint', 'default_subset'], {
  NO_FALLBACK: 'no_fallback',
  ANY_ENDPOINT: 'any_endpoint',
  DEFAULT_SUBSET: 'default_subset',
});

export const subsetShape = group(
  'lb_subset_config',
  'a group with "subset_selectors:"',
  {
    fallback_policy: field(
      fallbackPolicy,
      'Where no subset is asked for, or it has no endpoint: no_fallback (the call fails), any_endpoint, or default_subset; no_fallback where left out',
    ),
    default_subset: field(placed(metadataShape), 'Metadata of the endpoints that default_subset means; all of them where left out'),
    subset_selectors: required(
      list(
        placed(
          group(
            'subset_selector',
            'a group with "keys:"',
            {
              keys: required(
                list(text('the name of a key'), { minItems: 1 }),
                'Keys of the metadata; each combination of values is a subset',
              ),
              fallback_policy: field(
                word(['no_fallback', 'any_endpoint', 'default_subset', 'keys_subset', 'not_defined'], {
                  NO_FALLBACK: 'no_fallback',
                  ANY_ENDPOINT: 'any_endpoint',
                  DEFAULT_SUBSET: 'default_subset',
                  KEYS_SUBSET: 'keys_subset',
                  NOT_DEFINED: 'not_defined',
                }),
                'In the place of the fallback_policy of the cluster',
              ),
              single_host_per_subset: field(
                placed(flag),
                'With one key: each subset has one endpoint, and others of the same value get no calls; false where left out',
              ),
              fallback_keys_subset: field(
                placed(list(text('the name of a key'), { minItems: 1 })),
                'With fallback_policy: keys_subset, those of the keys that still have to hold',
              ),
            },
            homeOf,
          ),
        ),
        { minItems: 1 },
      ),
      'By which keys endpoints form subsets',
    ),
    locality_weight_aware: inert(flag, 'remove it: subsets keep the weights of their localities'),
    scale_locality_weight: field(
      flag,
      'With locality_weighted_lb_config: in a subset a locality has as much of its weight as it has of its endpoints; false where left out',
    ),
    panic_mode_any: field(flag, 'Where a fallback has no endpoint, any one serves; false where left out'),
    list_as_any: field(
      flag,
      'An endpoint whose metadata has a list of values is in the subset of each of them; without it, in none. false where left out',
    ),
    metadata_fallback_policy: field(
      word(['metadata_no_fallback', 'fallback_list'], { METADATA_NO_FALLBACK: 'metadata_no_fallback', FALLBACK_LIST: 'fallback_list' }),
      'fallback_list: the entries of fallback_list in metadata_match are tried, one after the other, until there is an endpoint; metadata_no_fallback where left out',
    ),
    allow_redundant_keys: field(
      flag,
      'Where a route asks for more keys than a selector has, those of the longest selector that has no others count; false where left out',
    ),
  },
  homeOf,
);
