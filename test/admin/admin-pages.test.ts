import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { parseExposition } from '../telemetry/exposition-syntax.ts';
import { AdminFixture, clusterView, ViewsFixture } from './admin-fixture.ts';

checkLeaks();

test('/ready says whether calls may come, /healthz only that the process lives', async () => {
  await using admin = await AdminFixture.start();
  assert.deepEqual([(await admin.get('/ready')).status, (await admin.get('/ready')).body], [200, 'LIVE\n']);
  admin.views.ready = { ready: false, state: 'LIVE', why: 'the event loop is stalled' };
  const stalled = await admin.get('/ready');
  assert.deepEqual([stalled.status, stalled.body], [503, 'LIVE: the event loop is stalled\n']);
  assert.equal((await admin.get('/healthz')).status, 200);
});

test('/stats has lines that grep finds, JSON numbers, and the exposition', async () => {
  await using admin = await AdminFixture.start();
  assert.match((await admin.get('/stats')).body, /^cluster\.learner-svc\.circuit_breaker\.state: 0$/m);
  const { stats } = (await admin.get('/stats?format=json')).json();
  assert.ok(stats.some((stat: unknown) => isDeepStrictEqual(stat, { name: 'cluster.learner-svc.circuit_breaker.state', value: 0 })));
  const names = stats.map(({ name }: { name: string }) => name);
  assert.deepEqual(names, [...names].sort());
  for (const path of ['/stats?format=prometheus', '/metrics', '/stats/prometheus']) {
    const answer = await admin.get(path);
    assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/);
    assert.ok(parseExposition(answer.body).some(({ name }) => name === 'circuit_breaker_state'));
  }
});

test('a filter is an RE2 expression that matches anywhere', async () => {
  await using admin = await AdminFixture.start();
  admin.views.calls.fate('outbound', 'ok');
  assert.equal((await admin.get('/stats?filter=circuit_breaker')).body, 'cluster.learner-svc.circuit_breaker.state: 0\n');
  assert.equal((await admin.get('/stats?filter=%5Efates%5C.out.*%5C.ok%24')).body, 'fates.outbound.ok: 1\n');
  assert.equal((await admin.get('/stats?usedonly&filter=%5Efates')).body, 'fates.outbound.ok: 1\n');
  for (const wrong of ['(', '(%3F%3Da)', 'a'.repeat(501), '']) {
    const answer = await admin.get(`/stats?filter=${wrong}`);
    assert.equal(answer.status, 400);
    assert.match(answer.json().error, /filter/);
  }
});

test('/clusters has the shape of Envoy with the breaker of the contract', async () => {
  await using admin = await AdminFixture.start();
  const [status] = (await admin.get('/clusters?format=json')).json().cluster_statuses;
  assert.equal(status.name, 'learner-svc');
  assert.deepEqual(status.circuit_breaker, { state: 'CLOSED', consecutive_failures: 2, opened_at: null, scope: 'cluster' });
  const [first, second] = status.host_statuses;
  assert.deepEqual(first.address, { socket_address: { address: '10.0.0.4', port_value: 50051 } });
  assert.deepEqual(first.health_status, { eds_health_status: 'HEALTHY' });
  assert.deepEqual(second.health_status, { eds_health_status: 'UNHEALTHY', failed_outlier_check: true });
  assert.deepEqual(first.stats[1], { type: 'COUNTER', value: '42', name: 'rq_total' });
});

test("/clusters as text is Envoy's `cluster::address::stat::value`", async () => {
  await using admin = await AdminFixture.start();
  const { body } = await admin.get('/clusters');
  for (const line of [
    'learner-svc::default_priority::max_connections::1000',
    'learner-svc::circuit_breaker::state::CLOSED',
    'learner-svc::10.0.0.4:50051::rq_total::42',
    'learner-svc::10.0.0.4:50051::health_flags::healthy',
    'learner-svc::[fd00::4]:50051::health_flags::/failed_outlier_check',
  ]) {
    assert.ok(body.split('\n').includes(line), line);
  }
});

