import { field, group, inert, later, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import { count, duration, flag, list, placed, text, word } from './shape.ts';

const jitter = (what: string) => field(duration({ example: '1s' }), what);
const after = (what: string, otherwise: string) =>
  field(duration({ minMs: 1, example: '10s' }), `Time between two checks ${what}; ${otherwise} where left out`);

const addedHeaderShape = group(
  'health_check_header',
  'a group such as { header: { key: x-tenant, value: health } }',
  {
    header: required(
      group(
        'health_check_header_value',
        'a group with "key:" and "value:"',
        {
          key: required(placed(text('the name of a header')), 'Name of the header'),
          value: field(text('text', { mayBeEmpty: true }), 'Its value'),
          raw_value: refused('write value'),
        },
        homeOf,
      ),
      'Name and value',
    ),
    append: refused('remove it: the header is added'),
    append_action: refused('remove it: the header is added'),
    keep_empty_value: refused('remove it: the header is added'),
  },
  homeOf,
);

const grpcShape = group(
  'grpc_health_check',
  '{}, or a group such as { service_name: learner.LearnerService }',
  {
    service_name: field(
      text('the name of a gRPC service', { mayBeEmpty: true }),
      'Service to ask for; the server as a whole where left out',
    ),
    authority: field(
      text('a host name', { mayBeEmpty: true }),
      ':authority of the request; the service name of the cluster where left out',
    ),
    initial_metadata: field(list(addedHeaderShape), 'Further headers of the request'),
    watch: field(
      flag,
      'Ask by Watch where the server has it, which is one stream and no request at each interval; false asks by Check alone. true where left out',
    ),
  },
  homeOf,
);

const rangeShape = placed(
  group(
    'status_range',
    'a group such as { start: 200, end: 300 }',
    {
      start: required(count(100, 599), 'First HTTP status'),
      end: required(count(101, 600), 'The HTTP status after the last one'),
    },
    homeOf,
  ),
);

const httpShape = group(
  'http_health_check',
  'a group with "path:"',
  {
    path: required(placed(text('a path such as /healthz')), 'Path of the request'),
    host: field(text('a host name', { mayBeEmpty: true }), 'Host of the request; the service name of the cluster where left out'),
    expected_statuses: field(list(rangeShape, { minItems: 1 }), 'HTTP statuses of an endpoint that is healthy; 200 alone where left out'),
    retriable_statuses: field(list(rangeShape), 'HTTP statuses that make it unhealthy only after unhealthy_threshold of them'),
    request_headers_to_add: field(list(addedHeaderShape), 'Further headers of the request'),
    method: field(word(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']), 'Method of the request; GET where left out'),
    codec_client_type: field(
      word(['HTTP1', 'HTTP2']),
      'HTTP1 over a connection of its own, or HTTP2 over the connections of calls; HTTP1 where left out',
    ),
    send: refused('remove it: the request has no body'),
    receive: refused('write expected_statuses'),
    response_buffer_size: refused('remove it: bodies are not looked at'),
    request_headers_to_remove: refused('remove it: only what is written is sent'),
    service_name_matcher: refused('remove it: the certificate of the endpoint says who it is'),
    service_name: refused('remove it: the certificate of the endpoint says who it is'),
    use_http2: refused('write codec_client_type: HTTP2'),
  },
  homeOf,
);

const payloadShape = placed(
  group(
    'health_check_payload',
    'a group such as { text: "50494e47" }',
    {
      text: field(text('bytes in hexadecimal digits'), 'Bytes in hexadecimal digits, as in Envoy'),
      binary: field(text('bytes in base64'), 'Bytes in base64'),
    },
    homeOf,
  ),
);

const tcpShape = group(
  'tcp_health_check',
  '{}, or a group such as { send: { text: "50494e47" }, receive: [{ text: "504f4e47" }] }',
  {
    send: field(payloadShape, 'Bytes to send; where left out connecting is enough'),
    receive: field(list(payloadShape), 'Bytes that the answer has to contain, in this order'),
    proxy_protocol_config: refused('remove it'),
  },
  homeOf,
);

/** Envoy's `health_checks`, field by field. */
export const healthCheckShape = group(
  'health_check',
  'a group such as { grpc_health_check: {}, interval: 30s, timeout: 5s }',
  {
    timeout: field(duration({ minMs: 1, example: '5s' }), 'How long an answer may take; 5s where left out'),
    interval: field(duration({ minMs: 1, example: '30s' }), 'Time between two checks of one endpoint; 30s where left out'),
    initial_jitter: jitter('The first check waits up to so long, at random; 0s where left out'),
    interval_jitter: jitter('Up to so much is added to each interval, at random; 0s where left out'),
    interval_jitter_percent: field(count(0, 100), 'Up to so many percent are added to each interval, at random; 0 where left out'),
    unhealthy_threshold: field(
      count(1, 1_000),
      'Checks in a row without an answer after which calls go elsewhere; 3 where left out. An answer that says so needs no second one',
    ),
    healthy_threshold: field(
      count(1, 1_000),
      'Passing checks in a row after which calls come back; 1 where left out. The very first decides alone',
    ),
    reuse_connection: inert(flag, 'remove it: gRPC checks go over the connections of calls, the others over one of their own each time'),
    http_health_check: field(httpShape, 'Ask by an HTTP request'),
    tcp_health_check: field(tcpShape, 'Connect, and where bytes are written compare what comes back'),
    grpc_health_check: field(grpcShape, 'Ask by grpc.health.v1'),
    custom_health_check: refused('write grpc_health_check, http_health_check or tcp_health_check'),
    no_traffic_interval: after('while no call has gone to the cluster yet', '60s'),
    no_traffic_healthy_interval: after('of a healthy endpoint while no call has gone to the cluster yet', 'no_traffic_interval'),
    unhealthy_interval: after('of an endpoint that is not healthy', 'interval'),
    unhealthy_edge_interval: after('after a failure that does not count alone', 'unhealthy_interval'),
    healthy_edge_interval: after('after a success that does not count alone', 'interval'),
    event_log_path: refused('remove it: every change is a line of the log'),
    event_logger: refused('remove it: every change is a line of the log'),
    event_service: later(),
    always_log_health_check_failures: field(flag, 'Log every failed check, not only changes; false where left out'),
    always_log_health_check_success: refused('remove it: changes are logged'),
    tls_options: refused('write tls in the cluster: checks are made with it'),
    transport_socket_match_criteria: refused('write tls in the cluster: checks are made with it'),
    new_endpoints: field(
      word(['after_check', 'at_once']),
      'When a new endpoint gets calls: after its first passing check, or at once; after_check where left out',
    ),
  },
  homeOf,
);
