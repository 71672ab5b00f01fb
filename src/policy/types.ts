import type {
  BreakerOptions,
  EndpointMetadata,
  GradientOptions,
  HealthCheckOptions,
  HedgePolicyOptions,
  LoadBalancerOptions,
  OutlierOptions,
  RetryPolicyOptions,
  RetryThrottleOptions,
  ThresholdOptions,
} from '../resilience/index.ts';
import type { AccessPolicy } from './access.ts';
import type { AccessLogPolicy } from './access-log-types.ts';
import type { ConsulEndpointsPolicy } from './consul-types.ts';
import type { TracingPolicy, TrafficPolicy } from './traffic-types.ts';

export type { HedgePolicyOptions, ThresholdOptions };

/** Where something was written; line and column count from 1. File, line and column are `''`, 0 and 0 for what nobody wrote (a default). */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong (error: the table is refused) or suspicious (warning) in a policy file. */
export interface PolicyProblem {
  readonly severity: 'error' | 'warning';
  readonly location: SourceLocation;
  /** Where in the document: `routes[2].route.timeout`; empty for the whole file. */
  readonly path: string;
  readonly message: string;
  /** What to write instead. */
  readonly remedy: string;
}

export type Direction = 'inbound' | 'outbound';

/** Case-sensitive, on the whole `:path` as it came. A prefix is a plain string prefix, a regular expression (RE2) must match all of it. */
export type PathMatch =
  | { readonly kind: 'prefix'; readonly prefix: string }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'regex'; readonly regex: string };

/** Condition on one request header. A route matches when all its header matchers do. */
export interface HeaderMatcher {
  /** Lower case; may be a pseudo-header such as `:authority`. */
  readonly name: string;
  /** @param value of the header; of several fields with this name, all values joined with `,` (as Envoy does); `undefined` where there is none. */
  matches(value: string | undefined): boolean;
}

export interface Route {
  /** As written, else the match (`prefix /learner.`). For people, and the rule named in replies. */
  readonly name: string;
  /** Unique in the table and stable across reloads, whatever is inserted around it: direction and name. */
  readonly id: string;
  readonly direction: Direction;
  readonly location: SourceLocation;
  readonly match: PathMatch;
  /** All of them must hold. */
  readonly headers: readonly HeaderMatcher[];
  /** Part of the calls, from 0 to 1, that match by chance. */
  readonly matchedShare: number;
  /** Name of the cluster; inbound always `''` (the local service); outbound `''` only in the fallback route (the authority names the cluster); the first one of several by weight. */
  readonly cluster: string;
  /** 0 = none. */
  readonly timeoutMs: number;
  /** Longest silence of a stream in both directions; 0 = none. */
  readonly idleTimeoutMs: number;
  /** Longest life of a stream, from its first to its last byte; 0 = any. */
  readonly maxStreamDurationMs: number;
  /** `undefined`: any size. */
  readonly maxBytes: MaxBytes | undefined;
  /** `undefined` where nobody wrote one: then only what was provably never processed is tried again. */
  readonly retry: RetryPolicy | undefined;
  /** gRPC's `retryThrottling`, of the cluster that is called; `undefined`: none. */
  readonly throttle?: RetryThrottleOptions;
  /** Attempts beside each other, for calls that may be processed twice. */
  readonly hedge: HedgePolicyOptions | undefined;
  /** As written; `false` narrows `retry` to what was provably never processed. */
  readonly idempotent: boolean | undefined;
  /** Most request bytes kept for a replay. */
  readonly bufferLimitBytes: number;
  /** How long response headers may be held back so that a failing status in trailers can still be retried. */
  readonly retryHeadersHoldMs: number;
  /** By what calls stick to an endpoint, where the cluster balances by hash. */
  readonly hashPolicies: readonly HashPolicy[];
  /** `subsetWish` of the endpoints that the route asks for; `undefined` where it asks for nothing. */
  readonly metadataMatch: string | undefined;
  /** What few routes have; `undefined`: nothing of it. */
  readonly traffic: TrafficPolicy | undefined;
  /** How many of the calls are recorded as traces; `undefined`: as many as elsewhere. */
  readonly tracing: TracingPolicy | undefined;
}

/** What the machine does not look at itself, and the proxy finds out for it. Each is left out where nobody wrote it. */
export interface RetryPolicy extends RetryPolicyOptions {
  /** Longest silence of an attempt from the end of the request on. */
  readonly perTryIdleTimeoutMs?: number;
  /** Response headers for `retriable-headers`, any one of which suffices. */
  readonly retriableHeaders?: readonly HeaderMatcher[];
  /** Calls of which none of these request headers matches are not tried again by `conditions`. */
  readonly retriableRequestHeaders?: readonly HeaderMatcher[];
  readonly rateLimitedBackOff?: RateLimitedBackOff;
}

