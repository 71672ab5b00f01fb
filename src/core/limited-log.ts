import type { Clock } from './clock.ts';
import type { LogFields, Logger } from './log.ts';

const intervalMs = 10_000;
const linesPerInterval = 10;

interface Interval {
  endsAtMs: number;
  lines: number;
  suppressed: number;
}

/**
 * Warnings that strangers cause: a flood of connections must not become a flood of lines. Of each message there are at most ten
 * in ten seconds; the first line after them says how many were left out (`suppressed`). Counters tell what exactly happened.
 */
export class LimitedLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** By message: a constant text, so that there are few. */
  readonly #intervals = new Map<string, Interval>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `fields` is only asked where the line is written. */
  warning(msg: string, fields: () => LogFields): void {
    this.#line('warning', msg, fields);
  }

  /** The same for what is no warning. */
  info(msg: string, fields: () => LogFields): void {
    this.#line('info', msg, fields);
  }

  #line(level: 'warning' | 'info', msg: string, fields: () => LogFields): void {
    const nowMs = this.#clock.now();
    let interval = this.#intervals.get(msg);
    if (interval === undefined) {
      interval = { endsAtMs: nowMs + intervalMs, lines: 0, suppressed: 0 };
      this.#intervals.set(msg, interval);
    }
    let suppressed = 0;
    if (nowMs >= interval.endsAtMs) {
      suppressed = interval.suppressed;
      interval.endsAtMs = nowMs + intervalMs;
      interval.lines = 0;
      interval.suppressed = 0;
    }
    if (interval.lines >= linesPerInterval) {
      interval.suppressed++;
      return;
    }
    interval.lines++;
    this.#log[level](msg, suppressed === 0 ? fields() : { ...fields(), suppressed });
  }
}
