/** What Prometheus makes of the scrape configuration for Kubernetes, with an API server that lists what deploy/kubernetes/sidecar.yaml becomes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { checkLeaks } from '../harness/leak-check.ts';
import { atEnd } from '../mesh/at-end.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { peerProgram } from './peer-programs.ts';
import { PrometheusProcess } from './prometheus-process.ts';

checkLeaks();

const folder = new URL('../../deploy/kubernetes/', import.meta.url);
// Debian's is built without many kinds of discovery, and this one knows them all.
const prometheus = await peerProgram('prometheus-with-consul');

// biome-ignore lint/suspicious/noExplicitAny: resources of Kubernetes.
type Json = any;

/** Lists these pods to whoever asks, and has no news. */
const startApiServer = async (t: TestContext, pods: readonly Json[]): Promise<string> => {
  const waiting = new Set<http.ServerResponse>();
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://api');
    response.setHeader('content-type', 'application/json');
    if (pathname !== '/api/v1/pods' || searchParams.has('sendInitialEvents')) {
      // An API server that is not the newest: clients ask for lists instead.
      const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Invalid', code: 422 };
      response.writeHead(422).end(JSON.stringify(status));
    } else if (searchParams.get('watch') !== null) {
      response.flushHeaders();
      waiting.add(response);
    } else response.end(JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '7' }, items: pods }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(t, async () => {
    for (const response of waiting) response.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

test('Prometheus finds the sidecar of a pod by its port, and nothing else of it', { skip: prometheus.skip }, async (t) => {
  const sidecar = await startSidecar(t, { name: 'auth-svc' });
  const resources = parseAllDocuments(readFileSync(new URL('sidecar.yaml', folder), 'utf8')).map((one) => one.toJS() as Json);
  const { metadata, spec } = resources.find(({ kind }) => kind === 'Deployment').spec.template;
  const port = spec.initContainers[0].ports.find(({ name }: { name: string }) => name === 'admin');
  port.containerPort = sidecar.adminPort;
  const pod = (name: string, phase: string): Json => ({
    metadata: { ...metadata, name, namespace: 'prod', uid: name, resourceVersion: '7' },
    spec: { ...spec, nodeName: 'node-1' },
    status: { phase, podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }], hostIP: '127.0.0.1' },
  });
  const apiServer = await startApiServer(t, [pod('auth-svc-1', 'Running'), pod('auth-svc-0', 'Succeeded')]);

  const [job] = (parse(readFileSync(new URL('prometheus-scrape.yml', folder), 'utf8')) as Json).scrape_configs;
  const discovery = job.kubernetes_sd_configs.map((one: Json) => ({ ...one, api_server: apiServer }));
  const global = { scrape_interval: '1s', scrape_timeout: '1s' };
  const configuration = { global, scrape_configs: [{ ...job, kubernetes_sd_configs: discovery }] };
  const server = await PrometheusProcess.start(prometheus.path, stringify(configuration));
  atEnd(t, () => server[Symbol.asyncDispose]());

  const deadline = performance.now() + 30_000;
  while ((await server.query('up{job="outrider"} == 1')).length === 0) {
    assert.ok(performance.now() < deadline, JSON.stringify(await server.targets()));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(
    (await server.targets()).map(({ labels }) => labels),
    [{ job: 'outrider', instance: `127.0.0.1:${sidecar.adminPort}`, sidecar: 'auth-svc', namespace: 'prod', pod: 'auth-svc-1' }],
  );
});
