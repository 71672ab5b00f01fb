import { lbPolicies } from '../resilience/index.ts';
import { adaptiveConcurrencyShape } from './adaptive-concurrency.ts';
import {
  commonLbShape,
  leastRequestShape,
  maglevShape,
  peakEwmaShape,
  reportedLoadShape,
  ringHashShape,
  roundRobinShape,
  subsetShape,
} from './balancer-schema.ts';
import { clusterAgeFields } from './connection-age.ts';
import { consulShape } from './consul-schema.ts';
import { field, group, inert, later, refused, required } from './group.ts';
import { healthCheckShape } from './health-check-schema.ts';
import { homeOf } from './homes.ts';
import { endpointMetadataShape } from './metadata-shape.ts';
import { outlierShape } from './outlier-schema.ts';
import { nameText } from './route-schema.ts';
import { count, dictionary, duration, either, flag, list, number, placed, text, word } from './shape.ts';
import {
  dnsResolutionShape,
  dnsResolversShape,
  dnsShape,
  edsShape,
  family,
  fileSourceShape,
  httpSourceShape,
  keepLast,
  kubernetesShape,
  refresh,
} from './source-schema.ts';
import { statusShape } from './status-shape.ts';

/** Read further in `endpoint-address.ts`, where a message can say which part is wrong. */
const hostPort = placed(text('"host:port"'));
const port = count(1, 65_535);
const weight = count(1);
const priority = field(placed(count(0, 128)), 'Calls go to the lowest number that can carry them; 0 where left out');
const localityText = text('a place such as "eu-central-1/a"', { mayBeEmpty: true });
const localityShape = group(
  'locality',
  'a group such as { region: eu-central-1, zone: a }',
  {
    region: field(localityText, 'Region'),
    zone: field(localityText, 'Zone in the region'),
    sub_zone: field(localityText, 'Part of the zone'),
  },
  homeOf,
);
const metadata = field(endpointMetadataShape, 'Keys and values by which lb_subset_config chooses');

export const endpointShape = either(
  'scalar',
  hostPort,
  group(
    'endpoint',
    'a group with "address:"',
    {
      address: required(hostPort, 'host:port; an IPv6 address in brackets'),
      weight: field(weight, 'Share of the calls relative to the others; 1 where left out'),
      priority,
      locality: field(either('scalar', localityText, localityShape), 'Where it is: region/zone/sub_zone'),
      metadata,
    },
    homeOf,
  ),
);

const socketAddressShape = group(
  'socket_address',
  'a group with "address:" and "port_value:"',
  {
    address: required(placed(text('an IP address or a name')), 'IP address or name'),
    port_value: required(port, 'Port'),
    protocol: field(word(['TCP']), 'Only TCP'),
    ipv4_compat: refused('remove it'),
    named_port: refused('write port_value'),
    resolver_name: refused('remove it'),
  },
  homeOf,
);

const lbEndpointShape = group(
  'lb_endpoint',
  'a group with "endpoint:"',
  {
    endpoint: required(
      group(
        'lb_endpoint_address',
        'a group with "address:"',
        {
          address: required(
            group(
              'address',
              'a group with "socket_address:"',
              { socket_address: required(socketAddressShape, 'Host and port'), pipe: refused('write socket_address') },
              homeOf,
            ),
            'Where it is',
          ),
          health_check_config: later(),
          hostname: refused('remove it: the certificate is checked by the service name'),
        },
        homeOf,
      ),
      'Where it is',
    ),
    load_balancing_weight: field(weight, 'Share of the calls relative to the others; 1 where left out'),
    health_status: field(
      word(['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED']),
      'What is known of its health; UNHEALTHY, DRAINING and TIMEOUT are not used',
    ),
    metadata,
  },
  homeOf,
);

