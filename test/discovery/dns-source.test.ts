import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { createEndpointSource, type EndpointResolver, type EndpointSource, nameServerResolver } from '../../src/discovery/index.ts';
import type { DnsEndpointsPolicy } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { passWith } from './source-passing.ts';
import { type OriginState, type SourceOrigin, testEndpointSource } from './source-suite.ts';
import { StandInNameServer } from './stand-in-name-server.ts';

checkLeaks();

const base = { kind: 'dns', names: [], family: 'all', refreshMs: 1_000, allAddresses: true, keepLastMs: 5_000 } as const;

const originOf = (
  server: StandInNameServer,
  source: EndpointSource,
  clock: VirtualClock,
  say: (state: OriginState) => void,
): SourceOrigin => ({
  source,
  say,
  pass: passWith(clock),
  pendingTimers: () => clock.pending,
  [Symbol.asyncDispose]: async () => {
    source.close();
    await server[Symbol.asyncDispose]();
  },
});

testEndpointSource('DNS addresses', {
  port: 50_051,
  keepsLast: true,
  thousands: 1_500,
  open: async (state) => {
    const server = new StandInNameServer();
    const servers = [await server.start()];
    const say = (next: OriginState): void => {
      server.failing = next === 'failing';
      if (next !== 'failing')
        server.records.set(
          'auth.mesh',
          next.map(({ host }) => ({ address: host, ttlSeconds: 1 })),
        );
    };
    say(state);
    const clock = new VirtualClock();
    const policy: DnsEndpointsPolicy = { ...base, names: [{ host: 'auth.mesh', port: 50_051, weight: 1 }], servers };
    return originOf(server, createEndpointSource(policy, { clock, log: silentLogger, random: Math.random }), clock, say);
  },
});

testEndpointSource('DNS services', {
  keepsLast: true,
  thousands: 700,
  open: async (state) => {
    const server = new StandInNameServer();
    const servers = [await server.start()];
    const say = (next: OriginState): void => {
      server.failing = next === 'failing';
      if (next === 'failing') return;
      server.services.set(
        '_grpc._tcp.auth',
        next.map(({ host, port }) => ({ target: `h${host.replaceAll('.', '-')}`, port, ttlSeconds: 1 })),
      );
      for (const { host } of next) server.records.set(`h${host.replaceAll('.', '-')}`, [{ address: host, ttlSeconds: 1 }]);
    };
    say(state);
    const clock = new VirtualClock();
    const policy: DnsEndpointsPolicy = { ...base, services: ['_grpc._tcp.auth'], servers };
    return originOf(server, createEndpointSource(policy, { clock, log: silentLogger, random: Math.random }), clock, say);
  },
});

const withServer = async (use: (server: StandInNameServer, resolver: ReturnType<typeof nameServerResolver>) => Promise<void>) => {
  await using server = new StandInNameServer();
  const resolver = nameServerResolver({ servers: [await server.start()], timeoutMs: 300, tries: 1 });
  await use(server, resolver);
  resolver.close?.();
};

const answered = (
  services: DnsEndpointsPolicy['services'],
  server: StandInNameServer,
  address: string,
  more: Partial<DnsEndpointsPolicy> = {},
) => {
  const clock = new VirtualClock();
  const source = createEndpointSource(
    { ...base, ...(services !== undefined && { services }), servers: [address], ...more },
    { clock, log: silentLogger, random: () => 0 },
  );
  const pass = passWith(clock);
  const until = async (isSo: () => boolean): Promise<void> => {
    for (let i = 0; i < 2_000 && !isSo(); i++) await pass();
    assert.ok(isSo(), JSON.stringify([source.value, server.asked.slice(-5)]));
  };
  return { source, clock, until };
};

test('priorities of SRV records count from 0, weights and ports are theirs, and the name of the target stays with it', async () => {
  await using server = new StandInNameServer();
  const address = await server.start();
  server.services.set('_grpc._tcp.auth', [
    { target: 'a.mesh', port: 7_001, priority: 20, weight: 0, ttlSeconds: 30 },
    { target: 'b.mesh', port: 7_002, priority: 10, weight: 7, ttlSeconds: 30 },
    { target: '', port: 7_003, ttlSeconds: 30 },
    { target: 'a.mesh', port: 0, ttlSeconds: 30 },
  ]);
  server.records.set('a.mesh', [{ address: '10.0.0.1', ttlSeconds: 60 }]);
  server.records.set('b.mesh', [
    { address: '10.0.0.2', ttlSeconds: 60 },
    { address: 'fd00::2', ttlSeconds: 60 },
  ]);
  const { source, until } = answered(['_grpc._tcp.auth'], server, address);
  await until(() => source.value.endpoints.length > 0);
  assert.deepEqual(source.value.endpoints, [
    // Priority 1 has only the record with port 0.
    { host: '10.0.0.1', port: 7_001, weight: 1, hostname: 'a.mesh', priority: 2 },
    { host: '10.0.0.2', port: 7_002, weight: 7, hostname: 'b.mesh', priority: 1 },
    { host: 'fd00::2', port: 7_002, weight: 7, hostname: 'b.mesh', priority: 1 },
  ]);
  assert.equal(source.value.source, 'dns:_grpc._tcp.auth');
  // The addresses came along.
  assert.deepEqual(server.asked, ['SRV _grpc._tcp.auth']);
  source.close();
});

