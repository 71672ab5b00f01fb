/** What the page shows, as it goes over the wire: times are wall clock in milliseconds, whatever may be absent is left out. */

/** What has happened between two readings. */
export interface CallFigures {
  readonly calls: number;
  readonly ok: number;
  readonly cancelled: number;
  /** Milliseconds; `null` without calls. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export interface RecentFigures extends CallFigures {
  readonly perSecond: number;
}

export interface FateNote {
  /** What has happened. */
  readonly meaning: string;
  /** Where to look, or what to change. */
  readonly remedy: string;
}

/** Path, authority and message come from the network. */
export interface FailedCallRow<F extends string = string> {
  /** Rises by one for each that is kept. */
  readonly id: number;
  /** Wall clock, when it ended. */
  readonly atMs: number;
  readonly direction: 'inbound' | 'outbound';
  readonly fate: F;
  readonly grpcStatus: number;
  readonly durationMs: number;
  readonly path: string;
  readonly authority: string;
  readonly attempts: number;
  readonly route?: string;
  readonly location?: string;
  readonly cluster?: string;
  readonly endpoint?: string;
  /** What the caller was told: cause and remedy. */
  readonly message?: string;
  readonly traceId?: string;
}

export interface ServerSection {
  readonly service: string;
  readonly serviceVersion?: string;
  readonly version: string;
  readonly state: string;
  readonly ready: boolean;
  readonly why?: string;
  readonly startedAtMs: number;
  readonly runtime: string;
  readonly pid: number;
  readonly overload: readonly string[];
  readonly registration?: {
    readonly state: string;
    readonly id: string;
    readonly address: string;
    readonly agent: string;
    readonly error?: string;
  };
  readonly listeners: readonly {
    readonly name: string;
    readonly address: string;
    readonly active?: number;
    readonly limit?: number;
  }[];
}

export interface BreakerRow {
  readonly state: string;
  readonly failures: number;
  readonly openedAtMs?: number;
  readonly endpoint?: string;
  readonly method?: string;
  readonly held?: string;
  readonly heldUntilMs?: number;
}

/** What says most about an endpoint; beside it the others may hold as well. */
export type EndpointState = 'healthy' | 'unchecked' | 'failing' | 'ejected' | 'breaker_open' | 'breaker_half_open' | 'draining';

/** An instance that the source has listed, and does not any more. What it is called, and why, comes from the network. */
export interface DepartureRow {
  readonly instance: string;
  readonly address: string;
  readonly atMs: number;
  readonly why: string;
}

export interface EndpointRow {
  /** `address:port`. */
  readonly key: string;
  /** Host name or id of the registration, where it says more than the address. */
  readonly name?: string;
  readonly place: string;
  readonly weight: number;
  readonly priority: number;
  readonly state: EndpointState;
  /** To the second: since when it is one of the cluster's. */
  readonly foundAtMs?: number;
  /** Envoy's words; empty is healthy. */
  readonly flags: readonly string[];
  /** Its own, where there is one that is not closed or is held. */
  readonly breaker?: BreakerRow;
  /** Of one that drains: when its source has left it out, and why, where it says so. */
  readonly departure?: { readonly atMs: number; readonly why: string };
  readonly check?: { readonly state: string; readonly method: string; readonly why: string };
  readonly ejection?: { readonly type: string; readonly sinceMs: number; readonly untilMs: number };
  readonly active: number;
  readonly total: number;
  readonly errors: number;
}

export interface ClusterSection {
  readonly name: string;
  /** The service beside the sidecar: nothing of it is steered by hand. */
  readonly local: boolean;
  readonly location: string;
  readonly balancer: string;
  readonly source: string;
  readonly updatedAtMs?: number;
  readonly error?: string;
  /** Since when nobody could say whether the endpoints are still right. */
  readonly staleSinceMs?: number;
  readonly onDemand: boolean;
  readonly scope: string;
  /** How the breaker opens and tries again, in words. */
  readonly rule: string;
  /** Worst first. */
  readonly breakers: readonly BreakerRow[];
  readonly healthy: number;
  readonly size: number;
  readonly active: number;
  readonly total: number;
  readonly errors: number;
  /** The worst of them, as many as fit; after them those that are listed no longer and finish what is under way. */
  readonly endpoints: readonly EndpointRow[];
  /** Of `size`, those that are not shown. */
  readonly left: number;
  /** Newest first, as many as fit. */
  readonly departures: readonly DepartureRow[];
}

export interface RouteRow extends RecentFigures {
  readonly direction: string;
  readonly name: string;
  readonly match: string;
  readonly cluster: string;
  /** `file:line:column`; empty where it stands in no file. */
  readonly location: string;
  readonly timeoutMs: number;
  readonly retries: number;
  /** Counted together with an earlier route of the same match and cluster. */
  readonly shared: boolean;
}

export interface RoutesSection {
  readonly totals: { readonly inbound: RecentFigures; readonly outbound: RecentFigures };
  readonly rows: readonly RouteRow[];
  /** Routes that are not shown. */
  readonly left: number;
}

export interface CertificateRow {
  readonly role: 'own' | 'authority';
  readonly file: string;
  readonly names: readonly string[];
  readonly serial: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface ReloadRow {
  readonly atMs: number;
  readonly ok: boolean;
  readonly version: string;
  readonly files: number;
  readonly problems: readonly { readonly severity: string; readonly place: string; readonly message: string; readonly remedy: string }[];
}

export interface PoliciesSection {
  readonly version: string;
  readonly files: readonly string[];
  /** Newest first. */
  readonly reloads: readonly ReloadRow[];
}

export interface FailuresSection {
  readonly total: number;
  /** Newest first. */
  readonly calls: readonly FailedCallRow[];
}

/** Calls, OK, cancelled, p50, p95, p99. */
export type PointFigures = readonly [number, number, number, number | null, number | null, number | null];
/** When it ended, how long it was, inbound, outbound. */
export type WirePoint = readonly [number, number, ...PointFigures, ...PointFigures];

/** `server`, `routes`, `certificates`, `policies`, `failures`, and `cluster <name>` for each cluster. In a delta `null`: it is gone. */
export type Sections = Readonly<Record<string, unknown>>;

/** What one event says. The first one of a connection has everything (`whole`), later ones what has changed. */
export interface DashboardEvent {
  readonly nowMs: number;
  readonly whole: boolean;
  readonly points: readonly WirePoint[];
  readonly sections: Sections;
}