export const loadAssignmentShape = group(
  'load_assignment',
  'a group with "endpoints:"',
  {
    cluster_name: field(text('a name'), 'Name of the cluster, again'),
    endpoints: required(
      list(
        group(
          'locality_endpoints',
          'a group with "lb_endpoints:"',
          {
            lb_endpoints: required(list(lbEndpointShape), 'The endpoints'),
            locality: field(localityShape, 'Where they are'),
            priority,
            load_balancing_weight: field(
              weight,
              'Share of the locality relative to the others of its priority, with locality_weighted_lb_config',
            ),
            proximity: refused('remove it'),
          },
          homeOf,
        ),
      ),
      'Groups of endpoints',
    ),
    policy: field(
      group(
        'load_assignment_policy',
        'a group such as { overprovisioning_factor: 140 }',
        {
          overprovisioning_factor: field(
            count(1),
            'Percent: a priority or locality keeps all its calls until less than 100 / this of it is healthy; 140 where left out',
          ),
          weighted_priority_health: field(flag, 'The health of a priority goes by the weights of its endpoints, not by their number'),
          drop_overloads: later(),
          endpoint_stale_after: refused('remove it'),
        },
        homeOf,
      ),
      'How priorities and localities take over from each other',
    ),
  },
  homeOf,
);

const percentShape = number({ min: 0, max: 100, integer: false });

const thresholdShape = group(
  'threshold',
  'a group of limits such as "max_requests:"',
  {
    priority: field(word(['DEFAULT', 'HIGH']), 'Of which calls: HIGH are those of routes with priority: HIGH; DEFAULT where left out'),
    max_connections: field(count(1), 'Connections at once; 1024 where left out. Above it calls wait'),
    max_pending_requests: field(count(), 'Calls that wait for a connection at once; 1024 where left out'),
    max_pending_duration: field(
      duration({ minMs: 1, example: '500ms' }),
      'How long a call waits for that before it is answered RESOURCE_EXHAUSTED; as long as it likes where left out',
    ),
    max_requests: field(count(), 'Calls in flight at once; 1024 where left out'),
    max_retries: field(count(), 'Retries at once; not looked at beside retry_budget'),
    retry_budget: field(
      group(
        'retry_budget',
        'a group such as { budget_percent: { value: 20 } }',
        {
          budget_percent: field(
            either('scalar', percentShape, group('percent', 'a group with "value:"', { value: required(percentShape, 'Percent') }, homeOf)),
            'Share of the calls in flight, and of those that begin, that may be retries; 20 where left out',
          ),
          min_retry_concurrency: field(count(), 'Retries that are always allowed at once; 3 where left out'),
        },
        homeOf,
      ),
      'How many retries there may be in relation to the calls; 20 %, at least 3, where left out',
    ),
    track_remaining: field(flag, 'Show what is left of each limit in the statistics'),
    max_connection_pools: refused('remove it: a cluster has one pool for each endpoint'),
  },
  homeOf,
);

export const circuitBreakersShape = group(
  'circuit_breakers',
  'a group with "thresholds:" or "consecutive_failures:"',
  {
    consecutive_failures: field(count(1), 'Failures in a row that open the breaker; 5 where left out, and none beside failure_rate'),
    failure_rate: field(
      group(
        'failure_rate',
        'a group such as { percent: 50 }',
        {
          percent: required(number({ min: 1, max: 100, integer: false }), 'Share of failures among the results of the window'),
          window: field(
            duration({ minMs: 1_000, maxMs: 3_600_000, example: '10s' }),
            'How far back results count; 10s where left out. It begins anew when the breaker closes',
          ),
          minimum_requests: field(count(1), 'Results that have to be in the window before their share counts; 20 where left out'),
        },
        homeOf,
      ),
      'A share of failures that opens the breaker',
    ),
    slow_call_duration: field(
      duration({ minMs: 1, example: '2s' }),
      'An answer that begins later than this after the end of the request is a failure; where left out none is',
    ),
    failure_statuses: field(
      list(statusShape),
      'gRPC statuses of answers that are failures, beside lost connections, resets and time limits; [UNAVAILABLE] where left out',
    ),
    recovery_timeout: field(
      duration({ minMs: 1, example: '60s' }),
      'How long it stays open before one probe is let through; 60s where left out',
    ),
    success_threshold: field(count(1, 1_000), 'Probes that have to succeed, one after another, before it closes; 1 where left out'),
    scope: field(
      word(['cluster', 'endpoint', 'method']),
      'One breaker for the cluster, for each endpoint, or for each method; cluster where left out',
    ),
    thresholds: field(list(placed(thresholdShape)), 'Limits of what the cluster has at once'),
    per_host_thresholds: field(
      list(
        placed(
          group(
            'per_host_threshold',
            'a group such as { max_connections: 2 }',
            {
              priority: field(word(['DEFAULT', 'HIGH']), 'Only DEFAULT: the connections of an endpoint carry the calls of both priorities'),
              max_connections: field(
                count(),
                'Connections to one endpoint at once, which always gets its first one; no limit of its own where left out',
              ),
              max_pending_requests: refused('write it under thresholds'),
              max_requests: refused('write max_requests under thresholds'),
              max_retries: refused('write it under thresholds'),
            },
            homeOf,
          ),
        ),
      ),
      'Limits of what each endpoint has at once',
    ),
  },
  homeOf,
);

