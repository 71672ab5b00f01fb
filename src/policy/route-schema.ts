import { field, group, later, refused, required } from './group.ts';
import { hashPoliciesShape } from './hash-policy.ts';
import { headerChangeFields } from './header-changes.ts';
import { homeOf } from './homes.ts';
import { metadataShape } from './metadata-shape.ts';
import { prefixRewriteShape, regexRewriteShape, rewriteDoc } from './path-rewrite.ts';
import { count, duration, either, flag, list, number, placed, text, word } from './shape.ts';

const regexText = placed(text('a regular expression (RE2) such as /acme\\.Billing/.*'));
const emptyGroup = (name: string, expected: string) => group(name, expected, {}, homeOf);
/** Names travel in headers, statistics and log lines. */
export const nameText = text('a name of visible characters without blanks', { pattern: /^[\x21-\x7e]{1,255}$/ });

export const regexShape = either(
  'scalar',
  regexText,
  group(
    'safe_regex',
    'a group with "regex:"',
    {
      regex: required(regexText, 'Regular expression in RE2 syntax; it must match the whole value'),
      google_re2: field(emptyGroup('google_re2', '{}'), 'The only engine there is'),
    },
    homeOf,
  ),
);

const stringMatchShape = group(
  'string_match',
  'a group with one of exact, prefix, suffix, contains, safe_regex',
  {
    exact: field(text('text', { mayBeEmpty: true }), 'The value is exactly this'),
    prefix: field(text('text'), 'The value starts with this'),
    suffix: field(text('text'), 'The value ends with this'),
    contains: field(text('text'), 'The value contains this'),
    safe_regex: field(regexShape, 'The whole value matches this'),
    ignore_case: field(flag, 'Upper and lower case are the same; not for safe_regex'),
  },
  homeOf,
);

const wholeNumber = number({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, integer: true });

export const headerMatchShape = group(
  'header_match',
  'a group with "name:" and one condition such as exact_match',
  {
    name: required(
      text('the name of a header', { pattern: /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ }),
      'Name of the header, or a pseudo-header such as :authority',
    ),
    exact_match: field(text('text, not empty (present_match asks for a header)'), 'The value is exactly this'),
    prefix_match: field(text('text'), 'The value starts with this'),
    suffix_match: field(text('text'), 'The value ends with this'),
    contains_match: field(text('text'), 'The value contains this'),
    safe_regex_match: field(regexShape, 'The whole value matches this'),
    range_match: field(
      group(
        'range_match',
        'a group with "start:" and "end:"',
        { start: required(wholeNumber, 'The least number'), end: required(wholeNumber, 'One more than the greatest number') },
        homeOf,
      ),
      'The value is a whole number from start up to, but not including, end',
    ),
    present_match: field(flag, 'The header is there (true), or is not (false)'),
    string_match: field(stringMatchShape, 'The value matches'),
    invert_match: field(flag, 'The condition must not hold; a missing header still does not match, except by present_match'),
    treat_missing_header_as_empty: field(flag, 'A missing header counts as an empty value'),
  },
  homeOf,
);

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
    runtime_fraction: later(),
    dynamic_metadata: refused('match on headers instead'),
  },
  homeOf,
);

export const retryPolicyShape = group(
  'retry_policy',
  'a group of retry rules',
  {
    retry_on: field(placed(text('conditions such as "unavailable,reset"')), "What is tried again, separated by commas: Envoy's words"),
    num_retries: field(count(), 'Attempts after the first one; 1 where left out'),
    per_try_timeout: field(duration(), 'Time limit of one attempt; none where left out'),
    retry_back_off: field(
      group(
        'retry_back_off',
        'a group with "base_interval:"',
        {
          base_interval: required(
            duration({ minMs: 1, example: '0.1s' }),
            'Upper bound of the first wait; it doubles with each further one',
          ),
          max_interval: field(duration({ minMs: 1, example: '1s' }), 'Upper bound of every wait; ten times base_interval where left out'),
        },
        homeOf,
      ),
      'Waits between attempts, with full jitter; 25 ms up to 250 ms where left out',
    ),
    retriable_status_codes: field(list(count(100, 599)), 'HTTP statuses for the word retriable-status-codes'),
    retriable_headers: later(),
    retriable_request_headers: later(),
    per_try_idle_timeout: later(),
    rate_limited_retry_back_off: later(),
    retry_priority: refused('remove it: endpoints have no priorities'),
    retry_host_predicate: refused('remove it: the next attempt avoids endpoints already tried by itself'),
    host_selection_retry_max_attempts: refused('remove it: the next attempt avoids endpoints already tried by itself'),
    retry_options_predicates: refused('remove it'),
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
  metadata_match: field(metadataShape, 'Metadata of the endpoints that may serve, where the cluster has lb_subset_config'),
  hedge_policy: later(),
  rate_limits: later(),
  request_mirror_policies: later(),
  cluster_header: refused('write cluster'),
  host_rewrite_literal: refused('remove it: the authority reaches the service as it came'),
  auto_host_rewrite: refused('remove it: the authority reaches the service as it came'),
  prefix_rewrite: field(prefixRewriteShape, rewriteDoc),
  regex_rewrite: field(regexRewriteShape(regexShape), rewriteDoc),
  cors: refused('remove it'),
  upgrade_configs: refused('remove it'),
  priority: field(word(['DEFAULT']), 'Only DEFAULT'),
} as const;

const routeFields = {
  name: field(nameText, 'Name for people, statistics and messages; unique among the routes of its direction'),
  match: required(matchShape, 'Which calls'),
  per_request_buffer_limit_bytes: field(bufferLimit, bufferLimitDoc),
  metadata: refused('remove it'),
  redirect: refused('write route: calls are not redirected'),
  direct_response: later(),
  typed_per_filter_config: refused('remove it: there are no filters'),
  ...headerChangeFields,
  decorator: refused('write name'),
  tracing: later(),
  stat_prefix: refused('write name'),
} as const;

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
          cluster: required(nameText, 'Name of the cluster that is called'),
          weighted_clusters: later('write cluster'),
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
          ...actionFields,
        },
        homeOf,
      ),
      'What becomes of them; the local service answers',
    ),
  },
  homeOf,
);
