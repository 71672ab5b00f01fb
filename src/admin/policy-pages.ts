import { formatDurationMs } from '../core/index.ts';
import type {
  AccessLogPolicy,
  ClusterPolicy,
  ConnectionAgePolicy,
  Direction,
  PathMatch,
  PolicyProblem,
  PolicyTable,
  ReloadRecord,
  RetryPolicy,
  Route,
  RouteTable,
  ThresholdOptions,
} from '../policy/index.ts';
import { retryOnWords } from '../resilience/index.ts';
import { balancerJson, lbEndpointsJson, outlierJson } from './balancing-pages.ts';
import { isoTime, protoDuration } from './durations.ts';
import { protoUint32 } from './proto-number.ts';
import { actionExtrasJson, adaptiveJson, clusterJson, routeHeadersJson, statusesIn } from './traffic-pages.ts';

const matchJson = (match: PathMatch) => {
  switch (match.kind) {
    case 'prefix':
      return { prefix: match.prefix };
    case 'path':
      return { path: match.path };
    case 'regex':
      return { safe_regex: { regex: match.regex } };
  }
};

const retryJson = (retry: RetryPolicy, duration: (ms: number) => string) => ({
  retry_on: Object.keys(retryOnWords)
    .filter((word) => (retry.conditions & (retryOnWords[word] ?? 0)) !== 0)
    .join(','),
  num_retries: retry.numRetries,
  ...(retry.perTryTimeoutMs > 0 && { per_try_timeout: duration(retry.perTryTimeoutMs) }),
  ...(retry.perTryIdleTimeoutMs !== undefined && { per_try_idle_timeout: duration(retry.perTryIdleTimeoutMs) }),
  ...(retry.maxElapsedMs !== undefined && { max_elapsed: duration(retry.maxElapsedMs) }),
  retry_back_off: { base_interval: duration(retry.baseIntervalMs), max_interval: duration(retry.maxIntervalMs) },
  ...(retry.retriableStatusCodes.length > 0 && { retriable_status_codes: retry.retriableStatusCodes }),
});

/** The part of the calls that match by chance, where it is not all of them. */
const fractionJson = ({ matchedShare }: Route) =>
  matchedShare < 1 && { runtime_fraction: { default_value: { numerator: Math.round(matchedShare * 1e6), denominator: 'MILLION' } } };

const limitsJson = (route: Route, duration: (ms: number) => string) => ({
  ...clusterJson(route),
  ...(route.timeoutMs > 0 && { timeout: duration(route.timeoutMs) }),
  ...(route.idleTimeoutMs > 0 && { idle_timeout: duration(route.idleTimeoutMs) }),
  ...(route.maxStreamDurationMs > 0 && { max_stream_duration: duration(route.maxStreamDurationMs) }),
  ...((route.maxBytes?.request ?? 0) > 0 && { max_request_bytes: route.maxBytes?.request }),
  ...((route.maxBytes?.response ?? 0) > 0 && { max_response_bytes: route.maxBytes?.response }),
  ...(route.retry !== undefined && { retry_policy: retryJson(route.retry, duration) }),
  ...(route.idempotent !== undefined && { idempotent: route.idempotent }),
  ...actionExtrasJson(route, duration),
});

/** How long connections of a listener live, where anybody wrote it. */
const ageJson = (listener: 'inbound' | 'outbound', { ageMs, graceMs }: ConnectionAgePolicy) =>
  ageMs > 0 && {
    [`${listener}_connections`]: {
      max_connection_age: formatDurationMs(ageMs),
      ...(Number.isFinite(graceMs) && { max_connection_age_grace: formatDurationMs(graceMs) }),
    },
  };

/** Where lines go and which calls have one, as far as policies say so. */
const accessLogJson = (direction: Direction, logs: readonly AccessLogPolicy[] | undefined) =>
  logs !== undefined && {
    [`${direction}_access_log`]: logs.map(({ path, filter, format, location }) => ({
      path: path ?? 'ACCESS_LOG, else stdout',
      filter: filter ?? 'every call',
      format: format?.kind ?? 'default',
      location,
    })),
  };

/** `/routes`: one list per direction, in the order of evaluation, each route with the place where it was written. */
export const routesJson = ({ accessLogs, outbound, inbound, inboundAccess, defaultAction, version, connectionAge }: PolicyTable) => {
  const list = ({ routes }: RouteTable) =>
    routes.map((route) => ({
      name: route.name,
      match: {
        ...matchJson(route.match),
        ...(route.headers.length > 0 && { headers: route.headers.map(({ name }) => name) }),
        ...fractionJson(route),
      },
      ...limitsJson(route, formatDurationMs),
      ...routeHeadersJson(route),
      location: route.location,
    }));
  return {
    version,
    outbound: list(outbound),
    inbound: list(inbound),
    ...(inboundAccess !== undefined && { inbound_access: { rules: inboundAccess.rules, default: inboundAccess.defaultAction } }),
    ...accessLogJson('outbound', accessLogs.outbound),
    ...accessLogJson('inbound', accessLogs.inbound),
    ...ageJson('outbound', connectionAge.outbound),
    ...ageJson('inbound', connectionAge.inbound),
    default: defaultAction.kind === 'error' ? { action: 'error' } : { action: 'use_cluster', use_cluster: defaultAction.cluster },
  };
};

