import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ConsulEntry, compilePolicies, formatProblem, type PolicyTable, translateConsulEntries } from '../../src/policy/index.ts';

const entry = (kind: ConsulEntry['kind'], name: string, value: Readonly<Record<string, unknown>>): ConsulEntry => ({
  kind,
  name,
  // As the API answers: with what nobody wrote.
  value: { Kind: kind, Name: name, Meta: {}, CreateIndex: 1, ModifyIndex: 2, TransparentProxy: {}, ...value },
});

const translate = (...entries: readonly ConsulEntry[]) => {
  const { texts, problems } = translateConsulEntries(entries, 'shop');
  const document = JSON.parse(Buffer.from(texts[0]?.bytes ?? '').toString());
  const compiled = compilePolicies(texts);
  const errors = compiled.problems.filter(({ severity }) => severity === 'error');
  assert.deepEqual(errors.map(formatProblem), [], JSON.stringify(document, null, 1));
  return { document, warnings: problems.map(formatProblem), table: compiled.table as PolicyTable };
};

const authority = (name: string) => ({
  name: ':authority',
  safe_regex_match: { regex: `${name}(\\.default)?(\\.svc(\\.cluster\\.local)?)?(:[0-9]+)?` },
});

test('a resolver is a cluster for the service and one for each subset', () => {
  const { document, warnings, table } = translate(
    entry('service-resolver', 'cart', {
      ConnectTimeout: '1m30s',
      RequestTimeout: '5s',
      DefaultSubset: 'v1',
      Subsets: { v1: { Filter: 'Service.Meta.version == v1', OnlyPassing: true }, v2: { Filter: 'Service.Meta.version == v2' } },
      LoadBalancer: {
        Policy: 'ring_hash',
        RingHashConfig: { MinimumRingSize: 512, MaximumRingSize: 1024 },
        HashPolicies: [
          { Field: 'header', FieldValue: 'x-user', Terminal: true },
          { Field: 'cookie', FieldValue: 'session', CookieConfig: { TTL: '10m0s', Path: '/' } },
          { SourceIP: true },
        ],
      },
    }),
  );
  const common = {
    connect_timeout: '90000ms',
    lb_policy: 'ring_hash',
    ring_hash_lb_config: { minimum_ring_size: 512, maximum_ring_size: 1_024 },
  };
  assert.deepEqual(document.clusters, {
    cart: { consul: { service: 'cart', filter: 'Service.Meta.version == v1', passing: true }, ...common },
    'v1.cart': { consul: { service: 'cart', filter: 'Service.Meta.version == v1', passing: true }, ...common },
    'v2.cart': { consul: { service: 'cart', filter: 'Service.Meta.version == v2', passing: false }, ...common },
  });
  assert.deepEqual(document.routes, [
    {
      name: 'consul:cart',
      match: { prefix: '/', headers: [authority('cart')] },
      route: {
        cluster: 'cart',
        timeout: '5000ms',
        hash_policy: [
          { header: { header_name: 'x-user' }, terminal: true },
          { cookie: { name: 'session', ttl: '600000ms', path: '/' } },
          { connection_properties: { source_ip: true } },
        ],
      },
    },
  ]);
  assert.deepEqual(warnings, []);
  assert.equal(table.clusters.get('v2.cart')?.serviceName, 'cart');
});

test('a redirect leads to another service, in another datacenter', () => {
  const { document } = translate(
    entry('service-resolver', 'old', { Redirect: { Service: 'new', ServiceSubset: 'eu', Datacenter: 'dc2' } }),
    entry('service-resolver', 'new', { Subsets: { eu: { Filter: 'Service.Meta.region == eu' } } }),
  );
  assert.deepEqual(document.clusters.old, { consul: { service: 'new', filter: 'Service.Meta.region == eu', datacenter: 'dc2' } });
});

