/** Durations as Go writes them (`1m30s`, `1.5s`, `300ms`): Consul's API takes and gives no others. */

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds, or `undefined` where it is none. */
export const parseGoDurationMs = (text: string): number | undefined => {
  const [, sign = '', rest = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (rest === '0') return 0;
  if (rest.length > 64 || !/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(rest)) return undefined;
  let ms = 0;
  for (const [, digits = '', unit = ''] of rest.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g))
    ms += Number(digits) * (unitMs[unit] ?? 0);
  return sign === '-' ? -ms : ms;
};

/** Never with an exponent, which Go does not read. */
const trimmed = (value: number): string => value.toFixed(9).replace(/\.?0+$/, '');

/** As Go's `Duration.String` does: `0s`, `500ms`, `10s`, `1m0s`, `1h0m0s`. */
export const formatGoDuration = (durationMs: number): string => {
  if (durationMs === 0) return '0s';
  const sign = durationMs < 0 ? '-' : '';
  const ms = Math.abs(durationMs);
  if (ms < 1) return `${sign}${ms < 1e-3 ? `${trimmed(ms * 1e6)}ns` : `${trimmed(ms * 1e3)}µs`}`;
  if (ms < 1_000) return `${sign}${trimmed(ms)}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${trimmed((ms % 60_000) / 1_000)}s`;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`;
};
