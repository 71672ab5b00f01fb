import { type HeaderBlock, Token } from '../http2/index.ts';
import type { Direction, FaultPolicy, PolicyTable, Route, RouteTable, WeightedCluster, WeightedClusters } from '../policy/index.ts';
import type { PickWish } from '../resilience/index.ts';
import type { CallMetrics, MethodMetrics } from '../telemetry/index.ts';
import type { Cluster } from '../upstream/index.ts';
import { headerValue } from './headers.ts';
import { PeerAccess } from './peer-access.ts';
import { BoundTraffic } from './traffic/bound-traffic.ts';
import type { TrafficState } from './traffic/traffic-state.ts';

/** A route with the live things that it names; made once per table and route. */
export interface BoundRoute {
  readonly route: Route;
  /** `undefined`: no cluster of that name exists. */
  readonly cluster: Cluster | undefined;
  /** Name of the cluster that was looked for, for messages. */
  readonly clusterName: string;
  readonly metrics: MethodMetrics;
  /** What its calls ask of the endpoint, where that is the same for all of them. */
  readonly wish: PickWish | undefined;
  /** `undefined`: its calls are sent, and nothing else. */
  readonly traffic: BoundTraffic | undefined;
}

export interface BindingContext {
  readonly direction: Direction;
  readonly callMetrics: CallMetrics;
  /** The label `service`: of inbound calls our own name, of outbound ones the cluster's. */
  readonly serviceLabel: (clusterName: string) => string;
  readonly cluster: (name: string) => Cluster | undefined;
  readonly trafficState: TrafficState;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly trustDomain: string;
}

interface PathEntry {
  readonly path: string;
  /** Candidates in the order of evaluation; the last one has no header matchers, or nothing matches. */
  readonly routes: readonly BoundRoute[];
}

const rememberedPaths = 4_096;

/**
 * One policy table with the clusters and counters that it names. A reload makes a new one; a call keeps the one it began with.
 *
 * Paths are interned by their hash: the path of a known method is compared as bytes and never becomes a string.
 */
export class BoundTable {
  readonly policies: PolicyTable;
  /** Whether callers may ask for faults by their headers. */
  readonly readsFaultHeaders: boolean;
  /** `undefined`: whoever got as far as here. */
  readonly access: PeerAccess | undefined;
  readonly #table: RouteTable;
  /** Some routes say that their calls are shed last. */
  readonly hasHighPriority: boolean;
  readonly #context: BindingContext;
  #matchedPath = '';
  readonly #paths = new Map<number, PathEntry>();
  readonly #bound = new Map<Route, BoundRoute>();
  readonly #byAuthority = new Map<Route, Map<string, BoundRoute>>();

  constructor(policies: PolicyTable, context: BindingContext) {
    this.policies = policies;
    this.#table = policies[context.direction];
    this.readsFaultHeaders = this.#table.routes.some(({ traffic }) => traffic?.fault !== undefined && goesByHeaders(traffic.fault));
    this.hasHighPriority = this.#table.routes.some(({ traffic }) => traffic?.highPriority === true);
    const { inboundAccess } = policies;
    this.access =
      context.direction === 'outbound' || inboundAccess === undefined ? undefined : new PeerAccess(inboundAccess, context.trustDomain);
    this.#context = context;
  }

  /** The path of the request that was matched last, as text. */
  get matchedPath(): string {
    return this.#matchedPath;
  }

