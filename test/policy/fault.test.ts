import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, tableOf } from './policy-harness.ts';

/** A file with one route, whose faults have these keys, from line 3 and column 23. */
const withFault = (keys: string): string =>
  `routes:\n  - match: { prefix: / }\n    route: { fault: { ${keys} }, cluster: c, timeout: 1s }\nclusters: { c: { endpoints: ["h:1"] } }\n`;
const faultOf = (keys: string) => tableOf(withFault(keys)).outbound.routes[0]?.traffic?.fault;

test("Envoy's faults mean what they say", () => {
  const fault = faultOf(
    'delay: { fixed_delay: 2s, percentage: { numerator: 5, denominator: TEN_THOUSAND } }, abort: { http_status: 503, percentage: 2.5 }, headers: [{ name: a, exact_match: b }], upstream_cluster: c, max_active_faults: 3',
  );
  assert.deepEqual(
    [fault?.delay, fault?.abort],
    [
      { ms: 2_000, share: 0.0005 },
      { grpcStatus: undefined, httpStatus: 503, byHeader: false, share: 0.025 },
    ],
  );
  assert.deepEqual([fault?.upstreamCluster, fault?.maxActive, fault?.headers.map(({ name }) => name)], ['c', 3, ['a']]);
  assert.deepEqual(faultOf('response_rate_limit: { fixed_limit: { limit_kbps: 64 }, percentage: 50 }')?.responseRateLimit, {
    kibPerSecond: 64,
    share: 0.5,
  });
  assert.deepEqual(faultOf('response_rate_limit: { header_limit: {} }')?.responseRateLimit, { kibPerSecond: undefined, share: 1 });
  const byHeader = faultOf('delay: { header_delay: {} }, abort: { header_abort: {}, percentage: { numerator: 200 } }');
  assert.deepEqual(
    [byHeader?.delay, byHeader?.abort?.byHeader, byHeader?.abort?.share, byHeader?.maxActive],
    [{ ms: undefined, share: 1 }, true, 1, Number.POSITIVE_INFINITY],
  );
});

for (const [what, keys, column, rest] of [
  ['nothing', 'max_active_faults: 1', 21, ': injects nothing; write delay, abort or response_rate_limit'],
  ['a delay of no kind', 'delay: { percentage: 1 }', 30, '.delay: has none of fixed_delay, header_delay; add one of them'],
  ['two statuses', 'abort: { grpc_status: 14, http_status: 503 }', 30, '.abort: has grpc_status and http_status; keep one of them'],
  [
    'a status that there is not',
    'abort: { grpc_status: 17 }',
    45,
    '.abort.grpc_status: is the number 17; write a whole number from 1 to 16',
  ],
  ['success as a fault', 'abort: { grpc_status: 0 }', 45, '.abort.grpc_status: is the number 0; write a whole number from 1 to 16'],
  [
    'a limit of no kind',
    'response_rate_limit: { percentage: 1 }',
    44,
    '.response_rate_limit: has none of fixed_limit, header_limit; add one of them',
  ],
  [
    'a limit of nothing',
    'response_rate_limit: { fixed_limit: { limit_kbps: 0 } }',
    73,
    '.response_rate_limit.fixed_limit.limit_kbps: is the number 0; write a whole number from 1 to 4294967295',
  ],
  [
    'more than all',
    'abort: { grpc_status: 14, percentage: 101 }',
    61,
    '.abort.percentage: is the number 101; write a number from 0 to 100',
  ],
  [
    'a runtime',
    'abort: { grpc_status: 14 }, abort_percent_runtime: x',
    51,
    '.abort_percent_runtime: is not accepted; remove it: there is no runtime; change the file',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.deepEqual(problemsOf(withFault(keys)), [`p.yaml:3:${column}: routes[0].route.fault${rest}`]);
  });
}
