import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { createEndpointSource } from '../../src/discovery/index.ts';
import type { KubernetesEndpointsPolicy } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { passWith } from './source-passing.ts';
import { type OriginState, testEndpointSource } from './source-suite.ts';
import { StandInKubernetes, type StandInSlice } from './stand-in-kubernetes.ts';

checkLeaks();

const base = { kind: 'kubernetes', service: 'auth', namespace: 'shop', port: undefined, keepLastMs: 5_000 } as const;
const slice = (name: string, more: Partial<StandInSlice> = {}): StandInSlice => ({
  metadata: { name },
  addressType: 'IPv4',
  ports: [{ name: 'grpc', port: 50_051, protocol: 'TCP' }],
  endpoints: [],
  ...more,
});
const ready = (address: string, more: Readonly<Record<string, unknown>> = {}) => ({
  addresses: [address],
  conditions: { ready: true, serving: true, terminating: false },
  ...more,
});

const perSlice = 100;

testEndpointSource('Kubernetes', {
  port: 50_051,
  keepsLast: true,
  open: async (state) => {
    const server = new StandInKubernetes();
    const say = (next: OriginState): void => {
      if (next === 'failing') {
        server.fail();
        return;
      }
      server.failing = false;
      const wanted = Math.ceil(next.length / perSlice);
      for (let i = 0; i < wanted; i++)
        server.put(slice(`auth-${i}`, { endpoints: next.slice(i * perSlice, (i + 1) * perSlice).map(({ host }) => ready(host)) }));
      for (const name of server.names) if (Number(name.slice('auth-'.length)) >= wanted) server.remove(name);
    };
    say(state);
    const clock = new VirtualClock();
    const source = createEndpointSource({ ...base, apiServer: await server.start() }, { clock, log: silentLogger, random: Math.random });
    return {
      source,
      say,
      pass: passWith(clock),
      pendingTimers: () => clock.pending,
      [Symbol.asyncDispose]: async () => {
        source.close();
        await server[Symbol.asyncDispose]();
      },
    };
  },
});

const setUp = async (prepare: (server: StandInKubernetes) => void, more: Partial<KubernetesEndpointsPolicy> = {}) => {
  const server = new StandInKubernetes();
  prepare(server);
  const clock = new VirtualClock();
  const policy = { ...base, apiServer: await server.start(), ...more };
  const source = createEndpointSource(policy, { clock, log: silentLogger, random: () => 0 });
  const pass = passWith(clock);
  const until = async (what: string, isSo: () => boolean): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!isSo()) {
      assert.ok(performance.now() < deadline, `${what}: ${JSON.stringify([source.value, source.updates, server.watchedFrom])}`);
      await pass();
    }
  };
  const hosts = (): string => source.value.endpoints.map(({ host }) => host).join(' ');
  return {
    server,
    source,
    until,
    hosts,
    pass,
    [Symbol.asyncDispose]: async () => {
      source.close();
      await server[Symbol.asyncDispose]();
    },
  };
};

test('ready endpoints of all slices are used, each once, with zone, name and the port of its name', async () => {
  await using setup = await setUp((server) => {
    server.put(
      slice('a', {
        ports: [
          { name: 'metrics', port: 9_090 },
          { name: 'grpc', port: 50_051 },
        ],
        endpoints: [
          ready('10.0.0.1', { zone: 'eu-1a', hostname: 'auth-0' }),
          { addresses: ['10.0.0.2'], conditions: { ready: false } },
          // Nothing is known of it: taken for ready.
          { addresses: ['10.0.0.3'] },
          { addresses: ['10.0.0.4'], conditions: { ready: false, serving: true, terminating: true } },
        ],
      }),
    );
    server.put(slice('b', { endpoints: [ready('10.0.0.1')], ports: [{ name: 'grpc', port: 50_051 }] }));
    server.put(slice('c', { addressType: 'IPv6', endpoints: [ready('fd00::1')] }));
  });
  await setup.until('endpoints', () => setup.source.value.endpoints.length === 3);
  assert.deepEqual(setup.source.value.endpoints, [
    { host: '10.0.0.1', port: 50_051, weight: 1, hostname: 'auth-0', locality: '/eu-1a' },
    { host: '10.0.0.3', port: 50_051, weight: 1 },
    { host: 'fd00::1', port: 50_051, weight: 1 },
  ]);
  assert.equal(setup.source.value.source, 'kubernetes:shop/auth');
  assert.equal(setup.source.value.error, undefined);
  assert.ok(setup.server.paths.every((path) => path === '/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices'));
});

test('where nothing is ready, what is shutting down and still serves is used', async () => {
  await using setup = await setUp((server) => {
    server.put(
      slice('a', {
        endpoints: [
          { addresses: ['10.0.0.1'], conditions: { ready: false, serving: true, terminating: true } },
          { addresses: ['10.0.0.2'], conditions: { ready: false, serving: false, terminating: true } },
        ],
      }),
    );
  });
  await setup.until('the one that serves', () => setup.hosts() === '10.0.0.1');
});

