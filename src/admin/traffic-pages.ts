import { GrpcStatus } from '../grpc/index.ts';
import type {
  FaultPolicy,
  HeaderChanges,
  HeaderValuePart,
  HedgePolicyOptions,
  RateLimitAction,
  RateLimitPolicy,
  Route,
  TrafficPolicy,
  WeightedCluster,
} from '../policy/index.ts';
import { type GradientOptions, subsetPairs, subsetsOfWish, type TokenBucketOptions } from '../resilience/index.ts';
import { redacted, secretName } from './secrets.ts';

/** How a page writes durations. */
export type WriteDuration = (ms: number) => string;

const percent = (share: number): { readonly value: number } => ({ value: Math.round(share * 1e8) / 1e6 });

/** Names of the gRPC statuses in a set of bits. */
export const statusesIn = (bits: number): readonly string[] =>
  Object.entries(GrpcStatus).flatMap(([name, code]) => (((bits >>> code) & 1) === 1 ? [name] : []));

const hedgeJson = (hedge: HedgePolicyOptions, duration: WriteDuration) => ({
  initial_requests: hedge.initialRequests,
  ...(hedge.additionalRequestChance > 0 && {
    additional_request_chance: { numerator: Math.round(hedge.additionalRequestChance * 1_000_000), denominator: 'MILLION' },
  }),
  hedge_on_per_try_timeout: hedge.onPerTryTimeout,
  max_attempts: hedge.maxAttempts,
  ...(Number.isFinite(hedge.hedgingDelayMs) && { hedging_delay: duration(hedge.hedgingDelayMs) }),
  ...(hedge.nonFatalStatuses !== undefined && { non_fatal_status_codes: statusesIn(hedge.nonFatalStatuses) }),
});

const partText = (part: HeaderValuePart): string => {
  switch (part.kind) {
    case 'text':
      return part.text.replaceAll('%', '%%');
    case 'request_header':
      return `%REQ(${part.name}${part.otherwise === undefined ? '' : `?${part.otherwise}`})${Number.isFinite(part.longest) ? `:${part.longest}` : ''}%`;
    case 'remote_address':
      return '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%';
    case 'peer_uri_san':
      return '%DOWNSTREAM_PEER_URI_SAN%';
    case 'cluster':
      return '%UPSTREAM_CLUSTER%';
    case 'route':
      return '%ROUTE_NAME%';
  }
};

/** What is written for everybody into a header that carries secrets is one. */
const headerValue = (name: string, value: readonly HeaderValuePart[]): string =>
  value.map((part) => (part.kind === 'text' && secretName.test(name) ? redacted : partText(part))).join('');

const headersJson = (kind: 'request' | 'response', changes: HeaderChanges | undefined) =>
  changes !== undefined && {
    ...(changes.add.length > 0 && {
      [`${kind}_headers_to_add`]: changes.add.map(({ name, value, action, keepEmpty }) => ({
        header: { key: name, value: headerValue(name, value) },
        append_action: action,
        ...(keepEmpty && { keep_empty_value: true }),
      })),
    }),
    ...(changes.remove.length > 0 && { [`${kind}_headers_to_remove`]: changes.remove }),
  };

/** Header changes of a route stand beside its action, as they are written. */
export const routeHeadersJson = ({ traffic }: Route) => ({
  ...headersJson('request', traffic?.requestHeaders),
  ...headersJson('response', traffic?.responseHeaders),
});

const weightedJson = ({ name, weight, metadataMatch, requestHeaders, responseHeaders }: WeightedCluster) => ({
  name,
  weight,
  ...(metadataMatch !== undefined && { metadata_match: metadataJson(metadataMatch) }),
  ...headersJson('request', requestHeaders),
  ...headersJson('response', responseHeaders),
});

/** @param wish as `subsetWish` writes it. */
export const metadataJson = (wish: string): Readonly<Record<string, unknown>> => {
  const [asked = '', ...fallbacks] = subsetsOfWish(wish);
  const pairsOf = (subset: string): Readonly<Record<string, string>> => Object.fromEntries(subsetPairs(subset));
  return { ...pairsOf(asked), ...(fallbacks.length > 0 && { fallback_list: fallbacks.map(pairsOf) }) };
};

/** One cluster, or several with their weights. */
export const clusterJson = ({ cluster, traffic }: Route) => {
  const weighted = traffic?.weightedClusters;
  if (weighted === undefined) return cluster === '' ? {} : { cluster };
  const clusters = weighted.clusters.map(weightedJson);
  if (weighted.by === 'chance') return { weighted_clusters: clusters };
  const how = weighted.by === 'hash_policy' ? { use_hash_policy: true } : { header_name: weighted.by.header };
  return { weighted_clusters: { clusters, ...how } };
};

const bucketJson = ({ maxTokens, tokensPerFill, fillIntervalMs }: TokenBucketOptions, duration: WriteDuration) => ({
  max_tokens: maxTokens,
  tokens_per_fill: tokensPerFill,
  fill_interval: duration(fillIntervalMs),
});

const actionJson = (action: RateLimitAction) => {
  switch (action.kind) {
    case 'request_header':
      return { request_headers: { header_name: action.name, descriptor_key: action.key, skip_if_absent: action.optional } };
    case 'text':
      return { generic_key: { descriptor_key: action.key, descriptor_value: action.value } };
    default:
      return { [action.kind]: {} };
  }
};

