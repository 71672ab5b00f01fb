import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterWith, compile, problemsOf, routeMatching } from './policy-harness.ts';

test('all mistakes of a file are told at once, each with its place and what to write instead', () => {
  const text = `routs: []
routes:
  - name: a
    match: { prefix: /a, path: /b }
    route: { cluster: c, timeout: 5, timeot: 3s }
  - match: { safe_regex: { regex: "(" } }
    route:
      cluster: 7
      retry_policy: { retry_on: "unavailble,reset", num_retries: "3", per_try_timeout: soon }
clusters:
  c: { endpoints: ["10.0.0.4"], lb_policy: least_requests }
timeout: 3s
`;
  assert.deepEqual(problemsOf(text), [
    'p.yaml:1:1: routs: unknown key; did you mean routes?',
    'p.yaml:4:12: routes[0].match: has prefix and path; keep one of them',
    'p.yaml:5:35: routes[0].route.timeout: is the number 5, without a unit; write 5s or 5ms',
    'p.yaml:5:38: routes[0].route.timeot: unknown key; did you mean timeout?',
    'p.yaml:6:35: routes[1].match.safe_regex.regex: is no regular expression: missing closing ): `(`; write RE2 syntax, which has no look-around and no back-references',
    'p.yaml:8:16: routes[1].route.cluster: is 7, which is not text; put it into quotes: "7"',
    'p.yaml:9:33: routes[1].route.retry_policy.retry_on: "unavailble" is no condition; did you mean unavailable?',
    'p.yaml:9:66: routes[1].route.retry_policy.num_retries: is text ("3"); write 3 without quotes',
    'p.yaml:9:88: routes[1].route.retry_policy.per_try_timeout: is "soon"; write a duration such as 5s',
    'p.yaml:11:20: clusters.c.endpoints[0]: "10.0.0.4" has no port; write "10.0.0.4:port"',
    'p.yaml:11:44: clusters.c.lb_policy: is "least_requests"; did you mean least_request?',
    'p.yaml:12:1: timeout: unknown key; it belongs under routes[].route',
  ]);
});