const keepaliveFields = {
  interval: required(duration({ example: '30s' }), 'PING after this long without a frame, at least 10s; 0s = none'),
  timeout: field(duration({ minMs: 1, example: '5s' }), 'An unanswered PING closes the connection after this long; 5s where left out'),
} as const;

export const streamWindow = inert(count(65_535, 2_147_483_647), 'remove it: windows follow the measured bandwidth and delay');

const clusterHttp2Shape = group(
  'cluster_http2_protocol_options',
  'a group such as { max_concurrent_streams: 100 }',
  {
    max_concurrent_streams: field(count(1, 2_147_483_647), 'Streams at most on one connection, below what the peer allows (1,000)'),
    connection_keepalive: field(
      group(
        'connection_keepalive',
        'a group with "interval:"',
        {
          ...keepaliveFields,
          interval_jitter: inert(group('percent_jitter', '{}', { value: field(percentShape, 'Percent') }, homeOf), 'remove it'),
          connection_idle_interval: refused('remove it'),
        },
        homeOf,
      ),
      'PINGs on quiet connections',
    ),
    initial_stream_window_size: streamWindow,
    initial_connection_window_size: streamWindow,
  },
  homeOf,
);

const subjectNameShape = placed(
  either(
    'scalar',
    text('a DNS name or a spiffe:// URI'),
    group(
      'exact_name',
      'a group with "exact:"',
      {
        exact: required(text('a DNS name or a spiffe:// URI'), 'The name'),
        prefix: refused('write exact'),
        suffix: refused('write exact'),
        contains: refused('write exact'),
        safe_regex: refused('write exact'),
      },
      homeOf,
    ),
  ),
);

const tlsShape = group(
  'tls',
  'a group such as { mode: disable }',
  {
    mode: field(word(['mutual', 'disable']), 'mutual (mTLS) where left out; disable calls the service in plain text'),
    sni: field(text('a DNS name'), 'Server name of the handshake; the service name where left out'),
    match_subject_alt_names: field(
      list(subjectNameShape, { minItems: 1 }),
      "DNS names or spiffe:// URIs; the peer's certificate must carry one of them",
    ),
    verify_certificate_spki: field(
      list(placed(text('the base64 of a SHA-256 (44 characters)'))),
      "SHA-256 of the peer's public key, base64; one must match",
    ),
    verify_certificate_hash: field(
      list(placed(text('a SHA-256 of 64 hexadecimal digits'))),
      "SHA-256 of the peer's certificate, hexadecimal; one must match",
    ),
    match_typed_subject_alt_names: refused('write match_subject_alt_names'),
  },
  homeOf,
);

