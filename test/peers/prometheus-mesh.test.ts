/** What Prometheus makes of a real mesh: every sidecar found and scraped, every rule and every query of a dashboard with data. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { checkLeaks } from '../harness/leak-check.ts';
import { atEnd } from '../mesh/at-end.ts';
import { agentKinds } from '../registry/catalogue-agents.ts';
import { ConsulProcess } from './consul-process.ts';
import { queriesOf, readDashboards } from './dashboards.ts';
import { type ObservedMesh, startObservedMesh } from './observed-mesh.ts';
import { peerProgram } from './peer-programs.ts';
import { PrometheusProcess } from './prometheus-process.ts';

checkLeaks();

const folder = new URL('../../deploy/prometheus/', import.meta.url);
const prometheus = await peerProgram('prometheus');
const withConsul = await peerProgram('prometheus-with-consul');
const consul = await peerProgram('consul');

interface ScrapeConfig {
  readonly job_name: string;
  readonly consul_sd_configs?: readonly { readonly server: string }[];
}
interface Configuration {
  readonly global: object;
  readonly rule_files: readonly string[];
  readonly scrape_configs: readonly ScrapeConfig[];
}

const shipped = parse(readFileSync(new URL('prometheus.yml', folder), 'utf8')) as Configuration;
const ruleFiles = shipped.rule_files.map((file) => fileURLToPath(new URL(file, folder)));
const everySecond = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' };

/** Looks again until nothing is missing, with calls in between; the time is a limit for a failure. */
const withCalls = async (mesh: ObservedMesh, missing: () => Promise<readonly string[]>, patienceMs: number): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    await mesh.call();
    const left = await missing();
    if (left.length === 0) return;
    assert.ok(performance.now() < deadline, `after ${patienceMs} ms still without data:\n${left.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

const startPrometheus = async (t: TestContext, path: string, configuration: object): Promise<PrometheusProcess> => {
  const started = await PrometheusProcess.start(path, stringify(configuration));
  atEnd(t, () => started[Symbol.asyncDispose]());
  return started;
};

/** What may be empty in a mesh of a few seconds, and why. */
const mayBeEmpty: readonly (readonly [query: RegExp, why: string])[] = [
  [/^sum by \(alertname, severity\) \(ALERTS/, 'no alert fires within seconds'],
];

/** Metrics that an expression asks for, with their labels. */
const selectorsOf = (expression: string): readonly string[] =>
  Array.from(expression.matchAll(/\{__name__=[^}]*\}|\b[a-z]\w*(?::\w+)*\{[^}]*\}|\b[a-z_]+:\w+:\w+\b(?!\{)/g), ([found]) => found);

test('every query of the dashboards and every rule finds data in a mesh with failures', { skip: prometheus.skip }, async (t) => {
  const agent = await (agentKinds[0] ?? assert.fail()).start();
  atEnd(t, () => agent[Symbol.asyncDispose]());
  const mesh = await startObservedMesh(t, agent);
  const targets = Object.entries(mesh.sidecars).map(([sidecar, { adminPort }]) => ({
    targets: [`127.0.0.1:${adminPort}`],
    labels: { sidecar },
  }));
  const server = await startPrometheus(t, prometheus.path, {
    global: { ...shipped.global, ...everySecond },
    rule_files: ruleFiles,
    scrape_configs: [{ job_name: 'outrider', static_configs: targets }],
  });

  const variables = { service: 'learner-svc', method: '.*', sidecar: '.*', instance: '.*', __rate_interval: '30s', __range: '5m' };
  const dashboards = Object.values(readDashboards());
  const queries = dashboards
    .flatMap((dashboard) => queriesOf(dashboard, variables))
    .filter(({ expression }) => !mayBeEmpty.some(([pattern]) => pattern.test(expression)));
  assert.ok(queries.length > 100, `${queries.length} queries`);
  let left = queries;
  await withCalls(
    mesh,
    async () => {
      const empty: typeof left = [];
      for (const query of left) {
        const samples = await server.query(query.expression).catch((error: Error) => assert.fail(`${query.place}: ${error.message}`));
        // NaN is a share of nothing: there is no data yet.
        if (!samples.some(({ value }) => !Number.isNaN(value))) empty.push(query);
      }
      left = empty;
      return left.map(({ place, expression }) => `${place}: ${expression}`);
    },
    60_000,
  );
  await t.test('and so does each selector of an alert and each rule is evaluated', async () => {
    const { groups } = parse(readFileSync(new URL('rules/alerts.yml', folder), 'utf8')) as {
      groups: { rules: { alert: string; expr: string }[] }[];
    };
    for (const { alert, expr } of groups.flatMap(({ rules }) => rules)) {
      const selectors = selectorsOf(expr);
      assert.ok(selectors.length > 0, alert);
      for (const selector of selectors) assert.ok((await server.seriesOf(selector)) > 0, `${alert}: nothing has ${selector}`);
    }
    for (const { name, health, lastError } of await server.rules()) assert.equal(health, 'ok', `${name}: ${lastError}`);
  });
  await t.test('the breaker that opened is about to fire, and nothing says that a sidecar is down', async () => {
    const pending = await server.query('ALERTS');
    const names = new Set(pending.map(({ labels }) => labels['alertname']));
    assert.ok(
      !names.has('OutriderSidecarDown') && !names.has('OutriderNotRegistered') && !names.has('OutriderLocalServiceDown'),
      [...names].join(),
    );
    const states = await server.query('circuit_breaker_state{sidecar="web", service="event-collector-svc"}');
    assert.deepEqual(
      states.map(({ value }) => value),
      [1],
    );
  });
  await t.test('calls are counted as the caller and as the service see them', async () => {
    const counted = await server.query('sum by (side) (service:grpc_requests:rate5m{service="auth-svc"}) > 0');
    assert.deepEqual(counted.map(({ labels }) => labels['side']).toSorted(), ['client', 'server']);
  });
});

test('Prometheus finds the sidecars in Consul as the shipped configuration says', { skip: withConsul.skip || consul.skip }, async (t) => {
  const agent = await ConsulProcess.start({ path: consul.path });
  atEnd(t, () => agent[Symbol.asyncDispose]());
  const mesh = await startObservedMesh(t, agent);
  const jobs = shipped.scrape_configs.map((job) =>
    job.consul_sd_configs === undefined
      ? job
      : { ...job, consul_sd_configs: job.consul_sd_configs.map((one) => ({ ...one, server: agent.address })) },
  );
  const server = await startPrometheus(t, withConsul.path, {
    ...shipped,
    global: { ...shipped.global, ...everySecond },
    rule_files: ruleFiles,
    scrape_configs: jobs.filter(({ job_name: name }) => name.startsWith('outrider')),
  });
  await withCalls(
    mesh,
    async () => ((await server.query('count(up{job="outrider"} == 1) == 3')).length === 1 ? [] : ['three sidecars']),
    60_000,
  );
  const found = await server.targets();
  assert.deepEqual(
    found.map(({ labels }) => labels).toSorted((a, b) => String(a['sidecar']).localeCompare(String(b['sidecar']))),
    (['auth-svc', 'learner-svc', 'web'] as const).map((sidecar) => ({
      job: 'outrider',
      instance: `127.0.0.1:${mesh.sidecars[sidecar].adminPort}`,
      sidecar,
      service_version: '1.2.3',
      zone: 'eu-1',
      datacenter: 'dc1',
    })),
  );
  // A label of the target takes the name of one of the metric's away.
  assert.deepEqual(
    await server.query(
      '{job="outrider", exported_service!=""} or {job="outrider", exported_version!=""} or {job="outrider", exported_instance!=""}',
    ),
    [],
  );
  for (const { health, lastError, url } of found) assert.equal(health, 'up', `${url}: ${lastError}`);
  await withCalls(
    mesh,
    async () => ((await server.exemplars('grpc_request_duration_seconds_bucket')).length > 0 ? [] : ['exemplars']),
    30_000,
  );
  const [labels] = await server.exemplars('grpc_request_duration_seconds_bucket');
  assert.deepEqual(labels, { trace_id: 'ab'.repeat(16) });
});
