import type { RouteGroup } from './compile-routes.ts';
import { compileHeaderChanges } from './header-changes.ts';
import { compilePathRewrite } from './path-rewrite.ts';
import type { Problems } from './problems.ts';
import type { TrafficPolicy, WeightedClusters } from './traffic-types.ts';
import type { PathMatch } from './types.ts';

/** What a route does with its calls beyond sending them somewhere; `undefined` where it does nothing. */
export const compileTraffic = (
  written: RouteGroup,
  match: PathMatch | undefined,
  weightedClusters: WeightedClusters | undefined,
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
  };
  return Object.values(traffic).every((part) => part === undefined) ? undefined : Object.freeze(traffic);
};
