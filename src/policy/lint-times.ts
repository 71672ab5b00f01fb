import { formatDurationMs } from '../core/index.ts';
import type { CompiledRoute } from './compile-routes.ts';
import type { Problems } from './problems.ts';
import type { ClusterPolicy } from './types.ts';

/** Times of clusters that the timeout of a route leaves no room for. */
export const warnOfTimes = (routes: readonly CompiledRoute[], clusters: ReadonlyMap<string, ClusterPolicy>, problems: Problems): void => {
  for (const { route, timeoutPlace } of routes) {
    const { timeoutMs, traffic } = route;
    if (timeoutMs <= 0) continue;
    const written = formatDurationMs(timeoutMs);
    const names = traffic?.weightedClusters?.clusters.map(({ name }) => name) ?? [route.cluster];
    for (const cluster of names.flatMap((name) => clusters.get(name) ?? [])) {
      const { slowCallDurationMs } = cluster.breaker;
      if (slowCallDurationMs !== undefined && slowCallDurationMs >= timeoutMs) {
        problems.warning(
          timeoutPlace,
          `is ${written}, and slow_call_duration of cluster "${cluster.name}" ${formatDurationMs(slowCallDurationMs)}: its calls end before they are slow`,
          'write a shorter slow_call_duration, or a longer timeout',
        );
      }
      const { maxPendingDurationMs } = (traffic?.highPriority === true ? cluster.highThresholds : cluster.thresholds) ?? {};
      if (maxPendingDurationMs !== undefined && maxPendingDurationMs >= timeoutMs) {
        problems.warning(
          timeoutPlace,
          `is ${written}, and max_pending_duration of cluster "${cluster.name}" ${formatDurationMs(maxPendingDurationMs)}: its calls end before they have waited for so long`,
          'write a shorter max_pending_duration, or a longer timeout',
        );
      }
    }
  }
};
