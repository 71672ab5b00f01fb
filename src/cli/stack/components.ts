import { ConfigurationError, suggest } from '../../core/index.ts';

/** What can be started beside services, sidecars and Consul, and the names of it in the compose file. */
const extras = {
  jaeger: ['jaeger'],
  prometheus: ['prometheus'],
  grafana: ['grafana', 'prometheus'],
  statsd: ['statsd-exporter', 'prometheus'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Always there, or taken by something else. */
const given: Readonly<Record<string, string | undefined>> = {
  consul: undefined,
  services: undefined,
  sidecars: undefined,
  envoy: 'envoy: the sidecars of Outrider take its place; nothing else is started for it',
};

export interface ChosenComponents {
  /** Names of services of the compose file that have a profile; sorted. */
  readonly extras: readonly string[];
  /** What the reader should know about the choice. */
  readonly notes: readonly string[];
}

export const componentNames: readonly string[] = [...Object.keys(given), ...Object.keys(extras)];

const isExtra = (name: string): name is keyof typeof extras => Object.hasOwn(extras, name);

/** Reads `--components`: names, separated by commas. Throws a `ConfigurationError` for one that nobody knows. */
export const readComponents = (text: string): ChosenComponents => {
  const chosen = new Set<string>();
  const notes: string[] = [];
  for (const written of text.split(',')) {
    const name = written.trim().toLowerCase();
    if (isExtra(name)) for (const service of extras[name]) chosen.add(service);
    else if (Object.hasOwn(given, name)) {
      const note = given[name];
      if (note !== undefined) notes.push(note);
    } else {
      const meant = suggest(name, componentNames);
      throw new ConfigurationError(`--components ${text}: there is no component ${JSON.stringify(written.trim())}`, {
        remedy: meant === undefined ? `write one of ${componentNames.join(', ')}` : `did you mean ${meant}?`,
      });
    }
  }
  return { extras: [...chosen].sort(), notes };
};
