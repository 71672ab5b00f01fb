/** Durations as protobuf's JSON prints them, in seconds: `10s`, `0.25s`. */
export const protoDuration = (ms: number): string => `${Number((ms / 1_000).toFixed(9))}s`;

export const isoTime = (wallMs: number): string => new Date(wallMs).toISOString();
