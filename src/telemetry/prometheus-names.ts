/** Where a stat goes in the exposition: the family's name, and the labels of its sample. */
export interface PrometheusName {
  readonly family: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Dashboards for any process expect these names. */
const wellKnown: Readonly<Record<string, string>> = {
  'server.memory_physical_size': 'process_resident_memory_bytes',
  'server.memory_allocated': 'nodejs_heap_size_used_bytes',
  'server.memory_heap_size': 'nodejs_heap_size_total_bytes',
  'server.memory_external_size': 'nodejs_external_memory_bytes',
  'server.cpu_seconds': 'process_cpu_seconds_total',
};

/** What the contract promises beside the stat's own `outrider_` name. */
const promised: Readonly<Record<string, string>> = {
  'circuit_breaker.state': 'circuit_breaker_state',
  'circuit_breaker.failures_total': 'circuit_breaker_failures_total',
};

const sanitise = (name: string): string => `outrider_${name.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`;

/** Cuts `<label>.<rest>` at the end of the longest known label, since cluster names contain dots; else at the first dot. */
const cut = (text: string, known: ReadonlySet<string>): readonly [label: string, rest: string] => {
  let end = text.indexOf('.');
  for (let dot = text.lastIndexOf('.'); dot > end; dot = text.lastIndexOf('.', dot - 1)) {
    if (known.has(text.slice(0, dot))) end = dot;
  }
  return end < 0 ? ['', text] : [text.slice(0, end), text.slice(end + 1)];
};

const none: ReadonlySet<string> = new Set();

/** Names of one stat. Most have one; the breakers' have a second that the contract promises. */
export const prometheusNames = (stat: string, clusters: ReadonlySet<string>): readonly PrometheusName[] => {
  const known = wellKnown[stat];
  if (known !== undefined) return [{ family: known, labels: {} }];
  if (stat.startsWith('cluster.')) {
    const [cluster, rest] = cut(stat.slice('cluster.'.length), clusters);
    const own = { family: sanitise(`cluster_${rest}`), labels: { cluster } };
    const family = promised[rest];
    return family === undefined ? [own] : [own, { family, labels: { service: cluster } }];
  }
  if (stat.startsWith('listener.')) {
    const [listener, rest] = cut(stat.slice('listener.'.length), none);
    return [{ family: sanitise(`listener_${rest}`), labels: { listener } }];
  }
  if (stat.startsWith('fates.')) {
    const [direction, fate] = cut(stat.slice('fates.'.length), none);
    return [{ family: 'outrider_fates_total', labels: { direction, fate } }];
  }
  return [{ family: sanitise(stat), labels: {} }];
};
