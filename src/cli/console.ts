import type { Environment } from './configuration.ts';

/** Where a command speaks: results on stdout, everything else on stderr. Handed in, so that a test reads it. */
export interface Console {
  out(text: string): void;
  error(text: string): void;
}

/** What a command gets from the process. */
export interface CommandContext {
  readonly environment: Environment;
  readonly console: Console;
}

/** A command that was used rightly and could not do its work: exit code 1. Wrong usage is a `ConfigurationError`. */
export class CommandFailure extends Error {
  readonly remedy: string | undefined;

  constructor(message: string, options: { readonly remedy?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CommandFailure';
    this.remedy = options.remedy;
  }
}

/** Columns as wide as their widest cell, two blanks between them, no blanks at the end of a line. */
export const formatTable = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [header, ...rows].map((cells) => `${line(cells)}\n`).join('');
};
