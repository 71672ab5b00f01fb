import { GrpcStatus } from '../grpc/index.ts';
import {
  type BreakerOptions,
  defaultBreaker,
  defaultLoadBalancer,
  defaultRetryBudget,
  defaultThresholds,
  type RetryBudgetOptions,
  statusBits,
  type ThresholdOptions,
} from '../resilience/index.ts';
import { compileAdaptiveConcurrency } from './adaptive-concurrency.ts';
import type { circuitBreakersShape, ListedCluster, MappedCluster } from './cluster-schema.ts';
import { compileBalancer } from './compile-balancer.ts';
import { compileEndpoints } from './compile-endpoints.ts';
import { compileHealthCheck } from './compile-health-check.ts';
import { compileOutlier } from './compile-outlier.ts';
import { compileAge } from './connection-age.ts';
import type { Place, Problems } from './problems.ts';
import type { Placed, Read } from './shape.ts';
import type { BreakerPolicy, ClusterPolicy, UpstreamTlsPolicy } from './types.ts';

type ClusterGroup = MappedCluster | ListedCluster;
type BreakersGroup = Read<typeof circuitBreakersShape>;
type TlsGroup = NonNullable<ClusterGroup['values']['tls']>;

/** The part of a cluster that `circuit_breakers` says. */
export interface CompiledBreakers {
  readonly breaker: BreakerPolicy;
  readonly thresholds: ThresholdOptions;
  readonly highThresholds: ThresholdOptions | undefined;
  readonly maxConnectionsPerEndpoint: number;
}

export const defaultBreakers: CompiledBreakers = Object.freeze({
  breaker: Object.freeze({ ...defaultBreaker, scope: 'cluster' }),
  thresholds: defaultThresholds,
  highThresholds: undefined,
  maxConnectionsPerEndpoint: Number.POSITIVE_INFINITY,
});

const defaultRateWindowMs = 10_000;
const defaultRateMinimum = 20;
const defaultConnectTimeoutMs = 5_000;
const defaultKeepaliveIntervalMs = 10_000;
const defaultKeepaliveTimeoutMs = 5_000;
/** Servers answer more frequent PINGs with `too_many_pings` (gRFC A8). */
const shortestKeepaliveMs = 10_000;
/** More would share one budget of buffered bytes: readers that stall could hold all of it, and stop the others. Another connection has its own. */
const defaultMaxConcurrentStreams = 1_000;
const defaultTls: UpstreamTlsPolicy = Object.freeze({
  mode: 'mutual',
  sni: '',
  matchSubjectAltNames: [],
  verifyCertificateSpki: [],
  verifyCertificateHash: [],
});

/** A cluster of which nothing is written but, perhaps, the defaults of its breakers. */
export const unwrittenCluster = (name: string, breakers: CompiledBreakers = defaultBreakers): ClusterPolicy =>
  Object.freeze<ClusterPolicy>({
    name,
    serviceName: name,
    location: { file: '', line: 0, column: 0 },
    endpoints: { kind: 'unwritten' },
    loadBalancer: defaultLoadBalancer,
    outlierDetection: undefined,
    healthCheck: undefined,
    connectTimeoutMs: defaultConnectTimeoutMs,
    ...breakers,
    adaptiveConcurrency: undefined,
    tls: defaultTls,
    keepaliveIntervalMs: defaultKeepaliveIntervalMs,
    keepaliveTimeoutMs: defaultKeepaliveTimeoutMs,
    maxConcurrentStreams: defaultMaxConcurrentStreams,
    maxConnectionAgeMs: 0,
  });

