/** Whatever has a share of something. */
export interface Weighted {
  readonly weight: number;
}

const smallestWeight = 0.001;

/** The weight that counts: what is no positive number becomes the smallest one. */
export const weightOf = (endpoint: Weighted): number =>
  endpoint.weight > smallestWeight && endpoint.weight < Number.POSITIVE_INFINITY ? endpoint.weight : smallestWeight;

export const haveEqualWeights = (endpoints: readonly Weighted[]): boolean => {
  const first = endpoints[0];
  return first === undefined || endpoints.every((endpoint) => weightOf(endpoint) === weightOf(first));
};

/** Random tries before a balancer looks at every endpoint: with half of them unusable, one call in 65,536 gets that far. */
export const randomTries = 16;

/** Picks among all usable endpoints by weight, in one pass. */
export const pickByWeight = <E extends Weighted>(
  endpoints: readonly E[],
  usable: (endpoint: E) => boolean,
  random: () => number,
): E | undefined => {
  let picked: E | undefined;
  let total = 0;
  for (const endpoint of endpoints) {
    if (!usable(endpoint)) continue;
    const weight = weightOf(endpoint);
    total += weight;
    if (random() * total < weight) picked = endpoint;
  }
  return picked;
};

export interface Shares {
  /** Part of the whole, by the order of the endpoints. */
  readonly shares: Float64Array;
  readonly least: number;
  readonly most: number;
}

/** Weights as parts of their sum. */
export const normalizedShares = (endpoints: readonly Weighted[], weights?: readonly number[]): Shares => {
  const shares = Float64Array.from(endpoints, (endpoint, i) =>
    weights === undefined ? weightOf(endpoint) : Math.max(weights[i] ?? 0, smallestWeight),
  );
  let sum = 0;
  for (const weight of shares) sum += weight;
  let least = 1;
  let most = 0;
  for (let i = 0; i < shares.length; i++) {
    const share = (shares[i] as number) / sum;
    shares[i] = share;
    if (share < least) least = share;
    if (share > most) most = share;
  }
  return { shares, least, most };
};
