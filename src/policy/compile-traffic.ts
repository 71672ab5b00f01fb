import { compileAdaptiveConcurrency } from './adaptive-concurrency.ts';
import type { RouteGroup } from './compile-routes.ts';
import { compileFault } from './fault.ts';
import { compileHeaderChanges } from './header-changes.ts';
import { compilePathRewrite } from './path-rewrite.ts';
import type { Problems } from './problems.ts';
import { compileRateLimit } from './rate-limit.ts';
import type { TrafficPolicy } from './traffic-types.ts';
import type { PathMatch, Route } from './types.ts';

/** What a route does with its calls beyond sending them somewhere; `undefined` where it does nothing. */
export const compileTraffic = (
  written: RouteGroup,
  match: PathMatch | undefined,
  { direction, name }: Pick<Route, 'direction' | 'name'>,
  { mirrors, weightedClusters }: Pick<TrafficPolicy, 'mirrors' | 'weightedClusters'>,
  problems: Problems,
): TrafficPolicy | undefined => {
  const { values } = written;
  const action = values.route;
  const traffic: TrafficPolicy = {
    requestHeaders: compileHeaderChanges(values.request_headers_to_add, values.request_headers_to_remove, problems),
    responseHeaders: compileHeaderChanges(values.response_headers_to_add, values.response_headers_to_remove, problems),
    pathRewrite: compilePathRewrite(
      {
        prefix: action?.values.prefix_rewrite,
        regex: action?.values.regex_rewrite,
        regexPlace: action?.placeOf('regex_rewrite') ?? written.place,
      },
      match,
      problems,
    ),
    weightedClusters,
    rateLimit: compileRateLimit(action?.values.local_rate_limit, name, direction, problems),
    fault: compileFault(action?.values.fault, problems),
    adaptiveConcurrency: compileAdaptiveConcurrency(action?.values.adaptive_concurrency, problems),
    highPriority: action?.values.priority === 'HIGH' ? true : undefined,
    mirrors,
  };
  return Object.values(traffic).every((part) => part === undefined) ? undefined : Object.freeze(traffic);
};
