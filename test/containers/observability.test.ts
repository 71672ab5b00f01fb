import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { ask, ComposeMesh } from './compose-mesh.ts';
import { docker, eventually, withoutEngine } from './docker.ts';
import { root, standInOf } from './images.ts';
import { staysSmall } from './sidecar-memory.ts';

const deploy = join(root, 'deploy');

describe('the stack that operators look at: Jaeger, Prometheus, Grafana, StatsD', { skip: withoutEngine }, () => {
  let mesh: ComposeMesh;
  before(async () => {
    mesh = await ComposeMesh.start({ profiles: ['observability'] });
    await eventually('a call with a profile', async () => !(await mesh.authenticate()).withoutProfile);
    for (let i = 0; i < 50; i++) await mesh.authenticate(`user ${i}`);
  });
  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });

  test('all of it is up, and it is said which images are not the official ones', async (t) => {
    const images = (await mesh.compose('config', '--images')).split('\n');
    for (const image of [...new Set(images)].filter((name) => name !== 'outrider')) {
      t.diagnostic(`${image}: ${(await standInOf(image)) ?? 'the official image'}`);
    }
    const states = (await mesh.compose('ps', '--format', '{{.Service}} {{.State}} {{.Health}}')).split('\n');
    for (const service of ['jaeger', 'prometheus', 'grafana', 'statsd-exporter', 'consul', 'auth-svc-sidecar'])
      assert.ok(
        states.some((line) => line.startsWith(`${service} running`) && !line.endsWith('unhealthy')),
        states.join('\n'),
      );
  });

  test('Prometheus scrapes every sidecar that Consul knows, and its queries see the calls', async () => {
    const query = async (
      text: string,
    ): Promise<readonly { readonly metric: Record<string, string>; readonly value: readonly [number, string] }[]> => {
      const answer = JSON.parse(await ask(mesh.port('PROMETHEUS_PORT'), `/api/v1/query?query=${encodeURIComponent(text)}`)) as {
        readonly data: {
          readonly result: readonly { readonly metric: Record<string, string>; readonly value: readonly [number, string] }[];
        };
      };
      return answer.data.result;
    };
    await eventually('three sidecars that are up', async () => (await query('up{job="outrider"} == 1')).length === 3, { withinMs: 90_000 });
    await eventually(
      'the calls',
      async () => Number((await query('sum(grpc_requests_total{service="learner-svc"})'))[0]?.value[1] ?? 0) >= 50,
    );
  });

  test('StatsD answers under METRICS_HOST and hears of the calls', async () => {
    const exposition = (): Promise<string> =>
      docker(
        'run',
        '--rm',
        '--network',
        `${mesh.project}_mesh`,
        '--entrypoint',
        'node',
        'outrider',
        '-e',
        'fetch("http://prometheus:9102/metrics").then((answer) => answer.text()).then(console.log)',
      );
    await eventually('metrics of a sidecar', async () => /statsd_exporter_lines_total [1-9]/.test(await exposition()), {
      withinMs: 30_000,
      describe: exposition,
    });
  });

  test('Jaeger has a trace with spans of both sidecars', async () => {
    interface Trace {
      readonly processes: Readonly<Record<string, { readonly serviceName: string }>>;
      readonly spans: readonly unknown[];
    }
    const traceparent = `00-${'4bf92f3577b34da6a3ce929d0e0e4736'}-00f067aa0ba902b7-01`;
    await mesh.authenticate('ada', metadataOf(traceparent));
    const traces = await eventually(
      'the trace',
      async () => {
        try {
          const { data } = JSON.parse(await ask(mesh.port('JAEGER_PORT'), `/api/traces/4bf92f3577b34da6a3ce929d0e0e4736`)) as {
            readonly data: readonly Trace[];
          };
          const services = new Set(data.flatMap(({ processes }) => Object.values(processes).map(({ serviceName }) => serviceName)));
          return services.has('auth-svc') && services.has('learner-svc') ? data : undefined;
        } catch {
          return undefined;
        }
      },
      { withinMs: 30_000, describe: () => mesh.log('auth-svc-sidecar') },
    );
    assert.ok((traces[0]?.spans.length ?? 0) >= 3);
  });

  test('with traces and metrics on, a sidecar that serves 500 calls a second stays below 100 MB', async (t) => {
    const client = await mesh.client();
    t.after(() => client.close());
    await staysSmall(t, mesh, client, ['auth-svc-sidecar', 'learner-svc-sidecar']);
  });

  test('Grafana has the data source and every dashboard of deploy/grafana', async () => {
    const { database } = JSON.parse(await ask(mesh.port('GRAFANA_PORT'), '/api/health')) as { readonly database: string };
    assert.equal(database, 'ok');
    const dashboards = JSON.parse(await ask(mesh.port('GRAFANA_PORT'), '/api/search?type=dash-db')) as readonly unknown[];
    assert.ok(existsSync(join(deploy, 'grafana')));
    assert.equal(dashboards.length, globSync('**/*.json', { cwd: join(deploy, 'grafana/dashboards') }).length);
    assert.ok(dashboards.length > 0);
  });
});

const metadataOf = (traceparent: string): Metadata => {
  const metadata = new Metadata();
  metadata.set('traceparent', traceparent);
  return metadata;
};
