import { subsetWish } from '../resilience/index.ts';
import { compileHedge } from './compile-hedge.ts';
import { type CompiledRetry, compileRetryPolicy, warnOfLongTries } from './compile-retry.ts';
import { compileTraffic } from './compile-traffic.ts';
import { isMoreThanAll, runtimeShareOf } from './fractional-percent.ts';
import { compileHashPolicies } from './hash-policy.ts';
import { type CompiledHeaderMatcher, compileHeaderMatcher, compileRegex } from './header-matcher.ts';
import type { ClusterReference } from './lint.ts';
import { warnOfIdleFields } from './lint-effects.ts';
import { compileMirrors } from './mirror.ts';
import type { Place, Problems } from './problems.ts';
import type { inboundRouteShape, outboundRouteShape } from './route-schema.ts';
import type { Read } from './shape.ts';
import { compileTracing } from './tracing.ts';
import type { Direction, MaxBytes, PathMatch, RetryPolicy, Route } from './types.ts';
import { type CompiledWeights, compileWeightedClusters } from './weighted-clusters.ts';

export type RouteGroup = Read<typeof outboundRouteShape> | Read<typeof inboundRouteShape>;

const defaultBufferBytes = 65_536;
const defaultHeadersHoldMs = 10;

/** A route, and what the checks of a whole policy want to know about it. */
export interface CompiledRoute {
  readonly route: Route;
  readonly place: Place;
  /** Where its parts are written; of parts that are not, the route. */
  readonly actionPlace: Place;
  /** The clusters that it names. */
  readonly references: readonly ClusterReference[];
  readonly matchPlace: Place;
  /** Equal where the header matchers mean the same. */
  readonly headerKeys: readonly string[];
  readonly wroteTimeout: boolean;
  readonly timeoutPlace: Place;
  /** Its own retry policy, not an inherited one. */
  readonly ownRetry: CompiledRetry | undefined;
}

/** What holds for every route of a direction that writes nothing else. */
export interface RouteDefaults {
  readonly direction: Direction;
  readonly retry: RetryPolicy | undefined;
  /** What methods are idempotent is known from descriptor sets. */
  readonly knowsMethods: boolean;
}

