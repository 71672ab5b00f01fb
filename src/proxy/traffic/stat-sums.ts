import type { StatSink, StatSource } from '../../telemetry/index.ts';

/**
 * Statistics of sources that may share names, as routes of one `stat_prefix` do: added up, since a name that occurs twice makes an
 * exposition of Prometheus unreadable.
 */
export const collectSums = (sources: readonly StatSource[], sink: StatSink): void => {
  const counters = new Map<string, number>();
  const gauges = new Map<string, number>();
  const sums: StatSink = {
    counter: (name, value) => void counters.set(name, (counters.get(name) ?? 0) + value),
    gauge: (name, value) => void gauges.set(name, (gauges.get(name) ?? 0) + value),
  };
  for (const source of sources) source.collectStats(sums);
  for (const [name, value] of counters) sink.counter(name, value);
  for (const [name, value] of gauges) sink.gauge(name, value);
};
