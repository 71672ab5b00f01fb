import { conditionsAfterSending, conditionsOnlyAfterSending, defaultThresholds, RetryOn, retryOnWords } from '../resilience/index.ts';
import type { CompiledRetry } from './compile-retry.ts';
import type { CompiledRoute } from './compile-routes.ts';
import type { PathIndex } from './path-index.ts';
import type { Place, Problems } from './problems.ts';
import type { ClusterPolicy, Direction, Route } from './types.ts';

/** Routes of one direction, in the order of evaluation. */
export interface LintedRoutes {
  readonly direction: Direction;
  /** What methods are idempotent is known from descriptor sets. */
  readonly knowsMethods: boolean;
  readonly routes: readonly CompiledRoute[];
  readonly index: PathIndex<Route>;
  /** What routes inherit that write no retry policy. */
  readonly inheritedRetry: CompiledRetry | undefined;
}

/** A name of a cluster in the policies, and where. */
export interface ClusterReference {
  readonly cluster: string;
  readonly place: Place;
}

/** Earlier routes that are compared with one at most: a thousand routes of one prefix would cost a million comparisons. */
const mostCompared = 200;

/** Warns of what is right by the letter and probably not meant. */
export const lintRoutes = (linted: LintedRoutes, problems: Problems): void => {
  linted.routes.forEach((route, position) => {
    warnIfUnreachable(linted, route, position, problems);
    if (route.ownRetry !== undefined) warnOfRetry(route.ownRetry, route.route.idempotent, linted.knowsMethods, problems);
  });
  const [first, ...others] = linted.routes;
  if (first?.route.traffic?.highPriority === true && others.length > 0 && others.every(({ route }) => route.traffic?.highPriority === true))
    problems.warning(first.actionPlace, 'all routes have priority: HIGH: none is shed before another', 'leave it out where calls can wait');
  const { inheritedRetry } = linted;
  if (inheritedRetry !== undefined) warnOfRetry(inheritedRetry, undefined, linted.knowsMethods, problems);
};

/** Once per file: a folder of ported routes would otherwise say it a hundred times. */
export const warnOfMissingTimeouts = (routes: readonly CompiledRoute[], problems: Problems): void => {
  const byFile = Map.groupBy(
    routes.filter(({ wroteTimeout }) => !wroteTimeout),
    ({ place }) => place.location.file,
  );
  for (const [first, ...others] of byFile.values()) {
    if (first === undefined) continue;
    const more = others.length === 0 ? '' : ` (and ${others.length} more in this file)`;
    problems.warning(
      first.actionPlace,
      `no timeout${more}: calls have no time limit but the caller's`,
      "write timeout: 15s for Envoy's default, or timeout: 0s to say that none is meant",
    );
  }
};

export const warnOfUnknownClusters = (
  references: readonly ClusterReference[],
  clusters: ReadonlyMap<string, ClusterPolicy>,
  problems: Problems,
): void => {
  for (const { cluster, place } of references) {
    // One that is missing has been told.
    if (cluster !== '' && !clusters.has(cluster))
      problems.warning(place, `cluster "${cluster}" is not defined: its calls end with no_cluster`, `define it under clusters:`);
  }
};

const clustersOf = ({ cluster, traffic }: Route): readonly string[] =>
  traffic?.weightedClusters?.clusters.map(({ name }) => name) ?? [cluster];

/** As in Envoy, limits of one priority say nothing about the other. */
export const warnOfUnlimitedPriority = (
  routes: readonly CompiledRoute[],
  clusters: ReadonlyMap<string, ClusterPolicy>,
  problems: Problems,
): void => {
  for (const { actionPlace, route } of routes) {
    if (route.traffic?.highPriority !== true) continue;
    for (const name of clustersOf(route)) {
      const cluster = clusters.get(name);
      if (cluster === undefined || cluster.highThresholds !== undefined || cluster.thresholds === defaultThresholds) continue;
      problems.warning(
        actionPlace,
        `has priority: HIGH, and the thresholds of cluster "${name}" are those of priority DEFAULT: its calls have Envoy's own (max_requests: 1024 and so on)`,
        'write a second group of thresholds with priority: HIGH on the cluster',
      );
    }
  }
};