test('a splitter is weights, a router is routes before them, and both hold for the authority of the service', () => {
  const { document, table, warnings } = translate(
    entry('service-resolver', 'cart', { Subsets: { v2: { Filter: 'Service.Meta.version == v2' } } }),
    entry('service-splitter', 'cart', { Splits: [{ Weight: 90.5 }, { Weight: 9.5, ServiceSubset: 'v2' }] }),
    entry('service-router', 'cart', {
      Routes: [
        {
          Match: {
            HTTP: {
              PathPrefix: '/shop.Cart/Get',
              Header: [
                { Name: 'x-tier', Exact: 'gold' },
                { Name: 'x-old', Present: true, Invert: true },
              ],
            },
          },
          Destination: {
            ServiceSubset: 'v2',
            RequestTimeout: '3s',
            NumRetries: 4,
            RetryOnConnectFailure: true,
            RetryOn: ['unavailable'],
            RetryOnStatusCodes: [503],
            RequestHeaders: { Add: { 'x-a': '1' }, Set: { 'x-b': '2' }, Remove: ['x-c'] },
          },
        },
        { Match: { HTTP: { PathExact: '/shop.Cart/Add' } }, Destination: { Service: 'adder', PrefixRewrite: '/v2.Cart/Add' } },
        { Match: { HTTP: { PathRegex: '/a/.*' } }, Destination: { NumRetries: 2 } },
      ],
    }),
  );
  const [get, add, regex, rest] = document.routes;
  assert.deepEqual(get, {
    name: 'consul:cart/0',
    match: {
      prefix: '/shop.Cart/Get',
      headers: [authority('cart'), { name: 'x-tier', exact_match: 'gold' }, { name: 'x-old', present_match: true, invert_match: true }],
    },
    route: {
      cluster: 'v2.cart',
      timeout: '3000ms',
      retry_policy: { retry_on: 'unavailable,connect-failure,retriable-status-codes', num_retries: 4, retriable_status_codes: [503] },
    },
    request_headers_to_add: [
      { header: { key: 'x-a', value: '1' }, append_action: 'APPEND_IF_EXISTS_OR_ADD' },
      { header: { key: 'x-b', value: '2' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    ],
    request_headers_to_remove: ['x-c'],
  });
  assert.deepEqual(add.route, { cluster: 'adder', prefix_rewrite: '/v2.Cart/Add' });
  const weighted = [
    { name: 'cart', weight: 9_050 },
    { name: 'v2.cart', weight: 950 },
  ];
  assert.deepEqual(regex.route, {
    weighted_clusters: weighted,
    retry_policy: { retry_on: 'connect-failure,refused-stream,unavailable', num_retries: 2 },
  });
  assert.deepEqual(rest.route, { weighted_clusters: weighted });
  assert.deepEqual(warnings, []);
  const matching = (path: string, host: string) =>
    table.outbound
      .candidates(path)
      .find(({ headers }) => headers.every(({ name, matches }) => matches(name === ':authority' ? host : undefined)))?.name;
  assert.equal(matching('/shop.Cart/Add', 'cart:50051'), 'consul:cart/1');
  assert.equal(matching('/shop.Cart/Other', 'cart.default.svc.cluster.local'), 'consul:cart');
  assert.equal(matching('/shop.Cart/Other', 'cartoon'), undefined);
});

test("a service's own upstream defaults are limits of clusters, those of others are theirs", () => {
  const upstream = {
    ConnectTimeoutMs: 700,
    Limits: { MaxConnections: 5, MaxPendingRequests: 6, MaxConcurrentRequests: 7 },
    PassiveHealthCheck: {
      Interval: 10_000_000_000,
      MaxFailures: 3,
      EnforcingConsecutive5xx: 50,
      MaxEjectionPercent: 20,
      BaseEjectionTime: '30s',
    },
  };
  const { document, warnings } = translate(
    entry('service-defaults', 'shop', {
      Protocol: 'grpc',
      UpstreamConfig: { Defaults: { ConnectTimeoutMs: 100 }, Overrides: [{ Name: 'cart', ...upstream }] },
    }),
    entry('service-defaults', 'cart', { Protocol: 'grpc', UpstreamConfig: { Overrides: [{ Name: 'other', ...upstream }] } }),
    entry('service-resolver', 'pay', { ConnectTimeout: '2s' }),
    entry('service-resolver', 'mail', {}),
  );
  assert.deepEqual(document.clusters, {
    cart: {
      consul: { service: 'cart' },
      connect_timeout: '700ms',
      circuit_breakers: { thresholds: [{ max_connections: 5, max_pending_requests: 6, max_requests: 7 }] },
      outlier_detection: {
        interval: '10000ms',
        consecutive_5xx: 3,
        enforcing_consecutive_5xx: 50,
        max_ejection_percent: 20,
        base_ejection_time: '30000ms',
      },
    },
    mail: { consul: { service: 'mail' }, connect_timeout: '100ms' },
    pay: { consul: { service: 'pay' }, connect_timeout: '2000ms' },
  });
  assert.deepEqual(warnings, []);
});

test('a failover is who takes the calls of a service, or of a subset, that has no instance', () => {
  const { document, warnings, table } = translate(
    entry('service-resolver', 'cart', {
      DefaultSubset: 'v2',
      Subsets: { v1: { Filter: 'Service.Meta.version == v1' }, v2: { Filter: 'Service.Meta.version == v2', OnlyPassing: true } },
      Failover: {
        '*': { Targets: [{ ServiceSubset: 'v1' }, { Datacenter: 'dc2' }, { Service: 'cart-backup', Datacenter: 'dc3' }] },
        v1: { Service: 'cart-backup', ServiceSubset: 'old', Datacenters: ['dc4', 'dc5'], Policy: { Mode: 'sequential' } },
      },
    }),
    entry('service-resolver', 'cart-backup', { Subsets: { old: { Filter: 'Service.Meta.version == v0' } } }),
    entry('service-resolver', 'plain', { Failover: { '*': { Datacenters: ['dc2'] } } }),
  );
  const v2 = { service: 'cart', filter: 'Service.Meta.version == v2', passing: true };
  const failover = [
    { service: 'cart', filter: 'Service.Meta.version == v1', passing: false },
    { service: 'cart', datacenter: 'dc2', filter: 'Service.Meta.version == v2', passing: true },
    { service: 'cart-backup', datacenter: 'dc3' },
  ];
  assert.deepEqual(document.clusters.cart.consul, { ...v2, failover });
  assert.deepEqual(document.clusters['v2.cart'].consul, { ...v2, failover });
  const old = { service: 'cart-backup', filter: 'Service.Meta.version == v0', passing: false };
  assert.deepEqual(document.clusters['v1.cart'].consul, {
    service: 'cart',
    filter: 'Service.Meta.version == v1',
    passing: false,
    failover: [
      { ...old, datacenter: 'dc4' },
      { ...old, datacenter: 'dc5' },
    ],
  });
  assert.deepEqual(document.clusters.plain.consul, { service: 'plain', failover: [{ service: 'plain', datacenter: 'dc2' }] });
  assert.deepEqual(warnings, []);
  const { endpoints } = table.clusters.get('cart') ?? {};
  assert.deepEqual(endpoints?.kind === 'consul' && endpoints.failover.map(({ service, datacenter }) => [service, datacenter]), [
    ['cart', ''],
    ['cart', 'dc2'],
    ['cart-backup', 'dc3'],
  ]);
});

test('what cannot be said in a policy is a warning that names the entry', () => {
  const { warnings, document } = translate(
    entry('service-defaults', 'shop', { Protocol: 'tcp', MaxInboundConnections: 9, MeshGateway: { Mode: 'local' } }),
    entry('service-resolver', 'cart', {
      Failover: { '*': { SamenessGroup: 'all' }, v8: { Datacenters: ['dc2'] } },
      Redirect: {},
      LoadBalancer: { Policy: 'random', HashPolicies: [{ Field: 'query_parameter', FieldValue: 'a' }] },
    }),
    entry('service-splitter', 'cart', { Splits: [{ Weight: 100, ServiceSubset: 'v9' }] }),
    entry('service-router', 'cart', {
      Routes: [
        { Match: { HTTP: { Methods: ['GET'] } } },
        { Match: { HTTP: { QueryParam: [{ Name: 'a', Present: true }] } } },
        { Match: { HTTP: { CaseInsensitive: true, PathPrefix: '/a' } }, Destination: { RequestTimeout: 'soon' } },
      ],
    }),
  );
  assert.deepEqual(
    warnings.map((line) => line.replace(/^consul:/, '').replace(/; .*/, '')).toSorted(),
    [
      'service-defaults/shop: warning: MaxInboundConnections is not translated',
      'service-defaults/shop: warning: MeshGateway is not translated',
      'service-defaults/shop: warning: Protocol is "tcp"',
      'service-resolver/cart: Failover.*: warning: SamenessGroup: a failover to other clusters is left out',
      'service-resolver/cart: LoadBalancer.HashPolicies[0]: warning: Field "query_parameter" is not translated',
      'service-resolver/cart: warning: Failover names a subset "v8" that is not there',
      'service-resolver/cart: warning: Subsets has no "v9"',
      'service-router/cart: Routes[0].Match.HTTP: warning: Methods leaves POST out, so that no call of gRPC matches',
      'service-router/cart: Routes[1].Match.HTTP: warning: QueryParam: calls of gRPC have no query',
      'service-router/cart: Routes[2].Destination: warning: RequestTimeout is no duration',
      'service-router/cart: Routes[2].Match.HTTP: warning: CaseInsensitive is not translated',
    ].toSorted(),
  );
  assert.equal(document.routes.length, 2);
});

test('a cluster that a file writes is that of the file, and a warning says so', () => {
  const { texts } = translateConsulEntries([entry('service-resolver', 'cart', { ConnectTimeout: '2s' })], 'shop');
  const own = { path: 'p.yaml', bytes: Buffer.from('clusters: { cart: { endpoints: ["10.0.0.1:1"], connect_timeout: 1s } }') };
  const { table, problems } = compilePolicies([own, ...texts]);
  assert.equal(table?.clusters.get('cart')?.connectTimeoutMs, 1_000);
  assert.match(problems.map(formatProblem).join(), /cluster "cart" is written in .*p\.yaml.*which counts/);
});
