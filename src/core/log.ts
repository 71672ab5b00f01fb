import type { Clock } from './clock.ts';

export const logLevels = ['trace', 'debug', 'info', 'warning', 'error', 'off'] as const;
export type LogLevel = (typeof logLevels)[number];

/** What a line carries beside its message. Values are escaped as JSON and cut at 2,000 characters. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Structured log: one JSON object per line on stderr, so that neither a hostile value nor a line break can forge a line.
 * `msg` is a constant text that can be searched for; what varies goes into fields.
 */
export interface Logger {
  level: LogLevel;
  debug(msg: string, fields?: LogFields): void;
  info(msg: string, fields?: LogFields): void;
  warning(msg: string, fields?: LogFields): void;
  error(msg: string, fields?: LogFields): void;
}

const longestValue = 2_000;

const bounded = (_key: string, value: unknown): unknown => {
  if (typeof value === 'string' && value.length > longestValue) return `${value.slice(0, longestValue)}...`;
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) return value.message;
  return value;
};

/** Writes log lines through `write`, one call per line, from `level` upwards. The level may be changed while running. */
export class JsonLogger implements Logger {
  level: LogLevel;
  readonly #clock: Clock;
  readonly #write: (line: string) => void;

  constructor(clock: Clock, write: (line: string) => void, level: LogLevel = 'info') {
    this.#clock = clock;
    this.#write = write;
    this.level = level;
  }

  debug(msg: string, fields?: LogFields): void {
    this.#line('debug', msg, fields);
  }

  info(msg: string, fields?: LogFields): void {
    this.#line('info', msg, fields);
  }

  warning(msg: string, fields?: LogFields): void {
    this.#line('warning', msg, fields);
  }

  error(msg: string, fields?: LogFields): void {
    this.#line('error', msg, fields);
  }

  #line(level: LogLevel, msg: string, fields: LogFields | undefined): void {
    if (logLevels.indexOf(level) < logLevels.indexOf(this.level)) return;
    const time = new Date(this.#clock.wallNow()).toISOString();
    this.#write(`${JSON.stringify({ time, level, msg, ...fields }, bounded)}\n`);
  }
}

/** Swallows everything; for parts that are used without an operator, such as a command that prints a result. */
export const silentLogger: Logger = { level: 'off', debug() {}, info() {}, warning() {}, error() {} };
