import type { Balancer, CallHash, Usable } from './balancer.ts';
import type { PooledEndpoint } from './pooled-endpoint.ts';
import { TurnSchedule } from './turn-schedule.ts';
import { weightOf } from './weights.ts';
import { ownZone, type ZoneAwareOptions, type ZoneView, zoneKey, zoneShares } from './zone-shares.ts';

/** The counts of zone-aware routing, under Envoy's names with a capital in the place of an underscore. */
export interface ZoneCounts {
  /** Picks in our own zone, which could carry all. */
  zoneRoutingAllDirectly: number;
  /** Picks in our own zone, which carries a part. */
  zoneRoutingSampled: number;
  zoneRoutingCrossZone: number;
}

interface Zone<E extends PooledEndpoint> {
  readonly key: string;
  /** Its share of the calls. */
  weight: number;
  readonly balancer: Balancer<E>;
}

/** Endpoints of one priority by their zones, of which our own is preferred. */
export class ZoneGroup<E extends PooledEndpoint> {
  readonly #options: ZoneAwareOptions;
  readonly #view: ZoneView;
  readonly #counts: ZoneCounts;
  readonly #random: () => number;
  readonly #createBalancer: () => Balancer<E>;
  readonly #zones = new Map<string, Zone<E>>();
  readonly #turns: TurnSchedule<Zone<E>>;
  #active = false;
  #allDirectly = false;

  constructor(options: ZoneAwareOptions, view: ZoneView, counts: ZoneCounts, createBalancer: () => Balancer<E>, random: () => number) {
    this.#options = options;
    this.#view = view;
    this.#counts = counts;
    this.#createBalancer = createBalancer;
    this.#random = random;
    this.#turns = new TurnSchedule<Zone<E>>(random);
  }

  /** Whether zones make a difference now. */
  get active(): boolean {
    return this.#active;
  }

  /** What the balancers hold. `settle` has to follow. */
  hold(members: readonly E[]): void {
    const byZone = Map.groupBy(members, ({ locality }) => zoneKey(locality, this.#view.own));
    for (const key of this.#zones.keys()) if (!byZone.has(key)) this.#zones.delete(key);
    for (const [key, here] of byZone) {
      let zone = this.#zones.get(key);
      if (zone === undefined) {
        zone = { key, weight: 0, balancer: this.#createBalancer() };
        this.#zones.set(key, zone);
      }
      zone.balancer.update(here);
    }
  }

  /** Looks at who is healthy. In a panic nobody looks at zones. */
  settle(members: readonly E[], panic: boolean): void {
    const { own } = this.#view;
    const healthy = members.filter((member) => member.healthy);
    const callers = this.#view.callers();
    const shares = panic
      ? undefined
      : zoneShares(
          countByZone(
            healthy.map(({ locality }) => locality),
            own,
          ),
          callers === undefined ? undefined : countByZone(callers, own),
          this.#options,
          this.#options.byWeight === true ? weighByZone(healthy, own) : undefined,
        );
    this.#active = shares !== undefined;
    if (shares === undefined) return;
    this.#allDirectly = shares.get(ownZone) === 1;
    for (const zone of this.#zones.values()) zone.weight = shares.get(zone.key) ?? 0;
    this.#turns.update([...this.#zones.values()].filter(({ weight }) => weight > 0));
  }

  /** `undefined`: none of any zone is usable, or this call is not to look at zones. */
  pick(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined {
    if (this.#options.share < 1 && this.#random() >= this.#options.share) return undefined;
    const first = this.#turns.next(undefined, undefined);
    const found = first?.balancer.pick(usable, nowMs, hash);
    if (found === undefined) return undefined;
    if (first?.key !== ownZone) this.#counts.zoneRoutingCrossZone++;
    else if (this.#allDirectly) this.#counts.zoneRoutingAllDirectly++;
    else this.#counts.zoneRoutingSampled++;
    return found;
  }
}

const weighByZone = (members: readonly PooledEndpoint[], own: string): Map<string, number> => {
  const weighed = new Map<string, number>();
  for (const member of members) {
    const key = zoneKey(member.locality, own);
    weighed.set(key, (weighed.get(key) ?? 0) + weightOf(member));
  }
  return weighed;
};

const countByZone = (localities: Iterable<string>, own: string): Map<string, number> => {
  const counted = new Map<string, number>();
  for (const locality of localities) {
    const key = zoneKey(locality, own);
    counted.set(key, (counted.get(key) ?? 0) + 1);
  }
  return counted;
};
