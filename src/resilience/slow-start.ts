export interface SlowStartOptions {
  /** How long an endpoint is warmed up; 0: not at all. */
  readonly windowMs: number;
  /** Above 1 the share grows fast at first, below 1 late; 1: evenly. */
  readonly aggression: number;
  /** Share that it begins with, in percent of its own. */
  readonly minWeightPercent: number;
}

/** Envoy's; without a window nothing is warmed up. */
export const defaultSlowStart: SlowStartOptions = { windowMs: 0, aggression: 1, minWeightPercent: 10 };

/** Part of its share that an endpoint gets which began `ageMs` ago, from `minWeightPercent / 100` to 1. Envoy's formula. */
export const warmth = ({ windowMs, aggression, minWeightPercent }: SlowStartOptions, ageMs: number): number => {
  if (!(ageMs < windowMs)) return 1;
  return Math.max(minWeightPercent / 100, (Math.max(ageMs, 0) / windowMs) ** (1 / aggression));
};
