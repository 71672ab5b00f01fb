import { adaptiveConcurrencyShape } from './adaptive-concurrency.ts';
import { faultShape } from './fault.ts';
import { runtimeFractionShape } from './fractional-percent.ts';
import { field, group, later, refused, required } from './group.ts';
import { hashPoliciesShape } from './hash-policy.ts';
import { headerChangeFields } from './header-changes.ts';
import { headerMatchShape, regexShape } from './header-match-schema.ts';
import { hedgePolicyShape } from './hedge-schema.ts';
import { homeOf } from './homes.ts';
import { wantedMetadataShape } from './metadata-shape.ts';
import { mirrorPoliciesShape } from './mirror.ts';
import { prefixRewriteShape, regexRewriteShape, rewriteDoc } from './path-rewrite.ts';
import { localRateLimitShape } from './rate-limit.ts';
import { retryPolicyShape } from './retry-schema.ts';
import { count, duration, either, flag, list, placed, text, word } from './shape.ts';
import { tracingShape } from './tracing.ts';
import { nameText, weightedClustersShape } from './weighted-clusters.ts';

const emptyGroup = (name: string, expected: string) => group(name, expected, {}, homeOf);

const matchShape = group(
  'match',
  'a group with one of prefix, path, safe_regex',
  {
    prefix: field(
      text('the beginning of a path, such as /acme.Billing/', { mayBeEmpty: true }),
      'Beginning of the path, compared as plain text',
    ),
    path: field(text('a whole path, such as /acme.Billing/Charge'), 'The whole path'),
    safe_regex: field(regexShape, 'Regular expression (RE2) that matches the whole path'),
    headers: field(list(headerMatchShape), 'Conditions on request headers, all of which must hold'),
    case_sensitive: field(placed(flag), 'Only true: paths of gRPC are case-sensitive'),
    grpc: field(emptyGroup('grpc', '{}'), 'Every call is gRPC: this changes nothing'),
    path_separated_prefix: refused('write prefix, with a slash at its end'),
    connect_matcher: refused('remove it: CONNECT is not proxied'),
    query_parameters: refused('remove it: paths of gRPC have no query'),
    runtime_fraction: field(placed(runtimeFractionShape), 'Share of the calls that match, each by chance; all where left out'),
    dynamic_metadata: refused('match on headers instead'),
  },
  homeOf,
);

const streamDuration = duration({ example: '1h' });
const bufferLimit = count(0, 64 * 1_048_576);
const bufferLimitDoc = 'Most bytes of a request that are kept so that it can be sent again; 65536 where left out';

