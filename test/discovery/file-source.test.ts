import assert from 'node:assert/strict';
import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Clock, SystemClock, silentLogger, VirtualClock } from '../../src/core/index.ts';
import { createEndpointSource, type EndpointSource, ReadingThread } from '../../src/discovery/index.ts';
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

const many = (count: number, weight = 1): { readonly host: string; readonly port: number; readonly weight: number }[] =>
  Array.from({ length: count }, (_, i) => ({ host: `10.0.${i >> 8}.${i & 255}`, port: 50_051, weight }));
const weighted = (endpoints: ReturnType<typeof many>): string =>
  `endpoints:\n${endpoints.map(({ host, port, weight }) => `  - { address: "${host}:${port}", weight: ${weight} }\n`).join('')}`;
const untilSo = async (isSo: () => boolean, what: string): Promise<void> => {
  for (let i = 0; !isSo(); i++) {
    assert.ok(i < 1_500, `never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
const openFile = (path: string, thread: ReadingThread, clock: Clock): EndpointSource =>
  createEndpointSource({ kind: 'file', path, clusterName: 'auth', keepLastMs: 0 }, { clock, log: silentLogger, thread });

test('a long file is read in a thread, who is listed as before stays the same object, and a short one needs none', async () => {
  using folder = temporaryFolder();
  const [path, short] = [join(folder.path, 'endpoints.yaml'), join(folder.path, 'short.yaml')];
  const clock = new SystemClock();
  const thread = new ReadingThread(clock);
  writeFileSync(short, own(many(20)));
  const few = openFile(short, thread, clock);
  assert.equal(few.value.endpoints.length, 20);
  assert.equal(thread.running, false);
  writeFileSync(path, weighted(many(1_000)));
  const source = openFile(path, thread, clock);
  assert.equal(source.value.updatedAtMs, 0, 'not read yet');
  await untilSo(() => source.value.endpoints.length === 1_000, 'the endpoints');
  const before = source.value.endpoints;
  const changed = many(1_000).map((endpoint, i) => (i === 7 ? { ...endpoint, weight: 9 } : endpoint));
  writeFileSync(path, weighted(changed));
  await untilSo(() => source.value.endpoints.some(({ weight }) => weight === 9), 'the change');
  assert.equal(source.value.endpoints.filter((endpoint) => !before.includes(endpoint)).length, 1);
  writeFileSync(path, eds(many(5_000)));
  await untilSo(() => source.value.endpoints.length === 5_000, 'the endpoints, as JSON');
  const { jobs } = thread;
  assert.ok(jobs >= 3, `${jobs} jobs`);
  few.close();
  source.close();
  thread.close();
});

test('what is wrong with a long file is told with its place, and the last good endpoints stay', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'endpoints.yaml');
  const clock = new SystemClock();
  const thread = new ReadingThread(clock);
  writeFileSync(path, weighted(many(500)));
  const source = openFile(path, thread, clock);
  await untilSo(() => source.value.endpoints.length === 500, 'the endpoints');
  writeFileSync(path, `${weighted(many(500))}  - { address: "auth:1" }\n`);
  await untilSo(() => source.value.error !== undefined, 'the error');
  assert.match(source.value.error ?? '', /endpoints\.yaml:502:\d+: .*"auth" is a name; write an address/);
  assert.equal(source.value.endpoints.length, 500);
  writeFileSync(path, weighted(many(400)));
  await untilSo(() => source.value.error === undefined, 'the end of the error');
  assert.equal(source.value.endpoints.length, 400);
  source.close();
  thread.close();
});

test('a long file that changes while it is read is read once more', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'endpoints.yaml');
  const clock = new SystemClock();
  const thread = new ReadingThread(clock);
  for (let i = 0; i < 5; i++) writeFileSync(path, weighted(many(2_000, i + 1)));
  const source = openFile(path, thread, clock);
  for (let weight = 6; weight <= 12; weight++) {
    writeFileSync(path, weighted(many(2_000, weight)));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await untilSo(() => source.value.endpoints[0]?.weight === 12, 'what the file says in the end');
  assert.equal(source.value.endpoints.length, 2_000);
  source.close();
  thread.close();
});

test('the thread ends when nobody has needed it for a minute, and a source of its own thread ends that with itself', async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, 'endpoints.yaml');
  writeFileSync(path, weighted(many(300)));
  const clock = new VirtualClock();
  const thread = new ReadingThread(clock);
  const source = openFile(path, thread, clock);
  await untilSo(() => source.value.endpoints.length === 300, 'the endpoints');
  assert.equal(thread.running, true);
  clock.advance(60_000);
  assert.equal(thread.running, false);
  source.close();
  const alone = createEndpointSource({ kind: 'file', path, clusterName: 'auth', keepLastMs: 0 }, { clock, log: silentLogger });
  alone.close();
  assert.equal(clock.pending, 0);
  assert.equal(alone.value.endpoints.length, 0);
});
