import { createHash } from 'node:crypto';
import { compileAccess } from './access.ts';
import { compileAccessLog } from './access-log.ts';
import { type CompiledBreakers, compileBreakers, compileCluster, defaultBreakers, unwrittenCluster } from './compile-cluster.ts';
import { type CompiledRetry, compileRetryPolicy } from './compile-retry.ts';
import { type CompiledRoute, compileRoute, fallbackRoute, type RouteDefaults } from './compile-routes.ts';
import { sourceKeys } from './compile-sources.ts';
import { anyAge, compileAge, compileListenerAge, type WrittenAge, warnOfIdleGrace } from './connection-age.ts';
import { idempotentMethods } from './descriptor-sets.ts';
import { type PolicyText, parseDocument } from './document.ts';
import { lintRoutes, warnOfEmptyBudgets, warnOfMissingTimeouts, warnOfUnknownClusters, warnOfUnlimitedPriority } from './lint.ts';
import { warnOfBalancing } from './lint-balancing.ts';
import { warnOfTimes } from './lint-times.ts';
import { PathIndex } from './path-index.ts';
import { policyShape } from './policy-schema.ts';
import { type Place, Problems } from './problems.ts';
import { IndexedRouteTable } from './route-table.ts';
import { compileServiceConfig, isServiceConfig, serviceConfigShape } from './service-config.ts';
import type { Placed, Read } from './shape.ts';
import type { ClusterPolicy, DefaultAction, Direction, PolicyFileInfo, PolicyProblem, PolicyTable, Route } from './types.ts';

type PolicyGroup = Read<typeof policyShape>;
type RouteGroup = Parameters<typeof compileRoute>[0];
type WrittenCluster = NonNullable<PolicyGroup['values']['clusters']>[number];
type MatchOrder = 'file' | 'longest_prefix';

/** What became of the texts of one or several files. */
export interface PolicyCompilation {
  /** `undefined` where there are errors. */
  readonly table: PolicyTable | undefined;
  /** Everything that is wrong or suspicious, in the order of files and lines. */
  readonly problems: readonly PolicyProblem[];
  readonly files: readonly PolicyFileInfo[];
}

/** What the files themselves do not say. */
export interface PolicySurroundings {
  /** Services are looked up by their names (`CONSUL_HTTP_ADDR`); left out where nobody can know. */
  readonly looksUpNames?: boolean;
}

const defaultMaxConcurrentStreams = 1_000;

/**
 * Turns policy files into one immutable table: text, document, typed, compiled. Files are merged in the order given. Pure: the same
 * texts make the same table. Never throws for what is written in them.
 */
export const compilePolicies = (
  texts: readonly PolicyText[],
  descriptorSets: readonly PolicyText[] = [],
  surroundings: PolicySurroundings = {},
): PolicyCompilation => {
  const problems = new Problems(texts.map(({ path }) => path));
  const files = texts.map(({ path, bytes }) => ({ path, sha256: sha256(bytes) }));
  const serviceConfigs = texts
    .filter(({ path }) => isServiceConfig(path))
    .map((text) => parseDocument(text, problems))
    .map((document) => (document === undefined ? undefined : serviceConfigShape.read(document, '', problems)))
    .filter((config) => config !== undefined);
  const groups = texts
    .filter(({ path }) => !isServiceConfig(path))
    .map((text) => parseDocument(text, problems))
    .map((document) => (document === undefined ? undefined : policyShape.read(document, '', problems)))
    .filter((group) => group !== undefined);
  const givingWay = new Set(texts.flatMap(({ path, givesWay }) => (givesWay === true ? [path] : [])));
  const build = compileGroups({ groups, serviceConfigs, descriptorSets, givingWay }, surroundings, problems);
  const list = problems.list();
  if (problems.hasErrors) return { table: undefined, problems: list, files };
  const version = sha256(files.map(({ path, sha256: hash }) => `${path.replace(/^.*\//, '')}\0${hash}\n`).join(''));
  return { table: Object.freeze({ ...build, version, files, warnings: list }), problems: list, files };
};