/** @returns `undefined` where it has errors that leave no route. */
export const compileRoute = (written: RouteGroup, defaults: RouteDefaults, problems: Problems): CompiledRoute | undefined => {
  const matched = written.values.match;
  const match = matched === undefined ? undefined : compileMatch(matched, problems);
  const headers = (matched?.values.headers ?? []).map((header) => compileHeaderMatcher(header, problems));
  const action = written.values.route;
  const ownRetry = action?.values.retry_policy === undefined ? undefined : compileRetryPolicy(action.values.retry_policy, problems);
  const bufferLimitBytes = readBufferLimit(written, problems);
  const timeoutMs = action?.values.timeout ?? 0;
  if (ownRetry !== undefined) warnOfLongTries(ownRetry, action?.values.retry_policy, timeoutMs, problems);
  const retry = ownRetry?.options ?? defaults.retry;
  const weighted = readWeightedClusters(written, defaults.direction, problems);
  const name = written.values.name ?? (match === undefined ? '' : describeMatch(match));
  const mirrored =
    defaults.direction === 'outbound'
      ? compileMirrors((action as ClusterKeys | undefined)?.values.request_mirror_policies, problems)
      : undefined;
  const owner = { direction: defaults.direction, name };
  const traffic = compileTraffic(written, match, owner, { mirrors: mirrored?.mirrors, weightedClusters: weighted?.weights }, problems);
  const cluster = weighted?.weights.clusters[0]?.name ?? readCluster(written);
  if (match === undefined || matched === undefined || headers.includes(undefined) || cluster === undefined) return undefined;

  const compiledHeaders = headers as readonly CompiledHeaderMatcher[];
  const route: Route = {
    name,
    id: `${defaults.direction}/${name}`,
    direction: defaults.direction,
    location: written.place.location,
    match: Object.freeze(match),
    headers: Object.freeze(compiledHeaders.map(({ matcher }) => Object.freeze(matcher))),
    matchedShare: readMatchedShare(matched, problems),
    cluster,
    timeoutMs,
    idleTimeoutMs: action?.values.idle_timeout ?? 0,
    maxStreamDurationMs: readMaxStreamDuration(action, problems),
    maxBytes: readMaxBytes(action),
    retry,
    hedge: compileHedge(action?.values.hedge_policy, retry, action?.values.idempotent ?? (defaults.knowsMethods || undefined), problems),
    idempotent: action?.values.idempotent,
    bufferLimitBytes,
    retryHeadersHoldMs: action?.values.retry_headers_hold ?? defaultHeadersHoldMs,
    hashPolicies: compileHashPolicies(action?.values.hash_policy, problems),
    metadataMatch: action?.values.metadata_match === undefined ? undefined : subsetWish(action.values.metadata_match),
    traffic,
    tracing: compileTracing(written.values.tracing),
  };
  warnOfIdleFields(action, route, defaults.retry, problems);
  return {
    route,
    place: written.place,
    actionPlace: action?.place ?? written.place,
    references: [
      ...(weighted?.references ?? [{ cluster, place: (action as ClusterKeys | undefined)?.placeOf('cluster') ?? written.place }]),
      ...(mirrored?.references ?? []),
    ],
    matchPlace: matched.place,
    // Whoever matches by chance leaves calls to those that follow.
    headerKeys: [...compiledHeaders.map(({ key }) => key), ...(route.matchedShare < 1 ? [`by chance in line ${route.location.line}`] : [])],
    wroteTimeout: action?.wrote('timeout') ?? false,
    timeoutPlace: action?.placeOf('timeout') ?? written.place,
    ownRetry,
  };
};

/** What holds where no route matches. */
export const fallbackRoute = ({ direction, retry }: RouteDefaults): Route =>
  Object.freeze<Route>({
    name: 'fallback',
    id: `${direction}/*`,
    direction,
    location: { file: '', line: 0, column: 0 },
    match: { kind: 'prefix', prefix: '' },
    headers: [],
    matchedShare: 1,
    cluster: '',
    timeoutMs: 0,
    idleTimeoutMs: 0,
    maxStreamDurationMs: 0,
    maxBytes: undefined,
    retry,
    hedge: undefined,
    idempotent: undefined,
    bufferLimitBytes: defaultBufferBytes,
    retryHeadersHoldMs: defaultHeadersHoldMs,
    hashPolicies: [],
    metadataMatch: undefined,
    traffic: undefined,
    tracing: undefined,
  });

/** What an outbound action says of clusters, and an inbound one cannot. */
type ClusterKeys = Pick<NonNullable<Read<typeof outboundRouteShape>['values']['route']>, 'values' | 'wrote' | 'placeOf'>;

/** Envoy: one of `cluster` and `weighted_clusters`. */
const readWeightedClusters = (written: RouteGroup, direction: Direction, problems: Problems): CompiledWeights | undefined => {
  if (direction === 'inbound' || written.values.route === undefined) return undefined;
  const action = written.values.route as ClusterKeys & { readonly place: Place };
  const place = action.placeOf('weighted_clusters');
  if (!action.wrote('cluster') && !action.wrote('weighted_clusters'))
    problems.error(place, 'cluster is missing', 'add "cluster:" with a name of visible characters without blanks');
  if (action.wrote('cluster') && action.wrote('weighted_clusters')) problems.error(place, 'is written beside cluster', 'keep one of them');
  const { hash_policy: hashPolicy, metadata_match: metadata, weighted_clusters: weighted } = action.values;
  return compileWeightedClusters(weighted, { place, wroteHashPolicy: (hashPolicy ?? []).length > 0, metadata }, problems);
};

const readCluster = (written: RouteGroup): string | undefined => {
  const values = written.values.route?.values;
  if (values !== undefined && 'cluster' in values) return values.cluster as string | undefined;
  // An inbound route has none; an outbound one without has been reported.
  return '';
};

