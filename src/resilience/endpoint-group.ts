import type { Balancer, CallHash, Usable } from './balancer.ts';
import type { PooledEndpoint } from './pooled-endpoint.ts';
import { TurnSchedule } from './turn-schedule.ts';
import { weightOf } from './weights.ts';
import type { ZoneGroup } from './zone-group.ts';

export interface EndpointGroupOptions<E extends PooledEndpoint> {
  readonly createBalancer: () => Balancer<E>;
  /** A table that all calls share has to hold all endpoints, healthy or not, so that calls come back to theirs. */
  readonly consistentHash: boolean;
  /** Calls are shared out between localities first, by their weights; else all endpoints are one pool. */
  readonly localityWeighted: boolean;
  readonly overprovisioningFactor: number;
  /** Our own zone is preferred; `undefined`: zones are not looked at. */
  readonly zones: ZoneGroup<E> | undefined;
  readonly random: () => number;
}

interface Locality<E extends PooledEndpoint> {
  weight: number;
  members: readonly E[];
  readonly balancer: Balancer<E>;
}

/** The endpoints of one priority: one pool, or one pool for each locality. */
export class EndpointGroup<E extends PooledEndpoint> {
  members: readonly E[] = [];
  /** Of a part of a cluster: how many endpoints each locality has in the whole; `undefined`: weights of localities stay as they are. */
  #wholeSizes: ReadonlyMap<string, number> | undefined = undefined;
  /** Endpoints that are healthy, and the sums of weights. */
  healthy = 0;
  totalWeight = 0;
  healthyWeight = 0;
  readonly #options: EndpointGroupOptions<E>;
  readonly #pool: Balancer<E>;
  readonly #localities = new Map<string, Locality<E>>();
  readonly #turns: TurnSchedule<Locality<E>>;
  /** What the balancers hold: the members, or those of them that were healthy when most were not. */
  #held: readonly E[] = [];
  /** Some that the balancers hold are not to be picked. */
  #sifts = false;
  #outer: Usable<E> | undefined;

  constructor(options: EndpointGroupOptions<E>) {
    this.#options = options;
    this.#pool = options.createBalancer();
    this.#turns = new TurnSchedule<Locality<E>>(options.random);
  }

  /** The balancer that decides alone, where nothing else does. */
  get onlyBalancer(): Balancer<E> | undefined {
    return this.#localities.size === 0 && !this.#sifts && this.#options.zones?.active !== true ? this.#pool : undefined;
  }

  /** Other members. `settle` has to follow. */
  update(members: readonly E[], wholeSizes?: ReadonlyMap<string, number>): void {
    this.members = members;
    this.#wholeSizes = wholeSizes;
    this.#hold(members);
  }

  /** Counts who is healthy. */
  count(): void {
    this.healthy = 0;
    this.totalWeight = 0;
    this.healthyWeight = 0;
    for (const member of this.members) {
      const weight = weightOf(member);
      this.totalWeight += weight;
      if (!member.healthy) continue;
      this.healthy++;
      this.healthyWeight += weight;
    }
  }

