/** What a cluster says about who knows its endpoints, right and wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterWith, problemsOf, tableOf } from './policy-harness.ts';

const sourceOf = (cluster: string): unknown => JSON.parse(JSON.stringify(tableOf(clusterWith(cluster)).clusters.get('c')?.endpoints));

const dns = { kind: 'dns', names: [], family: 'all', refreshMs: 5_000, allAddresses: true, keepLastMs: 300_000 };
const http = {
  kind: 'http',
  url: 'http://r:1',
  intervalMs: 5_000,
  timeoutMs: 5_000,
  unregisterAfter: 3,
  maxBodyBytes: 8_388_608,
  keepLastMs: 300_000,
};
const names = [{ host: 'a', port: 1, weight: 1 }];

for (const [what, cluster, expected] of [
  ['SRV records', '{ dns: { srv: _grpc._tcp.auth } }', { ...dns, services: ['_grpc._tcp.auth'] }],
  [
    'several of them beside names, through Consul',
    '{ dns: { srv: [a.b, c.d], names: ["a:1"], resolvers: ["127.0.0.1:8600", "::1", "[::1]:54", 10.0.0.1] } }',
    { ...dns, names, services: ['a.b', 'c.d'], servers: ['127.0.0.1:8600', '[::1]:53', '[::1]:54', '10.0.0.1:53'] },
  ],
  [
    'the TTL',
    '{ dns: { names: ["a:1"], respect_ttl: true, keep_last: 1s, refresh_rate: 9s, lookup_family: v4 } }',
    { ...dns, names, asksServers: true, keepLastMs: 1_000, refreshMs: 9_000, family: 'v4' },
  ],
  [
    "Envoy's dns_resolution_config",
    '{ type: STRICT_DNS, endpoints: ["a:1"], respect_dns_ttl: true, dns_resolution_config: { resolvers: [{ socket_address: { address: 10.0.0.1, port_value: 54 } }] } }',
    { ...dns, names, servers: ['10.0.0.1:54'], asksServers: true },
  ],
  [
    "Envoy's dns_resolvers",
    '{ type: LOGICAL_DNS, endpoints: ["a:1"], dns_resolvers: [{ socket_address: { address: "::1" } }] }',
    { ...dns, names, allAddresses: false, servers: ['[::1]:53'] },
  ],
  ['an HTTP discoverer', '{ http: { url: "http://r:1/" } }', http],
  [
    'all of it',
    '{ http: { url: "https://r:1/base", interval: 7s, timeout: 1s, unregister_after: 0, max_body_bytes: 2048, token_file: t, ca_file: /ca, client_cert_file: c, client_key_file: k, keep_last: 0s } }',
    {
      ...http,
      url: 'https://r:1/base',
      intervalMs: 7_000,
      timeoutMs: 1_000,
      unregisterAfter: 0,
      maxBodyBytes: 2_048,
      tokenFile: 't',
      caFile: '/ca',
      clientCertFile: 'c',
      clientKeyFile: 'k',
      keepLastMs: 0,
    },
  ],
  [
    'a file',
    '{ file: endpoints.yaml, service_name: auth, keep_last: 1s }',
    { kind: 'file', path: 'endpoints.yaml', clusterName: 'auth', keepLastMs: 1_000 },
  ],
  [
    "Envoy's EDS",
    '{ type: EDS, eds_cluster_config: { service_name: eu, eds_config: { resource_api_version: V3, path_config_source: { path: /e.json } } } }',
    { kind: 'file', path: '/e.json', clusterName: 'eu', keepLastMs: 300_000 },
  ],
  [
    'Kubernetes in a pod',
    '{ kubernetes: { service: auth } }',
    {
      kind: 'kubernetes',
      service: 'auth',
      apiServer: 'https://kubernetes.default.svc',
      keepLastMs: 300_000,
      tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
      caFile: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
    },
  ],
  [
    'Kubernetes from elsewhere',
    '{ kubernetes: { service: auth, namespace: prod, port: 50051, api_server: "http://127.0.0.1:8001" } }',
    { kind: 'kubernetes', service: 'auth', namespace: 'prod', port: 50_051, apiServer: 'http://127.0.0.1:8001', keepLastMs: 300_000 },
  ],
] as const) {
  test(`endpoints by ${what} mean what they say`, () => {
    assert.deepEqual(sourceOf(cluster), expected);
  });
}

for (const [what, cluster, ...expected] of [
  ['two sources', '{ http: { url: "http://r:1" }, file: e.yaml }', 'http.file: is written beside http; keep one of them'],
  ['another type', '{ type: STATIC, http: { url: "http://r:1" } }', 'type: STATIC contradicts http; remove it'],
  [
    'EDS without a file',
    '{ type: EDS, endpoints: ["10.0.0.1:1"] }',
    'type: EDS without eds_cluster_config; add eds_cluster_config, or remove it',
  ],
  [
    'dns with nothing to resolve',
    '{ dns: { refresh_rate: 1s } }',
    'dns: has neither names nor srv; add "names:" with a list of host:port, or "srv:" with a name',
  ],
  [
    'a service twice',
    '{ dns: { srv: [a.b, A.b] } }',
    'dns.srv[1]: a.b is written twice (first in line 2); keep one of them; a weight says how much it gets',
  ],
  [
    'a service that is no name',
    '{ dns: { srv: "a b" } }',
    'dns.srv: "a b" is no DNS name; write a name such as _grpc._tcp.auth.service.consul',
  ],
  [
    'a resolver by name',
    '{ dns: { srv: a, resolvers: ["consul:8600"] } }',
    'dns.resolvers[0]: "consul:8600" is no address of a name server; write "127.0.0.1:8600": names cannot be resolved yet',
  ],
  ['a URL without scheme', '{ http: { url: "r:8080" } }', 'http.url: "r:8080" is no URL; write http:// or https://, a host, and a port'],
  [
    'a password in a URL',
    '{ http: { url: "http://u:p@r" } }',
    'http.url: a password in a URL; put a token into a file, and write token_file',
  ],
  ['a query in a URL', '{ http: { url: "http://r/?a=b" } }', 'http.url: a query in the URL; end it with the path'],
  [
    'an authority without TLS',
    '{ http: { url: "http://r", ca_file: ca } }',
    'http.ca_file: has no effect: the URL begins with http:; write https: in the URL, or remove it',
  ],
  [
    'a certificate without its key',
    '{ http: { url: "https://r", client_cert_file: c } }',
    'http.client_cert_file: stands alone; write client_cert_file and client_key_file',
  ],
  ['no URL', '{ http: { interval: 1s } }', 'http: url is missing; add "url:" with a URL such as "http://registry:8080"'],
  [
    'an eds_config without a file',
    '{ eds_cluster_config: { eds_config: {} } }',
    'eds_cluster_config.eds_config: names no file; add path_config_source: { path: ... }',
  ],
  [
    'xDS',
    '{ eds_cluster_config: { eds_config: { path: /e, ads: {} } } }',
    'eds_cluster_config.eds_config.ads: is not accepted; write path_config_source: there is no xDS here',
  ],
  [
    'a Service that is none',
    '{ kubernetes: { service: Auth_1 } }',
    'kubernetes.service: "Auth_1" is no name of Kubernetes; write lower-case letters, digits and dashes',
  ],
  [
    'a port that is none',
    '{ kubernetes: { service: a, port: 0 } }',
    'kubernetes.port: is the number 0; write the name or the number of a port',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    const lines = problemsOf(clusterWith(cluster)).map((line) => line.replace(/^p\.yaml:2:\d+: clusters\.c\./, ''));
    assert.deepEqual(
      lines,
      expected.map((line) => line.replace(/^http\.file/, 'file')),
    );
  });
}
