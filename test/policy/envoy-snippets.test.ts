import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { homes } from '../../src/policy/homes.ts';
import { policyJsonSchema } from '../../src/policy/index.ts';
import { tableOf } from './policy-harness.ts';

const policies = new URL('../../policies/', import.meta.url);

test("Envoy's routes parse as they stand", () => {
  const { outbound } = tableOf(`
routes:
- match: { prefix: "/auth/authenticate" }
  route: { cluster: auth_service, timeout: 5s }
- match: { prefix: "/learner/profile" }
  route: { cluster: learner_service, timeout: 10s }
- match: { prefix: "/events/collect" }
  route: { cluster: event_collector_service, timeout: 2s }
`);
  assert.deepEqual(
    ['/auth/authenticate', '/learner/profile/x', '/events/collect', '/other'].map((path) => outbound.candidates(path)[0]?.timeoutMs),
    [5_000, 10_000, 2_000, undefined],
  );
});

test("Envoy's thresholds, alone in a file, hold for every cluster", () => {
  const { thresholds } = tableOf(`
circuit_breakers:
  thresholds:
  - priority: DEFAULT
    max_connections: 100      # Max concurrent connections
    max_pending_requests: 200 # Max queued requests
    max_requests: 500         # Max active requests
    max_retries: 5           # Max concurrent retries
    retry_budget:
      budget_percent:
        value: 20.0          # 20% of requests can be retries
`).defaultCluster;
  assert.deepEqual(thresholds, {
    maxConnections: 100,
    maxPendingRequests: 200,
    maxRequests: 500,
    maxRetries: 5,
    retryBudget: { percent: 20, minConcurrency: 3 },
    trackRemaining: false,
  });
});

test("Envoy's retry policy, alone in a file, holds for every route", () => {
  const { retry } = tableOf(`
retry_policy:
  retry_on: "5xx,reset,connect-failure,refused-stream"
  num_retries: 3
  per_try_timeout: 5s
  retry_back_off:
    base_interval: 0.1s
    max_interval: 1s
`).outbound.fallback;
  assert.deepEqual([retry?.numRetries, retry?.perTryTimeoutMs, retry?.baseIntervalMs, retry?.maxIntervalMs], [3, 5_000, 100, 1_000]);
});

test("Envoy's clusters parse as a list", () => {
  const cluster = tableOf(`
clusters:
- name: target_service
  connect_timeout: 2s
  type: STRICT_DNS
  circuit_breakers:
    thresholds:
    - priority: DEFAULT
      max_connections: 100
      max_pending_requests: 200
      max_retries: 5
`).clusters.get('target_service');
  assert.deepEqual(
    [cluster?.connectTimeoutMs, cluster?.thresholds.maxPendingRequests, cluster?.thresholds.maxRetries, cluster?.endpoints.kind],
    [2_000, 200, 5, 'unwritten'],
  );
});

test("Envoy's HTTP/2 options parse, and what has no effect is told", () => {
  const { maxConcurrentStreams, warnings } = tableOf(`
http2_protocol_options:
  initial_stream_window_size: 65536
  initial_connection_window_size: 1048576
  max_concurrent_streams: 100
`);
  assert.equal(maxConcurrentStreams, 100);
  assert.deepEqual(
    warnings.map(({ location, message }) => [location.line, message]),
    [
      [3, 'has no effect'],
      [4, 'has no effect'],
    ],
  );
});

test('the published JSON Schema is the one that the policies are read by', () => {
  const published = readFileSync(new URL('outrider.schema.json', policies), 'utf8');
  assert.equal(
    published,
    `${JSON.stringify(policyJsonSchema(), null, 2)}\n`,
    'publish it again: outrider policy schema > policies/outrider.schema.json',
  );
});

test('every part that the JSON Schema refers to is there, and no refused key is offered', () => {
  const schema = JSON.stringify(policyJsonSchema());
  const parts = (policyJsonSchema()['$defs'] ?? {}) as Record<string, unknown>;
  for (const [, name] of schema.matchAll(/"#\/\$defs\/([^"]+)"/g)) assert.ok(name !== undefined && name in parts, String(name));
  assert.doesNotMatch(schema, /monitors|static_resources/);
});

test('a key that is told to belong elsewhere is known there', () => {
  const schema = JSON.stringify(policyJsonSchema());
  for (const key of Object.keys(homes)) {
    assert.ok(schema.includes(`"${key}":`), key);
  }
});
