import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { createEndpointSource, type EndpointSet, type EndpointSource } from '../../src/discovery/index.ts';
import { readInstances, readInstancesInTurns } from '../../src/discovery/instance-list.ts';
import { CertificateAuthority } from '../../src/identity/index.ts';
import type { HttpEndpointsPolicy } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { passWith } from './source-passing.ts';
import { type OriginState, testEndpointSource } from './source-suite.ts';
import { StandInDiscoverer, type StandInInstance } from './stand-in-discoverer.ts';

checkLeaks();

const base = { kind: 'http', intervalMs: 1_000, timeoutMs: 2_000, unregisterAfter: 3, maxBodyBytes: 1_048_576, keepLastMs: 5_000 } as const;

testEndpointSource('HTTP discoverer', {
  keepsLast: true,
  open: async (state) => {
    const server = new StandInDiscoverer();
    const url = await server.start();
    let outages = 0;
    const say = (next: OriginState): void => {
      if (next === 'failing') {
        // An error, garbage, half an answer: in turn.
        const kind = outages++ % 3;
        server.instead = (_request, response) => {
          if (kind === 0) response.writeHead(500).end();
          else if (kind === 1) response.end('{"instances": "soon"}');
          else {
            response.writeHead(200, { 'content-length': '100' });
            response.write('{"instances": [');
            setImmediate(() => response.destroy());
          }
        };
        return;
      }
      server.instead = undefined;
      server.instances = next.map(({ host, port }) => ({ instance_id: `i-${host}-${port}`, ipv4: host, port }));
    };
    say(state);
    const clock = new VirtualClock();
    const source = createEndpointSource({ ...base, url }, { clock, log: silentLogger, random: Math.random });
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

const setUp = async (prepare: (server: StandInDiscoverer) => void, more: Partial<HttpEndpointsPolicy> = {}) => {
  const server = new StandInDiscoverer();
  prepare(server);
  const url = await server.start();
  const clock = new VirtualClock();
  const source: EndpointSource = createEndpointSource({ ...base, url, ...more }, { clock, log: silentLogger, random: () => 0 });
  const pass = passWith(clock);
  const until = async (what: string, isSo: () => boolean): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!isSo()) {
      assert.ok(performance.now() < deadline, `${what}: ${JSON.stringify([source.value, source.updates])}`);
      await pass();
    }
  };
  return {
    server,
    clock,
    source,
    until,
    pass,
    [Symbol.asyncDispose]: async () => {
      source.close();
      await server[Symbol.asyncDispose]();
    },
  };
};

const instance = (n: number): StandInInstance => ({ instance_id: `worker/${n}`, ipv4: `10.0.0.${n}`, port: 50_051 });
const list =
  (...numbers: number[]) =>
  (server: StandInDiscoverer) => {
    server.instances = numbers.map(instance);
  };
const told = (source: EndpointSource, n: number, connected: boolean): void =>
  source.connectResult?.({ host: `10.0.0.${n}`, port: 50_051, weight: 1 }, connected);

test('an empty list is "all instances are busy"', async () => {
  await using setup = await setUp(list(), { keepLastMs: 0 });
  const { server, source, until } = setup;
  await until('an answer', () => source.value.updatedAtMs > 0);
  assert.equal(source.value.allBusy, true);
  list(1)(server);
  await until('an instance', () => source.value.endpoints.length === 1);
  assert.equal(source.value.allBusy, undefined);
});

for (const [what, body, error] of [
  ['no JSON', 'hello', /the answer is no JSON/],
  ['no list', '{"instances": {}}', /has no list "instances"/],
  ['an instance without an id', '{"instances": [{"ipv4": "10.0.0.1", "port": 1}]}', /instances\[0\]: "instance_id" is no text/],
  ['a name for an address', '{"instances": [{"instance_id": "a", "ipv4": "host", "port": 1}]}', /instances\[0\]: "ipv4" is no address/],
  ['a port that is none', '{"instances": [{"instance_id": "a", "ipv4": "10.0.0.1", "port": "1"}]}', /instances\[0\]: "port" is no port/],
  ['more than is read', `{"instances": [], "more": "${'x'.repeat(3_000)}"}`, /longer than 2048 bytes/],
] as const) {
  test(`an answer with ${what} is refused with its reason`, async () => {
    await using setup = await setUp(
      (server) => {
        server.instead = (_request, response) => response.end(body);
      },
      { maxBodyBytes: 2_048 },
    );
    await setup.until('an error', () => setup.source.value.error !== undefined);
    assert.match(setup.source.value.error ?? '', error);
    assert.match(setup.source.value.error ?? '', /^GET http:\/\/127\.0\.0\.1:\d+\/v1\/instances: /);
    assert.deepEqual(setup.source.value.endpoints, []);
  });
}

test('one wrong instance is left out and told; weight, locality, metadata and IPv6 are read', async () => {
  await using setup = await setUp((server) => {
    const instances = [
      { instance_id: 'a', ipv4: '10.0.0.1', port: 1, weight: 7, locality: 'eu/a', metadata: { version: 2 } },
      { instance_id: 'b', ipv4: '10.0.0.2', port: 0 },
      { instance_id: 'c', ipv6: 'fd00::1', port: 3 },
    ];
    server.instead = (_request, response) => response.end(JSON.stringify({ instances }));
  });
  await setup.until('endpoints', () => setup.source.value.endpoints.length > 0);
  assert.deepEqual(setup.source.value.endpoints, [
    { host: '10.0.0.1', port: 1, weight: 7, locality: 'eu/a', metadata: { version: '2' }, instance: 'a' },
    { host: 'fd00::1', port: 3, weight: 1, instance: 'c' },
  ]);
  assert.match(setup.source.value.error ?? '', /instances\[1\]: "port" is no port/);
});

test('an instance that cannot be connected to so many times in a row is unregistered, once', async () => {
  await using setup = await setUp(list(1, 2));
  const { server, source, until, pass } = setup;
  await until('both', () => source.value.endpoints.length === 2);
  told(source, 1, false);
  told(source, 1, false);
  told(source, 1, true);
  told(source, 1, false);
  told(source, 1, false);
  assert.equal(server.unregistered.length, 0);
  for (let i = 0; i < 10; i++) told(source, 1, false);
  await until('unregistered', () => server.unregistered.length > 0);
  await until('gone', () => source.value.endpoints.length === 1);
  // Nobody knows it any more.
  for (let i = 0; i < 10; i++) told(source, 1, false);
  for (let i = 0; i < 20; i++) await pass();
  assert.deepEqual(server.unregistered, ['worker/1']);
});

test('a sidecar that reaches nobody unregisters one instance an interval, and not more than half of them in a minute', async () => {
  await using setup = await setUp(list(1, 2, 3, 4, 5, 6));
  const { server, source, until, pass } = setup;
  await until('all', () => source.value.endpoints.length === 6);
  const everybody = (): void => {
    for (let n = 1; n <= 6; n++) for (let i = 0; i < 3; i++) told(source, n, false);
  };
  everybody();
  await until('one', () => server.unregistered.length === 1);
  everybody();
  await pass();
  assert.equal(server.unregistered.length, 1);
  // 40 s of it.
  for (let i = 0; i < 200; i++) {
    everybody();
    await pass();
  }
  assert.ok(server.unregistered.length <= 3, String(server.unregistered.length));
  assert.ok(server.unregistered.length >= 2);
  assert.ok(((source.updates as { unregister_overflow?: number }).unregister_overflow ?? 0) > 0);
});

test('unregister_after: 0 unregisters nobody', async () => {
  await using setup = await setUp(list(1), { unregisterAfter: 0 });
  const { server, source, until, pass } = setup;
  await until('it', () => source.value.endpoints.length === 1);
  for (let i = 0; i < 50; i++) told(source, 1, false);
  for (let i = 0; i < 5; i++) await pass();
  assert.deepEqual(server.unregistered, []);
});

test('the token is what its file says at each request, and a file without one is an error', async () => {
  using folder = temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  writeFileSync(tokenFile, 'first\n');
  await using setup = await setUp(list(1), { tokenFile });
  const { server, source, until } = setup;
  await until('it', () => source.value.endpoints.length === 1);
  assert.equal(server.requests[0]?.authorization, 'Bearer first');
  writeFileSync(tokenFile, 'second');
  await until('the second', () => server.requests.at(-1)?.authorization === 'Bearer second');
  writeFileSync(tokenFile, 'two\r\nx-other: lines');
  await until('an error', () => source.value.error !== undefined);
  assert.match(source.value.error ?? '', /token holds no token/);
});

test('over TLS the authority and the certificate of files count, and a stranger is refused', async () => {
  using folder = temporaryFolder();
  const at = (name: string, text: string): string => {
    writeFileSync(join(folder.path, name), text);
    return join(folder.path, name);
  };
  const create = () => CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() });
  const [{ authority }, { authority: stranger }] = [await create(), await create()];
  const issued = await authority.issue({ name: 'registry', trustDomain: 'mesh.local', keyType: 'p256', validDays: 1, nowMs: Date.now() });
  const server = new StandInDiscoverer({
    cert: issued.certPem,
    key: issued.keyPem,
    ca: authority.certPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  server.instances = [instance(1)];
  const url = await server.start();
  const files = { clientCertFile: at('c.crt', issued.certPem), clientKeyFile: at('c.pem', issued.keyPem) };
  const open = (more: Partial<HttpEndpointsPolicy>) => {
    const clock = new VirtualClock();
    const source = createEndpointSource({ ...base, url, ...more }, { clock, log: silentLogger, random: () => 0 });
    const pass = passWith(clock);
    const settled = async (): Promise<EndpointSet> => {
      for (let i = 0; i < 5_000 && source.value.updatedAtMs === 0 && source.value.error === undefined; i++) await pass();
      source.close();
      return source.value;
    };
    return settled();
  };
  try {
    assert.equal((await open({ ...files, caFile: at('ca.crt', authority.certPem) })).endpoints.length, 1);
    assert.match((await open({ ...files, caFile: at('other.crt', stranger.certPem) })).error ?? '', /certificate/);
    assert.notEqual((await open({ caFile: join(folder.path, 'ca.crt') })).error, undefined);
    assert.match((await open({ caFile: join(folder.path, 'none.crt') })).error ?? '', /ENOENT/);
  } finally {
    await server[Symbol.asyncDispose]();
  }
});

test('a discoverer that redirects is not followed', async () => {
  await using setup = await setUp((server) => {
    server.instead = (_request, response) => response.writeHead(302, { location: '/v1/elsewhere' }).end();
  });
  await setup.until('an error', () => setup.source.value.error !== undefined);
  assert.match(setup.source.value.error ?? '', /status 302/);
  assert.ok(setup.server.requests.every(({ path }) => path === '/v1/instances'));
});

test('a long list is read in turns, says the same as at once, and describes who has not changed by the same objects', () => {
  const listOf = (weight: number): Buffer =>
    Buffer.from(
      JSON.stringify({
        instances: Array.from({ length: 2_600 }, (_, i) => ({
          instance_id: `w-${i}`,
          ipv4: `10.0.${i >> 8}.${i & 255}`,
          port: 50_051,
          weight: i === 7 ? weight : 1,
          metadata: { version: 'v1' },
        })),
      }),
    );
  const first = readInstances(listOf(1));
  const turns = readInstancesInTurns(listOf(2), first.endpoints);
  let pauses = 0;
  let turn = turns.next();
  for (; turn.done !== true; turn = turns.next()) pauses++;
  assert.equal(pauses, 6);
  assert.deepEqual(turn.value, readInstances(listOf(2)));
  const replaced = turn.value.endpoints.filter((endpoint, i) => endpoint !== first.endpoints[i]);
  assert.deepEqual(
    replaced.map(({ instance, weight }) => [instance, weight]),
    [['w-7', 2]],
  );
});