const rateLimitJson = ({ statPrefix, limit, rules, enabledShare, enforcedShare }: RateLimitPolicy, duration: WriteDuration) => ({
  stat_prefix: statPrefix,
  token_bucket: bucketJson(limit.bucket, duration),
  filter_enabled: { default_value: percent(enabledShare) },
  filter_enforced: { default_value: percent(enforcedShare) },
  ...(rules.length > 0 && { rate_limits: rules.map((actions) => ({ actions: actions.map(actionJson) })) }),
  ...(limit.descriptors.length > 0 && {
    descriptors: limit.descriptors.map(({ entries, bucket }) => ({
      entries: entries.map(({ key, value }) => ({ key, ...(value !== undefined && { value: secretName.test(key) ? redacted : value }) })),
      token_bucket: bucketJson(bucket, duration),
    })),
    max_dynamic_descriptors: limit.maxDynamicDescriptors,
    always_consume_default_token_bucket: limit.alwaysConsumeDefault,
  }),
});

const faultJson = (fault: FaultPolicy, duration: WriteDuration) => {
  const { delay, abort, responseRateLimit: pace, headers, upstreamCluster, maxActive } = fault;
  return {
    ...(delay !== undefined && {
      delay: { ...(delay.ms === undefined ? { header_delay: {} } : { fixed_delay: duration(delay.ms) }), percentage: percent(delay.share) },
    }),
    ...(abort !== undefined && {
      abort: {
        ...(abort.byHeader && { header_abort: {} }),
        ...(abort.grpcStatus !== undefined && { grpc_status: abort.grpcStatus }),
        ...(abort.httpStatus !== undefined && { http_status: abort.httpStatus }),
        percentage: percent(abort.share),
      },
    }),
    ...(pace !== undefined && {
      response_rate_limit: {
        ...(pace.kibPerSecond === undefined ? { header_limit: {} } : { fixed_limit: { limit_kbps: pace.kibPerSecond } }),
        percentage: percent(pace.share),
      },
    }),
    ...(headers.length > 0 && { headers: headers.map(({ name }) => ({ name })) }),
    ...(upstreamCluster !== undefined && { upstream_cluster: upstreamCluster }),
    ...(Number.isFinite(maxActive) && { max_active_faults: maxActive }),
  };
};

/** Envoy's `AdaptiveConcurrency`. */
export const adaptiveJson = ({ maxLimit, minRtt, percentile, updateIntervalMs }: GradientOptions, duration: WriteDuration) => ({
  gradient_controller_config: {
    sample_aggregate_percentile: percent(percentile),
    concurrency_limit_params: { max_concurrency_limit: maxLimit, concurrency_update_interval: duration(updateIntervalMs) },
    min_rtt_calc_params: {
      ...(minRtt.fixedMs > 0 ? { fixed_value: duration(minRtt.fixedMs) } : { interval: duration(minRtt.intervalMs) }),
      request_count: minRtt.requestCount,
      jitter: percent(minRtt.jitter),
      min_concurrency: minRtt.minConcurrency,
      buffer: percent(minRtt.buffer),
    },
  },
});

const trafficJson = (traffic: TrafficPolicy, duration: WriteDuration) => {
  const { adaptiveConcurrency, fault, highPriority, mirrors, pathRewrite, rateLimit } = traffic;
  return {
    ...(pathRewrite !== undefined && { path_rewrite: pathRewrite.text }),
    ...(rateLimit !== undefined && { local_rate_limit: rateLimitJson(rateLimit, duration) }),
    ...(adaptiveConcurrency !== undefined && { adaptive_concurrency: adaptiveJson(adaptiveConcurrency, duration) }),
    ...(fault !== undefined && { fault: faultJson(fault, duration) }),
    ...(highPriority === true && { priority: 'HIGH' }),
    ...(mirrors !== undefined && {
      request_mirror_policies: mirrors.map(({ cluster, share, suffix }) => ({
        cluster,
        runtime_fraction: { default_value: percent(share) },
        ...(suffix === '' && { disable_shadow_host_suffix_append: true }),
      })),
    }),
  };
};

const hashJson = (route: Route) =>
  route.hashPolicies.map(({ terminal, ...policy }) => ({
    ...(policy.kind === 'header' && { header: { header_name: policy.name } }),
    ...(policy.kind === 'cookie' && { cookie: { name: policy.name } }),
    ...(policy.kind === 'source_ip' && { connection_properties: { source_ip: true } }),
    ...(terminal && { terminal }),
  }));

/** What a route's action does with calls beyond time limits and retries, in the words of the policy files. */
export const actionExtrasJson = (route: Route, duration: WriteDuration) => ({
  ...(route.hedge !== undefined && { hedge_policy: hedgeJson(route.hedge, duration) }),
  ...(route.throttle !== undefined && {
    retry_throttling: { max_tokens: route.throttle.maxTokens, token_ratio: route.throttle.tokenRatio },
  }),
  ...(route.hashPolicies.length > 0 && { hash_policy: hashJson(route) }),
  ...(route.metadataMatch !== undefined && { metadata_match: metadataJson(route.metadataMatch) }),
  ...(route.traffic !== undefined && trafficJson(route.traffic, duration)),
});