for (const [what, text, line] of [
  [
    'a missing cluster',
    'routes:\n  - match: { prefix: / }\n    route: { timeout: 1s }\n',
    'p.yaml:3:12: routes[0].route: cluster is missing; add "cluster:" with a name of visible characters without blanks',
  ],
  [
    'a route without anything',
    'routes: [{ route: { cluster: c, timeout: 1s } }]\nclusters: { c: { endpoints: ["h:1"] } }\n',
    'p.yaml:1:10: routes[0]: match is missing; add "match:" with a group with one of prefix, path, safe_regex',
  ],
  [
    'a match without a path',
    routeMatching('{}'),
    'p.yaml:2:12: routes[0].match: has no prefix, path or safe_regex; add one of them; prefix: "/" matches every call',
  ],
  ['a key without a value', 'routes:\n', 'p.yaml:1:8: routes: is empty; write a list, each a group with "match:" and "route:"'],
  [
    'a list instead of a group',
    routeMatching('[/a]'),
    'p.yaml:2:12: routes[0].match: is a list; write a group with one of prefix, path, safe_regex',
  ],
  [
    'case-insensitive paths',
    routeMatching('{ prefix: /, case_sensitive: false }'),
    'p.yaml:2:41: routes[0].match.case_sensitive: is not accepted as false; remove it: paths of gRPC are case-sensitive; safe_regex may begin with (?i)',
  ],
  [
    'a status that there is not',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { failure_statuses: [UNAVAILBLE] } }'),
    'p.yaml:2:67: clusters.c.circuit_breakers.failure_statuses[0]: is "UNAVAILBLE"; did you mean UNAVAILABLE?',
  ],
  [
    'a share of failures without the share',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { failure_rate: { window: 10s } } }'),
    'p.yaml:2:62: clusters.c.circuit_breakers.failure_rate: percent is missing; add "percent:" with a number from 1 to 100',
  ],
  [
    'a share of failures as a number',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { failure_rate: 50 } }'),
    'p.yaml:2:62: clusters.c.circuit_breakers.failure_rate: is the number 50; write a group such as { percent: 50 }',
  ],
  [
    'a window of no length',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { failure_rate: { percent: 50, window: 10ms } } }'),
    'p.yaml:2:85: clusters.c.circuit_breakers.failure_rate.window: is "10ms"; write a duration such as 10s, at least 1s, at most 1h',
  ],
  [
    'a slow call without a unit',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { slow_call_duration: 5 } }'),
    'p.yaml:2:68: clusters.c.circuit_breakers.slow_call_duration: is the number 5, without a unit; write 5s or 5ms',
  ],
  [
    'no probe at all',
    clusterWith('{ endpoints: ["h:1"], circuit_breakers: { success_threshold: 0 } }'),
    'p.yaml:2:67: clusters.c.circuit_breakers.success_threshold: is the number 0; write a whole number from 1 to 1000',
  ],
  [
    'look-around',
    routeMatching('{ safe_regex: "/a(?=b)" }'),
    'p.yaml:2:26: routes[0].match.safe_regex: is no regular expression: invalid or unsupported Perl syntax: `(?=`; write RE2 syntax, which has no look-around and no back-references',
  ],
  [
    'two conditions on a header',
    routeMatching('{ prefix: /, headers: [{ name: a, exact_match: b, prefix_match: c }] }'),
    'p.yaml:2:35: routes[0].match.headers[0]: has 2 conditions (exact_match, prefix_match); keep one of them, or write one list item for each',
  ],
  [
    'an empty range',
    routeMatching('{ prefix: /, headers: [{ name: a, range_match: { start: 3, end: 3 } }] }'),
    'p.yaml:2:59: routes[0].match.headers[0].range_match: from 3 up to, but not including, 3 holds no number; write an end above the start',
  ],
  [
    'what a later release serves',
    clusterWith('{ endpoints: ["h:1"], outlier_detection: { monitors: [] } }'),
    'p.yaml:2:49: clusters.c.outlier_detection.monitors: is not supported by this release; remove it',
  ],
  [
    'an IPv6 address without brackets',
    clusterWith('{ endpoints: ["2001:db8::4"] }'),
    'p.yaml:2:20: clusters.c.endpoints[0]: "2001:db8::4" is an IPv6 address without brackets; write "[2001:db8::4]:port"',
  ],
  [
    'an address that is none',
    clusterWith('{ endpoints: ["10.0.0.300:1"] }'),
    'p.yaml:2:20: clusters.c.endpoints[0]: "10.0.0.300" is no IPv4 address; write four numbers from 0 to 255',
  ],
  [
    'a port that is none',
    clusterWith('{ endpoints: ["h:65536"] }'),
    'p.yaml:2:20: clusters.c.endpoints[0]: "65536" is no port; write a number from 1 to 65535',
  ],
  [
    'a URL as endpoint',
    clusterWith('{ endpoints: ["http://h:1"] }'),
    'p.yaml:2:20: clusters.c.endpoints[0]: "http://h:1" is not host:port; write "host:port", without scheme and path',
  ],
  [
    'an endpoint twice',
    clusterWith('{ endpoints: ["h:1", "H:1"] }'),
    'p.yaml:2:27: clusters.c.endpoints[1]: h:1 is written twice (first in line 2); keep one of them; a weight says how much it gets',
  ],
  [
    'endpoints in two ways',
    clusterWith('{ endpoints: ["h:1"], dns: { names: ["h:1"] } }'),
    'p.yaml:2:28: clusters.c.dns: is written beside endpoints; keep one of them',
  ],
  [
    'names in a STATIC cluster',
    clusterWith('{ type: STATIC, endpoints: ["h:1"] }'),
    'p.yaml:2:34: clusters.c.endpoints[0]: "h" is a name, and type: STATIC takes addresses; write type: STRICT_DNS',
  ],
  [
    'TLS switched off and checked',
    clusterWith('{ endpoints: ["h:1"], tls: { mode: disable, sni: x } }'),
    'p.yaml:2:50: clusters.c.tls.sni: contradicts mode: disable; remove one of them',
  ],
  [
    'a pin that is none',
    clusterWith('{ endpoints: ["h:1"], tls: { verify_certificate_spki: [abc] } }'),
    'p.yaml:2:61: clusters.c.tls.verify_certificate_spki[0]: "abc" is no base64 of a SHA-256; write 44 characters, as "openssl dgst -sha256 -binary | base64" prints them',
  ],
  [
    'PINGs that servers punish',
    clusterWith('{ endpoints: ["h:1"], keepalive: { interval: 5s } }'),
    'p.yaml:2:41: clusters.c.keepalive.interval: is shorter than 10s, which servers answer with too_many_pings; write 10s or more, or 0s for none',
  ],
  [
    'a default without its cluster',
    'default: { action: use_cluster }\n',
    'p.yaml:1:20: default.action: use_cluster needs the name of a cluster; add "use_cluster:" with one',
  ],
  [
    "Envoy's bootstrap around it",
    'static_resources: { clusters: [] }\n',
    'p.yaml:1:1: static_resources: is not accepted; write what is below it (clusters) at the top of the file',
  ],
  [
    'a cluster for an inbound route',
    'inbound: { routes: [{ match: { prefix: / }, route: { cluster: c, timeout: 1s } }] }\n',
    'p.yaml:1:54: inbound.routes[0].route.cluster: is not accepted; remove it: inbound calls go to the local service',
  ],
  ['a key twice', 'match_order: file\nmatch_order: file\n', 'p.yaml:2:1: match_order: written twice (first in line 1); keep one of them'],
] as const) {
  test(`${what} is told with its place`, () => {
    const { table } = compile(text);
    assert.deepEqual(problemsOf(text), [line]);
    assert.equal(table, undefined);
  });
}

test('what is written twice in two files names both places', () => {
  const first =
    'default: { action: error }\nclusters: { c: { endpoints: ["h:1"] } }\nroutes: [{ name: r, match: { prefix: /a }, route: { cluster: c, timeout: 1s } }]\n';
  const second =
    'routes: [{ name: r, match: { prefix: /b }, route: { cluster: c, timeout: 1s } }]\nclusters: { c: { endpoints: ["h:1"] } }\ndefault: { action: error }\n';
  assert.deepEqual(problemsOf(first, second), [
    'q.yaml:1:12: routes[0].name: route "r" is written twice (first in p.yaml:3:12); choose another name',
    'q.yaml:2:13: clusters.c: cluster "c" is written twice (first in p.yaml:2:13); keep one of them, or choose another name',
    'q.yaml:3:10: default: is written twice (first in p.yaml:1:10); keep one of them',
  ]);
});

test('a file of another kind is told in at most two hundred lines', () => {
  const lines = problemsOf(Array.from({ length: 5_000 }, (_, i) => `k${i}: ${i}\n`).join(''));
  assert.equal(lines.length, 201);
  assert.match(lines.at(-1) ?? '', /4800 more problems/);
});

test('problems come in the order of files and lines, whichever stage found them', () => {
  const lines = problemsOf('routes: [{ match: { path: /a }, route: { cluster: nobody } }]\nmatch_order: fil\n', 'a: [\n');
  assert.deepEqual(
    lines.map((line) => line.split(':').slice(0, 3).join(':')),
    ['p.yaml:1:40', 'p.yaml:1:42', 'p.yaml:2:14', 'q.yaml:2:1'],
  );
});
