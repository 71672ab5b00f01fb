import type { Shortcoming } from '../../core/index.ts';
import type { StatSource } from '../stats.ts';
import type { StatsdOptions } from './statsd-options.ts';
import type { StatsdContext } from './statsd-reporter.ts';

/** Metrics on their way to StatsD. */
export interface StatsdHandle extends StatSource {
  /** Why nothing arrives now; `undefined` while it does. */
  readonly shortcoming: Shortcoming | undefined;
  /** Sends what has changed since the last time, for no longer than `timeoutMs`, and ends. Idempotent. */
  close(timeoutMs: number): Promise<void>;
}

/** Begins to send metrics. Sockets and the client library are loaded here, where somebody has asked for them. */
export const openStatsd = async (options: StatsdOptions, context: StatsdContext): Promise<StatsdHandle> => {
  const { StatsdReporter } = await import('./statsd-reporter.ts');
  const reporter = new StatsdReporter(options, context);
  await reporter.load();
  return reporter;
};