test('/clusters shows what a breaker saw of late, and its share of failures where there are results', async () => {
  const views = new ViewsFixture();
  const window = { lengthMs: 10_000, attempts: 8, successes: 2, failures: 4, slow: 1, rejected: 2 };
  views.shownClusters = [
    clusterView('auth-svc', [{ state: 'CLOSED', consecutiveFailures: 0, window }]),
    clusterView('idle-svc', [{ state: 'CLOSED', consecutiveFailures: 0, window: { ...window, successes: 0, failures: 0 } }]),
  ];
  await using admin = await AdminFixture.start(views);
  const [busy, idle] = (await admin.get('/clusters?format=json')).json().cluster_statuses;
  assert.deepEqual(busy.circuit_breaker.window, {
    length: '10s',
    attempts: 8,
    successes: 2,
    failures: 4,
    slow_calls: 1,
    rejected: 2,
    failure_rate: 66.67,
  });
  assert.equal(idle.circuit_breaker.window.failure_rate, null);
  const { body } = await admin.get('/clusters');
  assert.match(body, /^auth-svc::circuit_breaker::window_failure_rate::66.67$/m);
  assert.match(body, /^idle-svc::circuit_breaker::window_failure_rate::-$/m);
});

test('breakers per endpoint or method are listed, and the worst speaks for the cluster', async () => {
  const views = new ViewsFixture();
  const opened = Date.UTC(2026, 0, 2);
  views.shownClusters = [
    clusterView(
      'auth-svc',
      [
        { state: 'CLOSED', consecutiveFailures: 4, endpoint: '10.0.0.4:50051' },
        {
          state: 'OPEN',
          consecutiveFailures: 5,
          endpoint: '10.0.0.5:50051',
          openedAtMs: opened,
          hold: { state: 'OPEN', untilMs: opened + 60_000 },
        },
      ],
      'endpoint',
    ),
  ];
  await using admin = await AdminFixture.start(views);
  const [status] = (await admin.get('/clusters?format=json')).json().cluster_statuses;
  assert.equal(status.circuit_breaker.state, 'OPEN');
  assert.equal(status.circuit_breakers.length, 2);
  assert.deepEqual(status.circuit_breakers[1], {
    state: 'OPEN',
    consecutive_failures: 5,
    opened_at: '2026-01-02T00:00:00.000Z',
    scope: 'endpoint',
    endpoint: '10.0.0.5:50051',
    held: 'OPEN',
    hold_until: '2026-01-02T00:01:00.000Z',
  });
});

test('/listeners tells what is bound', async () => {
  await using admin = await AdminFixture.start();
  assert.equal((await admin.get('/listeners')).body, 'inbound::0.0.0.0:50051\noutbound::[::1]:15001\n');
  const { listener_statuses } = (await admin.get('/listeners?format=json')).json();
  assert.deepEqual(listener_statuses[0], {
    name: 'inbound',
    local_address: { socket_address: { address: '0.0.0.0', port_value: 50051 } },
  });
});

test('/routes and /policies say where something was written', async () => {
  await using admin = await AdminFixture.start();
  const [route] = (await admin.get('/routes')).json().outbound;
  assert.deepEqual(
    [route.match, route.cluster, route.timeout, route.retry_policy.num_retries, route.retry_policy.retry_on, route.location.line],
    [{ prefix: '/learner.LearnerService/' }, 'learner-svc', '10s', 3, 'reset,unavailable', 3],
  );
  const policies = (await admin.get('/policies')).json();
  assert.equal(policies.version, 'abc123');
  assert.equal(policies.warnings[0].location, 'policies/mesh.yaml:3:5');
  assert.equal(policies.reloads[0].problems[0].remedy, 'write timeout: 10s');
});

