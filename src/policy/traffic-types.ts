import type { GradientOptions, LocalRateLimitOptions } from '../resilience/index.ts';
import type { HeaderMatcher } from './types.ts';

/** What a route does with its calls beyond sending them somewhere. Types of `types.ts` that few routes have. */
export interface TrafficPolicy {
  readonly requestHeaders: HeaderChanges | undefined;
  readonly responseHeaders: HeaderChanges | undefined;
  readonly pathRewrite: PathRewrite | undefined;
  /** In the place of the route's one cluster. */
  readonly weightedClusters: WeightedClusters | undefined;
  readonly rateLimit: RateLimitPolicy | undefined;
  readonly fault: FaultPolicy | undefined;
  readonly adaptiveConcurrency: GradientOptions | undefined;
  /** Shed last; `undefined`: like any other. */
  readonly highPriority: true | undefined;
  /** Who gets a copy of the calls. */
  readonly mirrors: readonly MirrorPolicy[] | undefined;
}

/** Which calls of a route are recorded as traces, each a share from 0 to 1. */
export interface TracingPolicy {
  /** Of those whose caller wants it. */
  readonly clientShare: number;
  /** Of those of which nobody has said anything; `undefined`: as the sampler says. */
  readonly randomShare: number | undefined;
  /** Of what the others let through; 0: none, not even those that fail. */
  readonly overallShare: number;
}

/** Removes first, then adds, as Envoy does. */
export interface HeaderChanges {
  /** Lower case. */
  readonly remove: readonly string[];
  readonly add: readonly HeaderAddition[];
}

/** Envoy's `append_action`. */
export type AppendAction = 'APPEND_IF_EXISTS_OR_ADD' | 'ADD_IF_ABSENT' | 'OVERWRITE_IF_EXISTS_OR_ADD' | 'OVERWRITE_IF_EXISTS';

export interface HeaderAddition {
  /** Lower case. */
  readonly name: string;
  /** Joined; where the result is empty nothing is added, unless `keepEmpty`. */
  readonly value: readonly HeaderValuePart[];
  readonly action: AppendAction;
  readonly keepEmpty: boolean;
}

export type HeaderValuePart =
  | { readonly kind: 'text'; readonly text: string }
  /** Of the request; `otherwise` where it has no `name`. */
  | { readonly kind: 'request_header'; readonly name: string; readonly otherwise: string | undefined; readonly longest: number }
  | { readonly kind: 'remote_address' | 'peer_uri_san' | 'cluster' | 'route' };

/** Whatever the calls match, they match the path as it came. */
export interface PathRewrite {
  /** As written, for people. */
  readonly text: string;
  rewrite(path: string): string;
}

export interface WeightedClusters {
  /** Their weights are above 0 together. */
  readonly clusters: readonly WeightedCluster[];
  /** What decides for one call; where the call has no hash or no such header, chance does. */
  readonly by: 'chance' | 'hash_policy' | { /** Lower case. */ readonly header: string };
}

export interface WeightedCluster {
  readonly name: string;
  readonly weight: number;
  /** In the place of the route's; `undefined`: that one. */
  readonly metadataMatch: string | undefined;
  /** Made before those of the route. */
  readonly requestHeaders: HeaderChanges | undefined;
  readonly responseHeaders: HeaderChanges | undefined;
}

export interface RateLimitPolicy {
  /** Statistics are `<prefix>.http_local_rate_limit.*`. */
  readonly statPrefix: string;
  readonly limit: LocalRateLimitOptions;
  /** Each makes one descriptor of a call, where the call has all of it. */
  readonly rules: readonly (readonly RateLimitAction[])[];
  /** Share of the calls that are counted, from 0 to 1. */
  readonly enabledShare: number;
  /** Share of those without a token that are refused, from 0 to 1. */
  readonly enforcedShare: number;
}

/** What makes one entry of a descriptor. */
export type RateLimitAction =
  /** Lower case. `optional`: without the header the entry is left out, else the descriptor. */
  | { readonly kind: 'request_header'; readonly key: string; readonly name: string; readonly optional: boolean }
  | { readonly kind: 'text'; readonly key: string; readonly value: string }
  | { readonly kind: 'remote_address' | 'destination_cluster' | 'caller_identity'; readonly key: string };

/** Faults of attempts, each with its share of them from 0 to 1. */
export interface FaultPolicy {
  /** `ms` undefined: as the caller's header says. */
  readonly delay: { readonly ms: number | undefined; readonly share: number } | undefined;
  /** One of the statuses, or as the caller's header says. */
  readonly abort:
    | {
        readonly grpcStatus: number | undefined;
        readonly httpStatus: number | undefined;
        readonly byHeader: boolean;
        readonly share: number;
      }
    | undefined;
  /** How fast answers come; `kibPerSecond` undefined: as the caller's header says. */
  readonly responseRateLimit: { readonly kibPerSecond: number | undefined; readonly share: number } | undefined;
  /** All of them must hold. */
  readonly headers: readonly HeaderMatcher[];
  /** `undefined`: whatever the cluster. */
  readonly upstreamCluster: string | undefined;
  /** Attempts held up or slowed down at once; infinite where nobody wrote it. */
  readonly maxActive: number;
}

export interface MirrorPolicy {
  readonly cluster: string;
  /** Of the calls, from 0 to 1. */
  readonly share: number;
  /** What is appended to the host of the authority. */
  readonly suffix: string;
}