test('the port is chosen by name or number, and a slice without it is told with what it has', async () => {
  const prepare = (server: StandInKubernetes): void => {
    const ports = [
      { name: 'web', port: 8_080 },
      { name: 'rpc', port: 7_000 },
    ];
    server.put(slice('a', { ports, endpoints: [ready('10.0.0.1')] }));
  };
  for (const [port, expected] of [
    ['rpc', 7_000],
    [8_080, 8_080],
  ] as const) {
    await using setup = await setUp(prepare, { port });
    await setup.until('endpoints', () => setup.source.value.endpoints.length === 1);
    assert.equal(setup.source.value.endpoints[0]?.port, expected);
  }
  await using setup = await setUp(prepare);
  await setup.until('an error', () => setup.source.value.error !== undefined);
  assert.match(setup.source.value.error ?? '', /EndpointSlice a has no port named grpc, and not just one \(it has web 8080, rpc 7000\)/);
});

test('a watch that ends goes on from the version that it has seen, bookmarks included, without another list', async () => {
  await using setup = await setUp((server) => server.put(slice('a', { endpoints: [ready('10.0.0.1')] })));
  const { server, until, hosts } = setup;
  await until('the watch', () => hosts() === '10.0.0.1' && server.watchers === 1);
  server.bookmark();
  const seen = server.version;
  await setup.pass();
  server.endWatches();
  await until('another watch', () => server.watchedFrom.length === 2 && server.watchers === 1);
  assert.equal(server.watchedFrom[1], seen);
  server.put(slice('a', { endpoints: [ready('10.0.0.2')] }));
  await until('the change', () => hosts() === '10.0.0.2');
  assert.equal(server.lists, 1);
});

for (const how of ['by an event', 'by status 410'] as const) {
  test(`a version that the server has forgotten, told ${how}, means listing again`, async () => {
    await using setup = await setUp((server) => server.put(slice('a', { endpoints: [ready('10.0.0.1')] })));
    const { server, source, until, hosts } = setup;
    await until('the watch', () => server.watchers === 1);
    if (how === 'by an event') server.endWatches(true);
    else {
      server.fail();
      await until('an error', () => source.value.error !== undefined);
      server.put(slice('b', { endpoints: [ready('10.0.0.2')] }));
      server.remove('a');
      server.compact();
      server.failing = false;
    }
    await until('another list', () => server.lists >= 2 && server.watchers === 1);
    await until('no error', () => source.value.error === undefined);
    assert.equal(hosts(), how === 'by an event' ? '10.0.0.1' : '10.0.0.2');
  });
}

test('endpoints that were watched were right until the watch broke', async () => {
  await using setup = await setUp((server) => server.put(slice('a', { endpoints: [ready('10.0.0.1')] })));
  const { server, source, until, pass } = setup;
  await until('the watch', () => server.watchers === 1);
  const { updatedAtMs } = source.value;
  for (let i = 0; i < 50; i++) await pass();
  server.fail();
  await until('an error', () => source.value.error !== undefined);
  assert.ok(source.value.updatedAtMs >= updatedAtMs + 10_000);
  const { updatedAtMs: last } = source.value;
  for (let i = 0; i < 50; i++) await pass();
  assert.equal(source.value.updatedAtMs, last);
});

test('long lists come in pages once a cached one was too old', async () => {
  const count = 1_200;
  await using setup = await setUp((server) => {
    for (let i = 0; i < count; i++) server.put(slice(`s${i}`, { endpoints: [ready(`10.1.${i >> 8}.${i & 255}`)] }));
  });
  const { server, source, until } = setup;
  await until('all', () => source.value.endpoints.length === count && server.watchers === 1);
  assert.equal(server.lists, 1);
  server.endWatches(true);
  await until('pages', () => server.lists === 4 && server.watchers === 1);
  assert.equal(source.value.endpoints.length, count);
});

test('the token is read again at each request; without a right one the error says what to do', async () => {
  using folder = temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  writeFileSync(tokenFile, 'old');
  await using setup = await setUp(
    (server) => {
      server.token = 'new';
      server.put(slice('a', { endpoints: [ready('10.0.0.1')] }));
    },
    { tokenFile },
  );
  await setup.until('an error', () => setup.source.value.error !== undefined);
  assert.match(setup.source.value.error ?? '', /status 401.*check token_file/);
  writeFileSync(tokenFile, 'new\n');
  await setup.until('the endpoint', () => setup.hosts() === '10.0.0.1' && setup.source.value.error === undefined);
});

test('events that are no events end the watch with an error, and it begins again', async () => {
  await using setup = await setUp((server) => server.put(slice('a', { endpoints: [ready('10.0.0.1')] })));
  const { server, source, until } = setup;
  await until('the watch', () => server.watchers === 1);
  server.put({ nonsense: true, metadata: { name: 'x' } } as unknown as StandInSlice);
  await until('an error', () => source.value.error !== undefined);
  assert.match(source.value.error ?? '', /no EndpointSlice/);
  assert.equal(setup.hosts(), '10.0.0.1');
});