  /** The first route that matches the request; `undefined` where none does. */
  match(block: HeaderBlock): BoundRoute | undefined {
    const at = block.indexOf(Token.path);
    const hash = block.hashes[at] as number;
    let entry = this.#paths.get(hash);
    if (entry === undefined || !block.valueEquals(at, entry.path)) entry = this.#remember(hash, block.value(at));
    this.#matchedPath = entry.path;
    const { routes } = entry;
    for (let i = 0; i < routes.length; i++) {
      const bound = routes[i] as BoundRoute;
      const { headers, matchedShare } = bound.route;
      if (headers.length > 0 && !headersMatch(bound.route, block)) continue;
      if (matchedShare === 1 || this.#context.random() < matchedShare) return bound;
    }
    return undefined;
  }

  /** Whether the route of the call says that it is shed last. The request is as it came: nothing is known of it yet. */
  isHigh(block: HeaderBlock): boolean {
    if (!this.hasHighPriority || block.overflowed || block.indexOf(Token.path) < 0) return false;
    return this.match(block)?.route.traffic?.highPriority === true;
  }

  /** What holds where no route matches, or where `route` names no cluster, for the cluster of that name. */
  fallback(clusterName: string, route: Route = this.#table.fallback): BoundRoute {
    const found = this.#byAuthority.get(route)?.get(clusterName);
    if (found !== undefined) return found;
    const bound = this.#bind(route, clusterName);
    // Only names of services that somebody knows are remembered: the others come from the caller, and there is no end of them.
    if (bound.cluster !== undefined && !bound.cluster.isUnknown) this.#remembered(route).set(clusterName, bound);
    return bound;
  }

  /** The cluster of that name is gone: the next call that names it looks for it anew. */
  forget(clusterName: string): void {
    for (const byName of this.#byAuthority.values()) byName.delete(clusterName);
  }

  #remembered(route: Route): Map<string, BoundRoute> {
    const known = this.#byAuthority.get(route) ?? new Map<string, BoundRoute>();
    this.#byAuthority.set(route, known);
    return known;
  }

  #remember(hash: number, path: string): PathEntry {
    if (this.#paths.size >= rememberedPaths) this.#paths.clear();
    const entry = { path, routes: this.#table.candidates(path).map((route) => this.#boundRoute(route)) };
    this.#paths.set(hash, entry);
    return entry;
  }

  #boundRoute(route: Route): BoundRoute {
    let bound = this.#bound.get(route);
    if (bound === undefined) {
      bound =
        route.traffic?.weightedClusters === undefined
          ? this.#bind(route, route.cluster)
          : this.#bindWeighted(route, route.traffic.weightedClusters);
      // A cluster that is missing now may be found later, by discovery.
      if (bound.cluster !== undefined) this.#bound.set(route, bound);
    }
    return bound;
  }

  #bindWeighted(route: Route, { clusters }: WeightedClusters): BoundRoute {
    const bound = clusters.map((each) => this.#bind(route, each.name, each));
    const first = bound[0] as BoundRoute;
    const traffic = new BoundTraffic(route, { clusterName: first.clusterName, weighted: bound, state: this.#context.trafficState });
    return { ...first, traffic };
  }

  /** @param weighted what is said of the cluster where it is one of several. */
  #bind(route: Route, clusterName: string, weighted?: WeightedCluster): BoundRoute {
    const { callMetrics, direction, serviceLabel, cluster, trafficState } = this.#context;
    const label = route === this.#table.fallback ? 'other' : methodLabel(route);
    const found = cluster(clusterName);
    const unnamed = route === this.#table.fallback || clusterName === '';
    const nobodys = found === undefined || found.isUnknown;
    const service = nobodys && direction === 'outbound' && unnamed ? 'other' : serviceLabel(clusterName);
    const subset = weighted?.metadataMatch ?? route.metadataMatch;
    const wish = subset === undefined ? undefined : { hash: undefined, subset };
    const traffic =
      route.traffic === undefined ? undefined : new BoundTraffic(route, { clusterName, changes: weighted, state: trafficState });
    return { route, cluster: found, clusterName, metrics: callMetrics.method(direction, service, label, label !== 'other'), wish, traffic };
  }
}

const goesByHeaders = ({ abort, delay, responseRateLimit }: FaultPolicy): boolean =>
  abort?.byHeader === true ||
  (delay !== undefined && delay.ms === undefined) ||
  (responseRateLimit !== undefined && responseRateLimit.kibPerSecond === undefined);

/** The label `method`: what somebody configured, never what a caller made up. */
const methodLabel = (route: Route): string => {
  switch (route.match.kind) {
    case 'path':
      return route.match.path;
    case 'prefix':
      return route.match.prefix;
    case 'regex':
      return route.name;
  }
};

const headersMatch = (route: Route, block: HeaderBlock): boolean => {
  for (const matcher of route.headers) if (!matcher.matches(headerValue(block, matcher.name))) return false;
  return true;
};

const suffixes = ['.default.svc.cluster.local', '.default.svc', '.default', '.service.consul'];

/** The cluster that `:authority` names: `<name>`, `<name>:<port>`, `<name>.default.svc.cluster.local`, and as Consul's DNS has it `<name>.service.consul`. */
export const clusterOfAuthority = (authority: string): string => {
  const host = authority.startsWith('[') ? authority.slice(0, authority.indexOf(']') + 1) : authority.replace(/:\d*$/, '');
  const lower = host.toLowerCase();
  const suffix = suffixes.find((ending) => lower.endsWith(ending));
  return suffix === undefined ? lower : lower.slice(0, -suffix.length);
};
