import { percentShape, shareOf } from './fractional-percent.ts';
import { field, group, refused, required } from './group.ts';
import { headerMatchShape } from './header-match-schema.ts';
import { type CompiledHeaderMatcher, compileHeaderMatcher } from './header-matcher.ts';
import { homeOf } from './homes.ts';
import type { Problems } from './problems.ts';
import { count, duration, list, type Read } from './shape.ts';
import type { FaultPolicy } from './traffic-types.ts';
import { nameText } from './weighted-clusters.ts';

const percentage = field(
  percentShape,
  'Share of the attempts, as a number of per cent or with numerator and denominator; all where left out',
);
const nothing = (name: string) => group(name, '{}', {}, homeOf);

/** Envoy's `HTTPFault`. */
export const faultShape = group(
  'fault',
  'a group with "delay:", "abort:" or "response_rate_limit:"',
  {
    delay: field(
      group(
        'fault_delay',
        'a group with one of fixed_delay, header_delay',
        {
          fixed_delay: field(duration({ minMs: 1 }), 'How long an attempt is held up'),
          header_delay: field(nothing('fault_header_delay'), 'As many milliseconds as x-envoy-fault-delay-request says'),
          percentage,
          type: refused('remove it'),
        },
        homeOf,
      ),
      'Attempts that are held up before they are sent',
    ),
    abort: field(
      group(
        'fault_abort',
        'a group with one of grpc_status, http_status, header_abort',
        {
          grpc_status: field(count(1, 16), 'Status of gRPC that the attempt ends with'),
          http_status: field(count(200, 599), 'HTTP status that the attempt ends with, without a status of gRPC'),
          header_abort: field(nothing('fault_header_abort'), 'As x-envoy-fault-abort-grpc-request or x-envoy-fault-abort-request says'),
          percentage,
        },
        homeOf,
      ),
      'Attempts that fail without being sent, after their delay',
    ),
    headers: field(list(headerMatchShape), 'Only calls whose headers meet all these conditions'),
    upstream_cluster: field(nameText, 'Only calls to this cluster'),
    max_active_faults: field(count(), 'Attempts that may be held up or slowed down at once; any number where left out'),
    response_rate_limit: field(
      group(
        'fault_rate_limit',
        'a group with one of fixed_limit, header_limit',
        {
          fixed_limit: field(
            group(
              'fault_fixed_limit',
              'a group such as { limit_kbps: 64 }',
              { limit_kbps: required(count(1), 'KiB of messages per second, for each attempt') },
              homeOf,
            ),
            'How fast the answer comes',
          ),
          header_limit: field(nothing('fault_header_limit'), 'As many KiB per second as x-envoy-fault-throughput-response says'),
          percentage,
        },
        homeOf,
      ),
      'Attempts whose answer comes slowly',
    ),
    downstream_nodes: refused('write headers'),
    disable_downstream_cluster_stats: refused('remove it'),
    filter_metadata: refused('remove it'),
    delay_percent_runtime: refused('remove it: there is no runtime; change the file'),
    abort_percent_runtime: refused('remove it: there is no runtime; change the file'),
    delay_duration_runtime: refused('remove it: there is no runtime; change the file'),
    abort_http_status_runtime: refused('remove it: there is no runtime; change the file'),
    abort_grpc_status_runtime: refused('remove it: there is no runtime; change the file'),
    max_active_faults_runtime: refused('remove it: there is no runtime; change the file'),
  },
  homeOf,
);

type Written = Read<typeof faultShape>;

export const compileFault = (written: Written | undefined, problems: Problems): FaultPolicy | undefined => {
  if (written === undefined) return undefined;
  const { values } = written;
  if (!written.wrote('delay') && !written.wrote('abort') && !written.wrote('response_rate_limit'))
    problems.error(written.place, 'injects nothing', 'write delay, abort or response_rate_limit');
  const headers = (values.headers ?? []).map((header) => compileHeaderMatcher(header, problems));
  const delay = compileDelay(values.delay, problems);
  const abort = compileAbort(values.abort, problems);
  const responseRateLimit = compileRateLimit(values.response_rate_limit, problems);
  if (headers.includes(undefined)) return undefined;
  return Object.freeze({
    delay,
    abort,
    responseRateLimit,
    headers: Object.freeze((headers as readonly CompiledHeaderMatcher[]).map(({ matcher }) => matcher)),
    upstreamCluster: values.upstream_cluster,
    maxActive: values.max_active_faults ?? Number.POSITIVE_INFINITY,
  });
};

/** Exactly one of the words, or an error. */
const oneOf = <K extends string>(
  written: { readonly place: Written['place']; wrote(key: K): boolean },
  keys: readonly K[],
  problems: Problems,
): K | undefined => {
  const chosen = keys.filter((key) => written.wrote(key));
  if (chosen.length === 1) return chosen[0];
  const message = chosen.length === 0 ? `has none of ${keys.join(', ')}` : `has ${chosen.join(' and ')}`;
  problems.error(written.place, message, chosen.length === 0 ? 'add one of them' : 'keep one of them');
  return undefined;
};

const compileDelay = (written: Written['values']['delay'], problems: Problems): FaultPolicy['delay'] => {
  if (written === undefined) return undefined;
  const kind = oneOf(written, ['fixed_delay', 'header_delay'], problems);
  const share = shareOf(written.values.percentage, 1);
  if (kind === undefined) return undefined;
  return Object.freeze({ ms: kind === 'header_delay' ? undefined : (written.values.fixed_delay ?? 0), share });
};

const compileRateLimit = (written: Written['values']['response_rate_limit'], problems: Problems): FaultPolicy['responseRateLimit'] => {
  if (written === undefined) return undefined;
  const kind = oneOf(written, ['fixed_limit', 'header_limit'], problems);
  const share = shareOf(written.values.percentage, 1);
  if (kind === undefined) return undefined;
  return Object.freeze({ kibPerSecond: kind === 'header_limit' ? undefined : (written.values.fixed_limit?.values.limit_kbps ?? 0), share });
};

const compileAbort = (written: Written['values']['abort'], problems: Problems): FaultPolicy['abort'] => {
  if (written === undefined) return undefined;
  const kind = oneOf(written, ['grpc_status', 'http_status', 'header_abort'], problems);
  const share = shareOf(written.values.percentage, 1);
  const { grpc_status: grpcStatus, http_status: httpStatus } = written.values;
  if (kind === undefined) return undefined;
  return Object.freeze({ grpcStatus, httpStatus, byHeader: kind === 'header_abort', share });
};
