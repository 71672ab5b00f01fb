import type { OtlpDestination } from '../tracing/tracing-options.ts';

export interface OtlpMetricsOptions {
  readonly destination: OtlpDestination;
  readonly intervalMs: number;
  /** Of one export; at most the interval. */
  readonly timeoutMs: number;
  /** Beside `service.name`, which is the service's unless this has another. */
  readonly resource: Readonly<Record<string, string>>;
}
