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
  return scale === undefined ? undefined : Number(parts[1]) * scale;
};

/** Prints milliseconds in the largest unit that needs no fraction: `1500` is `1.5s`, `250` is `250ms`. */
export const formatDurationMs = (ms: number): string => {
  if (ms !== 0 && ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms !== 0 && ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms >= 1_000 || ms === 0 ? `${Number((ms / 1_000).toFixed(3))}s` : `${Number(ms.toFixed(3))}ms`;
};