test('targets whose addresses the server does not add are asked for', () =>
  withServer(async (server, resolver) => {
    server.addsAddresses = false;
    server.services.set('auth', [
      { target: 'a', port: 1, ttlSeconds: 9 },
      { target: 'nobody', port: 2, ttlSeconds: 9 },
    ]);
    server.records.set('a', [{ address: '10.0.0.1', ttlSeconds: 4 }]);
    const answer = await resolver.resolveService?.('auth');
    assert.deepEqual(
      answer?.records.map(({ addresses }) => addresses),
      [['10.0.0.1'], []],
    );
    assert.equal(answer?.ttlMs, 4_000);
  }));

test('a target whose address cannot be found keeps the one that it had, and where none ever could that is an error', async () => {
  const clock = new VirtualClock();
  const record = (target: string, addresses: readonly string[] | undefined) => ({ target, port: 1, priority: 0, weight: 1, addresses });
  let records = [record('a', undefined), record('b', undefined)];
  const resolver: EndpointResolver = { resolve: async () => ({ addresses: [] }), resolveService: async () => ({ records }) };
  const source = createEndpointSource({ ...base, services: ['auth'] }, { clock, log: silentLogger, random: () => 0, resolver });
  const next = async (): Promise<string> => {
    clock.advance(2_000);
    await new Promise((resolve) => setImmediate(resolve));
    return source.value.endpoints.map(({ host }) => host).join(' ');
  };
  assert.equal(await next(), '');
  assert.match(source.value.error ?? '', /target a could not be found/);
  records = [record('a', ['10.0.0.1']), record('b', undefined)];
  assert.equal(await next(), '10.0.0.1');
  records = [record('a', undefined), record('b', ['10.0.0.2'])];
  assert.equal(await next(), '10.0.0.1 10.0.0.2');
  records = [record('a', []), record('b', undefined)];
  assert.equal(await next(), '10.0.0.2');
  source.close();
});

test('the TTL of SRV records decides when they are asked for again', () =>
  withServer(async (server, resolver) => {
    server.services.set('auth', [{ target: 'a', port: 1, ttlSeconds: 9 }]);
    server.records.set('a', [{ address: '10.0.0.1', ttlSeconds: 30 }]);
    assert.equal((await resolver.resolveService?.('auth'))?.ttlMs, 9_000);
    server.records.set('a', [{ address: '10.0.0.1', ttlSeconds: 4 }]);
    assert.equal((await resolver.resolveService?.('auth'))?.ttlMs, 4_000);
  }));

test('an answer that does not fit into a datagram is asked for by TCP', () =>
  withServer(async (server, resolver) => {
    const addresses = Array.from({ length: 900 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
    server.records.set(
      'many',
      addresses.map((address) => ({ address, ttlSeconds: 5 })),
    );
    assert.deepEqual([...(await resolver.resolve('many')).addresses].sort(), addresses.toSorted());
    assert.ok(server.asked.includes('TCP'));
  }));

test('an answer that a server may have cut without saying so is asked for by TCP; where that fails it has to do', () =>
  withServer(async (server, resolver) => {
    server.cutsSilently = true;
    const addresses = Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`);
    server.records.set(
      'many.mesh',
      addresses.map((address) => ({ address, ttlSeconds: 5 })),
    );
    assert.equal((await resolver.resolve('many.mesh')).addresses.length, 100);
    server.refusesTcp = true;
    const { length } = (await resolver.resolve('many.mesh')).addresses;
    assert.ok(length > 10 && length < 100, String(length));
    // Short answers are whole.
    server.asked.length = 0;
    server.records.set('few.mesh', [{ address: '10.0.0.1', ttlSeconds: 5 }]);
    assert.equal((await resolver.resolve('few.mesh')).addresses.length, 1);
    assert.ok(!server.asked.includes('TCP'));
  }));

test('aliases are followed, a server that knows no EDNS is asked without, forged and broken messages are passed over', () =>
  withServer(async (server, resolver) => {
    server.knowsEdns = false;
    server.aliases.set('www', 'host');
    server.records.set('host', [{ address: '10.0.0.1', ttlSeconds: 5 }]);
    const strays: ((query: Buffer) => Buffer)[] = [
      () => Buffer.from('no message'),
      // Another id.
      (query) => Buffer.concat([Buffer.from([(query[0] ?? 0) ^ 1, query[1] ?? 0, 0x81, 0x80]), query.subarray(4)]),
      // A question, not an answer.
      (query) => query,
      // A name that points at itself.
      (query) => Buffer.concat([query.subarray(0, 2), Buffer.from('81800001000100000000c00c00010001', 'hex')]),
    ];
    for (const stray of strays) {
      server.beforeAnswer = stray;
      assert.deepEqual((await resolver.resolve('www')).addresses, ['10.0.0.1']);
    }
  }));

test('of several name servers the next one is asked where one says nothing', async () => {
  await using silent = new StandInNameServer();
  await using server = new StandInNameServer();
  silent.silent = true;
  const resolver = nameServerResolver({ servers: [await silent.start(), await server.start()], timeoutMs: 50, tries: 1 });
  server.records.set('auth', [{ address: '10.0.0.1', ttlSeconds: 5 }]);
  assert.deepEqual((await resolver.resolve('auth')).addresses, ['10.0.0.1']);
  server.silent = true;
  await assert.rejects(resolver.resolve('auth'), /no answer within 50 ms/);
  resolver.close?.();
});

test('a question under way is given up when the source is closed', async () => {
  await using server = new StandInNameServer();
  server.silent = true;
  const { source, clock } = answered(['auth'], server, await server.start());
  source.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(clock.pending, 0);
});
