/**
 * Numbers under dotted names, as Envoy has them (`cluster.auth-svc.upstream_rq_total`). Whoever counts keeps plain fields and
 * hands them out when somebody looks, so that counting costs an addition and nobody looking costs nothing.
 */
export interface StatSink {
  /** A number that only rises while the process lives. */
  counter(name: string, value: number): void;
  /** A number that goes both ways. */
  gauge(name: string, value: number): void;
}

/** Something that counts. `collectStats` is called at each look; it must not wait and must not keep the sink. */
export interface StatSource {
  collectStats(sink: StatSink): void;
  /** What `collectStats` hands out in pieces, for whoever has time: a source of thousands would hold calls up. */
  statParts?(): Iterable<StatSource>;
}

export interface Stat {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  readonly value: number;
}

/** Order of code units: the same on every machine, whatever its locale. */
const byName = (a: Stat, b: Stat): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/** All sources of one sidecar. Collects on demand only; holds no number of its own. */
export class StatRegistry {
  readonly #sources = new Set<StatSource>();

  /** Adds a source. Returns what takes it out again; calling that twice is harmless. */
  add(source: StatSource): () => void {
    this.#sources.add(source);
    return () => this.#sources.delete(source);
  }

  /** Every stat of every source now, sorted by name. A name that several sources hand out is there once, with the sum. */
  collect(): readonly Stat[] {
    const { stats, sink } = newCollection();
    for (const source of this.#sources) source.collectStats(sink);
    return [...stats.values()].sort(byName);
  }

  /**
   * The same in as many turns of the event loop as it needs, and in the order of the sources, since sorting takes longer than all the rest. What
   * the parts of a source say is of slightly different moments.
   */
  async collectInTurns(): Promise<Stat[]> {
    const { stats, sink } = newCollection();
    let due = statsPerTurn;
    for (const source of [...this.#sources]) {
      for (const part of source.statParts?.() ?? [source]) {
        part.collectStats(sink);
        if (stats.size < due) continue;
        due = stats.size + statsPerTurn;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return [...stats.values()];
  }
}

const statsPerTurn = 2_000;

interface Collection {
  readonly stats: Map<string, Stat>;
  readonly sink: StatSink;
}

const newCollection = (): Collection => {
  const found = new Map<string, { name: string; kind: Stat['kind']; value: number }>();
  const add = (kind: Stat['kind'], name: string, value: number): void => {
    const known = found.get(name);
    if (known === undefined) found.set(name, { name, kind, value });
    else known.value += value;
  };
  const sink: StatSink = {
    counter: (name, value) => add('counter', name, value),
    gauge: (name, value) => add('gauge', name, value),
  };
  return { stats: found, sink };
};
