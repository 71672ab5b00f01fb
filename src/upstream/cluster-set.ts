import { Deadline } from '../core/index.ts';
import { judgeLivePeer } from '../identity/index.ts';
import { clusterPolicy, emptyPolicyTable, type PolicyTable } from '../policy/index.ts';
import { RollingWindow } from '../resilience/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';
import { Cluster } from './cluster.ts';
import { OnDemandClusters } from './on-demand-clusters.ts';
import type { UpstreamContext } from './upstream-context.ts';

/** A connection whose peer's certificate has expired or was revoked closes within 3 s. */
const sweepIntervalMs = 1_000;

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
  readonly #sweep = new Deadline({ expire: () => this.#onSweep() });
  readonly #onDemand: OnDemandClusters;
  #table: PolicyTable = emptyPolicyTable();
  /** A cluster that was made on demand is gone. */
  onReleased: (name: string) => void = () => {};
  readonly #forgetIdentity: () => void;

  constructor(given: UpstreamContext) {
    const context = this.#withZones(given);
    this.#context = context;
    const { clock, wheel } = context.engine;
    this.#window = new RollingWindow(clock.now());
    this.#onDemand = new OnDemandClusters({
      clock,
      create: (name) => {
        const cluster = new Cluster(clusterPolicy(this.#table, name), this.#context, this.#window);
        cluster.onDemand = true;
        return cluster;
      },
      onReleased: (cluster) => {
        this.#drain(cluster);
        this.onReleased(cluster.name);
      },
    });
    if (context.identity !== undefined || context.discoversNames === true) wheel.arm(this.#sweep, clock.now() + sweepIntervalMs);
    // A new revocation list is in force at once.
    this.#forgetIdentity = context.identity?.subscribe(() => this.#judgePeers()) ?? (() => {});
  }

  /** `undefined` for a name that no policy has and nobody has asked for. */
  get(name: string): Cluster | undefined {
    return this.#clusters.get(name) ?? this.#onDemand.get(name);
  }

  /**
   * A cluster that no policy has, by the name of its service. `undefined`: no source of discovery is asked, or no service can have that
   * name; `too_many`: too many names are new.
   */
  demand(name: string): Cluster | 'too_many' | undefined {
    return this.#context.discoversNames === true ? this.#onDemand.demand(name) : undefined;
  }

  [Symbol.iterator](): IterableIterator<Cluster> {
    return this.#all().values();
  }

  get size(): number {
    return this.#clusters.size + this.#onDemand.size;
  }

  /** Makes the clusters those of `table`: some begin, some change, some drain. */
  apply(table: PolicyTable): void {
    this.#table = table;
    for (const [name, cluster] of this.#clusters) {
      if (table.clusters.has(name)) continue;
      this.#clusters.delete(name);
      this.#drain(cluster);
    }
    this.#applyOnDemand(table);
    for (const [name, policy] of table.clusters) {
      const known = this.#clusters.get(name);
      if (known === undefined) this.#clusters.set(name, new Cluster(policy, this.#context, this.#window));
      else if (known.policy !== policy) known.update(policy);
    }
  }

  /**
   * Settles when every cluster's source of endpoints has answered once, and each endpoint that is checked has had its first result: the first
   * calls are not to find out what a moment later is known. Bound the wait yourself: a name server, or an endpoint, may be gone.
   */
  async resolved(): Promise<void> {
    const resolvedOne = async (cluster: Cluster): Promise<void> => {
      await cluster.resolved;
      await cluster.health.firstResults(cluster.endpoints);
    };
    await Promise.all([...this.#clusters.values()].map(resolvedOne));
  }

  collectStats(sink: StatSink): void {
    for (const part of this.statParts()) part.collectStats(sink);
  }

  /** Each cluster by itself: there may be hundreds, with a hundred stats each. */
  *statParts(): Generator<StatSource> {
    yield* this.#clusters.values();
    if (this.#context.discoversNames !== true) return;
    // Names that nobody knows come from callers, and there is no end of them.
    for (const cluster of this.#onDemand) if (!cluster.isUnknown) yield cluster;
    yield {
      collectStats: (sink) => {
        sink.gauge('cluster_manager.on_demand_clusters', this.#onDemand.size);
        sink.counter('cluster_manager.on_demand_refused', this.#onDemand.refused);
      },
    };
  }

  /** Calls under way finish, then the connections close. Resolves when the last one is gone; bound the wait yourself and `close`. */
  async drain(): Promise<void> {
    await Promise.all([...this.#all(), ...this.#leaving].map((cluster) => cluster.drain()));
  }

  /** Ends everything at once: connections, sources, timers. Idempotent. */
  close(): void {
    this.#forgetIdentity();
    this.#context.engine.wheel.cancel(this.#sweep);
    for (const cluster of [...this.#all(), ...this.#leaving]) cluster.close();
    this.#clusters.clear();
    this.#onDemand.clear();
    this.#leaving.clear();
  }

  /** Where we are known to be somewhere, clusters may prefer what is near; our own service's instances tell from where else it is called. */
  #withZones(context: UpstreamContext): UpstreamContext {
    const { locality, serviceName } = context;
    if (locality === undefined || locality === '') return context;
    const zones = {
      own: locality,
      callers: () => {
        const instances = serviceName === undefined ? [] : (this.get(serviceName)?.endpoints ?? []);
        return instances.length === 0 ? undefined : instances.filter(({ healthy }) => healthy).map((each) => each.locality);
      },
    };
    const onMembersChanged = (name: string): void => {
      if (name === serviceName) for (const cluster of this.#all()) cluster.callersChanged();
    };
    return { ...context, zones, onMembersChanged };
  }

  #all(): readonly Cluster[] {
    return [...this.#clusters.values(), ...this.#onDemand];
  }

  #drain(cluster: Cluster): void {
    this.#leaving.add(cluster);
    void cluster.drain().then(() => this.#leaving.delete(cluster));
  }

  /** What somebody has called by its name goes on under the policy that it has now, or under other defaults. */
  #applyOnDemand(table: PolicyTable): void {
    for (const cluster of this.#onDemand) {
      const { name } = cluster;
      if (table.clusters.has(name)) {
        this.#onDemand.take(name);
        cluster.onDemand = false;
        this.#clusters.set(name, cluster);
      } else cluster.update(clusterPolicy(table, name));
    }
  }

  #onSweep(): void {
    const { clock, wheel } = this.#context.engine;
    wheel.arm(this.#sweep, clock.now() + sweepIntervalMs);
    this.#judgePeers();
    this.#onDemand.sweep();
  }

  #judgePeers(): void {
    const identity = this.#context.identity?.value;
    if (identity === undefined) return;
    const expected = { nowMs: this.#context.engine.clock.wallNow(), revocations: identity.revocations };
    const judge = (peer: Parameters<typeof judgeLivePeer>[0]) => judgeLivePeer(peer, expected)?.why;
    for (const cluster of [...this.#all(), ...this.#leaving]) cluster.closePeers(judge);
  }
}