type ActionGroup = NonNullable<RouteGroup['values']['route']>;

const readMaxStreamDuration = (action: ActionGroup | undefined, problems: Problems): number => {
  const written = action?.values.max_stream_duration;
  const found = written !== undefined && 'values' in written ? written.values.max_stream_duration : written;
  const timeoutMs = action?.values.timeout ?? 0;
  if (found === undefined || found.value === 0) return 0;
  if (timeoutMs >= found.value) {
    problems.warning(
      action?.placeOf('timeout') ?? found.place,
      'never passes: max_stream_duration is not longer',
      'write a shorter timeout, or remove it',
    );
  }
  return found.value;
};

const readMaxBytes = (action: ActionGroup | undefined): MaxBytes | undefined => {
  const { max_request_bytes: request = 0, max_response_bytes: response = 0 } = action?.values ?? {};
  return request === 0 && response === 0 ? undefined : Object.freeze({ request, response });
};

const compileMatch = (written: NonNullable<RouteGroup['values']['match']>, problems: Problems): PathMatch | undefined => {
  const { values } = written;
  const kinds = (['prefix', 'path', 'safe_regex'] as const).filter((kind) => written.wrote(kind));
  if (kinds.length !== 1) {
    const message = kinds.length === 0 ? 'has no prefix, path or safe_regex' : `has ${kinds.join(' and ')}`;
    problems.error(written.place, message, kinds.length === 0 ? 'add one of them; prefix: "/" matches every call' : 'keep one of them');
  }
  if (values.case_sensitive?.value === false) {
    problems.error(
      values.case_sensitive.place,
      'is not accepted as false',
      'remove it: paths of gRPC are case-sensitive; safe_regex may begin with (?i)',
    );
  }
  const regex = values.safe_regex === undefined ? undefined : compileRegex(values.safe_regex, problems);
  if (kinds.length !== 1) return undefined;
  if (values.prefix !== undefined) {
    warnOfSlash(values.prefix, written.placeOf('prefix'), problems);
    return { kind: 'prefix', prefix: values.prefix };
  }
  if (values.path !== undefined) {
    warnOfSlash(values.path, written.placeOf('path'), problems);
    return { kind: 'path', path: values.path };
  }
  return regex === undefined ? undefined : { kind: 'regex', regex: regex.pattern() };
};

const warnOfSlash = (text: string, place: Place, problems: Problems): void => {
  if (text !== '' && !text.startsWith('/'))
    problems.warning(place, `${JSON.stringify(text)} never matches: every path begins with a slash`, `write ${JSON.stringify(`/${text}`)}`);
};

/** Envoy has it beside `match`; people also look for it beside `retry_policy`. */
const readBufferLimit = (written: RouteGroup, problems: Problems): number => {
  const key = 'per_request_buffer_limit_bytes';
  const action = written.values.route;
  if (written.wrote(key) && action?.wrote(key) === true)
    problems.error(action.placeOf(key), 'is written beside "match:" too', 'keep one of them');
  return written.values[key] ?? action?.values[key] ?? defaultBufferBytes;
};

const describeMatch = (match: PathMatch): string => {
  switch (match.kind) {
    case 'prefix':
      return `prefix ${match.prefix}`;
    case 'path':
      return `path ${match.path}`;
    case 'regex':
      return `regex ${match.regex}`;
  }
};

const readMatchedShare = (matched: NonNullable<RouteGroup['values']['match']>, problems: Problems): number => {
  const written = matched.values.runtime_fraction;
  if (written === undefined) return 1;
  const { default_value: fraction } = written.value.values;
  if (isMoreThanAll(fraction)) problems.error(written.place, 'is more than all', 'write a smaller numerator');
  const share = runtimeShareOf(written.value, 1);
  if (share === 0) problems.warning(written.place, 'is 0: no call matches', 'write a share above 0, or remove the route');
  return share;
};
