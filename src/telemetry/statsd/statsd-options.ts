export const statsdFormats = ['statsd', 'dogstatsd'] as const;
/** `statsd`: everything stands in the name. `dogstatsd`: labels are tags, as Datadog's agent and many others read them. */
export type StatsdFormat = (typeof statsdFormats)[number];

export interface StatsdOptions {
  /** A name, which is looked up again before each flush, or an address. */
  readonly host: string;
  readonly port: number;
  readonly format: StatsdFormat;
  /** What every name begins with, without the dot behind it. */
  readonly prefix: string;
  readonly intervalMs: number;
  /** On every line, where the format has tags. */
  readonly tags: Readonly<Record<string, string>>;
}