/** Retries that no budget ever lets through. */
export const warnOfEmptyBudgets = (
  routes: readonly CompiledRoute[],
  clusterOf: (name: string) => ClusterPolicy | undefined,
  problems: Problems,
): void => {
  for (const { ownRetry, place, route } of routes) {
    if (route.retry === undefined || route.retry.numRetries === 0) continue;
    for (const name of clustersOf(route)) {
      const policy = clusterOf(name);
      const thresholds = route.traffic?.highPriority === true ? policy?.highThresholds : policy?.thresholds;
      if (thresholds === undefined) continue;
      const { maxRetries, retryBudget } = thresholds;
      // max_retries is not looked at beside a budget.
      const empty = retryBudget === undefined ? maxRetries === 0 : retryBudget.percent === 0 && retryBudget.minConcurrency === 0;
      if (!empty) continue;
      const budget = retryBudget !== undefined;
      problems.warning(
        ownRetry?.place ?? place,
        `retries nothing: ${budget ? 'the retry budget' : 'max_retries'} of cluster "${name}" lets none through`,
        `write ${budget ? 'a budget_percent or min_retry_concurrency above 0' : 'a larger max_retries'}, or remove retry_policy`,
      );
    }
  }
};

const warnOfRetry = (
  { options, place }: CompiledRetry,
  idempotent: boolean | undefined,
  knowsMethods: boolean,
  problems: Problems,
): void => {
  if ((options.conditions & RetryOn.HTTP_5XX) !== 0) {
    problems.warning(
      place,
      '5xx does not see gRPC statuses',
      'add those that are meant: unavailable, internal, resource-exhausted, deadline-exceeded, cancelled',
    );
  }
  if ((options.conditions & RetryOn.RETRIABLE_STATUS_CODES) !== 0 && options.retriableStatusCodes.length === 0) {
    problems.warning(place, 'retriable-status-codes retries nothing: there are none', 'write retriable_status_codes: [503]');
  }
  if ((options.conditions & RetryOn.RETRIABLE_HEADERS) !== 0 && options.retriableHeaders === undefined) {
    problems.warning(place, 'retriable-headers retries nothing: there are none', 'write retriable_headers: [{ name: x-retry }]');
  }
  const forbidden = options.conditions & conditionsOnlyAfterSending;
  if (idempotent === false && forbidden !== 0) {
    const words = Object.keys(retryOnWords).filter((word) => (forbidden & (retryOnWords[word] ?? 0)) !== 0);
    problems.warning(
      place,
      `${words.join(', ')} retries nothing beside idempotent: false`,
      'remove it, or write idempotent: true if its calls may be processed twice',
    );
  }
  if (idempotent === undefined && !knowsMethods && (options.conditions & conditionsAfterSending) !== 0) {
    problems.warning(
      place,
      'retries calls that the service may have processed already, and idempotent is left out',
      'write idempotent: true on the route if its calls may be processed twice, or idempotent: false',
    );
  }
};

const warnIfUnreachable = ({ routes, index }: LintedRoutes, route: CompiledRoute, position: number, problems: Problems): void => {
  const covering = earlierMatches(route, position, index)
    .filter((earlier) => earlier < position)
    .slice(0, mostCompared)
    .map((earlier) => routes[earlier])
    .find((earlier) => earlier?.headerKeys.every((key) => route.headerKeys.includes(key)));
  if (covering === undefined) return;
  const { name, location } = covering.route;
  problems.warning(
    route.matchPlace,
    `never matches: "${name}" in ${location.file}:${location.line} takes all its calls`,
    'move this route above it, or remove it',
  );
};

/** Positions of routes whose path matcher accepts every path that `route`'s accepts, as far as that is easily known. */
const earlierMatches = ({ route }: CompiledRoute, position: number, index: PathIndex<Route>): readonly number[] => {
  switch (route.match.kind) {
    case 'path':
      return [...index.positionsOf(route.match.path), ...index.prefixesOf(route.match.path), ...index.regexesOf(route.match.path)];
    case 'prefix':
      return [...index.prefixesOf(route.match.prefix), ...index.sameRegex(position)];
    case 'regex':
      return [...index.prefixesOf(literalPrefix(route.match.regex)), ...index.sameRegex(position)];
  }
};

/** What every match of the expression begins with. */
const literalPrefix = (regex: string): string => {
  if (regex.includes('|') || regex.startsWith('(?')) return '';
  const literal = /^(?:[\w/-]|\\[./-])*/.exec(regex)?.[0] ?? '';
  const quantified = /^[*?{]/.test(regex.slice(literal.length));
  return (quantified ? literal.replace(/\\?.$/, '') : literal).replaceAll('\\', '');
};
