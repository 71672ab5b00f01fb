import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblem, loadPolicies, type Route } from '../../src/policy/index.ts';
import { problemsOf, tableOf } from './policy-harness.ts';

const policies = new URL('../../policies/', import.meta.url);

/** A file with one route around further keys of its action, on the line 4 from column 14. */
const withAction = (keys: string): string =>
  `routes:\n  - match: { prefix: / }\n    route:\n      { cluster: c, timeout: 1s, ${keys} }\nclusters: { c: { endpoints: ["h:1"] }, d: { endpoints: ["h:2"] } }\n`;

const routeOf = (text: string): Route => tableOf(text).outbound.routes[0] ?? assert.fail();

for (const name of ['limits.yaml']) {
  test(`the example ${name} is right`, () => {
    const { table, problems } = loadPolicies([new URL(name, policies).pathname]);
    assert.ok(table, problems.map(formatProblem).join('\n'));
    assert.deepEqual(problems, []);
    assert.ok(table.outbound.routes.length >= 2 && table.clusters.size >= 2);
  });
}

test('limits of size and of time mean what they say', () => {
  const { maxBytes, maxStreamDurationMs, idleTimeoutMs } = routeOf(
    withAction('idle_timeout: 5m, max_request_bytes: 10, max_response_bytes: 20, max_stream_duration: 1h'),
  );
  assert.deepEqual([maxBytes, maxStreamDurationMs, idleTimeoutMs], [{ request: 10, response: 20 }, 3_600_000, 300_000]);
  assert.deepEqual(routeOf(withAction('max_response_bytes: 20')).maxBytes, { request: 0, response: 20 });
  assert.equal(routeOf(withAction('idle_timeout: 1s')).maxBytes, undefined);
});

test("Envoy's max_stream_duration is a group, and may stand as it is", () => {
  assert.equal(routeOf(withAction('max_stream_duration: { max_stream_duration: 30s }')).maxStreamDurationMs, 30_000);
  assert.equal(routeOf(withAction('max_stream_duration: 0s')).maxStreamDurationMs, 0);
});

for (const [what, keys, line] of [
  [
    'a size of nothing',
    'max_request_bytes: 0',
    'p.yaml:4:53: routes[0].route.max_request_bytes: is the number 0; write a whole number of at least 1',
  ],
  [
    'a size with a unit',
    'max_response_bytes: 4MiB',
    'p.yaml:4:54: routes[0].route.max_response_bytes: is "4MiB"; write a whole number of at least 1',
  ],
  [
    'a duration without a unit',
    'max_stream_duration: 5',
    'p.yaml:4:55: routes[0].route.max_stream_duration: is the number 5, without a unit; write 5s or 5ms',
  ],
  [
    "a bound of the caller's timeout",
    'max_stream_duration: { max_stream_duration: 5s, grpc_timeout_header_max: 0s }',
    "p.yaml:4:82: routes[0].route.max_stream_duration.grpc_timeout_header_max: is not accepted; remove it: the caller's grpc-timeout always counts",
  ],
  [
    'a timeout that never passes',
    'max_stream_duration: 1s',
    'p.yaml:4:21: warning: routes[0].route.timeout: never passes: max_stream_duration is not longer; write a shorter timeout, or remove it',
  ],
] as const) {
  test(`refused or warned about: ${what}`, () => {
    assert.deepEqual(problemsOf(withAction(keys)), [line]);
  });
}
