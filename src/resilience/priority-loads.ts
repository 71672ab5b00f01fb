/** How well one priority does. Counts, or sums of weights with `weighted_priority_health`. */
export interface PriorityHealth {
  readonly total: number;
  readonly healthy: number;
}

export interface PriorityLoad {
  /** Part of the calls, from 0 to 1. */
  readonly load: number;
  /** So few are healthy that it is taken for a fault of the checks: calls go to all of them. */
  readonly panic: boolean;
}

/**
 * How the calls are shared out between priorities, as in Envoy: a priority takes what its healthy endpoints times the overprovisioning factor
 * can carry, the next one the rest. Panic is only looked at where all priorities together cannot carry everything.
 *
 * @param overprovisioningFactor in percent: with 140, a priority keeps all calls until less than 71.4 % of it is healthy.
 * @param panicThreshold percent of healthy endpoints below which a priority panics; 0: never.
 */
export const priorityLoads = (
  priorities: readonly PriorityHealth[],
  overprovisioningFactor: number,
  panicThreshold: number,
): readonly PriorityLoad[] => {
  const carries = priorities.map(({ total, healthy }) => (total > 0 ? Math.min(100, (overprovisioningFactor * healthy) / total) : 0));
  const carriedTogether = Math.min(100, sum(carries));
  const panics = priorities.map(({ total, healthy }) => carriedTogether < 100 && total > 0 && (100 * healthy) / total < panicThreshold);
  const sizes = sum(priorities.map(({ total }) => total));
  if (priorities.every(({ total }, i) => total === 0 || panics[i])) {
    return priorities.map(({ total }, i) => ({ load: sizes > 0 ? total / sizes : 0, panic: panics[i] ?? false }));
  }
  let left = 1;
  return carries.map((carried, i) => {
    const load = carriedTogether === 0 ? 0 : Math.min(left, carried / carriedTogether);
    left -= load;
    return { load, panic: panics[i] ?? false };
  });
};

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
