import type { StatsdOptions } from '../telemetry/index.ts';
import type { SettingReader } from './configuration.ts';
import { settings } from './settings.ts';

const dependent = ['metricsFormat', 'metricsPrefix', 'metricsIntervalMs'] as const;

/** Where metrics are sent and how; `undefined`: nobody has said where. */
export const readStatsd = (reader: SettingReader, serviceName: string | undefined): StatsdOptions | undefined => {
  const place = reader.get('metricsHost');
  const format = reader.get('metricsFormat');
  const written = reader.get('metricsPrefix');
  const intervalMs = reader.get('metricsIntervalMs');
  if (place === undefined || format === undefined || intervalMs === undefined || serviceName === undefined) return undefined;
  // Without tags two services would write the same names.
  const prefix = written ?? (format === 'statsd' ? `outrider.${serviceName.replaceAll('.', '_')}` : 'outrider');
  return { ...place, format, prefix, intervalMs, tags: { service: serviceName } };
};

/** What is set and does nothing. */
export const statsdWarnings = (reader: SettingReader): readonly string[] =>
  reader.written('metricsHost') !== undefined
    ? []
    : dependent
        .filter((name) => reader.written(name) !== undefined)
        .map((name) => `${settings[name].variable} is set without METRICS_HOST, and has no effect`);