/** Envoy's `RateLimitedRetryBackOff`. */
export interface RateLimitedBackOff {
  readonly resetHeaders: readonly { /** Lower case. */ readonly name: string; readonly unixTimestamp: boolean }[];
  readonly maxIntervalMs: number;
}

/** Most bytes of a call in each direction, all its messages with their prefixes together; 0 = any number. */
export interface MaxBytes {
  readonly request: number;
  readonly response: number;
}

/** One thing that a call is known by again. A header and a cookie count where the call has them. */
export type HashPolicy = (
  | { readonly kind: 'header' /** Lower case. */; readonly name: string }
  /** `making`: attributes of the cookie that a caller without one is given; `undefined`: none is given. */
  | { readonly kind: 'cookie'; readonly name: string; readonly making: string | undefined }
  | { readonly kind: 'source_ip' }
) & {
  /** Where it gave a hash, those after it are not looked at. */
  readonly terminal: boolean;
};

export interface RouteTable {
  /** In the order of evaluation. */
  readonly routes: readonly Route[];
  /**
   * Routes whose path matcher accepts `path`, in the order of evaluation, up to and including the first one without header
   * matchers. The cost does not grow with the number of prefixes and paths (it does with the number of regular expressions).
   * The array is not to be changed, and may be kept as long as the table.
   */
  candidates(path: string): readonly Route[];
  /** What holds for a call that no route matches: no timeout, the default retry policy. Not among `routes`. */
  readonly fallback: Route;
}

/** One endpoint as written. `host` is an IP address without brackets, or a name. */
export interface EndpointPolicy {
  readonly host: string;
  readonly port: number;
  /** At least 1. */
  readonly weight: number;
  /** 0 where left out. */
  readonly priority?: number;
  /** `region/zone/sub_zone`. */
  readonly locality?: string;
  /** Share of the locality in relation to the others of the priority. */
  readonly localityWeight?: number;
  readonly metadata?: EndpointMetadata;
}

/** Where the endpoints of a cluster come from. */
export type EndpointSourcePolicy =
  | StaticEndpointsPolicy
  | DnsEndpointsPolicy
  | HttpEndpointsPolicy
  | FileEndpointsPolicy
  | KubernetesEndpointsPolicy
  | ConsulEndpointsPolicy
  | UnwrittenEndpointsPolicy;

export interface StaticEndpointsPolicy {
  readonly kind: 'static';
  readonly endpoints: readonly EndpointPolicy[];
}

export interface DnsEndpointsPolicy {
  readonly kind: 'dns';
  /** Names to resolve, each with the port of its addresses. An IP address stands for itself. */
  readonly names: readonly EndpointPolicy[];
  readonly family: 'all' | 'v4' | 'v6' | 'v4_preferred' | 'v6_preferred';
  readonly refreshMs: number;
  /** False for Envoy's LOGICAL_DNS: only the first address of an answer is used. */
  readonly allAddresses: boolean;
  /** How long the last good addresses outlive an empty answer. */
  readonly keepLastMs: number;
  /** Names of SRV records. */
  readonly services?: readonly string[];
  /** Name servers to ask, `address` or `address:port`; left out: the system's way, see `asksServers`. */
  readonly servers?: readonly string[];
  /** Also without `servers` name servers are asked directly (those of the system), and TTLs are honoured. */
  readonly asksServers?: boolean;
}

/** Files towards a server that is asked for endpoints. */
export interface SourceCredentials {
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly clientCertFile?: string;
  readonly clientKeyFile?: string;
}

export interface HttpEndpointsPolicy extends SourceCredentials {
  readonly kind: 'http';
  /** Without a slash at its end. */
  readonly url: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Connect failures in a row after which an instance is reported dead; 0: never. */
  readonly unregisterAfter: number;
  readonly maxBodyBytes: number;
  readonly keepLastMs: number;
}

export interface FileEndpointsPolicy {
  readonly kind: 'file';
  readonly path: string;
  /** Under which the file lists the endpoints, where it lists those of several clusters. */
  readonly clusterName: string;
  readonly keepLastMs: number;
}

export interface KubernetesEndpointsPolicy extends SourceCredentials {
  readonly kind: 'kubernetes';
  readonly service: string;
  /** `undefined`: the pod's own. */
  readonly namespace: string | undefined;
  /** Name or number; `undefined`: the one named `grpc`, else the only one. */
  readonly port: string | number | undefined;
  readonly apiServer: string;
  readonly keepLastMs: number;
}

/** Nobody wrote endpoints: a source of discovery may know them by the service name; without one there are none. */
export interface UnwrittenEndpointsPolicy {
  readonly kind: 'unwritten';
}

export interface BreakerPolicy extends BreakerOptions {
  /** One breaker for the whole cluster, for each endpoint, or for each full gRPC path. */
  readonly scope: 'cluster' | 'endpoint' | 'method';
}

