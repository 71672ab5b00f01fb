import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePolicies, formatProblem, plainConsulPolicy } from '../../src/policy/index.ts';

const compile = (cluster: string, file = 'p.yaml') =>
  compilePolicies([{ path: file, bytes: new TextEncoder().encode(`clusters:\n  shop: ${cluster}\n`) }]);
const compiled = (cluster: string, file?: string) => {
  const { table, problems } = compile(cluster, file);
  assert.ok(table, problems.map(formatProblem).join('\n'));
  const policy = table.clusters.get('shop');
  assert.ok(policy);
  return policy;
};
const problem = (cluster: string): string => {
  const { problems } = compile(cluster);
  assert.equal(problems.length, 1, problems.map(formatProblem).join('\n'));
  return formatProblem(problems[0] as never);
};

test('the name in the catalogue is also that of the certificate: of consul, else service_name, else the cluster', () => {
  const names = (cluster: string) => {
    const { endpoints, serviceName } = compiled(cluster);
    return { found: endpoints.kind === 'consul' ? endpoints.service : '', serviceName };
  };
  assert.deepEqual(names('{ consul: {} }'), { found: 'shop', serviceName: 'shop' });
  assert.deepEqual(names('{ service_name: shop-svc, consul: {} }'), { found: 'shop-svc', serviceName: 'shop-svc' });
  assert.deepEqual(names('{ service_name: old, consul: { service: shop-svc } }'), { found: 'shop-svc', serviceName: 'shop-svc' });
  assert.deepEqual(names('{ service_name: shop-svc, consul: { prepared_query: near-shop } }'), {
    found: 'near-shop',
    serviceName: 'shop-svc',
  });
});

test('what is left out has its default, and what is written is read', () => {
  assert.deepEqual(compiled('{ consul: { service: x } }').endpoints, plainConsulPolicy('x'));
  assert.deepEqual(
    compiled(
      `{ keep_last: 1m, consul: { service: x, tag: [v2, eu], filter: "Service.Port > 1", datacenter: [a, b], namespace: n, partition: p, near: _agent,
        nearest: 3, stale: true, max_age: 10s, passing: false, token_file: tokens/shop } }`,
      '/etc/outrider/p.yaml',
    ).endpoints,
    {
      kind: 'consul',
      service: 'x',
      isPreparedQuery: false,
      tags: ['v2', 'eu'],
      filter: 'Service.Port > 1',
      datacenters: ['a', 'b'],
      failover: [],
      namespace: 'n',
      partition: 'p',
      near: '_agent',
      nearest: 3,
      stale: true,
      maxAgeMs: 10_000,
      passingOnly: false,
      tokenFile: '/etc/outrider/tokens/shop',
      keepLastMs: 60_000,
    },
  );
});

test('what makes no sense is refused, with its place and a remedy', () => {
  assert.equal(
    problem('{ consul: { service: "a b" } }'),
    'p.yaml:2:30: clusters.shop.consul.service: "a b" is no service of Consul; write letters, digits, dots, dashes and underscores',
  );
  assert.match(problem('{ consul: { service: ../acl } }'), /"..\/acl" is no service of Consul/);
  assert.match(problem('{ consul: { datacenter: [a, a] } }'), /datacenter\[1\]: "a" is written twice; keep one/);
  assert.match(problem('{ consul: { prepared_query: q, tag: v2 } }'), /tag: has no effect beside prepared_query/);
  assert.match(problem('{ consul: { max_age: 5s } }'), /max_age: has no effect without stale; add stale: true/);
  assert.match(problem('{ consul: { nearest: 2 } }'), /nearest: has no effect without near; add near: _agent/);
  assert.match(problem('{ consul: { near: _agent } }'), /near: has no effect without nearest/);
  assert.match(problem('{ consul: {}, endpoints: ["10.0.0.1:1"] }'), /consul: is written beside endpoints; keep one/);
  assert.match(problem('{ type: STATIC, consul: {} }'), /type: STATIC contradicts consul; remove it/);
});