/** The table of somebody who has no policies: no routes, no clusters, the defaults. */
export const emptyPolicyTable = (): PolicyTable => compilePolicies([]).table as PolicyTable;

/** The policy of a cluster by name, also of one that nobody wrote. */
export const clusterPolicy = (table: PolicyTable, name: string): ClusterPolicy =>
  table.clusters.get(name) ?? { ...table.defaultCluster, name, serviceName: name };

interface WrittenPolicies {
  readonly groups: readonly PolicyGroup[];
  readonly serviceConfigs: readonly Read<typeof serviceConfigShape>[];
  readonly descriptorSets: readonly PolicyText[];
  /** Files whose clusters count only where no other has them. */
  readonly givingWay: ReadonlySet<string>;
}

const compileGroups = (
  { groups, serviceConfigs, descriptorSets, givingWay }: WrittenPolicies,
  surroundings: PolicySurroundings,
  problems: Problems,
) => {
  const single = <T>(pick: (group: PolicyGroup) => { value: T; place: Place } | undefined) => singleOf(groups, pick, problems);
  const named = groups.flatMap(({ values }) => values.descriptor_sets ?? []);
  const methods = idempotentMethods(named, descriptorSets, problems);
  const knowsMethods = named.length > 0;
  const breakersGroup = single(({ values }) => values.circuit_breakers);
  const breakers = breakersGroup === undefined ? defaultBreakers : compileBreakers(breakersGroup, problems);
  const clusters = compileClusters(groups, breakers, { givingWay, ...surroundings }, problems);

  const compileDirection = (
    direction: Direction,
    written: readonly RouteGroup[],
    retryGroup: Parameters<typeof compileRetryPolicy>[0] | undefined,
    order: MatchOrder,
  ) => {
    const inheritedRetry = retryGroup === undefined ? undefined : compileRetryPolicy(retryGroup, problems);
    const defaults = { direction, retry: inheritedRetry?.options, knowsMethods };
    // Routes that somebody wrote come first.
    const configured = direction === 'outbound' ? serviceConfigs.flatMap((config) => compileServiceConfig(config, defaults, problems)) : [];
    return compileRoutes({ written, configured }, defaults, inheritedRetry, order, problems);
  };
  const outbound = compileDirection(
    'outbound',
    groups.flatMap(({ values }) => values.routes ?? []),
    single(({ values }) => values.retry_policy),
    single(({ values }) => values.match_order) ?? 'file',
  );
  const inbound = compileDirection(
    'inbound',
    groups.flatMap(({ values }) => values.inbound?.values.routes ?? []),
    single(({ values }) => values.inbound?.values.retry_policy),
    single(({ values }) => values.inbound?.values.match_order) ?? 'file',
  );
  warnOfMissingTimeouts([...outbound.compiled, ...inbound.compiled], problems);

  const defaultGroup = groups.find(({ values }) => values.default !== undefined)?.values.default;
  single(({ values }) => values.default);
  const defaultAction = compileDefault(defaultGroup?.value, problems);
  const references = outbound.compiled.flatMap((route) => route.references);
  if (defaultAction.kind === 'use_cluster' && defaultGroup !== undefined) {
    references.push({ cluster: defaultAction.cluster, place: defaultGroup.value.placeOf('use_cluster') });
  }
  warnOfUnknownClusters(references, clusters, problems);
  warnOfEmptyBudgets(outbound.compiled, (name) => clusters.get(name), problems);
  warnOfUnlimitedPriority(outbound.compiled, clusters, problems);
  warnOfTimes([...outbound.compiled, ...inbound.compiled], clusters, problems);
  warnOfBalancing(outbound.compiled, clusters, problems);

  const access = single(({ values }) => values.inbound?.values.access);
  const http2 = single(({ values }) => values.http2_protocol_options);
  const connectionAge = compileConnectionAges(groups, problems);
  return {
    outbound: outbound.table,
    inbound: inbound.table,
    inboundAccess: access === undefined ? undefined : compileAccess(access, problems),
    accessLogs: Object.freeze({
      inbound: compileAccessLog(
        single(({ values }) => values.inbound?.values.access_log),
        problems,
      ),
      outbound: compileAccessLog(
        single(({ values }) => values.access_log),
        problems,
      ),
    }),
    clusters,
    defaultCluster: unwrittenCluster('', breakers),
    defaultAction,
    idempotentMethods: methods,
    maxConcurrentStreams: http2?.values.max_concurrent_streams ?? defaultMaxConcurrentStreams,
    connectionAge,
  };
};

