import {
  defaultHealthCheckTimes,
  type GrpcHealthCheck,
  type HealthCheckOptions,
  type HealthCheckTimes,
  type HttpHealthCheck,
  type TcpHealthCheck,
} from '../resilience/index.ts';
import type { ListedCluster, MappedCluster } from './cluster-schema.ts';
import type { healthCheckShape } from './health-check-schema.ts';
import type { Problems } from './problems.ts';
import type { Placed, Read } from './shape.ts';

type ClusterGroup = MappedCluster | ListedCluster;
type HealthCheckGroup = Read<typeof healthCheckShape>;
type GrpcGroup = NonNullable<HealthCheckGroup['values']['grpc_health_check']>;
type HttpGroup = NonNullable<HealthCheckGroup['values']['http_health_check']>;
type TcpGroup = NonNullable<HealthCheckGroup['values']['tcp_health_check']>;

const kinds = ['grpc_health_check', 'http_health_check', 'tcp_health_check'] as const;

/** `health_checks` of a cluster; as in Envoy there is one at most. */
export const compileHealthCheck = (cluster: ClusterGroup, problems: Problems): HealthCheckOptions | undefined => {
  const [written, second] = cluster.values.health_checks ?? [];
  const ignored = cluster.values.common_lb_config;
  const ignoreNewEndpoints = ignored?.values.ignore_new_hosts_until_first_hc ?? false;
  if (second !== undefined) problems.error(second.place, 'a second health check', 'keep one of them: an endpoint is checked in one way');
  if (written === undefined) {
    if (ignored !== undefined && ignoreNewEndpoints)
      problems.warning(
        ignored.placeOf('ignore_new_hosts_until_first_hc'),
        'has no effect without health_checks',
        'remove it, or write health_checks',
      );
    return undefined;
  }
  const { values } = written;
  const [kind, other] = kinds.filter((key) => written.wrote(key));
  if (other !== undefined) problems.error(written.placeOf(other), `is written beside ${kind}`, 'keep one of them');
  if (kind === undefined)
    problems.error(written.place, 'says not how to check', 'add "grpc_health_check: {}", or http_health_check or tcp_health_check');
  const newEndpoints = values.new_endpoints ?? 'after_check';
  if (ignored !== undefined && ignoreNewEndpoints && newEndpoints === 'at_once') {
    problems.error(written.placeOf('new_endpoints'), 'contradicts ignore_new_hosts_until_first_hc', 'keep one of them');
  }
  const check =
    values.http_health_check !== undefined
      ? compileHttp(values.http_health_check, problems)
      : values.tcp_health_check !== undefined
        ? compileTcp(values.tcp_health_check, problems)
        : compileGrpc(values.grpc_health_check, problems);
  if (check.kind === 'http' && check.version === 'http1' && cluster.values.tls?.values.mode !== 'disable') {
    problems.warning(
      written.placeOf('http_health_check'),
      'asks by HTTP/1.1 with mutual TLS, which a sidecar beside the service does not answer',
      'write codec_client_type: HTTP2 in it, or grpc_health_check',
    );
  }
  return Object.freeze({
    times: Object.freeze(compileTimes(written)),
    check: Object.freeze(check),
    newEndpoints,
    ignoreNewEndpoints,
    alwaysLogFailures: values.always_log_health_check_failures ?? false,
  });
};

const compileTimes = ({ values }: HealthCheckGroup): HealthCheckTimes => {
  const intervalMs = values.interval ?? defaultHealthCheckTimes.intervalMs;
  const noTrafficIntervalMs = values.no_traffic_interval ?? defaultHealthCheckTimes.noTrafficIntervalMs;
  const unhealthyIntervalMs = values.unhealthy_interval ?? intervalMs;
  return {
    timeoutMs: values.timeout ?? defaultHealthCheckTimes.timeoutMs,
    intervalMs,
    intervalJitterMs: values.interval_jitter ?? defaultHealthCheckTimes.intervalJitterMs,
    intervalJitterPercent: values.interval_jitter_percent ?? defaultHealthCheckTimes.intervalJitterPercent,
    initialJitterMs: values.initial_jitter ?? defaultHealthCheckTimes.initialJitterMs,
    unhealthyThreshold: values.unhealthy_threshold ?? defaultHealthCheckTimes.unhealthyThreshold,
    healthyThreshold: values.healthy_threshold ?? defaultHealthCheckTimes.healthyThreshold,
    noTrafficIntervalMs,
    noTrafficHealthyIntervalMs: values.no_traffic_healthy_interval ?? noTrafficIntervalMs,
    unhealthyIntervalMs,
    unhealthyEdgeIntervalMs: values.unhealthy_edge_interval ?? unhealthyIntervalMs,
    healthyEdgeIntervalMs: values.healthy_edge_interval ?? intervalMs,
  };
};

