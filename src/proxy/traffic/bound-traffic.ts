import type { HeaderBlock } from '../../http2/index.ts';
import type { HeaderChanges, Route, TrafficPolicy } from '../../policy/index.ts';
import type { BoundRoute } from '../bound-table.ts';
import { type LocalReply, localReply } from '../replies.ts';
import { Faults } from './faults.ts';
import { type EditedCall, HeaderEdits } from './header-edits.ts';
import { PathRewriting } from './path-rewriting.ts';
import type { RouteConcurrency } from './route-concurrency.ts';
import type { RouteRateLimit } from './route-rate-limit.ts';
import type { TrafficState } from './traffic-state.ts';
import { WeightedRoutes } from './weighted-routes.ts';

/** What a call is to the policies of its route's traffic. */
export interface TrafficCall extends EditedCall {
  readonly rule: string;
}

export interface BoundTrafficOptions {
  readonly clusterName: string;
  readonly state: TrafficState;
  /** Made before those of the route: what is nearer to the cluster comes first, as in Envoy. */
  readonly changes?:
    | { readonly requestHeaders: HeaderChanges | undefined; readonly responseHeaders: HeaderChanges | undefined }
    | undefined;
  /** The route once for each of its clusters, in their order. */
  readonly weighted?: readonly BoundRoute[];
}

/** The traffic policy of one route, with the live things that it names; made once per table and route. */
export class BoundTraffic {
  readonly policy: TrafficPolicy;
  /** Which cluster a call goes to, where the route has several. */
  readonly weighted: WeightedRoutes | undefined;
  /** How many calls may be under way; `undefined`: any number. */
  readonly concurrency: RouteConcurrency | undefined;
  /** What goes wrong on purpose; `undefined`: nothing. */
  readonly faults: Faults | undefined;
  /** `undefined`: its calls may come as often as they like. */
  readonly #rateLimit: RouteRateLimit | undefined;
  readonly #requestEdits: readonly HeaderEdits[];
  readonly #responseEdits: readonly HeaderEdits[];
  readonly #pathRewriting: PathRewriting | undefined;
  readonly #clusterName: string;

  constructor(route: Route, { clusterName, changes, state, weighted }: BoundTrafficOptions) {
    const policy = route.traffic as TrafficPolicy;
    this.policy = policy;
    const { weightedClusters } = policy;
    this.weighted =
      weighted === undefined || weightedClusters === undefined ? undefined : new WeightedRoutes(route, weightedClusters, weighted);
    const names = { clusterName, routeName: route.name };
    const editsOf = (all: readonly (HeaderChanges | undefined)[]): readonly HeaderEdits[] =>
      all.flatMap((each) => (each === undefined ? [] : [new HeaderEdits(each, names)]));
    this.#requestEdits = editsOf([changes?.requestHeaders, policy.requestHeaders]);
    this.#responseEdits = editsOf([changes?.responseHeaders, policy.responseHeaders]);
    this.#pathRewriting = policy.pathRewrite === undefined ? undefined : new PathRewriting(policy.pathRewrite);
    this.#rateLimit = state.rateLimitOf(route);
    this.concurrency = state.concurrencyOf(route);
    this.faults = policy.fault === undefined ? undefined : new Faults(policy.fault, clusterName);
    this.#clusterName = clusterName;
  }

  /** The answer to a call that comes too soon. */
  refusal(call: TrafficCall, nowMs: number): LocalReply | undefined {
    return this.#rateLimit?.refusal(call, this.#clusterName, nowMs);
  }

  /** The request, whose path is `path`, as the service gets it. An answer where that is no request. */
  prepareRequest(call: TrafficCall, path: string): LocalReply | undefined {
    const { request } = call;
    for (let i = 0; i < this.#requestEdits.length; i++) (this.#requestEdits[i] as HeaderEdits).apply(request, call);
    const wrong = this.#pathRewriting?.apply(request, path);
    if (wrong === undefined) return undefined;
    const shown = JSON.stringify(wrong.path.slice(0, 200));
    return localReply(
      'malformed_request',
      `${call.rule} rewrites ${wrong.original} to ${shown}, which is no /package.Service/Method; correct its rewrite`,
    );
  }

  /** The first block of an answer, ours or the service's. */
  editResponse(call: TrafficCall, block: HeaderBlock): void {
    for (let i = 0; i < this.#responseEdits.length; i++) (this.#responseEdits[i] as HeaderEdits).apply(block, call);
  }
}