/** What is written at the top holds for both listeners, what stands under `inbound` for that one. */
const compileConnectionAges = (groups: readonly PolicyGroup[], problems: Problems): PolicyTable['connectionAge'] => {
  const inboundGroups = groups.flatMap(({ values }) => values.inbound ?? []);
  const graceOf = (written: readonly { readonly values: { readonly max_connection_age_grace?: Placed<number> | undefined } }[]) => {
    const [first, ...others] = written.flatMap(({ values }) => values.max_connection_age_grace ?? []);
    for (const { place } of others) problems.error(place, `is written twice (first in ${describePlace(first?.place)})`, 'keep one of them');
    return first;
  };
  const grace = graceOf(groups);
  const inboundGrace = graceOf(inboundGroups);
  const outbound = compileListenerAge(writtenAge(groups, problems), grace, anyAge);
  const inbound = compileListenerAge(writtenAge(inboundGroups, problems), inboundGrace, outbound);
  warnOfIdleGrace(grace, [outbound, inbound], problems);
  warnOfIdleGrace(inboundGrace, [inbound], problems);
  return Object.freeze({ inbound, outbound });
};

/** How old connections of a listener become, by all files together. */
const writtenAge = (groups: readonly (WrittenAge & { readonly place: Place })[], problems: Problems): number | undefined => {
  const found = groups.flatMap((written) => {
    const value = compileAge(written, problems);
    const { max_connection_age: own, common_http_protocol_options: envoys } = written.values;
    const place = own?.place ?? envoys?.values.max_connection_duration?.place ?? written.place;
    return value === undefined ? [] : [{ value, place }];
  });
  const [first, ...others] = found;
  for (const { place } of others) problems.error(place, `is written twice (first in ${describePlace(first?.place)})`, 'keep one of them');
  return first?.value;
};

/** Whether anything is said about endpoints, right or wrong. */
const saysWhere = (written: { wrote(key: (typeof sourceKeys)[number]): boolean }): boolean => sourceKeys.some((key) => written.wrote(key));

/** What may be said once in all files together. */
const singleOf = <T>(
  groups: readonly PolicyGroup[],
  pick: (group: PolicyGroup) => { value: T; place: Place } | undefined,
  problems: Problems,
): T | undefined => {
  const [first, ...others] = groups.map(pick).filter((found) => found !== undefined);
  for (const other of others) problems.error(other.place, `is written twice (first in ${describePlace(first?.place)})`, 'keep one of them');
  return first?.value;
};

const compileClusters = (
  groups: readonly PolicyGroup[],
  breakers: CompiledBreakers,
  { givingWay, looksUpNames }: Pick<WrittenPolicies, 'givingWay'> & PolicySurroundings,
  problems: Problems,
): ReadonlyMap<string, ClusterPolicy> => {
  const clusters = new Map<string, ClusterPolicy>();
  const places = new Map<string, Place>();
  for (const written of groups.flatMap<WrittenCluster>(({ values }) => [...(values.clusters ?? [])])) {
    const listed = 'values' in written;
    const name = listed ? written.values.name?.value : written.key;
    const place = listed ? (written.values.name?.place ?? written.place) : written.keyPlace;
    const policy = compileCluster(name ?? '', place, listed ? written : written.value, breakers, problems);
    if (name === undefined) continue;
    const earlier = places.get(name);
    if (earlier !== undefined && givingWay.has(place.location.file)) {
      problems.warning(place, `cluster "${name}" is written in ${describePlace(earlier)}, which counts`, 'keep one of them');
      continue;
    }
    if (earlier !== undefined) {
      problems.error(
        place,
        `cluster "${name}" is written twice (first in ${describePlace(earlier)})`,
        'keep one of them, or choose another name',
      );
      continue;
    }
    places.set(name, place);
    clusters.set(name, policy);
    if (looksUpNames !== true && !saysWhere(listed ? written : written.value)) {
      const ending = looksUpNames === undefined ? 'unless CONSUL_HTTP_ADDR is set, its calls end' : 'its calls end';
      problems.warning(place, `cluster "${name}" has no endpoints: ${ending} with no_endpoint`, 'add endpoints: ["host:port"]');
    }
  }
  return clusters;
};

