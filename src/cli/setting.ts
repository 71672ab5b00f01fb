import { suggest } from '../core/index.ts';

/** What became of a value: the typed value, or what is allowed and an example of what to write. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly allowed: string; readonly write: string };

/** One variable of the sidecar: its name in the environment; in lower case it is the key of `--config`. */
export interface Setting<T> {
  readonly variable: string;
  /** The value where nobody wrote one; nothing where the setting is simply absent. */
  readonly fallback: string | undefined;
  readonly meaning: string;
  /** True for what nobody is shown. */
  readonly secret?: boolean;
  parse(text: string): Parsed<T>;
}

export const setting = <T>(
  variable: string,
  fallback: string | undefined,
  parse: (text: string) => Parsed<T>,
  meaning: string,
): Setting<T> => ({ variable, fallback, meaning, parse });

export const secret = <T>(entry: Setting<T>): Setting<T> => ({ ...entry, secret: true });

export const accepted = <T>(value: T): Parsed<T> => ({ ok: true, value });

export const anyText = (text: string): Parsed<string> => accepted(text);

export const hostName = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;

/** One of `words`, in any case; `others` are spellings that people bring along from elsewhere. */
export const oneOf = <W extends string>(words: readonly W[], example: W, others: Readonly<Record<string, W>> = {}) => {
  return (text: string): Parsed<W> => {
    const lower = text.toLowerCase();
    const word = words.find((candidate) => candidate === lower) ?? (Object.hasOwn(others, lower) ? others[lower] : undefined);
    if (word !== undefined) return accepted(word);
    return { ok: false, allowed: words.join(' | '), write: suggest(lower, words) ?? example };
  };
};

/** As Go reads it, since Consul's own programs do. */
export const truth = (text: string): Parsed<boolean> => {
  if (/^(1|t|true)$/i.test(text)) return accepted(true);
  if (/^(0|f|false)$/i.test(text)) return accepted(false);
  return { ok: false, allowed: 'true or false', write: 'true' };
};
