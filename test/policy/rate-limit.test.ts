import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, tableOf } from './policy-harness.ts';

/** A file with one route, whose limit has these keys, from line 3 and column 27. */
const withLimit = (keys: string, more = ''): string =>
  `routes:\n  - match: { prefix: / }\n    route: { ${more}local_rate_limit: { ${keys} }, cluster: c, timeout: 1s }\nclusters: { c: { endpoints: ["h:1"] } }\n`;
const bucket = 'token_bucket: { max_tokens: 5, fill_interval: 1s }';

test("Envoy's limit means what it says", () => {
  const text = withLimit(
    `stat_prefix: s, token_bucket: { max_tokens: 10, tokens_per_fill: 5, fill_interval: 0.5s }, filter_enabled: { default_value: { numerator: 5, denominator: TEN_THOUSAND } }, filter_enforced: { default_value: 50 }, always_consume_default_token_bucket: false, max_dynamic_descriptors: 7, rate_limits: [{ actions: [{ request_headers: { header_name: X-U, descriptor_key: u, skip_if_absent: true } }, { generic_key: { descriptor_value: v } }, { remote_address: {} }, { destination_cluster: {} }] }], descriptors: [{ entries: [{ key: u, value: "" }, { key: generic_key, value: v }, { key: remote_address }, { key: destination_cluster }], ${bucket} }]`,
  );
  assert.deepEqual(tableOf(text).outbound.routes[0]?.traffic?.rateLimit, {
    statPrefix: 's',
    limit: {
      bucket: { maxTokens: 10, tokensPerFill: 5, fillIntervalMs: 500 },
      descriptors: [
        {
          bucket: { maxTokens: 5, tokensPerFill: 1, fillIntervalMs: 1_000 },
          entries: [
            { key: 'u', value: undefined },
            { key: 'generic_key', value: 'v' },
            { key: 'remote_address', value: undefined },
            { key: 'destination_cluster', value: undefined },
          ],
        },
      ],
      maxDynamicDescriptors: 7,
      alwaysConsumeDefault: false,
    },
    rules: [
      [
        { kind: 'request_header', name: 'x-u', key: 'u', optional: true },
        { kind: 'text', key: 'generic_key', value: 'v' },
        { kind: 'remote_address', key: 'remote_address' },
        { kind: 'destination_cluster', key: 'destination_cluster' },
      ],
    ],
    enabledShare: 0.0005,
    enforcedShare: 0.5,
  });
  assert.deepEqual(problemsOf(text), []);
});

test('where nothing else is written, all calls count under the name of the route', () => {
  const limit = tableOf(withLimit(bucket)).outbound.routes[0]?.traffic?.rateLimit;
  assert.deepEqual(
    [limit?.statPrefix, limit?.enabledShare, limit?.enforcedShare, limit?.limit.maxDynamicDescriptors],
    ['prefix_/', 1, 1, 10_000],
  );
});

const at = (column: number, path: string, rest: string): string => `p.yaml:3:${column}: routes[0].route.local_rate_limit${path}: ${rest}`;

for (const [what, text, line] of [
  [
    'no bucket',
    withLimit('stat_prefix: s'),
    at(32, '', 'token_bucket is missing; add "token_bucket:" with a group with "max_tokens:" and "fill_interval:"'),
  ],
  [
    'a bucket of nothing',
    withLimit('token_bucket: { max_tokens: 0, fill_interval: 1s }'),
    at(62, '.token_bucket.max_tokens', 'is the number 0; write a whole number from 1 to 4294967295'),
  ],
  [
    'a fill without time',
    withLimit('token_bucket: { max_tokens: 1, fill_interval: 0s }'),
    at(80, '.token_bucket.fill_interval', 'is "0s"; write a duration such as 1s, at least 1ms'),
  ],
  [
    'the identity of the local service',
    withLimit(
      `${bucket}, rate_limits: [{ actions: [{ caller_identity: {} }] }], descriptors: [{ entries: [{ key: caller_identity }], ${bucket} }]`,
    ),
    at(
      112,
      '.rate_limits[0].actions[0]',
      'is not for outbound calls, which all come from the local service; write it under inbound, or choose request_headers',
    ),
  ],
  [
    'two things in one action',
    withLimit(
      `${bucket}, rate_limits: [{ actions: [{ remote_address: {}, destination_cluster: {} }] }], descriptors: [{ entries: [{ key: remote_address }], ${bucket} }]`,
      '',
    ),
    at(112, '.rate_limits[0].actions[0]', 'has remote_address and destination_cluster; write one list item for each'),
  ],
  [
    'an answer that gRPC would read as UNAVAILABLE',
    withLimit(`${bucket}, rate_limited_as_resource_exhausted: false`),
    at(
      122,
      '.rate_limited_as_resource_exhausted',
      'is not accepted as false; remove it: clients of gRPC would read UNAVAILABLE, and try again',
    ),
  ],
] as const) {
  test(`refused: ${what}`, () => {
    const [first, ...others] = problemsOf(text);
    assert.equal(first, line);
    assert.deepEqual(
      others.filter((other) => !other.includes('warning')),
      [],
    );
  });
}

test("a runtime's key does nothing, and is warned about", () => {
  assert.deepEqual(problemsOf(withLimit(`${bucket}, filter_enabled: { default_value: 100, runtime_key: k }`)), [
    'p.yaml:3:124: warning: routes[0].route.local_rate_limit.filter_enabled.runtime_key: has no effect; remove it: there is no runtime; change the file',
  ]);
});

test('buckets that no call can have are warned about', () => {
  const text = withLimit(
    `${bucket}, rate_limits: [{ actions: [{ request_headers: { header_name: x, descriptor_key: a, skip_if_absent: true } }, { generic_key: { descriptor_value: v } }] }], descriptors: [{ entries: [{ key: b }], ${bucket} }, { entries: [{ key: generic_key }], ${bucket} }, { entries: [{ key: a }, { key: generic_key, value: w }], ${bucket} }]`,
  );
  const lines = problemsOf(text);
  assert.deepEqual(
    lines.map((line) => line.replace(/^p\.yaml:3:\d+: warning: routes\[0\]\.route\.local_rate_limit\./, '')),
    [
      'descriptors[0]: has no effect: no actions of rate_limits give b; write rate_limits with actions for these keys in this order',
      'descriptors[2]: has no effect: no actions of rate_limits give a, generic_key; write rate_limits with actions for these keys in this order',
    ],
  );
  assert.match(
    problemsOf(withLimit(`${bucket}, rate_limits: [{ actions: [{ remote_address: {} }] }]`)).join('\n'),
    /rate_limits: has no effect: there are no descriptors; write descriptors, or remove it$/,
  );
  assert.match(
    problemsOf(withLimit('token_bucket: { max_tokens: 1, tokens_per_fill: 2, fill_interval: 1s }')).join('\n'),
    /tokens_per_fill: is more than max_tokens/,
  );
});