  /** Takes over the health of the members, as counted. In a panic nobody looks at it. */
  settle(panic: boolean): void {
    const all = panic || this.healthy === this.members.length;
    if (all || this.#options.consistentHash) {
      if (this.#held !== this.members) this.#hold(this.members);
    } else this.#holdEnough();
    this.#sifts = !all && this.#held.some(({ healthy }) => !healthy);
    if (this.#options.localityWeighted) this.#weighLocalities(panic);
    this.#options.zones?.settle(this.members, panic);
  }

  pick(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    this.#outer = usable;
    const accepts = this.#sifts ? this.#isHealthy : usable;
    const { zones } = this.#options;
    const inZone = zones?.active === true ? zones.pick(accepts, nowMs, hash) : undefined;
    const found = inZone ?? (this.#localities.size === 0 ? this.#pool.pick(accepts, nowMs, hash) : this.#pickByLocality(accepts, nowMs));
    this.#outer = undefined;
    return found;
  }

  readonly #isHealthy = (endpoint: E): boolean => endpoint.healthy && (this.#outer === undefined || this.#outer(endpoint));

  #pickByLocality(usable: Usable<E> | undefined, nowMs: number): E | undefined {
    const first = this.#turns.next(hasShare, undefined);
    const found = first?.balancer.pick(usable, nowMs, undefined);
    if (found !== undefined) return found;
    for (const locality of this.#localities.values()) {
      const other = locality.weight > 0 ? locality.balancer.pick(usable, nowMs, undefined) : undefined;
      if (other !== undefined) return other;
    }
    return undefined;
  }

  /**
   * Where most that are held are ill, looking for one that is not would take long. What is held anew is at most half of what was, so
   * that an outage which takes one endpoint after the other costs a few changes, not one for each.
   */
  #holdEnough(): void {
    let healthy = 0;
    for (const member of this.#held) if (member.healthy) healthy++;
    if (healthy === this.healthy && healthy * 2 >= this.#held.length) return;
    this.#hold(this.healthy * 2 < this.members.length ? this.members.filter((member) => member.healthy) : this.members);
  }

  #hold(members: readonly E[]): void {
    this.#held = members;
    this.#options.zones?.hold(members);
    const { consistentHash, createBalancer, localityWeighted } = this.#options;
    if (!localityWeighted) {
      this.#pool.update(members);
      return;
    }
    const byLocality = Map.groupBy(members, ({ locality }) => locality);
    if (consistentHash) {
      this.#pool.update(members, weightsWithin(members, byLocality, this.#scaleOf));
      return;
    }
    for (const key of this.#localities.keys()) if (!byLocality.has(key)) this.#localities.delete(key);
    for (const [key, here] of byLocality) {
      let locality = this.#localities.get(key);
      if (locality === undefined) {
        locality = { weight: 0, members: here, balancer: createBalancer() };
        this.#localities.set(key, locality);
      }
      locality.members = here;
      locality.balancer.update(here);
    }
  }

  readonly #scaleOf = (locality: string, members: number): number => {
    const whole = this.#wholeSizes?.get(locality);
    return whole === undefined || whole === 0 ? 1 : members / whole;
  };

  /** A locality takes what its healthy endpoints can carry of its weight. */
  #weighLocalities(panic: boolean): void {
    if (this.#localities.size === 0) return;
    const whole = Map.groupBy(this.members, ({ locality }) => locality);
    for (const [key, locality] of this.#localities) {
      const all = whole.get(key) ?? locality.members;
      const healthy = panic ? all.length : all.filter((member) => member.healthy).length;
      const carried = Math.min(1, ((this.#options.overprovisioningFactor / 100) * healthy) / all.length);
      locality.weight = localityWeight(all) * carried * this.#scaleOf(key, all.length);
    }
    this.#turns.update([...this.#localities.values()]);
  }
}

const hasShare = (locality: { readonly weight: number }): boolean => locality.weight > 0;

/** What is written for the locality; where nothing is, the weights of its endpoints together. */
const localityWeight = (members: readonly PooledEndpoint[]): number =>
  members[0]?.localityWeight ?? members.reduce((sum, member) => sum + weightOf(member), 0);

/** Weights in one table: the share of the locality, shared out by the weights within. */
const weightsWithin = <E extends PooledEndpoint>(
  members: readonly E[],
  byLocality: ReadonlyMap<string, readonly E[]>,
  scaleOf: (locality: string, members: number) => number,
): readonly number[] => {
  const perWeight = new Map<string, number>();
  for (const [key, here] of byLocality) {
    const share = localityWeight(here) * scaleOf(key, here.length);
    perWeight.set(key, share / here.reduce((sum, member) => sum + weightOf(member), 0));
  }
  return members.map((member) => weightOf(member) * (perWeight.get(member.locality) ?? 0));
};
