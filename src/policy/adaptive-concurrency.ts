import type { GradientOptions } from '../resilience/index.ts';
import { field, group, inert, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Problems } from './problems.ts';
import { count, duration, either, flag, number, placed, type Read, text } from './shape.ts';

const percentNumber = number({ min: 0, max: 100, integer: false });

/** Envoy's `Percent`, or the number alone. */
const percent = either(
  'scalar',
  percentNumber,
  group('percent', 'a group with "value:"', { value: required(percentNumber, 'Per cent') }, homeOf),
);
const partOf = (written: Read<typeof percent> | undefined, otherwise: number): number =>
  written === undefined ? otherwise : (typeof written === 'number' ? written : (written.values.value ?? 0)) / 100;

/** Envoy's `AdaptiveConcurrency`. */
export const adaptiveConcurrencyShape = group(
  'adaptive_concurrency',
  'a group with "gradient_controller_config:"',
  {
    gradient_controller_config: required(
      group(
        'gradient_controller_config',
        'a group with "concurrency_limit_params:" and "min_rtt_calc_params:"',
        {
          sample_aggregate_percentile: field(percent, 'Which of the latencies stands for all; 50 where left out'),
          concurrency_limit_params: required(
            group(
              'concurrency_limit_params',
              'a group with "concurrency_update_interval:"',
              {
                max_concurrency_limit: field(count(1, 1_000_000), 'The greatest limit; 1000 where left out'),
                concurrency_update_interval: required(duration({ minMs: 1, example: '0.1s' }), 'Time between changes of the limit'),
              },
              homeOf,
            ),
            'How the limit moves',
          ),
          min_rtt_calc_params: required(
            group(
              'min_rtt_calc_params',
              'a group with "interval:" or "fixed_value:"',
              {
                interval: field(duration({ minMs: 1, example: '60s' }), 'Time between measurements of the best latency'),
                fixed_value: field(placed(duration({ minMs: 1, example: '20ms' })), 'The best latency; then nothing is measured'),
                request_count: field(count(1, 4_096), 'Calls of a measurement; 50 where left out'),
                jitter: field(percent, 'By how much an interval is longer, at most; 15 where left out'),
                min_concurrency: field(count(1, 1_000_000), 'The limit during a measurement, and the least one; 3 where left out'),
                buffer: field(percent, 'How much slower than the best is still as good; 25 where left out'),
              },
              homeOf,
            ),
            'How the best latency is found',
          ),
        },
        homeOf,
      ),
      'How the limit is found',
    ),
    enabled: field(
      either(
        'scalar',
        flag,
        group(
          'feature_flag',
          'a group with "default_value:"',
          {
            default_value: field(flag, 'Whether it is at work; true where left out'),
            runtime_key: inert(text('a name'), 'remove it: there is no runtime; change the file'),
          },
          homeOf,
        ),
      ),
      'Whether it is at work; true where left out',
    ),
    concurrency_limit_exceeded_status: inert(
      group('concurrency_limit_exceeded_status', 'a group with "code:"', { code: field(text('a status'), 'A status') }, homeOf),
      'remove it: the answer is RESOURCE_EXHAUSTED',
    ),
  },
  homeOf,
);

export const compileAdaptiveConcurrency = (
  written: Read<typeof adaptiveConcurrencyShape> | undefined,
  problems: Problems,
): GradientOptions | undefined => {
  const config = written?.values.gradient_controller_config;
  if (written === undefined || config === undefined) return undefined;
  const { enabled } = written.values;
  const limits = config.values.concurrency_limit_params?.values;
  const group = config.values.min_rtt_calc_params;
  if (limits?.concurrency_update_interval === undefined || group === undefined) return undefined;
  const { values } = group;
  const { interval, fixed_value: fixed, min_concurrency: minConcurrency = 3 } = values;
  if (!group.wrote('interval') && !group.wrote('fixed_value'))
    problems.error(group.place, 'has neither interval nor fixed_value', 'add interval: 60s');
  if (interval !== undefined && fixed !== undefined) problems.error(fixed.place, 'is written beside interval', 'keep one of them');
  for (const key of ['request_count', 'jitter'] as const) {
    if (fixed !== undefined && interval === undefined && group.wrote(key))
      problems.warning(group.placeOf(key), 'has no effect beside fixed_value: nothing is measured', 'remove it, or write interval');
  }
  const maxLimit = limits.max_concurrency_limit ?? 1_000;
  if (minConcurrency > maxLimit)
    problems.error(
      group.placeOf('min_concurrency'),
      `${minConcurrency} is more than max_concurrency_limit (${maxLimit})`,
      'write a smaller one',
    );
  if ((typeof enabled === 'boolean' ? enabled : enabled?.values.default_value) === false) return undefined;
  return Object.freeze({
    percentile: partOf(config.values.sample_aggregate_percentile, 0.5),
    maxLimit,
    updateIntervalMs: limits.concurrency_update_interval,
    minRtt: Object.freeze({
      intervalMs: interval ?? 0,
      fixedMs: fixed?.value ?? 0,
      requestCount: values.request_count ?? 50,
      jitter: partOf(values.jitter, 0.15),
      minConcurrency,
      buffer: partOf(values.buffer, 0.25),
    }),
  });
};
