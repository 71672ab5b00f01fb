import assert from 'node:assert/strict';
import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { createEndpointSource } from '../../src/discovery/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { passWith } from './source-passing.ts';
import { type OriginState, testEndpointSource } from './source-suite.ts';

checkLeaks();

type Endpoints = Exclude<OriginState, 'failing'>;
const own = (endpoints: Endpoints): string =>
  `endpoints:${endpoints.length === 0 ? ' []' : ''}\n${endpoints.map(({ host, port }) => `  - ${host}:${port}\n`).join('')}`;
const eds = (endpoints: Endpoints): string =>
  JSON.stringify({
    versionInfo: '7',
    resources: [
      { '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', clusterName: 'other', endpoints: [] },
      {
        '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
        clusterName: 'auth',
        endpoints: [
          {
            lbEndpoints: endpoints.map(({ host, port }) => ({
              endpoint: { address: { socketAddress: { address: host, portValue: port } } },
            })),
          },
        ],
      },
    ],
  });

for (const [kind, textOf, wrong] of [
  ['our list', own, ['endpoints: [', 'endpoints: ["nonsense"]', '']],
  ["Envoy's EDS", eds, ['{"resources": [', '{"resources": [{"cluster_name": "other"}]}', '{"resources": 7}']],
] as const) {
  testEndpointSource(`File with ${kind}`, {
    keepsLast: true,
    open: async (state) => {
      const folder = temporaryFolder();
      const path = join(folder.path, 'endpoints');
      let outages = 0;
      const say = (next: OriginState): void => {
        const step = outages++;
        if (next === 'failing' && step % 4 === 3) {
          rmSync(path, { force: true });
          return;
        }
        const text = next === 'failing' ? (wrong[step % 4] ?? '') : textOf(next);
        // In place, and by replacing: both are done.
        if (step % 2 === 0) writeFileSync(path, text);
        else {
          writeFileSync(`${path}.new`, text);
          renameSync(`${path}.new`, path);
        }
      };
      say(state);
      const clock = new VirtualClock();
      const policy = { kind: 'file', path, clusterName: 'auth', keepLastMs: 5_000 } as const;
      const source = createEndpointSource(policy, { clock, log: silentLogger });
      return {
        source,
        say,
        pass: passWith(clock),
        pendingTimers: () => clock.pending,
        [Symbol.asyncDispose]: async () => {
          source.close();
          folder[Symbol.dispose]();
        },
      };
    },
  });
}

test('a file behind symbolic links, swapped as Kubernetes swaps a mounted ConfigMap, is followed', async () => {
  using folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder.path, ...names);
  const publish = (version: string, text: string): void => {
    writeFileSync(at(`${version}-endpoints.yaml`), text);
    symlinkSync(`${version}-endpoints.yaml`, at('..data.new'));
    renameSync(at('..data.new'), at('..data'));
  };
  publish('1', 'endpoints: ["10.0.0.1:1"]');
  symlinkSync('..data', at('endpoints.yaml'));
  const clock = new VirtualClock();
  const source = createEndpointSource(
    { kind: 'file', path: at('endpoints.yaml'), clusterName: 'auth', keepLastMs: 0 },
    { clock, log: silentLogger },
  );
  assert.equal(source.value.endpoints[0]?.host, '10.0.0.1');
  publish('2', 'endpoints: ["10.0.0.2:1"]');
  const pass = passWith(clock);
  for (let i = 0; i < 200 && source.value.endpoints[0]?.host === '10.0.0.1'; i++) await pass();
  assert.equal(source.value.endpoints[0]?.host, '10.0.0.2');
  source.close();
});

test('a file that has become wrong was right until then', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'endpoints.yaml');
  writeFileSync(path, 'endpoints: ["10.0.0.1:1"]');
  const clock = new VirtualClock();
  const source = createEndpointSource({ kind: 'file', path, clusterName: 'auth', keepLastMs: 0 }, { clock, log: silentLogger });
  const { updatedAtMs } = source.value;
  const pass = passWith(clock);
  for (let i = 0; i < 50; i++) await pass();
  assert.equal(source.value.updatedAtMs, updatedAtMs);
  writeFileSync(path, 'endpoints: [');
  for (let i = 0; i < 200 && source.value.error === undefined; i++) await pass();
  assert.ok(source.value.updatedAtMs >= updatedAtMs + 10_000);
  assert.equal(source.value.endpoints.length, 1);
  source.close();
});
