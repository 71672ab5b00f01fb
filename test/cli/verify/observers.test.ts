import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { checkLeaks } from '../../harness/leak-check.ts';
import { freePort } from '../../harness/ports.ts';
import { JaegerProcess } from '../../peers/jaeger-process.ts';
import { peerProgram } from '../../peers/peer-programs.ts';
import { PrometheusProcess } from '../../peers/prometheus-process.ts';
import { assertFailure, consulProgram, VerifiedMesh } from './verified-mesh.ts';

const [jaegerProgram, prometheusProgram] = await Promise.all([peerProgram('jaeger'), peerProgram('prometheus')]);
const { skip } = consulProgram;
let mesh: VerifiedMesh | undefined;
// Before the check for what is left over, which looks after it.
after(() => mesh?.[Symbol.asyncDispose]());
checkLeaks();
if (skip === false) mesh = await VerifiedMesh.start();

test('a real Jaeger is asked until it shows a call through both sidecars', { skip: skip || jaegerProgram.skip }, async () => {
  assert.ok(mesh);
  await using jaeger = await JaegerProcess.start(jaegerProgram.path);
  const environment = {
    OTEL_EXPORTER_JAEGER_ENDPOINT: `http://127.0.0.1:${jaeger.ports.collectorHttp}/api/traces`,
    OTEL_BSP_SCHEDULE_DELAY: '100',
    // The call that is made here is found all the same: its caller says that it is sampled.
    OTEL_TRACES_SAMPLER_ARG: '0',
  };
  const [caller] = await Promise.all([
    mesh.sidecar({ name: 'traced-caller', environment }),
    mesh.sidecar({ name: 'traced-svc', environment }),
    mesh.sidecar({ name: 'silent-svc' }),
  ]);
  await Promise.all(['traced-caller', 'traced-svc', 'silent-svc'].map((name) => mesh?.registered(name)));
  const url = `http://127.0.0.1:${jaeger.ports.query}`;
  const via = ['--via', `127.0.0.1:${caller.outboundPort}`];
  const [found, own, direct, lost] = await Promise.all([
    mesh.verify('traced-svc', ['--jaeger', url, ...via]),
    mesh.verify('traced-caller', ['--jaeger', url, ...via]),
    mesh.verify('traced-svc', ['--jaeger', url]),
    mesh.verify('silent-svc', ['--jaeger', url, ...via, '--trace-timeout', '2s']),
  ]);
  assert.match(found.check('trace').detail, /^[0-9a-f]{32} shows traced-caller \(client\), .*traced-svc \(server\)$/);
  assert.equal(found.check('trace').result, 'ok');
  // A sidecar that calls its own service is on both ends.
  assert.equal(own.check('trace').result, 'ok', own.check('trace').detail);
  assert.equal(direct.check('trace').result, 'ok', direct.check('trace').detail);
  assertFailure(
    lost.check('trace'),
    /^the trace [0-9a-f]{32} shows traced-caller \(client\) only, after 2 s$/,
    /^curl -s http:\/\/127\.0\.0\.1:\d+\/api\/traces\/[0-9a-f]{32} {2}# JAEGER_HOST/,
  );
});

test('a Prometheus that has only just found a sidecar is given the time to scrape it', {
  skip: skip || prometheusProgram.skip,
}, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'young-svc' });
  await mesh.registered('young-svc');
  const target = `127.0.0.1:${sidecar.adminPort}`;
  const configuration = (often: string): string => `global: { scrape_interval: ${often}, scrape_timeout: 1s }
scrape_configs: [{ job_name: outrider, static_configs: [{ targets: ["${target}"] }] }]
`;
  await using soon = await PrometheusProcess.start(prometheusProgram.path, configuration('1s'));
  const found = await mesh.verify('young-svc', ['--prometheus', `http://127.0.0.1:${soon.port}`]);
  assert.equal(found.check('metrics.scraped').result, 'ok', found.check('metrics.scraped').detail);
  await using late = await PrometheusProcess.start(prometheusProgram.path, configuration('1h'));
  const deadline = performance.now() + 20_000;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${late.port}/api/v1/targets`, { headers: { connection: 'close' } });
    if ((await answer.text()).includes(target)) break;
    assert.ok(performance.now() < deadline, 'Prometheus does not read its configuration');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const hasty = await mesh.verify('young-svc', ['--prometheus', `http://127.0.0.1:${late.port}`, '--scrape-timeout', '0s']);
  assertFailure(
    hasty.check('metrics.scraped'),
    new RegExp(`^http://${target.replaceAll('.', '\\.')}/metrics has not been scraped yet$`),
    /--scrape-timeout waits longer$/,
  );
});

test('a real Prometheus is asked for the target and for its series', { skip: skip || prometheusProgram.skip }, async () => {
  assert.ok(mesh);
  const [scraped] = await Promise.all([mesh.sidecar({ name: 'scraped-svc' }), mesh.sidecar({ name: 'unknown-svc' })]);
  await Promise.all(['scraped-svc', 'unknown-svc'].map((name) => mesh?.registered(name)));
  const dead = await freePort();
  const configuration = `global: { scrape_interval: 200ms, scrape_timeout: 200ms }
scrape_configs:
  - job_name: outrider
    static_configs:
      - { targets: ["127.0.0.1:${scraped.adminPort}"] }
      - { targets: ["127.0.0.1:${dead}"], labels: { sidecar: dead-svc } }
`;
  await using prometheus = await PrometheusProcess.start(prometheusProgram.path, configuration);
  const url = `http://127.0.0.1:${prometheus.port}`;
  const deadline = performance.now() + 20_000;
  while ((await prometheus.query('up')).length < 2 || (await prometheus.query('outrider_fates_total')).length === 0) {
    assert.ok(performance.now() < deadline, 'nothing was scraped');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const killed = await mesh.sidecar({ name: 'dead-svc', environment: { REGISTRATION: 'off' } });
  const [good, unknown, down, gone] = await Promise.all([
    mesh.verify('scraped-svc', ['--prometheus', url]),
    mesh.verify('unknown-svc', ['--prometheus', url, '--scrape-timeout', '0s']),
    mesh.verify('dead-svc', ['--prometheus', url, '--admin', `dead-svc=127.0.0.1:${killed.adminPort}`]),
    mesh.verify('scraped-svc', ['--prometheus', `http://127.0.0.1:${dead}`]),
  ]);
  assert.deepEqual(good.failed(), []);
  assert.match(good.check('metrics.scraped').detail, /^http:\/\/127\.0\.0\.1:\d+\/metrics is up, \d+ series$/);
  assertFailure(
    unknown.check('metrics.scraped'),
    /^Prometheus has no target 127\.0\.0\.1:\d+, nor one with the label sidecar="unknown-svc"$/,
    /^curl -s \S+\/api\/v1\/targets {2}# add /,
  );
  assertFailure(
    down.check('metrics.scraped'),
    new RegExp(`^http://127\\.0\\.0\\.1:${dead}/metrics is down: .*refused`),
    /^curl -s http:\/\/127\.0\.0\.1:\d+\/metrics {2}# /,
  );
  assertFailure(
    gone.check('metrics.scraped'),
    /^Prometheus at http:\/\/127\.0\.0\.1:\d+: nobody listens there$/,
    /outrider verify --prometheus <url>$/,
  );
});
