/** Envoy: `zone_aware_lb_config`. */
export interface ZoneAwareOptions {
  /** Part of the calls, from 0 to 1, for which the zone is looked at. */
  readonly share: number;
  /** With fewer healthy endpoints the zone is not looked at: one that fails would be too large a part of its zone. */
  readonly minClusterSize: number;
  /** With so many healthy endpoints in our own zone all calls stay there; `undefined`: whatever their number, the zones are compared. */
  readonly forceLocalMinSize: number | undefined;
  /** What a zone can carry goes by the weights of its endpoints, not by their number. Envoy: `locality_basis: HEALTHY_HOSTS_WEIGHT`. */
  readonly byWeight?: boolean;
  /** In a panic no endpoint gets anything, in the place of all of them. */
  readonly failTrafficOnPanic?: boolean;
}

/** Where we are, and where those are that call as we do. */
export interface ZoneView {
  /** `region/zone`, or more. */
  readonly own: string;
  /** Locality of each instance of our own service; `undefined` where nobody knows them. */
  callers(): Iterable<string> | undefined;
}

/** The key of our own zone. */
export const ownZone = '';

/** Region and zone; either may be missing. A zone is ours where its name is, and neither region says otherwise. */
export const zoneKey = (locality: string, own: string): string => {
  const [region = '', zone = ''] = locality.split('/');
  const [ownRegion = '', ownZoneName = ''] = own.split('/');
  const sameRegion = region === ownRegion || region === '' || ownRegion === '';
  return locality !== '' && sameRegion && zone === ownZoneName && (zone !== '' || region === ownRegion) ? ownZone : `${region}/${zone}`;
};

/**
 * What part of our calls each zone gets, as in Envoy: all stay in our own zone as long as its part of the endpoints is no smaller than its part
 * of the callers; what is too much for it goes where there are more endpoints than callers.
 *
 * @param endpoints number of the healthy ones by zone. @param callers by zone; `undefined`: taken for evenly spread.
 * @param carried what each zone can carry: its endpoints, or their weights.
 * @returns `undefined` where the zone makes no difference.
 */
export const zoneShares = (
  endpoints: ReadonlyMap<string, number>,
  callers: ReadonlyMap<string, number> | undefined,
  { forceLocalMinSize, minClusterSize }: ZoneAwareOptions,
  carried = endpoints,
): ReadonlyMap<string, number> | undefined => {
  const localEndpoints = endpoints.get(ownZone) ?? 0;
  if (localEndpoints === 0 || endpoints.size < 2 || sum(endpoints.values()) < minClusterSize) return undefined;
  if (forceLocalMinSize !== undefined && localEndpoints >= forceLocalMinSize) return new Map([[ownZone, 1]]);
  const here = carried.get(ownZone) ?? 0;
  const total = sum(carried.values());
  const callersTotal = callers === undefined ? 0 : sum(callers.values());
  const calledFrom = (zone: string): number =>
    callers === undefined || callersTotal === 0 ? 1 / endpoints.size : (callers.get(zone) ?? 0) / callersTotal;
  // We are one of them, whatever the source of their endpoints says.
  const callersHere = Math.max(calledFrom(ownZone), callersTotal === 0 ? 0 : 1 / callersTotal);
  const carriedHere = here / total;
  if (carriedHere >= callersHere) return new Map([[ownZone, 1]]);
  const kept = carriedHere / callersHere;
  const others = [...carried].filter(([zone]) => zone !== ownZone);
  const spare = others.map(([zone, count]) => Math.max(0, count / total - calledFrom(zone)));
  const spareTotal = sum(spare);
  return new Map([
    [ownZone, kept],
    ...others.map(([zone, count], i): [string, number] => [
      zone,
      (1 - kept) * (spareTotal > 0 ? (spare[i] as number) / spareTotal : count / (total - here)),
    ]),
  ]);
};

const sum = (numbers: Iterable<number>): number => {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
};