export interface UpstreamTlsPolicy {
  /** `disable` is plain text, and is never chosen by default. */
  readonly mode: 'mutual' | 'disable';
  /** Server name sent in the handshake; `''` = the service name. */
  readonly sni: string;
  /** DNS names or `spiffe://` URIs, one of which the peer's certificate must carry; empty = the service name's (see product page). */
  readonly matchSubjectAltNames: readonly string[];
  /** SHA-256 of the peer's public key (SPKI), base64; one must match; empty = not pinned. */
  readonly verifyCertificateSpki: readonly string[];
  /** SHA-256 of the peer's certificate, 64 hexadecimal digits in lower case; one must match; empty = not pinned. */
  readonly verifyCertificateHash: readonly string[];
}

export interface ClusterPolicy {
  readonly name: string;
  /** The name in certificates and in discovery: `service_name`, else the cluster's own name. */
  readonly serviceName: string;
  readonly location: SourceLocation;
  readonly endpoints: EndpointSourcePolicy;
  readonly loadBalancer: LoadBalancerOptions;
  /** `undefined`: nobody is ejected. */
  readonly outlierDetection: OutlierOptions | undefined;
  /** `undefined`: endpoints are not asked how they are. */
  readonly healthCheck: HealthCheckOptions | undefined;
  readonly connectTimeoutMs: number;
  readonly breaker: BreakerPolicy;
  /** `retryBudget` is missing only where `max_retries` was written alone; the default budget exists beside it all the same. */
  readonly thresholds: ThresholdOptions;
  /** Of calls on routes with `priority: HIGH`; `undefined`: Envoy's defaults. */
  readonly highThresholds: ThresholdOptions | undefined;
  /** Connections of one endpoint; infinite where only those of the cluster are limited. Its first one it always gets. */
  readonly maxConnectionsPerEndpoint: number;
  /** `undefined`: any number of calls may be under way. */
  readonly adaptiveConcurrency: GradientOptions | undefined;
  readonly tls: UpstreamTlsPolicy;
  /** PING after this long without a frame; at least 10 s. 0 = none. */
  readonly keepaliveIntervalMs: number;
  /** A PING unanswered for so long closes the connection. */
  readonly keepaliveTimeoutMs: number;
  /** Streams that we open at most on one connection, below what the peer allows. */
  readonly maxConcurrentStreams: number;
  /** A connection is replaced at this age, 10 % more or less; 0: it may become any age. */
  readonly maxConnectionAgeMs: number;
}

/** How long connections of a listener live. */
export interface ConnectionAgePolicy {
  /** 10 % more or less; 0: any age. */
  readonly ageMs: number;
  /** What calls have after that; infinite where nobody wrote it. */
  readonly graceMs: number;
}

export type DefaultAction = { readonly kind: 'error' } | { readonly kind: 'use_cluster'; readonly cluster: string };

/** All policies in force, compiled: one immutable object, swapped whole. A call keeps the table it started with. */
export interface PolicyTable {
  readonly outbound: RouteTable;
  readonly inbound: RouteTable;
  /** Who may call the local service; `undefined`: whoever has a certificate of the mesh. */
  readonly inboundAccess: AccessPolicy | undefined;
  /** Logs of the calls of each direction; `undefined`: nothing is written of it, and ACCESS_LOG says whether there is one. */
  readonly accessLogs: {
    readonly inbound: readonly AccessLogPolicy[] | undefined;
    readonly outbound: readonly AccessLogPolicy[] | undefined;
  };
  readonly clusters: ReadonlyMap<string, ClusterPolicy>;
  /** Defaults of a cluster that nobody wrote; its name is `''`. Use `clusterPolicy(table, name)`. */
  readonly defaultCluster: ClusterPolicy;
  /** What becomes of an outbound call that no route matches and whose authority names no cluster. */
  readonly defaultAction: DefaultAction;
  /** By full gRPC path what a descriptor set says: whether a call may be processed twice, where the route says nothing. */
  readonly idempotentMethods: ReadonlySet<string>;
  /** MAX_CONCURRENT_STREAMS announced on both listeners. */
  readonly maxConcurrentStreams: number;
  readonly connectionAge: { readonly inbound: ConnectionAgePolicy; readonly outbound: ConnectionAgePolicy };
  /** SHA-256 of the names and contents of the files, hexadecimal. */
  readonly version: string;
  readonly files: readonly PolicyFileInfo[];
  readonly warnings: readonly PolicyProblem[];
}

export interface PolicyFileInfo {
  readonly path: string;
  readonly sha256: string;
}

/** One attempt to load the policies, kept for `/policies`. */
export interface ReloadRecord {
  /** Wall clock. */
  readonly atMs: number;
  readonly ok: boolean;
  /** Errors where it failed, and warnings. */
  readonly problems: readonly PolicyProblem[];
  /** Of the table that was loaded; where it failed, of the last good one, which stays in force. */
  readonly version: string;
  readonly files: readonly PolicyFileInfo[];
}
