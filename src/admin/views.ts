import type { Logger } from '../core/index.ts';
import type { RegistrationView } from '../discovery/index.ts';
import type { ClusterPolicy, PolicyTable, ReloadRecord } from '../policy/index.ts';
import type { BreakerState, EndpointMetadata, RollingCounts } from '../resilience/index.ts';
import type { CallMetrics, ExpositionFormat, PrometheusText, Stat, StatRegistry } from '../telemetry/index.ts';
import type { RecentFailures } from './dashboard/recent-failures.ts';

/** Envoy's `ServerInfo.State`, as far as we have it. */
export type ServerState = 'PRE_INITIALIZING' | 'LIVE' | 'DRAINING';

export interface ReadinessView {
  readonly ready: boolean;
  readonly state: ServerState;
  /** Why it is not ready, where the state alone does not say it. */
  readonly why?: string;
  /** What does not work as it was meant to, though it is ready; one line. */
  readonly but?: string;
}

export interface ServerInfoView {
  /** Of Outrider. */
  readonly version: string;
  readonly serviceName: string;
  readonly serviceVersion?: string;
  readonly uptimeMs: number;
  /** What is being done against overload now, under Envoy's names; usually nothing. */
  readonly overload: readonly string[];
  /** Absent where the service is not registered anywhere. */
  readonly registration?: RegistrationView;
}

export interface HealthCheckView {
  /** How it is asked: `grpc`, `grpc watch`, `http`, `tcp`. */
  readonly method: string;
  readonly state: 'pending' | 'healthy' | 'unhealthy';
  /** What the last check has found. */
  readonly why: string;
  /** Wall clock: since when it is in this state. */
  readonly sinceMs: number;
  /** Wall clock; absent before the first result. */
  readonly checkedAtMs?: number;
}

export interface HostView {
  /** IP address. */
  readonly address: string;
  readonly port: number;
  readonly hostname?: string;
  /** What whoever told of it calls it: the id of a registration. */
  readonly instance?: string;
  /** Wall clock: since when it is one of the cluster's. */
  readonly discoveredAtMs?: number;
  /** By which `lb_subset_config` chooses. */
  readonly metadata?: EndpointMetadata;
  readonly weight: number;
  readonly priority: number;
  /** `region/zone/sub_zone`; empty where nobody said. */
  readonly locality: string;
  /** Percent of good answers in the last interval of outlier detection; -1 where it did not look, or there were too few. */
  readonly successRate: number;
  readonly localOriginSuccessRate: number;
  /** Envoy's words (`failed_active_hc`, `failed_outlier_check`, `failed_eds_health`, `pending_active_hc`, `active_hc_timeout`); empty is healthy. */
  readonly healthFlags: readonly string[];
  /** What its health checks say, where there are any. */
  readonly healthCheck?: HealthCheckView;
  /** Outlier detection has it out: for what, since when, and until when at least (wall clock). */
  readonly ejection?: { readonly type: string; readonly sinceMs: number; readonly untilMs: number };
  /** Envoy's short names: `cx_active`, `cx_connect_fail`, `cx_total`, `rq_active`, `rq_error`, `rq_success`, `rq_timeout`, `rq_total`. */
  readonly stats: readonly Stat[];
}

export interface BreakerView {
  readonly state: BreakerState;
  readonly consecutiveFailures: number;
  /** Wall clock; absent while it is closed. */
  readonly openedAtMs?: number;
  /** `address:port`, where the cluster has a breaker for each endpoint. */
  readonly endpoint?: string;
  /** Full gRPC path, where it has one for each method. */
  readonly method?: string;
  /** Held by hand; until the wall-clock time given, else until a reset. */
  readonly hold?: { readonly state: 'OPEN' | 'CLOSED'; readonly untilMs?: number };
  /** What attempts did of late. */
  readonly window?: { readonly lengthMs: number } & RollingCounts;
}

export interface ClusterView {
  readonly name: string;
  readonly policy: ClusterPolicy;
  readonly hosts: readonly HostView[];
  /** Some of those that are no longer the cluster's, and finish what is under way. */
  readonly leaving?: readonly HostView[];
  /** One in the scope `cluster`; in the others those that have been needed so far. */
  readonly breakers: readonly BreakerView[];
  /** Where the hosts come from. */
  readonly endpoints: {
    readonly source: string;
    readonly updatedAtMs: number;
    readonly error?: string;
    /** How long it has not been possible to say whether they are still right. */
    readonly stalenessMs?: number;
    /** A call has named it, and no policy. */
    readonly onDemand?: boolean;
    /** Instances that are not listed any more, and why, the newest last. */
    readonly departures?: readonly {
      readonly instance: string;
      readonly address: string;
      readonly why: string;
      readonly atMs: number;
    }[];
  };
}

export interface ListenerView {
  readonly name: string;
  readonly address: string;
  /** The one that is really bound, also where 0 was asked for. */
  readonly port: number;
  readonly connections?: { readonly active: number; readonly limit: number };
}

/** One file of certificates, PEM. Never a key. */
export interface CertificateFileView {
  readonly path: string;
  readonly pem: string;
}

export interface CertificatesView {
  readonly authorities: CertificateFileView;
  readonly chain: CertificateFileView;
}

export type BreakerAction = 'reset' | 'open' | 'close';

export interface BreakerTarget {
  /** How long a hold lasts; absent: until a reset. */
  readonly ttlMs?: number;
  /** Only the breaker of this `address:port`. */
  readonly endpoint?: string;
  /** Only the breaker of this full gRPC path. */
  readonly method?: string;
}

/** `wrong_scope`: the cluster has no breaker per endpoint (or method), but one was named. */
export type BreakerActionResult = 'ok' | 'unknown_cluster' | 'unknown_endpoint' | 'unknown_method' | 'wrong_scope';

export type UnejectResult = 'ok' | 'not_ejected' | 'unknown_cluster' | 'unknown_endpoint';

export interface ReloadPart {
  /** `policies`, `certificates`. */
  readonly name: string;
  readonly ok: boolean;
  /** What is wrong, one problem per line; what was good before stays in force. */
  readonly error?: string;
}

/** All that the admin API shows and does. The composition root makes it out of the parts; the room knows none of them. */
export interface AdminViews {
  readonly stats: StatRegistry;
  readonly log: Logger;
  readonly calls: CallMetrics;
  readonly failures: Pick<RecentFailures, 'calls' | 'total'>;
  /** The Prometheus exposition. */
  scrape(format: ExpositionFormat): Promise<PrometheusText>;
  readiness(): ReadinessView;
  serverInfo(): ServerInfoView;
  clusters(): readonly ClusterView[];
  listeners(): readonly ListenerView[];
  policies(): PolicyTable;
  /** Oldest first. */
  reloads(): readonly ReloadRecord[];
  /** Absent where the sidecar runs without certificates. */
  certificates(): CertificatesView | undefined;
  /** Settings under the names of the environment, secrets included: they are redacted here. */
  settings(): Readonly<Record<string, string>>;
  actOnBreakers(cluster: string, action: BreakerAction, target: BreakerTarget): BreakerActionResult;
  /** Ends the ejection of the endpoint `address:port`. */
  uneject(cluster: string, endpoint: string): UnejectResult;
  /** Begins to drain; returns at once. */
  drain(): void;
  /** Opens the files of access logs anew, since they may have been moved away. */
  reopenLogs(): void;
  /** Reads policies and certificates again. Resolves when they are in force or refused; never rejects for wrong files. */
  reload(): Promise<readonly ReloadPart[]>;
}
