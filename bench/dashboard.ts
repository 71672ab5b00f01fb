/**
 * What the dashboard costs the sidecar that it shows: CPU of a sidecar with 20 routes and 10 clusters of 10 endpoints under a few calls a
 * second, while nobody looks and while one and eight pages follow `/events`.
 *
 *     node bench/dashboard.ts [seconds for each, 30]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { outriderPath, spawnProgram } from '../test/harness/program.ts';
import { message } from '../test/mesh/upstream.ts';

const seconds = Number(process.argv[2] ?? 30);
const [clusters, endpoints, routes, callsPerSecond] = [10, 10, 20, 20];

const service = http2.createServer();
service.on('stream', (stream: http2.ServerHttp2Stream) => {
  stream.on('error', () => {});
  stream.resume();
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(message('pong'));
});
await new Promise<void>((resolve) => service.listen(0, '0.0.0.0', resolve));
const { port } = service.address() as AddressInfo;

const folder = mkdtempSync(join(tmpdir(), 'outrider-bench-'));
const routeText = Array.from(
  { length: routes },
  (_, i) => `  - { match: { prefix: /acme.S${i}/ }, route: { cluster: c${i % clusters}, timeout: 5s } }`,
);
// Every address of 127.0.0.0/8 is this machine: a hundred endpoints of one service.
const clusterText = Array.from({ length: clusters }, (_, i) => {
  const list = Array.from({ length: endpoints }, (_, j) => `"127.0.${i + 1}.${j + 1}:${port}"`);
  return `  c${i}: { endpoints: [${list.join(', ')}], tls: { mode: disable } }`;
});
writeFileSync(join(folder, 'mesh.yaml'), `routes:\n${routeText.join('\n')}\nclusters:\n${clusterText.join('\n')}\n`);

const ports = { GRPC_PORT: '0', OUTBOUND_PORT: '0', ADMIN_PORT: '0', LOCAL_SERVICE_HEALTH_INTERVAL: '0s' };
const env = { PATH: process.env['PATH'], SERVICE_NAME: 'bench', INBOUND_TLS: 'off', POLICY_PATH: join(folder, 'mesh.yaml'), ...ports };
await using sidecar = spawnProgram(outriderPath, ['sidecar'], { env });
const ready = JSON.parse((await sidecar.waitFor(/^.*"ready".*$/m))[0]) as { outbound: number; admin: number };

const caller = http2.connect(`http://127.0.0.1:${ready.outbound}`);
let calls = 0;
const traffic = setInterval(() => {
  const path = `/acme.S${calls++ % routes}/Call`;
  const stream = caller.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  stream.on('error', () => {}).resume();
  stream.end(message('ping'));
}, 1_000 / callsPerSecond);

const cpuMs = async (): Promise<number> => {
  const response = await fetch(`http://127.0.0.1:${ready.admin}/stats?format=json`);
  const { stats } = (await response.json()) as { stats: { name: string; value: number }[] };
  return 1_000 * (stats.find(({ name }) => name === 'server.cpu_seconds')?.value ?? Number.NaN);
};

// What is compiled while it warms up would be counted for nobody's pages.
await sleep(20_000);
let idlePercent: number | undefined;
for (const pages of [0, 1, 8, 0]) {
  let bytes = 0;
  const followers = Array.from({ length: pages }, () =>
    get({ host: '127.0.0.1', port: ready.admin, path: '/events', agent: false }, (events) => {
      events.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      events.on('error', () => {});
    }).on('error', () => {}),
  );
  await sleep(5_000);
  const [beforeMs, startMs, beforeBytes] = [await cpuMs(), performance.now(), bytes];
  await sleep(seconds * 1_000);
  const lengthMs = performance.now() - startMs;
  const percent = (100 * ((await cpuMs()) - beforeMs)) / lengthMs;
  idlePercent ??= percent;
  const more =
    pages === 0
      ? ''
      : `, ${(percent - idlePercent).toFixed(2)} more than while nobody looks, ${((bytes - beforeBytes) / lengthMs).toFixed(1)} KB/s`;
  console.log(`${pages} pages: ${percent.toFixed(2)} % of a core${more}`);
  for (const follower of followers) follower.destroy();
}
clearInterval(traffic);
caller.destroy();
service.close();
rmSync(folder, { recursive: true });