const compileGrpc = (written: GrpcGroup | undefined, problems: Problems): GrpcHealthCheck => ({
  kind: 'grpc',
  serviceName: written?.values.service_name ?? '',
  authority: written?.values.authority ?? '',
  metadata: headersOf(written?.values.initial_metadata, problems),
  watch: written?.values.watch ?? true,
  answersSuffice: false,
});

const compileHttp = ({ values }: HttpGroup, problems: Problems): HttpHealthCheck => {
  if (values.path !== undefined && !/^\/[\x21-\x7e]*$/.test(values.path.value))
    problems.error(
      values.path.place,
      `${JSON.stringify(values.path.value.slice(0, 80))} is no path`,
      'write one that begins with / and has no blanks',
    );
  return {
    kind: 'http',
    host: values.host ?? '',
    path: values.path?.value ?? '/',
    method: values.method ?? 'GET',
    headers: headersOf(values.request_headers_to_add, problems),
    expectedStatuses: rangesOf(values.expected_statuses, problems) ?? [[200, 201]],
    retriableStatuses: rangesOf(values.retriable_statuses, problems) ?? [],
    version: values.codec_client_type === 'HTTP2' ? 'http2' : 'http1',
  };
};

const rangesOf = (
  written: HttpGroup['values']['expected_statuses'],
  problems: Problems,
): readonly (readonly [number, number])[] | undefined =>
  written?.map(({ value: { values }, place }) => {
    const { start = 100, end = 600 } = values;
    if (end <= start) problems.error(place, `from ${start} to below ${end} is no status`, 'write an end above start');
    return [start, end] as const;
  });

const headersOf = (written: GrpcGroup['values']['initial_metadata'], problems: Problems): readonly (readonly [string, string])[] =>
  (written ?? []).flatMap(({ values }) => {
    const { key, value = '' } = values.header?.values ?? {};
    if (key === undefined) return [];
    const name = key.value.toLowerCase();
    if (
      !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) ||
      name === 'host' ||
      name === 'te' ||
      name === 'content-type' ||
      name.startsWith('grpc-')
    ) {
      problems.error(
        key.place,
        `${JSON.stringify(key.value.slice(0, 80))} is no header that can be added`,
        'write the name of a header of your own',
      );
    }
    return [[name, value] as const];
  });

const compileTcp = ({ values }: TcpGroup, problems: Problems): TcpHealthCheck => ({
  kind: 'tcp',
  send: values.send === undefined ? new Uint8Array(0) : bytesOf(values.send, problems),
  receive: (values.receive ?? []).map((payload) => bytesOf(payload, problems)),
});

const bytesOf = ({ value, place }: Placed<NonNullable<TcpGroup['values']['send']>['value']>, problems: Problems): Uint8Array => {
  const { text, binary } = value.values;
  if ((text === undefined) === (binary === undefined)) {
    problems.error(
      place,
      text === undefined ? 'has no bytes' : 'has text and binary',
      'write text (hexadecimal digits) or binary (base64)',
    );
    return new Uint8Array(0);
  }
  if (text !== undefined) {
    if (!/^([0-9a-fA-F]{2})+$/.test(text))
      problems.error(
        place,
        `${JSON.stringify(text.slice(0, 80))} is no hexadecimal text`,
        'write two digits for each byte: "50494e47" is PING',
      );
    return Buffer.from(text, 'hex');
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(binary ?? '')) problems.error(place, 'is no base64', 'write what "base64" prints');
  return Buffer.from(binary ?? '', 'base64');
};
