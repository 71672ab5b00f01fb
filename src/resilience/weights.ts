import type { BalancerEndpoint } from './balancer.ts';

const smallestWeight = 0.001;

/** The weight that counts: what is no positive number becomes the smallest one. */
export const weightOf = (endpoint: BalancerEndpoint): number =>
  endpoint.weight > smallestWeight && endpoint.weight < Number.POSITIVE_INFINITY ? endpoint.weight : smallestWeight;

export const haveEqualWeights = (endpoints: readonly BalancerEndpoint[]): boolean => {
  const first = endpoints[0];
  return first === undefined || endpoints.every((endpoint) => weightOf(endpoint) === weightOf(first));
};

/** Random tries before a balancer looks at every endpoint: with half of them unusable, one call in 256 gets that far. */
export const randomTries = 8;

/** Picks among all usable endpoints by weight, in one pass. */
export const pickByWeight = <E extends BalancerEndpoint>(
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
