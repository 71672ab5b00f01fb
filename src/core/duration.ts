const pattern = /^(-?\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)$/;
const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Reads a duration as people write it: `0.1s`, `250ms`, `5m`, `1h`. Returns milliseconds, or `undefined` where the text is
 * none (a bare number has no unit, and is none).
 */
export const parseDurationMs = (text: string): number | undefined => {
  const parts = pattern.exec(text.trim());
  if (parts === null) return undefined;
  const scale = unitMs[parts[2] ?? ''];
  // The product carries an error in its last digit: `1.001s` is 1001 ms, not 1000.9999999999999.
  return scale === undefined ? undefined : Number((Number(parts[1]) * scale).toPrecision(15));
};

/** Prints milliseconds as people would: whole hours, whole minutes, seconds, or below one second milliseconds (`2h`, `5m`, `1.5s`, `250ms`). */
export const formatDurationMs = (ms: number): string => {
  if (ms !== 0 && ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms !== 0 && ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms >= 1_000 || ms === 0 ? `${Number((ms / 1_000).toFixed(3))}s` : `${Number(ms.toFixed(3))}ms`;
};