const actionFields = {
  timeout: field(duration({ example: '10s' }), 'Time limit of the whole call, attempts included; none where left out, or 0s'),
  idle_timeout: field(duration({ example: '5m' }), 'Longest silence of a stream; none where left out, or 0s'),
  retry_policy: field(retryPolicyShape, 'What is tried again'),
  idempotent: field(flag, 'Whether a call may be processed twice; false narrows retries to calls that provably never were'),
  per_request_buffer_limit_bytes: field(bufferLimit, bufferLimitDoc),
  retry_headers_hold: field(
    duration({ maxMs: 1_000, example: '10ms' }),
    'How long response headers wait for a failing status that could be retried; 10ms where left out',
  ),
  max_stream_duration: field(
    either(
      'scalar',
      placed(streamDuration),
      group(
        'max_stream_duration',
        'a group with "max_stream_duration:"',
        {
          max_stream_duration: required(placed(streamDuration), 'Longest life of a stream'),
          grpc_timeout_header_max: refused("remove it: the caller's grpc-timeout always counts"),
          grpc_timeout_header_offset: refused("remove it: the caller's grpc-timeout always counts"),
        },
        homeOf,
      ),
    ),
    'Longest life of a stream; unlike timeout, its end says nothing about the service; any where left out, or 0s',
  ),
  max_request_bytes: field(
    count(1, Number.MAX_SAFE_INTEGER),
    'Most bytes of a request, all its messages together; more is answered RESOURCE_EXHAUSTED; any number where left out',
  ),
  max_response_bytes: field(
    count(1, Number.MAX_SAFE_INTEGER),
    'Most bytes of an answer, all its messages together; more is cut off with RESOURCE_EXHAUSTED; any number where left out',
  ),
  max_grpc_timeout: refused("remove it: the caller's grpc-timeout always counts"),
  grpc_timeout_offset: refused("remove it: the caller's grpc-timeout always counts"),
  hash_policy: field(hashPoliciesShape, 'By what calls stick to an endpoint, where the cluster has lb_policy: ring_hash or maglev'),
  metadata_match: field(wantedMetadataShape, 'Metadata of the endpoints that may serve, where the cluster has lb_subset_config'),
  hedge_policy: field(placed(hedgePolicyShape), 'Attempts that run beside each other, where idempotent: true'),
  adaptive_concurrency: field(
    adaptiveConcurrencyShape,
    'As many calls at once as the service answers without slowing down; for calls, not for long streams',
  ),
  fault: field(faultShape, 'What goes wrong on purpose, as a rehearsal'),
  local_rate_limit: field(localRateLimitShape, 'How many calls may come in a time'),
  rate_limits: refused('write local_rate_limit: { rate_limits: [...] }'),
  cluster_header: refused('write cluster'),
  host_rewrite_literal: refused('remove it: the authority reaches the service as it came'),
  auto_host_rewrite: refused('remove it: the authority reaches the service as it came'),
  prefix_rewrite: field(prefixRewriteShape, rewriteDoc),
  regex_rewrite: field(regexRewriteShape(regexShape), rewriteDoc),
  cors: refused('remove it'),
  upgrade_configs: refused('remove it'),
  priority: field(
    word(['DEFAULT', 'HIGH']),
    'HIGH: shed last where the sidecar has more calls than it can answer in time; DEFAULT where left out',
  ),
} as const;

const routeFields = {
  name: field(nameText, 'Name for people, statistics and messages; unique among the routes of its direction'),
  match: required(matchShape, 'Which calls'),
  per_request_buffer_limit_bytes: field(bufferLimit, bufferLimitDoc),
  metadata: refused('remove it'),
  redirect: refused('write route: calls are not redirected'),
  direct_response: later(),
  typed_per_filter_config: refused('remove it: there are no filters; write local_rate_limit under route'),
  ...headerChangeFields,
  decorator: refused('write name'),
  tracing: field(tracingShape, 'How many of the calls are recorded as traces'),
  stat_prefix: refused('write name'),
} as const;

export { nameText };

export const outboundRouteShape = group(
  'route',
  'a group with "match:" and "route:"',
  {
    ...routeFields,
    route: required(
      group(
        'route_action',
        'a group with "cluster:"',
        {
          cluster: field(nameText, 'Name of the cluster that is called'),
          request_mirror_policies: field(mirrorPoliciesShape, 'Clusters that get a copy of the calls, whose answers go nowhere'),
          weighted_clusters: field(weightedClustersShape, 'Clusters that share the calls by weight, in the place of one'),
          ...actionFields,
        },
        homeOf,
      ),
      'What becomes of them',
    ),
  },
  homeOf,
);

export const inboundRouteShape = group(
  'inbound_route',
  'a group with "match:" and "route:"',
  {
    ...routeFields,
    route: field(
      group(
        'inbound_route_action',
        'a group of keys such as "timeout:"',
        {
          cluster: refused('remove it: inbound calls go to the local service'),
          weighted_clusters: refused('remove it: inbound calls go to the local service'),
          request_mirror_policies: refused('remove it: inbound calls go to the local service; write it on routes of the callers'),
          ...actionFields,
        },
        homeOf,
      ),
      'What becomes of them; the local service answers',
    ),
  },
  homeOf,
);
