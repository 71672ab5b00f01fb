import type { DescriptorLimit, TokenBucketOptions } from '../resilience/index.ts';
import { runtimeFractionShape, runtimeShareOf } from './fractional-percent.ts';
import { field, group, inert, later, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { count, duration, flag, list, placed, type Read, text } from './shape.ts';
import type { RateLimitAction, RateLimitPolicy } from './traffic-types.ts';
import type { Direction } from './types.ts';
import { nameText } from './weighted-clusters.ts';

const headerName = text('the name of a header', { pattern: /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ });
const anyText = text('text');

const tokenBucketShape = group(
  'token_bucket',
  'a group with "max_tokens:" and "fill_interval:"',
  {
    max_tokens: required(count(1), 'Calls that may come at once, after a pause'),
    tokens_per_fill: field(count(1), 'Calls that come back with each fill; 1 where left out'),
    fill_interval: required(duration({ minMs: 1, example: '1s' }), 'Time between fills'),
  },
  homeOf,
);

const kinds = ['request_headers', 'generic_key', 'remote_address', 'destination_cluster', 'caller_identity'] as const;
const nothing = (name: string) => group(name, '{}', {}, homeOf);

const actionShape = group(
  'rate_limit_action',
  `a group with one of ${kinds.join(', ')}`,
  {
    request_headers: field(
      group(
        'rate_limit_header',
        'a group with "header_name:" and "descriptor_key:"',
        {
          header_name: required(headerName, 'Value of this header'),
          descriptor_key: required(anyText, 'Key of the entry'),
          skip_if_absent: field(flag, 'Without the header there is no entry; where left out or false there is no descriptor then'),
        },
        homeOf,
      ),
      'An entry with the value of a header',
    ),
    generic_key: field(
      group(
        'rate_limit_generic_key',
        'a group with "descriptor_value:"',
        {
          descriptor_key: field(anyText, 'Key of the entry; generic_key where left out'),
          descriptor_value: required(anyText, 'Its value'),
        },
        homeOf,
      ),
      'An entry that is always the same',
    ),
    remote_address: field(nothing('rate_limit_remote_address'), 'An entry remote_address with the IP address of the caller'),
    destination_cluster: field(nothing('rate_limit_destination_cluster'), 'An entry destination_cluster with the name of the cluster'),
    caller_identity: field(
      nothing('rate_limit_caller_identity'),
      "An entry caller_identity with the name in the caller's verified certificate: its SPIFFE id, else its first DNS name; inbound only",
    ),
    source_cluster: refused('write caller_identity'),
    header_value_match: refused('write a route with headers under match'),
    metadata: refused('write request_headers'),
    masked_remote_address: refused('write remote_address'),
  },
  homeOf,
);

/** Envoy's `LocalRateLimit`. */
export const localRateLimitShape = group(
  'local_rate_limit',
  'a group with "token_bucket:"',
  {
    stat_prefix: field(nameText, 'Beginning of the names of its statistics; the name of the route where left out'),
    token_bucket: required(tokenBucketShape, 'What all calls of the route may use together'),
    descriptors: field(
      list(
        group(
          'rate_limit_descriptor',
          'a group with "entries:" and "token_bucket:"',
          {
            entries: required(
              list(
                group(
                  'rate_limit_entry',
                  'a group with "key:"',
                  {
                    key: required(anyText, 'Key that an action of rate_limits gives'),
                    value: field(
                      text('text', { mayBeEmpty: true }),
                      'Its value; where left out or empty, each value that comes has a bucket',
                    ),
                  },
                  homeOf,
                ),
                { minItems: 1 },
              ),
              'What a call must have, in this order',
            ),
            token_bucket: required(tokenBucketShape, 'What calls may use that have it'),
          },
          homeOf,
        ),
      ),
      'Buckets for calls of one kind, beside that of the route',
    ),
    rate_limits: field(
      list(
        group(
          'rate_limit',
          'a group with "actions:"',
          {
            actions: required(list(placed(actionShape), { minItems: 1 }), 'What of a call makes one descriptor'),
            stage: refused('remove it: there is one stage'),
            disable_key: refused('remove it: there is no runtime'),
            limit: refused('write descriptors'),
          },
          homeOf,
        ),
      ),
      'What is looked at of a call, to find it a bucket of descriptors',
    ),
    max_dynamic_descriptors: field(count(1, 100_000), 'Buckets for values that come, at most; 10000 where left out'),
    always_consume_default_token_bucket: field(
      flag,
      'Whether calls with a bucket of descriptors use the one of the route too; true where left out',
    ),
    filter_enabled: field(runtimeFractionShape, 'Share of the calls that are counted; all where left out'),
    filter_enforced: field(runtimeFractionShape, 'Share of those that are refused where there is no token; all where left out'),
    rate_limited_as_resource_exhausted: field(placed(flag), 'Only true: the answer is always RESOURCE_EXHAUSTED'),
    status: inert(
      group('rate_limit_status', 'a group with "code:"', { code: field(text('a status'), 'A status') }, homeOf),
      'remove it: the answer is RESOURCE_EXHAUSTED',
    ),
    response_headers_to_add: refused('write it beside match'),
    request_headers_to_add_when_not_enforced: refused('remove it'),
    enable_x_ratelimit_headers: later(),
    local_rate_limit_per_downstream_connection: later('write rate_limits: [{ actions: [{ remote_address: {} }] }]'),
    local_cluster_rate_limit: later(),
    stage: refused('remove it: there is one stage'),
  },
  homeOf,
);

type Written = Read<typeof localRateLimitShape>;

/** @param name of the route. */
export const compileRateLimit = (
  written: Written | undefined,
  name: string,
  direction: Direction,
  problems: Problems,
): RateLimitPolicy | undefined => {
  if (written === undefined) return undefined;
  const { values } = written;
  if (values.rate_limited_as_resource_exhausted?.value === false)
    problems.error(
      values.rate_limited_as_resource_exhausted.place,
      'is not accepted as false',
      'remove it: clients of gRPC would read UNAVAILABLE, and try again',
    );
  const descriptors = (values.descriptors ?? [])
    .map((descriptor) => compileDescriptor(descriptor, problems))
    .filter((one) => one !== undefined);
  const rules = (values.rate_limits ?? []).map((rule) =>
    (rule.values.actions ?? [])
      .map(({ value, place }) => compileAction(value, place, direction, problems))
      .filter((one) => one !== undefined),
  );
  const bucket = values.token_bucket === undefined ? undefined : compileBucket(values.token_bucket, problems);
  warnOfUnused(written, descriptors, rules, problems);
  if (bucket === undefined) return undefined;
  return Object.freeze({
    statPrefix: values.stat_prefix ?? name.replaceAll(/[^\x21-\x7e]/g, '_'),
    limit: Object.freeze({
      bucket,
      descriptors: Object.freeze(descriptors),
      maxDynamicDescriptors: values.max_dynamic_descriptors ?? 10_000,
      alwaysConsumeDefault: values.always_consume_default_token_bucket ?? true,
    }),
    rules: Object.freeze(rules),
    enabledShare: runtimeShareOf(values.filter_enabled, 1),
    enforcedShare: runtimeShareOf(values.filter_enforced, 1),
  });
};

const compileBucket = (written: Read<typeof tokenBucketShape>, problems: Problems): TokenBucketOptions | undefined => {
  const { max_tokens: maxTokens, tokens_per_fill: tokensPerFill = 1, fill_interval: fillIntervalMs } = written.values;
  if (maxTokens === undefined || fillIntervalMs === undefined) return undefined;
  if (tokensPerFill > maxTokens)
    problems.warning(written.placeOf('tokens_per_fill'), 'is more than max_tokens: what does not fit is lost', 'write a larger max_tokens');
  return Object.freeze({ maxTokens, tokensPerFill, fillIntervalMs });
};

const compileDescriptor = (
  { values }: NonNullable<Written['values']['descriptors']>[number],
  problems: Problems,
): DescriptorLimit | undefined => {
  const bucket = values.token_bucket === undefined ? undefined : compileBucket(values.token_bucket, problems);
  const entries = (values.entries ?? []).flatMap(({ values: { key, value } }) =>
    key === undefined ? [] : [Object.freeze({ key, value: value === '' ? undefined : value })],
  );
  return bucket === undefined ? undefined : Object.freeze({ bucket, entries: Object.freeze(entries) });
};

const compileAction = (
  written: Read<typeof actionShape>,
  place: Place,
  direction: Direction,
  problems: Problems,
): RateLimitAction | undefined => {
  const chosen = kinds.filter((kind) => written.wrote(kind));
  if (chosen.length !== 1) {
    const message = chosen.length === 0 ? `has none of ${kinds.join(', ')}` : `has ${chosen.join(' and ')}`;
    problems.error(place, message, chosen.length === 0 ? 'add one of them' : 'write one list item for each');
    return undefined;
  }
  const { request_headers: header, generic_key: generic } = written.values;
  switch (chosen[0]) {
    case 'request_headers': {
      const { header_name: name, descriptor_key: key, skip_if_absent: optional = false } = header?.values ?? {};
      return name === undefined || key === undefined ? undefined : { kind: 'request_header', name: name.toLowerCase(), key, optional };
    }
    case 'generic_key': {
      const { descriptor_key: key = 'generic_key', descriptor_value: value } = generic?.values ?? {};
      return value === undefined ? undefined : { kind: 'text', key, value };
    }
    case 'caller_identity':
      if (direction === 'outbound')
        problems.error(
          place,
          'is not for outbound calls, which all come from the local service',
          'write it under inbound, or choose request_headers',
        );
      return { kind: 'caller_identity', key: 'caller_identity' };
    case 'remote_address':
    case 'destination_cluster':
      return { kind: chosen[0], key: chosen[0] };
    default:
      return undefined;
  }
};

/** What can never come together. */
const warnOfUnused = (
  written: Written,
  descriptors: readonly DescriptorLimit[],
  rules: readonly (readonly RateLimitAction[])[],
  problems: Problems,
): void => {
  descriptors.forEach(({ entries }, i) => {
    if (rules.some((rule) => canGive(rule, entries))) return;
    const place = written.values.descriptors?.[i]?.place ?? written.place;
    const keys = entries.map(({ key }) => key).join(', ');
    problems.warning(
      place,
      `has no effect: no actions of rate_limits give ${keys}`,
      'write rate_limits with actions for these keys in this order',
    );
  });
  for (const key of ['max_dynamic_descriptors', 'always_consume_default_token_bucket'] as const) {
    if (written.wrote(key) && !written.wrote('descriptors'))
      problems.warning(written.placeOf(key), 'has no effect: there are no descriptors', 'write descriptors, or remove it');
  }
  if (rules.length > 0 && descriptors.length === 0)
    problems.warning(written.placeOf('rate_limits'), 'has no effect: there are no descriptors', 'write descriptors, or remove it');
};

/** Whether a descriptor of these actions can have these keys; a header that may be missing may leave its entry out. */
const canGive = (rule: readonly RateLimitAction[], entries: DescriptorLimit['entries']): boolean => {
  const [action, ...actions] = rule;
  const [entry, ...others] = entries;
  if (action === undefined) return entry === undefined;
  const skips = action.kind === 'request_header' && action.optional && canGive(actions, entries);
  if (skips || entry === undefined) return skips;
  const fits = action.key === entry.key && (action.kind !== 'text' || entry.value === undefined || entry.value === action.value);
  return fits && canGive(actions, others);
};
