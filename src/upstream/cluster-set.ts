import { Deadline } from '../core/index.ts';
import { judgeLivePeer } from '../identity/index.ts';
import type { PolicyTable } from '../policy/index.ts';
import { RollingWindow } from '../resilience/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';
import { Cluster } from './cluster.ts';
import type { UpstreamContext } from './upstream-context.ts';

/** A connection whose peer's certificate has expired or was revoked closes within 3 s. */
const sweepIntervalMs = 1_000;

class Sweep extends Deadline {
  readonly #sweep: () => void;

  constructor(sweep: () => void) {
    super();
    this.#sweep = sweep;
  }

  override expire(): void {
    this.#sweep();
  }
}

/**
 * All clusters of the policies in force. A reload changes it in place, so that what is unchanged keeps its endpoints,
 * connections, breakers and budgets.
 */
export class ClusterSet implements StatSource {
  readonly #context: UpstreamContext;
  readonly #window: RollingWindow;
  readonly #clusters = new Map<string, Cluster>();
  /** Clusters that left the table and still finish calls. */
  readonly #leaving = new Set<Cluster>();
  readonly #sweep = new Sweep(() => this.#closeRefusedPeers());
  readonly #forgetIdentity: () => void;

  constructor(context: UpstreamContext) {
    this.#context = context;
    const { clock, wheel } = context.engine;
    this.#window = new RollingWindow(clock.now());
    if (context.identity !== undefined) wheel.arm(this.#sweep, clock.now() + sweepIntervalMs);
    // A new revocation list is in force at once.
    this.#forgetIdentity = context.identity?.subscribe(() => this.#judgePeers()) ?? (() => {});
  }

  /** `undefined` for a name that no policy has. */
  get(name: string): Cluster | undefined {
    return this.#clusters.get(name);
  }

  [Symbol.iterator](): IterableIterator<Cluster> {
    return this.#clusters.values();
  }

  get size(): number {
    return this.#clusters.size;
  }

  /** Makes the clusters those of `table`: some begin, some change, some drain. */
  apply(table: PolicyTable): void {
    for (const [name, cluster] of this.#clusters) {
      if (table.clusters.has(name)) continue;
      this.#clusters.delete(name);
      this.#leaving.add(cluster);
      void cluster.drain().then(() => this.#leaving.delete(cluster));
    }
    for (const [name, policy] of table.clusters) {
      const known = this.#clusters.get(name);
      if (known === undefined) this.#clusters.set(name, new Cluster(policy, this.#context, this.#window));
      else if (known.policy !== policy) known.update(policy);
    }
  }

  /** Settles when every cluster's source of endpoints has answered once. Bound the wait yourself: a name server may be gone. */
  async resolved(): Promise<void> {
    await Promise.all([...this.#clusters.values()].map((cluster) => cluster.resolved));
  }

  collectStats(sink: StatSink): void {
    for (const cluster of this.#clusters.values()) cluster.collectStats(sink);
  }

  /** Calls under way finish, then the connections close. Resolves when the last one is gone; bound the wait yourself and `close`. */
  async drain(): Promise<void> {
    await Promise.all([...this.#clusters.values(), ...this.#leaving].map((cluster) => cluster.drain()));
  }

  /** Ends everything at once: connections, sources, timers. Idempotent. */
  close(): void {
    this.#forgetIdentity();
    this.#context.engine.wheel.cancel(this.#sweep);
    for (const cluster of [...this.#clusters.values(), ...this.#leaving]) cluster.close();
    this.#clusters.clear();
    this.#leaving.clear();
  }

  #closeRefusedPeers(): void {
    const { clock, wheel } = this.#context.engine;
    wheel.arm(this.#sweep, clock.now() + sweepIntervalMs);
    this.#judgePeers();
  }

  #judgePeers(): void {
    const identity = this.#context.identity?.value;
    if (identity === undefined) return;
    const expected = { nowMs: this.#context.engine.clock.wallNow(), revocations: identity.revocations };
    const judge = (peer: Parameters<typeof judgeLivePeer>[0]) => judgeLivePeer(peer, expected)?.why;
    for (const cluster of [...this.#clusters.values(), ...this.#leaving]) cluster.closePeers(judge);
  }
}
