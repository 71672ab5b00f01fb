import { statusName } from '../../grpc/index.ts';
import { durationBucketsSeconds } from '../method-metrics.ts';
import type { ExpositionFormat } from './exposition-format.ts';
import type { CallSeries } from './metrics-reader.ts';

const requests = 'grpc_requests';
const requestsHelp = 'Calls that have ended, by gRPC status.';
const durations = 'grpc_request_duration_seconds';
const durationsHelp = 'Seconds from the first byte of a call to its status.';

/** Numbers of labels that are numbers themselves are written in one way, or a series would have two names: `1.0`, not `1`. */
const bounds = [...durationBucketsSeconds.map((bound) => (Number.isInteger(bound) ? `${bound}.0` : String(bound))), '+Inf'];

const escaped = (value: string): string =>
  /["\\\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"') : value;

const labelsOf = ({ service, method }: CallSeries): string => `service="${escaped(service)}",method="${escaped(method)}"`;

/** What both families begin with. */
export const callHeaders = (format: ExpositionFormat): { readonly requests: string; readonly durations: string } => {
  const counter = format === 'openmetrics' ? requests : `${requests}_total`;
  const unit = format === 'openmetrics' ? `# UNIT ${durations} seconds\n` : '';
  return {
    requests: `# HELP ${counter} ${requestsHelp}\n# TYPE ${counter} counter\n`,
    durations: `# HELP ${durations} ${durationsHelp}\n# TYPE ${durations} histogram\n${unit}`,
  };
};

export const requestLines = (series: CallSeries): string => {
  const labels = labelsOf(series);
  const { statuses } = series;
  let lines = '';
  for (let status = 0; status < statuses.length; status++) {
    const calls = statuses[status] as number;
    if (calls > 0) lines += `${requests}_total{${labels},status="${statusName(status)}"} ${calls}\n`;
  }
  return lines;
};

/**
 * OpenMetrics has exemplars, and says since when something is counted: the first call of a method is then seen as a rise from nothing. Other
 * families do without: they are there from the start, which `process_start_time_seconds` tells.
 */
export const durationLines = (series: CallSeries, format: ExpositionFormat): string => {
  const labels = labelsOf(series);
  const { buckets, exemplars, createdAtMs } = series;
  const open = format === 'openmetrics';
  let lines = '';
  let upTo = 0;
  for (let bucket = 0; bucket < bounds.length; bucket++) {
    upTo += buckets[bucket] as number;
    lines += `${durations}_bucket{le="${bounds[bucket]}",${labels}} ${upTo}`;
    const exemplar = open && exemplars !== undefined ? exemplars[bucket] : undefined;
    if (exemplar === undefined) lines += '\n';
    else lines += ` # {trace_id="${exemplar.traceId}"} ${exemplar.durationMs / 1_000} ${exemplar.atMs / 1_000}\n`;
  }
  lines += `${durations}_sum{${labels}} ${series.totalMs / 1_000}\n${durations}_count{${labels}} ${upTo}\n`;
  return open && createdAtMs > 0 ? `${lines}${durations}_created{${labels}} ${createdAtMs / 1_000}\n` : lines;
};