const clusterFields = {
  service_name: field(nameText, 'Name of the service in certificates and in discovery; the name of the cluster where left out'),
  type: field(word(['STATIC', 'STRICT_DNS', 'LOGICAL_DNS', 'EDS']), 'How endpoints are found; by what is written where left out'),
  endpoints: field(list(endpointShape, { minItems: 1 }), 'Endpoints as host:port'),
  load_assignment: field(loadAssignmentShape, "Endpoints in Envoy's form"),
  dns: field(dnsShape, 'Endpoints by DNS'),
  dns_refresh_rate: field(refresh, 'How often names are resolved again; 5s where left out'),
  dns_lookup_family: field(family, 'Which addresses count; all where left out'),
  dns_resolvers: field(dnsResolversShape, 'Name servers to ask; those of the system where left out'),
  dns_resolution_config: field(dnsResolutionShape, 'Name servers to ask'),
  respect_dns_ttl: field(flag, 'Ask name servers directly, and again when their TTL has run out'),
  keep_last: field(keepLast, 'How long the last good endpoints outlive an empty answer; 5m where left out'),
  lb_policy: field(
    word(lbPolicies, {
      ROUND_ROBIN: 'round_robin',
      RANDOM: 'random',
      LEAST_REQUEST: 'least_request',
      RING_HASH: 'ring_hash',
      MAGLEV: 'maglev',
      PEAK_EWMA: 'peak_ewma',
      CLIENT_SIDE_WEIGHTED_ROUND_ROBIN: 'client_side_weighted_round_robin',
    }),
    'Which endpoint gets the next call; round_robin where left out',
  ),
  connect_timeout: field(duration({ minMs: 1, example: '2s' }), 'Time limit of a new connection, handshake included; 5s where left out'),
  circuit_breakers: field(circuitBreakersShape, 'Circuit breaker and limits'),
  adaptive_concurrency: field(
    adaptiveConcurrencyShape,
    'As many calls at once as the service answers without slowing down, those of all routes together; for calls, not for long streams',
  ),
  tls: field(tlsShape, 'How the service proves who it is'),
  keepalive: field(group('keepalive', 'a group with "interval:"', keepaliveFields, homeOf), 'PINGs on quiet connections'),
  http2_protocol_options: field(clusterHttp2Shape, 'Limits of HTTP/2'),
  ...clusterAgeFields,
  typed_extension_protocol_options: refused('remove it: services are always called by HTTP/2; limits go under http2_protocol_options'),
  transport_socket: refused('write tls'),
  outlier_detection: field(outlierShape, 'Ejects endpoints that do worse than the others, for a while'),
  health_checks: field(list(healthCheckShape), 'Asks endpoints how they are, and leaves out those that are not healthy'),
  ignore_health_on_host_removal: field(
    placed(flag),
    'Only true, which always holds: an endpoint that discovery no longer knows gets no calls, healthy or not',
  ),
  consul: field(consulShape, "Endpoints by Consul's catalogue"),
  http: field(httpSourceShape, 'Endpoints by an HTTP discoverer'),
  file: field(fileSourceShape, 'Endpoints in a file that is watched: our list, or the formats of EDS and CDS'),
  kubernetes: field(kubernetesShape, 'Endpoints by the EndpointSlices of a Service'),
  round_robin_lb_config: field(roundRobinShape, 'Options of lb_policy: round_robin'),
  least_request_lb_config: field(leastRequestShape, 'Options of lb_policy: least_request'),
  peak_ewma_lb_config: field(peakEwmaShape, 'Options of lb_policy: peak_ewma'),
  ring_hash_lb_config: field(ringHashShape, 'Options of lb_policy: ring_hash'),
  maglev_lb_config: field(maglevShape, 'Options of lb_policy: maglev'),
  client_side_weighted_round_robin_lb_config: field(reportedLoadShape, 'Options of lb_policy: client_side_weighted_round_robin'),
  common_lb_config: field(commonLbShape, 'What holds for every lb_policy'),
  lb_subset_config: field(subsetShape, 'Parts of the cluster that routes choose by metadata_match'),
  load_balancing_policy: refused('write lb_policy'),
  upstream_connection_options: later('write keepalive'),
  eds_cluster_config: field(edsShape, 'Endpoints in a file, with type: EDS'),
  alt_stat_name: refused('remove it: statistics carry the name of the cluster'),
  per_connection_buffer_limit_bytes: refused('remove it: buffers are bounded for the whole process'),
} as const;

const mappedClusterShape = group(
  'cluster',
  'a group such as { endpoints: ["10.0.0.4:50051"] }',
  { name: refused('remove it: the key is the name'), ...clusterFields },
  homeOf,
);
const listedClusterShape = group(
  'listed_cluster',
  'a group with "name:"',
  { name: required(placed(nameText), 'Name of the cluster'), ...clusterFields },
  homeOf,
);

export const clustersShape = either('list', list(listedClusterShape), dictionary(nameText, mappedClusterShape));
export type MappedCluster = NonNullable<ReturnType<typeof mappedClusterShape.read>>;
export type ListedCluster = NonNullable<ReturnType<typeof listedClusterShape.read>>;
