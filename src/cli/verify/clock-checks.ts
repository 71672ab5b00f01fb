import { formatDurationMs } from '../../core/index.ts';
import { type CheckResult, failed, ok } from './check-result.ts';
import type { ClockReading } from './http-question.ts';

/**
 * How far another clock is from ours, at least: a `Date` header has whole seconds, and the answer was made some time between the question
 * and its arrival. Positive: it is ahead.
 */
export const leastSkewMs = ({ dateMs, askedAtMs, answeredAtMs }: ClockReading): number => {
  if (dateMs > answeredAtMs) return dateMs - answeredAtMs;
  const latestMs = dateMs + 999;
  return latestMs < askedAtMs ? latestMs - askedAtMs : 0;
};

export const checkClock = (check: string, whose: string, reading: ClockReading, limitMs: number): CheckResult => {
  const skewMs = leastSkewMs(reading);
  if (Math.abs(skewMs) <= limitMs) return ok(check, `that of ${whose} and ours agree within ${formatDurationMs(limitMs)}`);
  const by = formatDurationMs(Math.abs(Math.round(skewMs / 100) * 100));
  const detail = `that of ${whose} is ${by} ${skewMs > 0 ? 'ahead of' : 'behind'} ours: certificates, traces and deadlines disagree`;
  return failed(check, detail, 'timedatectl status  # on both machines; chronyc makestep sets a clock that has a time server');
};