const compileRoutes = (
  { written, configured }: { readonly written: readonly RouteGroup[]; readonly configured: readonly CompiledRoute[] },
  defaults: RouteDefaults,
  inheritedRetry: CompiledRetry | undefined,
  order: MatchOrder,
  problems: Problems,
): { readonly table: IndexedRouteTable; readonly compiled: readonly CompiledRoute[] } => {
  const names = new Map<string, Place>();
  for (const { values, placeOf } of written) {
    if (values.name === undefined) continue;
    const place = placeOf('name');
    const earlier = names.get(values.name);
    if (earlier === undefined) names.set(values.name, place);
    else problems.error(place, `route "${values.name}" is written twice (first in ${describePlace(earlier)})`, 'choose another name');
  }
  const read = written.map((route) => compileRoute(route, defaults, problems)).filter((route) => route !== undefined);
  const all = [...read, ...configured];
  const compiled = order === 'longest_prefix' ? all.toSorted(bySpecificity) : all;
  const routes = withUniqueIds(compiled.map(({ route }) => route));
  const index = new PathIndex(routes);
  lintRoutes({ ...defaults, routes: compiled, index, inheritedRetry }, problems);
  return { table: new IndexedRouteTable(routes, fallbackRoute(defaults), index), compiled };
};

/** Routes without a name may match the same, told apart by their headers; an id is nobody's twice. */
const withUniqueIds = (routes: readonly Route[]): readonly Route[] => {
  const taken = new Map<string, number>();
  return routes.map((route) => {
    const earlier = taken.get(route.id) ?? 0;
    taken.set(route.id, earlier + 1);
    return Object.freeze(earlier === 0 ? route : { ...route, id: `${route.id}#${earlier + 1}` });
  });
};

const kindOrder = { path: 0, regex: 1, prefix: 2 } as const;

/** Whole paths, then regular expressions, then prefixes from the longest; among equals more header matchers first, then the smaller share of the calls, then the order written. */
const bySpecificity = ({ route: a }: CompiledRoute, { route: b }: CompiledRoute): number => {
  if (a.match.kind !== b.match.kind) return kindOrder[a.match.kind] - kindOrder[b.match.kind];
  if (a.match.kind === 'prefix' && b.match.kind === 'prefix' && a.match.prefix.length !== b.match.prefix.length) {
    return b.match.prefix.length - a.match.prefix.length;
  }
  // Regular expressions have no order but the written one.
  return a.match.kind === 'regex' ? 0 : b.headers.length - a.headers.length || a.matchedShare - b.matchedShare;
};

const compileDefault = (written: NonNullable<PolicyGroup['values']['default']>['value'] | undefined, problems: Problems): DefaultAction => {
  if (written === undefined) return { kind: 'error' };
  const { action, use_cluster: cluster } = written.values;
  if (action?.value === 'use_cluster') {
    if (!written.wrote('use_cluster'))
      problems.error(action.place, 'use_cluster needs the name of a cluster', 'add "use_cluster:" with one');
    return { kind: 'use_cluster', cluster: cluster ?? '' };
  }
  if (written.wrote('use_cluster') && (action !== undefined || !written.wrote('action'))) {
    problems.error(written.placeOf('use_cluster'), 'has no effect without action: use_cluster', 'write action: use_cluster, or remove it');
  }
  return { kind: 'error' };
};

const describePlace = (place: Place | undefined): string =>
  place === undefined ? '' : `${place.location.file}:${place.location.line}:${place.location.column}`;

const sha256 = (content: Uint8Array | string): string => createHash('sha256').update(content).digest('hex');