export const compileCluster = (
  name: string,
  place: Place,
  written: ClusterGroup,
  inherited: CompiledBreakers,
  problems: Problems,
): ClusterPolicy => {
  const { values } = written;
  const base = unwrittenCluster(
    name,
    values.circuit_breakers === undefined ? inherited : compileBreakers(values.circuit_breakers, problems),
  );
  const assigned = values.load_assignment?.values.cluster_name;
  if (assigned !== undefined && assigned !== name && values.load_assignment !== undefined) {
    problems.warning(
      values.load_assignment.placeOf('cluster_name'),
      `"${assigned}" is not the name of the cluster, and has no effect`,
      'remove it, or write service_name',
    );
  }
  const kept = values.ignore_health_on_host_removal;
  if (kept?.value === false) {
    problems.error(
      kept.place,
      'is false, and endpoints that discovery no longer knows get no calls, however healthy they are',
      'remove it; keep_last outlives an answer of discovery that is empty by mistake',
    );
  }
  const endpoints = Object.freeze(compileEndpoints(name, written, problems));
  return Object.freeze({
    ...base,
    serviceName: values.consul?.values.service?.value ?? values.service_name ?? name,
    location: place.location,
    endpoints,
    loadBalancer: compileBalancer(written, problems),
    outlierDetection: values.outlier_detection === undefined ? undefined : compileOutlier(values.outlier_detection, endpoints, problems),
    healthCheck: compileHealthCheck(written, problems),
    connectTimeoutMs: values.connect_timeout ?? base.connectTimeoutMs,
    adaptiveConcurrency: compileAdaptiveConcurrency(values.adaptive_concurrency, problems),
    tls: values.tls === undefined ? base.tls : compileTls(values.tls, problems),
    ...compileKeepalive(written, problems),
    maxConcurrentStreams: values.http2_protocol_options?.values.max_concurrent_streams ?? base.maxConcurrentStreams,
    maxConnectionAgeMs: compileAge(written, problems) ?? base.maxConnectionAgeMs,
  });
};

export const compileBreakers = ({ values }: BreakersGroup, problems: Problems): CompiledBreakers => {
  const [thresholds, second] = thresholdsOf('DEFAULT', values.thresholds);
  const [high, secondHigh] = thresholdsOf('HIGH', values.thresholds);
  for (const { place } of [second, secondHigh].filter((each) => each !== undefined))
    problems.error(place, 'a second group of limits of the same priority', 'keep one of them, or write priority: HIGH in one');
  return Object.freeze({
    breaker: Object.freeze({ ...compileBreaker(values), scope: values.scope ?? 'cluster' }),
    thresholds: Object.freeze(compileThresholds(thresholds?.value)),
    highThresholds: high === undefined ? undefined : Object.freeze(compileThresholds(high.value)),
    maxConnectionsPerEndpoint: compilePerHost(values.per_host_thresholds, problems),
  });
};

/** What is not written is left out, so that it costs nothing. */
const compileBreaker = (values: BreakersGroup['values']): BreakerOptions => {
  const { failure_rate: rate, failure_statuses: statuses, slow_call_duration: slowCallDurationMs, success_threshold } = values;
  // Half of all calls failing brings five in a row at once: whoever writes a share means the share.
  const inARow = rate === undefined ? defaultBreaker.consecutiveFailures : Number.POSITIVE_INFINITY;
  return {
    consecutiveFailures: values.consecutive_failures ?? inARow,
    recoveryTimeoutMs: values.recovery_timeout ?? defaultBreaker.recoveryTimeoutMs,
    ...(success_threshold === undefined ? {} : { successThreshold: success_threshold }),
    ...(rate === undefined
      ? {}
      : {
          failureRate: Object.freeze({
            percent: rate.values.percent ?? 100,
            windowMs: rate.values.window ?? defaultRateWindowMs,
            minimumRequests: rate.values.minimum_requests ?? defaultRateMinimum,
          }),
        }),
    ...(slowCallDurationMs === undefined ? {} : { slowCallDurationMs }),
    ...(statuses === undefined ? {} : { failureStatuses: statusBits(statuses.map((name) => GrpcStatus[name])) }),
  };
};

/** The lists are Envoy's; it looks at the connections of one group alone. */
const compilePerHost = (written: BreakersGroup['values']['per_host_thresholds'] = [], problems: Problems): number => {
  for (const { place, value } of written.filter((one, i) => i > 0 || one.value.values.priority === 'HIGH')) {
    if (value.values.priority === 'HIGH')
      problems.error(place, 'is for priority HIGH, whose calls use the connections of the others', 'write it without priority');
    else problems.error(place, 'a second group of limits of an endpoint', 'keep one of them');
  }
  return written[0]?.value.values.max_connections ?? Number.POSITIVE_INFINITY;
};

type ThresholdGroup = NonNullable<BreakersGroup['values']['thresholds']>[number]['value'];

const thresholdsOf = (priority: 'DEFAULT' | 'HIGH', written: BreakersGroup['values']['thresholds'] = []) =>
  written.filter(({ value }) => (value.values.priority ?? 'DEFAULT') === priority);

