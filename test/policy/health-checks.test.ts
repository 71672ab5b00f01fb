/** `health_checks` of a cluster: Envoy's fields and defaults, and what is said of those that are wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterWith, problemsOf, tableOf } from './policy-harness.ts';

const checkOf = (keys: string) =>
  tableOf(clusterWith(`{ endpoints: ["10.0.0.1:1"], tls: { mode: disable }, health_checks: [${keys}] }`)).clusters.get('c')?.healthCheck;

test('what is left out is what Envoy and the product page say', () => {
  assert.deepEqual(checkOf('{ grpc_health_check: {} }'), {
    times: {
      timeoutMs: 5_000,
      intervalMs: 30_000,
      intervalJitterMs: 0,
      intervalJitterPercent: 0,
      initialJitterMs: 0,
      unhealthyThreshold: 3,
      healthyThreshold: 1,
      noTrafficIntervalMs: 60_000,
      noTrafficHealthyIntervalMs: 60_000,
      unhealthyIntervalMs: 30_000,
      unhealthyEdgeIntervalMs: 30_000,
      healthyEdgeIntervalMs: 30_000,
    },
    check: { kind: 'grpc', serviceName: '', authority: '', metadata: [], watch: true, answersSuffice: false },
    newEndpoints: 'after_check',
    ignoreNewEndpoints: false,
    alwaysLogFailures: false,
  });
  assert.equal(tableOf(clusterWith('{ endpoints: ["10.0.0.1:1"] }')).clusters.get('c')?.healthCheck, undefined);
});

test('intervals stand in for each other as in Envoy', () => {
  const times = checkOf('{ grpc_health_check: {}, interval: 7s, unhealthy_interval: 3s, no_traffic_interval: 20s }')?.times;
  assert.equal(times?.unhealthyEdgeIntervalMs, 3_000);
  assert.equal(times?.healthyEdgeIntervalMs, 7_000);
  assert.equal(times?.noTrafficHealthyIntervalMs, 20_000);
});

test('every field arrives', () => {
  const check = checkOf(`{
    grpc_health_check: { service_name: acme.Echo, authority: echo, watch: false, initial_metadata: [{ header: { key: X-Tenant, value: a } }] },
    timeout: 1s, interval: 2s, initial_jitter: 3s, interval_jitter: 4s, interval_jitter_percent: 5, unhealthy_threshold: 6, healthy_threshold: 7,
    no_traffic_interval: 8s, no_traffic_healthy_interval: 9s, unhealthy_interval: 10s, unhealthy_edge_interval: 11s, healthy_edge_interval: 12s,
    always_log_health_check_failures: true, new_endpoints: at_once }`);
  assert.deepEqual(Object.values(check?.times ?? {}), [1_000, 2_000, 4_000, 5, 3_000, 6, 7, 8_000, 9_000, 10_000, 11_000, 12_000]);
  assert.deepEqual(check?.check, {
    kind: 'grpc',
    serviceName: 'acme.Echo',
    authority: 'echo',
    metadata: [['x-tenant', 'a']],
    watch: false,
    answersSuffice: false,
  });
  assert.equal(check?.alwaysLogFailures, true);
  assert.equal(check?.newEndpoints, 'at_once');
});

test('HTTP and TCP are read', () => {
  assert.deepEqual(
    checkOf(
      '{ http_health_check: { path: /healthz, host: h, method: HEAD, codec_client_type: HTTP2, expected_statuses: [{ start: 200, end: 300 }], retriable_statuses: [{ start: 503, end: 504 }], request_headers_to_add: [{ header: { key: a, value: b } }] } }',
    )?.check,
    {
      kind: 'http',
      host: 'h',
      path: '/healthz',
      method: 'HEAD',
      headers: [['a', 'b']],
      expectedStatuses: [[200, 300]],
      retriableStatuses: [[503, 504]],
      version: 'http2',
    },
  );
  assert.deepEqual(checkOf('{ tcp_health_check: { send: { text: "50494e47" }, receive: [{ binary: "UE9ORw==" }] } }')?.check, {
    kind: 'tcp',
    send: Buffer.from('PING'),
    receive: [Buffer.from('PONG')],
  });
});

const wrong: readonly (readonly [name: string, keys: string, problem: string])[] = [
  [
    'no way to check',
    'health_checks: [{ timeout: 1s }]',
    'p.yaml:2:43: clusters.c.health_checks[0]: says not how to check; add "grpc_health_check: {}", or http_health_check or tcp_health_check',
  ],
  [
    'two ways',
    'health_checks: [{ grpc_health_check: {}, tcp_health_check: {} }]',
    'p.yaml:2:68: clusters.c.health_checks[0].tcp_health_check: is written beside grpc_health_check; keep one of them',
  ],
  [
    'two checks',
    'health_checks: [{ grpc_health_check: {} }, { tcp_health_check: {} }]',
    'p.yaml:2:70: clusters.c.health_checks[1]: a second health check; keep one of them: an endpoint is checked in one way',
  ],
  [
    'a key that is none',
    'health_checks: [{ grpc_health_check: {}, unhealthy_treshold: 2 }]',
    'p.yaml:2:68: clusters.c.health_checks[0].unhealthy_treshold: unknown key; did you mean unhealthy_threshold?',
  ],
  [
    'a key in the wrong place',
    'unhealthy_threshold: 2',
    'p.yaml:2:27: clusters.c.unhealthy_threshold: unknown key; it belongs under clusters.health_checks[]',
  ],
  [
    'a path that is none',
    'tls: { mode: disable }, health_checks: [{ http_health_check: { path: health } }]',
    'p.yaml:2:96: clusters.c.health_checks[0].http_health_check.path: "health" is no path; write one that begins with / and has no blanks',
  ],
  [
    'a range without statuses',
    'tls: { mode: disable }, health_checks: [{ http_health_check: { path: /, expected_statuses: [{ start: 300, end: 200 }] } }]',
    'p.yaml:2:119: clusters.c.health_checks[0].http_health_check.expected_statuses[0]: from 300 to below 200 is no status; write an end above start',
  ],
  [
    'bytes that are none',
    'health_checks: [{ tcp_health_check: { send: { text: PING } } }]',
    'p.yaml:2:71: clusters.c.health_checks[0].tcp_health_check.send: "PING" is no hexadecimal text; write two digits for each byte: "50494e47" is PING',
  ],
  [
    'a header that is not ours to add',
    'health_checks: [{ grpc_health_check: { initial_metadata: [{ header: { key: grpc-status, value: "0" } }] } }]',
    'p.yaml:2:102: clusters.c.health_checks[0].grpc_health_check.initial_metadata[0].header.key: "grpc-status" is no header that can be added; write the name of a header of your own',
  ],
  [
    'endpoints that outlive discovery',
    'ignore_health_on_host_removal: false',
    'p.yaml:2:58: clusters.c.ignore_health_on_host_removal: is false, and endpoints that discovery no longer knows get no calls, however healthy they are; remove it; keep_last outlives an answer of discovery that is empty by mistake',
  ],
  [
    'HTTP/1.1 to a sidecar',
    'health_checks: [{ http_health_check: { path: / } }]',
    'p.yaml:2:45: warning: clusters.c.health_checks[0].http_health_check: asks by HTTP/1.1 with mutual TLS, which a sidecar beside the service does not answer; write codec_client_type: HTTP2 in it, or grpc_health_check',
  ],
  [
    'an option of checks without checks',
    'common_lb_config: { ignore_new_hosts_until_first_hc: true }',
    'p.yaml:2:47: warning: clusters.c.common_lb_config.ignore_new_hosts_until_first_hc: has no effect without health_checks; remove it, or write health_checks',
  ],
];

for (const [name, keys, problem] of wrong) {
  test(`${name}: told with its place and what to write`, () => {
    const found = problemsOf(clusterWith(`{ endpoints: ["h:1"], ${keys} }`));
    const place = (text: string): string => text.replace(/^p\.yaml:2:\d+/, 'p.yaml:2');
    assert.deepEqual(found.map(place), [place(problem)]);
    assert.match(found[0] ?? '', /^p\.yaml:2:\d+: /);
  });
}
