import type { Direction } from '../../policy/index.ts';
import { MetricNames } from '../metrics/metric-names.ts';
import type { Stat } from '../stats.ts';
import type { StatsdOptions } from './statsd-options.ts';

export interface StatsdName {
  readonly name: string;
  /** `undefined`: none. */
  readonly tags: Readonly<Record<string, string>> | undefined;
}

/** What a part of a name may be made of: a dot would begin another part, and the others mean something to one receiver or another. */
const part = (text: string): string =>
  text
    .replace(/^\//, '')
    .replaceAll('/', '-')
    .replaceAll(/[^A-Za-z0-9_-]/g, '_') || '_';

const placeholder = /<(\w+)>\.?/g;

/**
 * Names under which stats and calls go to StatsD. Without tags a label is a part of the name, in which a dot is written `_`, and a method
 * `/auth.Auth/Login` as `auth_Auth-Login`: `cluster.auth-svc.upstream_rq_total`. With tags the name is without it.
 */
export class StatsdNames {
  readonly #tagged: boolean;
  readonly #prefix: string;
  readonly #names = new MetricNames();

  constructor({ format, prefix }: Pick<StatsdOptions, 'format' | 'prefix'>) {
    this.#tagged = format === 'dogstatsd';
    this.#prefix = `${prefix}.`;
  }

  ofStat(stat: Pick<Stat, 'name' | 'kind'>, clusters: ReadonlySet<string>): StatsdName {
    const [own] = this.#names.of(stat, clusters);
    if (own === undefined) return { name: this.#prefix + stat.name, tags: undefined };
    const { labels, rest, scope } = own;
    const pattern = scope + rest;
    if (!this.#tagged) {
      const name = pattern.replace(placeholder, (found, label: string) => part(labels[label] ?? '') + (found.endsWith('.') ? '.' : ''));
      return { name: this.#prefix + name, tags: undefined };
    }
    if (scope === '' && !rest.includes('<')) return { name: this.#prefix + pattern, tags: undefined };
    return { name: this.#prefix + pattern.replace(placeholder, '').replace(/\.$/, ''), tags: labels };
  }

  /** @param what `duration`, or the name of a status: then the number of calls that ended with it. */
  ofCalls(direction: Direction, service: string, method: string, what: string): StatsdName {
    if (!this.#tagged) return { name: `${this.#prefix}calls.${direction}.${part(service)}.${part(method)}.${what}`, tags: undefined };
    const tags = { direction, called_service: service, method };
    if (what === 'duration') return { name: `${this.#prefix}calls.duration`, tags };
    return { name: `${this.#prefix}calls.total`, tags: { ...tags, status: what } };
  }
}
