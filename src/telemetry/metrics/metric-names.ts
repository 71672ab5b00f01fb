import type { Stat } from '../stats.ts';

/** Of what a family's numbers are; the family's name ends with it. Empty: a number of things. */
export type MetricUnit = '' | 'seconds' | 'bytes';

/** Where a stat goes: the name of its family, and the labels of its sample. */
export interface MetricName {
  /** Without the `_total` that every counter's sample has at its end. */
  readonly family: string;
  readonly unit: MetricUnit;
  /** What the stat is multiplied with: milliseconds become seconds. */
  readonly scale: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Both together are the name of the stat with `<label>` in the place of what became a label, for people. */
  readonly scope: string;
  readonly rest: string;
}

type Kind = Stat['kind'];

/** Dashboards for any process expect these names. */
const wellKnown: Readonly<Record<string, readonly string[]>> = {
  'server.memory_physical_size': ['process_resident_memory_bytes'],
  'server.memory_allocated': ['nodejs_heap_size_used_bytes'],
  'server.memory_heap_size': ['nodejs_heap_size_total_bytes'],
  'server.memory_external_size': ['nodejs_external_memory_bytes'],
  'server.cpu_seconds': ['process_cpu_seconds'],
  'server.open_fds': ['process_open_fds', 'outrider_server_open_fds'],
  'server.start_time_seconds': ['process_start_time_seconds'],
  'server.event_loop_lag_ms': ['nodejs_eventloop_lag_seconds', 'outrider_server_event_loop_lag_seconds'],
  'server.uptime': ['outrider_server_uptime_seconds'],
  // Days are no unit of Prometheus; `mtls_certificate_expiry_seconds` and the families of `certificates` have it in seconds.
  'server.days_until_first_cert_expiring': [],
};

/** What the contract promises beside the stat's own `outrider_` name. */
const promised: Readonly<Record<string, string>> = {
  'circuit_breaker.state': 'circuit_breaker_state',
  'circuit_breaker.failures_total': 'circuit_breaker_failures',
};

const milliseconds = /_(?:ms|msecs)$/;
const counts = /_count$/;

interface Family {
  readonly name: string;
  readonly unit: MetricUnit;
  readonly scale: number;
}

const unitOf = (name: string): MetricUnit => (name.endsWith('_seconds') ? 'seconds' : name.endsWith('_bytes') ? 'bytes' : '');

/**
 * The name by the rules of Prometheus: base units, `_total` for counters alone, and `_count` at the end of histograms alone. A name that begins
 * with neither our own word nor one of the contract would be somebody else's.
 */
const familyOf = (path: string, kind: Kind): Family => {
  const inMilliseconds = milliseconds.test(path);
  const plain = `outrider_${path.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`.replace(milliseconds, '_seconds').replace(/_total$/, '');
  const name = kind === 'gauge' ? plain.replace(counts, '') : plain;
  return { name, unit: unitOf(name), scale: inMilliseconds ? 0.001 : 1 };
};

const namesKept = 4_096;

/** Cuts `<label>.<rest>` at the end of the longest known label, since cluster names contain dots; else at the first dot. */
const cut = (text: string, known: ReadonlySet<string>): readonly [label: string, rest: string] => {
  let end = text.indexOf('.');
  for (let dot = text.lastIndexOf('.'); dot > end; dot = text.lastIndexOf('.', dot - 1)) {
    if (known.has(text.slice(0, dot))) end = dot;
  }
  return end < 0 ? ['', text] : [text.slice(0, end), text.slice(end + 1)];
};

const none: ReadonlySet<string> = new Set();
const noLabels: MetricName['labels'] = {};
const rateLimit = '.http_local_rate_limit.';
const concurrency = '.adaptive_concurrency.';

/** Names of stats for whoever knows labels. What is left of a name without its labels is one of a few hundred, and is worked out once. */
export class MetricNames {
  readonly #families = new Map<string, Family>();

  /** Names of one stat. Most have one; some have a second that dashboards expect or the contract promises. */
  of({ name, kind }: Pick<Stat, 'name' | 'kind'>, clusters: ReadonlySet<string>): readonly MetricName[] {
    const known = wellKnown[name];
    if (known !== undefined) {
      const scale = milliseconds.test(name) ? 0.001 : 1;
      return known.map((family) => ({ family, unit: unitOf(family), scale, labels: noLabels, scope: '', rest: name }));
    }
    if (name.startsWith('cluster.')) return this.#ofCluster(name, kind, clusters);
    if (name.startsWith('listener.')) {
      const [listener, rest] = cut(name.slice('listener.'.length), none);
      return [this.#labelled(`listener.${rest}`, kind, { listener }, 'listener.<listener>.', rest)];
    }
    if (name.startsWith('fates.')) {
      const [direction, fate] = cut(name.slice('fates.'.length), none);
      return [{ family: 'outrider_fates', unit: '', scale: 1, labels: { direction, fate }, scope: '', rest: 'fates.<direction>.<fate>' }];
    }
    const limited = name.indexOf(rateLimit);
    if (limited > 0) {
      const rest = name.slice(limited + rateLimit.length);
      const labels = { stat_prefix: name.slice(0, limited) };
      return [this.#labelled(`http_local_rate_limit.${rest}`, kind, labels, '<stat_prefix>.http_local_rate_limit.', rest)];
    }
    if (name.startsWith('http.')) return [this.#ofDirection(name, kind)];
    return [this.#labelled(name, kind, noLabels, '', name)];
  }

  #ofCluster(name: string, kind: Kind, clusters: ReadonlySet<string>): readonly MetricName[] {
    const [cluster, rest] = cut(name.slice('cluster.'.length), clusters);
    const own = this.#labelled(`cluster.${rest}`, kind, { cluster }, 'cluster.<cluster>.', rest);
    const family = promised[rest];
    return family === undefined ? [own] : [own, { ...own, family, labels: { service: cluster } }];
  }

  #ofDirection(name: string, kind: Kind): MetricName {
    const [direction, rest] = cut(name.slice('http.'.length), none);
    const at = rest.indexOf(concurrency);
    if (at < 0) return this.#labelled(`http.${rest}`, kind, { direction }, 'http.<direction>.', rest);
    const path = rest.slice(at + 1);
    return this.#labelled(`http.${path}`, kind, { direction, route: rest.slice(0, at) }, 'http.<direction>.<route>.', path);
  }

  #labelled(path: string, kind: Kind, labels: MetricName['labels'], scope: string, rest: string): MetricName {
    const key = kind === 'counter' ? `+${path}` : path;
    let family = this.#families.get(key);
    if (family === undefined) {
      // Names that nobody knows come with policies, and there is no end of them.
      if (this.#families.size >= namesKept) this.#families.clear();
      family = familyOf(path, kind);
      this.#families.set(key, family);
    }
    return { family: family.name, unit: family.unit, scale: family.scale, labels, scope, rest };
  }
}
