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
  if (typeof value === 'bigint') return value.toString();
  const text = value instanceof Error ? value.message : value;
  return typeof text === 'string' && text.length > longestValue ? `${text.slice(0, longestValue)}...` : text;
};

/** A log line must not end the process: fields that are no JSON (a circle, a `toJSON` that throws) are named in place of their values. */
const serialized = (line: object): string => {
  try {
    return JSON.stringify(line, bounded);
  } catch (error) {
    const { time, level, msg } = line as { readonly time: string; readonly level: LogLevel; readonly msg: string };
    return JSON.stringify({ time, level, msg, fields: Object.keys(line), logError: String(error) }, bounded);
  }
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
    const head = { time: new Date(this.#clock.wallNow()).toISOString(), level, msg };
    // First for its place in the line, last so that no field can stand in for it.
    this.#write(`${serialized({ ...head, ...fields, ...head })}\n`);
  }
}

/** Swallows everything; for parts that are used without an operator, such as a command that prints a result. */
export const silentLogger: Logger = { level: 'off', debug() {}, info() {}, warning() {}, error() {} };
