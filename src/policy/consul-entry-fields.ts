import type { PolicyProblem } from './types.ts';

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether somebody wrote it: Consul answers with `{}`, `""`, `0` and `false` for what nobody did. */
const says = (value: unknown): boolean => {
  if (Array.isArray(value)) return value.length > 0;
  if (isRecord(value)) return Object.values(value).some(says);
  return value !== undefined && value !== null && value !== '' && value !== 0 && value !== false;
};

/** What every entry has, and nothing follows from. */
const administrative = ['Kind', 'Name', 'Meta', 'Hash', 'CreateIndex', 'ModifyIndex', 'Partition', 'Namespace'];
const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 };

/** Milliseconds of a duration as Go prints it (`1m30s`), or of nanoseconds as a number. */
const goDurationMs = (value: unknown): number | undefined => {
  if (typeof value === 'number') return value / 1e6;
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(value)) return undefined;
  let sum = 0;
  for (const [, number, unit = ''] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g)) sum += Number(number) * (unitMs[unit] ?? 0);
  return sum;
};

/**
 * The fields of a config entry, or of a part of one. Each that is asked for is known; `reportRest` warns of the others, so that nothing
 * that an entry says is passed over in silence.
 */
export class ConsulEntryFields {
  /** `service-router/web: Routes[0].Match`. */
  readonly place: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #problems: PolicyProblem[];
  readonly #known = new Set<string>(administrative);
  /** By key: a part that is asked for twice is one. */
  readonly #children = new Map<string, ConsulEntryFields>();

  constructor(values: unknown, place: string, problems: PolicyProblem[]) {
    this.#values = isRecord(values) ? values : {};
    this.place = place;
    this.#problems = problems;
  }

  has(key: string): boolean {
    return says(this.#values[key]);
  }

  /** Known, and without effect here: not worth a warning. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#known.add(key);
  }

  text(key: string): string | undefined {
    const value = this.#take(key);
    return typeof value === 'string' ? value : undefined;
  }

  number(key: string): number | undefined {
    const value = this.#take(key);
    return typeof value === 'number' ? value : undefined;
  }

  flag(key: string): boolean {
    return this.#take(key) === true;
  }

  /** As a policy writes it. */
  duration(key: string): string | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    const ms = goDurationMs(value);
    if (ms === undefined) this.warn(`${key} is no duration`, 'write one such as "5s"');
    return ms === undefined ? undefined : `${Number(ms.toFixed(3))}ms`;
  }

  milliseconds(key: string): string | undefined {
    const value = this.number(key);
    return value === undefined ? undefined : `${value}ms`;
  }

  texts(key: string): readonly string[] {
    const value = this.#take(key);
    return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
  }

  numbers(key: string): readonly number[] {
    const value = this.#take(key);
    return Array.isArray(value) ? value.filter((item) => typeof item === 'number') : [];
  }

  /** Names and values, such as the headers to set. */
  pairs(key: string): readonly (readonly [string, string])[] {
    const value = this.#take(key);
    return isRecord(value)
      ? Object.entries(value).flatMap(([name, text]) => (typeof text === 'string' ? [[name, text] as const] : []))
      : [];
  }

  group(key: string): ConsulEntryFields | undefined {
    const value = this.#take(key);
    return value === undefined ? undefined : this.#child(value, key);
  }

  groups(key: string): readonly ConsulEntryFields[] {
    const value = this.#take(key);
    return Array.isArray(value) ? value.map((item, i) => this.#child(item, `${key}[${i}]`)) : [];
  }

  /** A group whose keys are names that people chose. */
  named(key: string): readonly (readonly [string, ConsulEntryFields])[] {
    const value = this.#take(key);
    return isRecord(value) ? Object.entries(value).map(([name, item]) => [name, this.#child(item, `${key}.${name}`)] as const) : [];
  }

  warn(message: string, remedy: string): void {
    const location = { file: `consul:${this.place}`, line: 0, column: 0 };
    if (this.#problems.some((problem) => problem.location.file === location.file && problem.message === message)) return;
    this.#problems.push({ severity: 'warning', location, path: '', message, remedy });
  }

  /** Warns of what was said and not asked for, here and below. */
  reportRest(): void {
    for (const [key, value] of Object.entries(this.#values)) {
      if (!this.#known.has(key) && says(value))
        this.warn(`${key} is not translated`, 'write what it means into a policy file, or remove it');
    }
    for (const child of this.#children.values()) child.reportRest();
  }

  #take(key: string): unknown {
    this.#known.add(key);
    const value = this.#values[key];
    return says(value) ? value : undefined;
  }

  #child(value: unknown, key: string): ConsulEntryFields {
    const known = this.#children.get(key);
    if (known !== undefined) return known;
    const child = new ConsulEntryFields(value, `${this.place}${this.place.includes(': ') ? '.' : ': '}${key}`, this.#problems);
    this.#children.set(key, child);
    return child;
  }
}
