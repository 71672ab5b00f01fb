import { isIP } from 'node:net';
import type { Clock } from '../core/index.ts';
import { TokenBucket } from '../http2/index.ts';
import type { Cluster } from './cluster.ts';

export interface OnDemandOptions {
  readonly clock: Clock;
  readonly create: (name: string) => Cluster;
  /** It is among them no more: calls under way finish. */
  readonly onReleased: (cluster: Cluster) => void;
}

interface Entry {
  readonly cluster: Cluster;
  usedAtMs: number;
  /** `upstream_rq_total` at the last look: whoever has called since has used it. */
  requests: number;
}

/** Most services that a sidecar calls without a policy at once. */
const mostClusters = 512;
/** Names that nobody has asked for before: a caller that makes them up asks Consul for no more of them. */
const newAtOnce = 256;
const newPerSecond = 32;
/** A service that nobody calls is not watched any more. */
const unusedMs = 600_000;
/** Nor a name that nobody knows. */
const unusedUnknownMs = 60_000;

/** What a catalogue can know: not an address, and not the machine itself. */
const isServiceName = (name: string): boolean =>
  name.length <= 128 && /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/.test(name) && isIP(name) === 0 && name !== 'localhost';

/**
 * Clusters that no policy has, made when a call names them and a source of discovery knows services by their names. There is an end to
 * their number whatever callers write: the least recently used goes first, and of those one without endpoints.
 */
export class OnDemandClusters {
  /** Names that were refused since there were too many new ones. */
  refused = 0;
  readonly #options: OnDemandOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #fresh: TokenBucket;

  constructor(options: OnDemandOptions) {
    this.#options = options;
    this.#fresh = new TokenBucket(newAtOnce, newPerSecond, options.clock.now());
  }

  get size(): number {
    return this.#entries.size;
  }

  [Symbol.iterator](): IterableIterator<Cluster> {
    return Array.from(this.#entries.values(), ({ cluster }) => cluster).values();
  }

  get(name: string): Cluster | undefined {
    return this.#entries.get(name)?.cluster;
  }

  /** The cluster of that name, made where there is none. `undefined`: no service can have that name; `too_many`: there are too many new ones. */
  demand(name: string): Cluster | 'too_many' | undefined {
    const { clock, create } = this.#options;
    const nowMs = clock.now();
    const known = this.#entries.get(name);
    if (known !== undefined) {
      known.usedAtMs = nowMs;
      return known.cluster;
    }
    if (!isServiceName(name)) return undefined;
    if (!this.#fresh.take(1, nowMs) || (this.#entries.size >= mostClusters && !this.#evict())) {
      this.refused++;
      return 'too_many';
    }
    const cluster = create(name);
    this.#entries.set(name, { cluster, usedAtMs: nowMs, requests: 0 });
    return cluster;
  }

  /** Takes one out, without ending it. */
  take(name: string): Cluster | undefined {
    const entry = this.#entries.get(name);
    this.#entries.delete(name);
    return entry?.cluster;
  }

  /** Releases those that nobody uses any more. */
  sweep(): void {
    const nowMs = this.#options.clock.now();
    for (const [name, entry] of this.#entries) {
      this.#look(entry, nowMs);
      const limitMs = entry.cluster.endpoints.length === 0 ? unusedUnknownMs : unusedMs;
      if (nowMs - entry.usedAtMs >= limitMs) this.#release(name, entry);
    }
  }

  clear(): void {
    this.#entries.clear();
  }

  #look(entry: Entry, nowMs: number): void {
    const { limits, stats } = entry.cluster;
    if (stats.upstreamRqTotal === entry.requests && limits.requests.active === 0) return;
    entry.requests = stats.upstreamRqTotal;
    entry.usedAtMs = nowMs;
  }

  /** Whether one could go. */
  #evict(): boolean {
    const nowMs = this.#options.clock.now();
    let least: [string, Entry] | undefined;
    for (const [name, entry] of this.#entries) {
      this.#look(entry, nowMs);
      if (entry.cluster.limits.requests.active > 0) continue;
      if (least === undefined || isLessNeeded(entry, least[1])) least = [name, entry];
    }
    if (least === undefined) return false;
    this.#release(...least);
    return true;
  }

  #release(name: string, { cluster }: Entry): void {
    this.#entries.delete(name);
    this.#options.onReleased(cluster);
  }
}

const isLessNeeded = (a: Entry, b: Entry): boolean => {
  const [aIsUnknown, bIsUnknown] = [a.cluster.endpoints.length === 0, b.cluster.endpoints.length === 0];
  return aIsUnknown === bIsUnknown ? a.usedAtMs < b.usedAtMs : aIsUnknown;
};