test('/config_dump has the shape of Envoy and no secret', async () => {
  const views = new ViewsFixture();
  views.shownSettings = {
    SERVICE_NAME: 'auth-svc',
    CONSUL_HTTP_TOKEN: 'geheim-1',
    consul_token: 'geheim-2',
    CLIENT_KEY: 'geheim-3',
    CLIENT_KEY_PATH: '/etc/ssl/private/service.key',
    CONSUL_HTTP_TOKEN_FILE: '/run/token',
    CONSUL_HTTP_ADDR: 'http://user:geheim-4@consul:8500',
  };
  await using admin = await AdminFixture.start(views);
  const { body, json } = await admin.get('/config_dump');
  assert.doesNotMatch(body, /geheim/);
  const { configs } = json();
  assert.deepEqual(
    configs.map((config: Record<string, unknown>) => String(config['@type']).split('.').at(-1)),
    ['BootstrapConfigDump', 'ListenersConfigDump', 'ClustersConfigDump', 'RoutesConfigDump'],
  );
  assert.equal(configs[0].settings.CLIENT_KEY_PATH, '/etc/ssl/private/service.key');
  assert.equal(configs[0].settings.CONSUL_HTTP_TOKEN_FILE, '/run/token');
  assert.equal(configs[2].static_clusters[0].cluster.connect_timeout, '2s');
  assert.deepEqual(configs[2].static_clusters[0].cluster.circuit_breakers.thresholds[0].retry_budget, {
    budget_percent: { value: 25 },
    min_retry_concurrency: 3,
  });
  assert.equal(configs[3].static_route_configs[0].route_config.virtual_hosts[0].routes[0].route.timeout, '10s');
});

test('/certs shows names and expiry of a real certificate', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'service.crt');
  const names = 'DNS:auth-svc,DNS:localhost,IP:127.0.0.1,URI:spiffe://mesh.local/service/auth-svc';
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '10', '-subj', '/CN=auth-svc'],
      ...['-addext', `subjectAltName=${names}`, '-keyout', join(folder.path, 'key.pem'), '-out', path],
    ],
    { stdio: 'ignore' },
  );
  const pem = readFileSync(path, 'utf8');
  const views = new ViewsFixture();
  views.shownCertificates = { authorities: { path: 'ca.crt', pem: pem + pem }, chain: { path, pem } };
  await using admin = await AdminFixture.start(views);
  const [{ ca_cert, cert_chain }] = (await admin.get('/certs')).json().certificates;
  assert.equal(ca_cert.length, 2);
  assert.equal(cert_chain[0].path, path);
  assert.deepEqual(cert_chain[0].subject_alt_names, [
    { dns: 'auth-svc' },
    { dns: 'localhost' },
    { ip_address: '127.0.0.1' },
    { uri: 'spiffe://mesh.local/service/auth-svc' },
  ]);
  assert.match(cert_chain[0].serial_number, /^[0-9a-f]+$/);
  const issuedMs = Date.parse(cert_chain[0].valid_from);
  assert.equal(Date.parse(cert_chain[0].expiration_time) - issuedMs, 10 * 86_400_000);
  const expected = Math.max(0, Math.floor((issuedMs + 10 * 86_400_000 - views.clock.wallNow()) / 86_400_000));
  assert.equal(cert_chain[0].days_until_expiration, String(expected));
});

test('/server_info tells version, state, uptime and what is done against overload', async () => {
  await using admin = await AdminFixture.start();
  const info = (await admin.get('/server_info')).json();
  assert.deepEqual([info.version, info.state, info.uptime_current_epoch, info.node.id], ['0.1.0', 'LIVE', '65s', 'auth-svc']);
  assert.deepEqual(info.overload_actions, ['disable_http_keepalive']);
});

test('the index page lists every path and loads nothing', async () => {
  await using admin = await AdminFixture.start();
  const { body, headers } = await admin.get('/');
  for (const path of ['/ready', '/stats', '/config_dump', '/clusters/{name}/circuit_breakers/reset']) assert.ok(body.includes(path), path);
  assert.match(String(headers['content-security-policy']), /default-src 'none'/);
  assert.doesNotMatch(body, /<script|https?:/);
});
