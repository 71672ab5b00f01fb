import type { StatSource } from '../stats.ts';
import type { OtlpMetricsContext } from './otlp-metrics.ts';
import type { OtlpMetricsOptions } from './otlp-metrics-options.ts';

/** Metrics on their way to a collector. */
export interface OtlpMetricsHandle extends StatSource {
  /** Sends the numbers as they are now, for no longer than `timeoutMs`, and ends. Idempotent. */
  close(timeoutMs: number): Promise<void>;
}

/** Begins to send metrics. Rejects with a ConfigurationError for files that cannot be read. Libraries are loaded here, where somebody has asked for them. */
export const openOtlpMetrics = async (options: OtlpMetricsOptions, context: OtlpMetricsContext): Promise<OtlpMetricsHandle> => {
  const { OtlpMetrics } = await import('./otlp-metrics.ts');
  return await OtlpMetrics.open(options, context);
};
