/** What an endpoint offers; a list stands for each of its values where `lb_subset_config` says `list_as_any`, and else for none. */
export type EndpointMetadata = Readonly<Record<string, string | readonly string[]>>;

/** What a route asks for, and what it asks for in its place, one after the other, where the cluster has `metadata_fallback_policy: FALLBACK_LIST`. */
export interface WantedMetadata {
  readonly pairs: Readonly<Record<string, string>>;
  /** Each is merged with `pairs`, and overrides it. */
  readonly fallbacks: readonly Readonly<Record<string, string>>[];
}

// No text of a policy or of a registry holds them: they are none of the characters that a value may have.
const betweenKeyAndValue = '\u0000';
const betweenPairs = '\u0001';
const betweenWishes = '\u0002';

/** Names what is asked for, or what an endpoint offers: equal text, equal keys and values. */
export const subsetKey = (metadata: Readonly<Record<string, string>>): string =>
  Object.keys(metadata)
    .sort()
    .map((key) => `${key}${betweenKeyAndValue}${metadata[key]}`)
    .join(betweenPairs);

/** Names what a route asks for, with what it asks for in its place. */
export const subsetWish = ({ pairs, fallbacks }: WantedMetadata): string =>
  [subsetKey(pairs), ...fallbacks.map((fallback) => subsetKey({ ...pairs, ...fallback }))].join(betweenWishes);

/** The `subsetKey`s of a `subsetWish`: what is asked for, then each of what is asked for in its place. */
export const subsetsOfWish = (wish: string): readonly string[] => wish.split(betweenWishes);

/** The pairs of a `subsetKey`, sorted by their keys. */
export const subsetPairs = (subset: string): readonly (readonly [key: string, value: string])[] =>
  subset === ''
    ? []
    : subset.split(betweenPairs).map((pair) => {
        const [key = '', value = ''] = pair.split(betweenKeyAndValue);
        return [key, value];
      });

/** The keys of a `subsetKey`, sorted. */
export const subsetKeys = (subset: string): readonly string[] => subsetPairs(subset).map(([key]) => key);

/** What is asked for, with these keys only. */
export const subsetWith = (subset: string, keys: readonly string[]): string =>
  subsetKey(Object.fromEntries(subsetPairs(subset).filter(([key]) => keys.includes(key))));

/** More subsets than this an endpoint is not in by one selector, whatever lists it has: they multiply. */
const subsetsOfEndpointAtMost = 64;

/**
 * The subsets of an endpoint by these keys, none where it lacks one of them.
 * @param listAsAny a list of values is as many subsets; else it is none.
 */
export const subsetsOfEndpoint = (
  metadata: EndpointMetadata | undefined,
  keys: readonly string[],
  listAsAny: boolean,
): readonly string[] => {
  if (metadata === undefined) return [];
  let chosen: Record<string, string>[] = [{}];
  for (const key of keys) {
    const offered = metadata[key];
    if (offered === undefined || (typeof offered !== 'string' && !listAsAny)) return [];
    const values = typeof offered === 'string' ? [offered] : offered;
    chosen = chosen.flatMap((pairs) => values.map((value) => ({ ...pairs, [key]: value }))).slice(0, subsetsOfEndpointAtMost);
  }
  return [...new Set(chosen.map(subsetKey))];
};

/** Whether an endpoint offers all of these pairs. */
export const offers = (metadata: EndpointMetadata | undefined, wanted: Readonly<Record<string, string>>, listAsAny: boolean): boolean =>
  Object.entries(wanted).every(([key, value]) => {
    const offered = metadata?.[key];
    return typeof offered === 'object' ? listAsAny && offered.includes(value) : offered === value;
  });