const problemJson = ({ severity, location: { file, line, column }, path, message, remedy }: PolicyProblem) => ({
  severity,
  location: file === '' ? null : `${file}:${line}:${column}`,
  path,
  message,
  remedy,
});

/** `/policies`: what is in force, and the story of how it came about. */
export const policiesJson = ({ version, files, warnings }: PolicyTable, reloads: readonly ReloadRecord[]) => ({
  version,
  files,
  warnings: warnings.map(problemJson),
  reloads: reloads.map((record) => ({
    at: isoTime(record.atMs),
    ok: record.ok,
    version: record.version,
    files: record.files,
    problems: record.problems.map(problemJson),
  })),
});

/** Envoy's `RouteConfiguration`. */
export const routeConfigJson = (name: string, { routes }: RouteTable) => ({
  name,
  virtual_hosts: [
    {
      name,
      domains: ['*'],
      routes: routes.map((route) => ({
        name: route.name,
        match: {
          ...matchJson(route.match),
          ...(route.headers.length > 0 && { headers: route.headers.map((header) => ({ name: header.name })) }),
          ...fractionJson(route),
        },
        route: limitsJson(route, protoDuration),
        ...routeHeadersJson(route),
      })),
    },
  ],
});

const clusterType = (endpoints: ClusterPolicy['endpoints']): string => {
  if (endpoints.kind === 'static') return 'STATIC';
  if (endpoints.kind === 'dns') return endpoints.allAddresses ? 'STRICT_DNS' : 'LOGICAL_DNS';
  return 'EDS';
};

const thresholdsJson = (priority: 'DEFAULT' | 'HIGH', thresholds: ThresholdOptions) => ({
  priority,
  max_connections: protoUint32(thresholds.maxConnections),
  max_pending_requests: protoUint32(thresholds.maxPendingRequests),
  ...(thresholds.maxPendingDurationMs !== undefined && { max_pending_duration: protoDuration(thresholds.maxPendingDurationMs) }),
  max_requests: protoUint32(thresholds.maxRequests),
  ...(Number.isFinite(thresholds.maxRetries) && { max_retries: thresholds.maxRetries }),
  ...(thresholds.retryBudget !== undefined && {
    retry_budget: {
      budget_percent: { value: thresholds.retryBudget.percent },
      min_retry_concurrency: thresholds.retryBudget.minConcurrency,
    },
  }),
  track_remaining: thresholds.trackRemaining ?? false,
});

/** Envoy's `Cluster`, with our breaker beside the thresholds. */
export const clusterConfigJson = ({
  name,
  serviceName,
  endpoints,
  loadBalancer,
  outlierDetection,
  connectTimeoutMs,
  thresholds,
  highThresholds,
  maxConnectionsPerEndpoint,
  adaptiveConcurrency,
  maxConnectionAgeMs,
  breaker,
  tls,
}: ClusterPolicy) => ({
  name,
  type: clusterType(endpoints),
  service_name: serviceName,
  ...balancerJson(loadBalancer),
  ...(outlierDetection !== undefined && { outlier_detection: outlierJson(outlierDetection) }),
  connect_timeout: protoDuration(connectTimeoutMs),
  ...(endpoints.kind === 'dns' && { dns_refresh_rate: protoDuration(endpoints.refreshMs) }),
  ...((endpoints.kind === 'static' || endpoints.kind === 'dns') && {
    load_assignment: {
      cluster_name: name,
      endpoints: lbEndpointsJson(endpoints.kind === 'dns' ? endpoints.names : endpoints.endpoints),
      ...(loadBalancer.overprovisioningFactor !== 140 && { policy: { overprovisioning_factor: loadBalancer.overprovisioningFactor } }),
    },
  }),
  circuit_breakers: {
    thresholds: [thresholdsJson('DEFAULT', thresholds), ...(highThresholds === undefined ? [] : [thresholdsJson('HIGH', highThresholds)])],
    ...(Number.isFinite(maxConnectionsPerEndpoint) && { per_host_thresholds: [{ max_connections: maxConnectionsPerEndpoint }] }),
    consecutive_failures: protoUint32(breaker.consecutiveFailures),
    recovery_timeout: protoDuration(breaker.recoveryTimeoutMs),
    ...(breaker.successThreshold !== undefined && { success_threshold: breaker.successThreshold }),
    ...(breaker.failureRate !== undefined && {
      failure_rate: {
        percent: breaker.failureRate.percent,
        window: protoDuration(breaker.failureRate.windowMs),
        minimum_requests: breaker.failureRate.minimumRequests,
      },
    }),
    ...(breaker.slowCallDurationMs !== undefined && { slow_call_duration: protoDuration(breaker.slowCallDurationMs) }),
    ...(breaker.failureStatuses !== undefined && { failure_statuses: statusesIn(breaker.failureStatuses) }),
    scope: breaker.scope,
  },
  ...(adaptiveConcurrency !== undefined && { adaptive_concurrency: adaptiveJson(adaptiveConcurrency, protoDuration) }),
  ...(maxConnectionAgeMs > 0 && { max_connection_age: protoDuration(maxConnectionAgeMs) }),
  tls: {
    mode: tls.mode,
    ...(tls.sni !== '' && { sni: tls.sni }),
    match_subject_alt_names: tls.matchSubjectAltNames,
    verify_certificate_spki: tls.verifyCertificateSpki,
    verify_certificate_hash: tls.verifyCertificateHash,
  },
});