const compileThresholds = (written: ThresholdGroup | undefined): ThresholdOptions => {
  if (written === undefined) return defaultThresholds;
  const { values } = written;
  const budget = compileBudget(written);
  return {
    maxConnections: values.max_connections ?? defaultThresholds.maxConnections,
    maxPendingRequests: values.max_pending_requests ?? defaultThresholds.maxPendingRequests,
    ...(values.max_pending_duration === undefined ? {} : { maxPendingDurationMs: values.max_pending_duration }),
    maxRequests: values.max_requests ?? defaultThresholds.maxRequests,
    maxRetries: values.max_retries ?? defaultThresholds.maxRetries,
    ...(budget === undefined ? {} : { retryBudget: budget }),
    trackRemaining: values.track_remaining ?? false,
  };
};

/** Envoy does not look at `max_retries` beside a budget, so that the default budget is left out where only `max_retries` is written. */
const compileBudget = ({ values }: ThresholdGroup): RetryBudgetOptions | undefined => {
  const budget = values.retry_budget?.values;
  if (budget === undefined) return values.max_retries === undefined ? defaultRetryBudget : undefined;
  const percent = typeof budget.budget_percent === 'object' ? budget.budget_percent.values.value : budget.budget_percent;
  return {
    percent: percent ?? defaultRetryBudget.percent,
    minConcurrency: budget.min_retry_concurrency ?? defaultRetryBudget.minConcurrency,
  };
};

const compileKeepalive = (written: ClusterGroup, problems: Problems): { keepaliveIntervalMs: number; keepaliveTimeoutMs: number } => {
  const { keepalive, http2_protocol_options: http2 } = written.values;
  const envoys = http2?.values.connection_keepalive;
  if (keepalive !== undefined && envoys !== undefined) problems.error(envoys.place, 'is written beside keepalive', 'keep one of them');
  const group = keepalive ?? envoys;
  const intervalMs = group?.values.interval ?? defaultKeepaliveIntervalMs;
  if (group !== undefined && intervalMs > 0 && intervalMs < shortestKeepaliveMs) {
    problems.error(
      group.placeOf('interval'),
      'is shorter than 10s, which servers answer with too_many_pings',
      'write 10s or more, or 0s for none',
    );
  }
  return { keepaliveIntervalMs: intervalMs, keepaliveTimeoutMs: group?.values.timeout ?? defaultKeepaliveTimeoutMs };
};

const compileTls = (written: TlsGroup, problems: Problems): UpstreamTlsPolicy => {
  const { values } = written;
  const mode = values.mode ?? 'mutual';
  const checks = ['sni', 'match_subject_alt_names', 'verify_certificate_spki', 'verify_certificate_hash'] as const;
  for (const key of checks) {
    if (mode === 'disable' && written.wrote(key)) problems.error(written.placeOf(key), 'contradicts mode: disable', 'remove one of them');
  }
  const names = (values.match_subject_alt_names ?? []).map(({ value }) => (typeof value === 'string' ? value : value.values.exact));
  return Object.freeze({
    mode,
    sni: values.sni ?? '',
    matchSubjectAltNames: Object.freeze(names.filter((name) => name !== undefined)),
    verifyCertificateSpki: Object.freeze((values.verify_certificate_spki ?? []).map((pin) => checkSpki(pin, problems))),
    verifyCertificateHash: Object.freeze((values.verify_certificate_hash ?? []).map((hash) => checkHash(hash, problems))),
  });
};

const checkSpki = ({ value, place }: Placed<string>, problems: Problems): string => {
  const right = /^[A-Za-z0-9+/]{43}=$/.test(value) && Buffer.from(value, 'base64').length === 32;
  if (!right)
    problems.error(
      place,
      `${JSON.stringify(value.slice(0, 80))} is no base64 of a SHA-256`,
      'write 44 characters, as "openssl dgst -sha256 -binary | base64" prints them',
    );
  return value;
};

const checkHash = ({ value, place }: Placed<string>, problems: Problems): string => {
  const digits = value.replaceAll(':', '').toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits))
    problems.error(place, `${JSON.stringify(value.slice(0, 120))} is no SHA-256`, 'write 64 hexadecimal digits, with or without colons');
  return digits;
};
