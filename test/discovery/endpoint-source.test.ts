import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import {
  createEndpointSource,
  type EndpointResolver,
  type EndpointSet,
  nameServerResolver,
  type ResolvedName,
} from '../../src/discovery/index.ts';
import type { DnsEndpointsPolicy } from '../../src/policy/index.ts';
import { StandInNameServer } from './stand-in-name-server.ts';

const dns = (host: string, options: Partial<DnsEndpointsPolicy> = {}): DnsEndpointsPolicy => ({
  kind: 'dns',
  names: [{ host, port: 50051, weight: 1 }],
  family: 'all',
  refreshMs: 5_000,
  allAddresses: true,
  keepLastMs: 300_000,
  ...options,
});

/** A resolver that says what the test wants; an Error is thrown, names that are not set do not exist. */
class ScriptedResolver implements EndpointResolver {
  readonly answers = new Map<string, ResolvedName | Error>();
  asked = 0;

  async resolve(name: string): Promise<ResolvedName> {
    this.asked++;
    const answer = this.answers.get(name) ?? { addresses: [] };
    if (answer instanceof Error) throw answer;
    return answer;
  }

  say(name: string, ...addresses: string[]): void {
    this.answers.set(name, { addresses });
  }
}

/** Lets the promises of a lookup that needs no I/O come to their end. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

const setUp = async (policy: DnsEndpointsPolicy, prepare: (resolver: ScriptedResolver) => void) => {
  const clock = new VirtualClock();
  const resolver = new ScriptedResolver();
  prepare(resolver);
  const source = createEndpointSource(policy, { clock, log: silentLogger, resolver, random: () => 0 });
  const heard: EndpointSet[] = [];
  source.subscribe((set) => heard.push(set));
  await settle();
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await settle();
  };
  return { clock, resolver, source, heard, pass };
};

const hosts = (set: EndpointSet): string[] => set.endpoints.map(({ host }) => host);

test('IP addresses of a list are endpoints at once, and nobody is asked', () => {
  const clock = new VirtualClock();
  const resolver = new ScriptedResolver();
  const endpoints = ['10.0.0.2', '10.0.0.1', '::1', '10.0.0.1'].map((host) => ({ host, port: 50051, weight: 2 }));
  const source = createEndpointSource({ kind: 'static', endpoints }, { clock, log: silentLogger, resolver });
  assert.deepEqual(hosts(source.value), ['10.0.0.1', '10.0.0.2', '::1']);
  assert.equal(source.value.source, 'static');
  assert.equal(source.value.endpoints[0]?.weight, 2);
  assert.equal(resolver.asked, 0);
  assert.equal(clock.pending, 0);
  source.close();
});

test('endpoints that nobody wrote are none', () => {
  const source = createEndpointSource({ kind: 'unwritten' }, { clock: new VirtualClock(), log: silentLogger });
  assert.deepEqual(source.value.endpoints, []);
  source.close();
});

test('a name in a list is resolved, and localhost works with the resolver of the system', async () => {
  const clock = new VirtualClock();
  const source = createEndpointSource(
    { kind: 'static', endpoints: [{ host: 'localhost', port: 7, weight: 1 }] },
    { clock, log: silentLogger },
  );
  await new Promise<void>((resolve) => source.subscribe(() => resolve()));
  assert.ok(hosts(source.value).some((host) => host === '127.0.0.1' || host === '::1'));
  assert.equal(source.value.endpoints[0]?.hostname, 'localhost');
  source.close();
  assert.equal(clock.pending, 0);
});

test('all addresses of a name are endpoints, and listeners hear only of changes', async () => {
  const { clock, resolver, source, heard, pass } = await setUp(dns('auth'), (r) => r.say('auth', '10.0.0.2', '10.0.0.1'));
  assert.deepEqual(hosts(source.value), ['10.0.0.1', '10.0.0.2']);
  assert.equal(source.value.source, 'dns:auth');
  const firstUpdate = source.value.updatedAtMs;
  await pass(5_000);
  assert.equal(resolver.asked, 2);
  assert.equal(heard.length, 1);
  assert.equal(source.value.updatedAtMs, firstUpdate + 5_000);
  resolver.say('auth', '10.0.0.3');
  await pass(5_000);
  assert.deepEqual(heard.map(hosts), [['10.0.0.1', '10.0.0.2'], ['10.0.0.3']]);
  source.close();
  assert.equal(clock.pending, 0);
});

test('the TTL decides when the name is asked for again, but never more often than each second', async () => {
  const { resolver, source, pass } = await setUp(dns('auth'), (r) => r.answers.set('auth', { addresses: ['10.0.0.1'], ttlMs: 20_000 }));
  await pass(19_000);
  assert.equal(resolver.asked, 1);
  resolver.answers.set('auth', { addresses: ['10.0.0.1'], ttlMs: 0 });
  await pass(1_000);
  assert.equal(resolver.asked, 2);
  await pass(999);
  assert.equal(resolver.asked, 2);
  await pass(1);
  assert.equal(resolver.asked, 3);
  source.close();
});

test('an outage of DNS takes no endpoint away, and is told once', async () => {
  const { resolver, source, heard, pass } = await setUp(dns('auth'), (r) => r.say('auth', '10.0.0.1'));
  resolver.answers.set('auth', new Error('SERVFAIL'));
  for (let i = 0; i < 100; i++) await pass(10_000);
  assert.deepEqual(hosts(source.value), ['10.0.0.1']);
  assert.match(source.value.error ?? '', /auth.*SERVFAIL/);
  assert.equal(heard.length, 2);
  resolver.say('auth', '10.0.0.1');
  await pass(10_000);
  assert.equal(source.value.error, undefined);
  assert.equal(heard.length, 3);
  source.close();
});

test('an empty answer keeps the last endpoints for keepLastMs, then they go', async () => {
  const { resolver, source, pass } = await setUp(dns('auth', { keepLastMs: 60_000 }), (r) => r.say('auth', '10.0.0.1'));
  resolver.say('auth');
  await pass(5_000);
  assert.deepEqual(hosts(source.value), ['10.0.0.1']);
  assert.match(source.value.error ?? '', /no address/);
  for (let i = 0; i < 55; i++) await pass(1_000);
  assert.deepEqual(hosts(source.value), ['10.0.0.1']);
  for (let i = 0; i < 10; i++) await pass(1_000);
  assert.deepEqual(hosts(source.value), []);
  source.close();
});

test('a name that is not there yet is asked for each second at first, then less often', async () => {
  const { resolver, source, pass } = await setUp(dns('auth'), () => {});
  for (let i = 0; i < 2; i++) await pass(1_000);
  assert.equal(resolver.asked, 3);
  for (let i = 0; i < 600; i++) await pass(1_000);
  assert.ok(resolver.asked < 150, `${resolver.asked} questions in ten minutes`);
  resolver.say('auth', '10.0.0.1');
  await pass(10_000);
  assert.deepEqual(hosts(source.value), ['10.0.0.1']);
  source.close();
});

test('one failing name among several leaves the others as they are', async () => {
  const policy = dns('', { names: ['a', 'b', '10.9.9.9'].map((host) => ({ host, port: 1, weight: 1 })) });
  const { resolver, source, pass } = await setUp(policy, (r) => {
    r.say('a', '10.0.0.1');
    r.answers.set('b', new Error('timeout'));
  });
  assert.deepEqual(hosts(source.value), ['10.0.0.1', '10.9.9.9']);
  assert.match(source.value.error ?? '', /resolving b failed/);
  resolver.say('b', '10.0.0.2');
  await pass(10_000);
  assert.deepEqual(hosts(source.value), ['10.0.0.1', '10.0.0.2', '10.9.9.9']);
  assert.deepEqual(source.updates?.update_failure, 1);
  source.close();
});

test('the family and the first address are chosen as the policy says', async () => {
  const chosen = async (options: Partial<DnsEndpointsPolicy>, ...addresses: string[]) => {
    const { source } = await setUp(dns('auth', options), (r) => r.say('auth', ...addresses));
    source.close();
    return hosts(source.value);
  };
  const both = ['fd00::1', '10.0.0.2', '10.0.0.1'];
  assert.deepEqual(await chosen({ family: 'v4' }, ...both), ['10.0.0.1', '10.0.0.2']);
  assert.deepEqual(await chosen({ family: 'v6' }, ...both), ['fd00::1']);
  assert.deepEqual(await chosen({ family: 'v6' }, '10.0.0.1'), []);
  assert.deepEqual(await chosen({ family: 'v6_preferred' }, '10.0.0.1'), ['10.0.0.1']);
  assert.deepEqual(await chosen({ family: 'v4_preferred', allAddresses: false }, ...both), ['10.0.0.2']);
});

test('after close nothing is armed and an answer on its way is not heard', async () => {
  const clock = new VirtualClock();
  let answer = (_: ResolvedName): void => {};
  const resolver: EndpointResolver = {
    resolve: () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  };
  const source = createEndpointSource(dns('auth'), { clock, log: silentLogger, resolver });
  let heard = 0;
  source.subscribe(() => heard++);
  source.close();
  source.close();
  answer({ addresses: ['10.0.0.1'] });
  await settle();
  assert.equal(heard, 0);
  assert.equal(clock.pending, 0);
});

test('a name server over the network moves a service from one address to another', async () => {
  await using server = new StandInNameServer();
  const resolver = nameServerResolver({ servers: [await server.start()] });
  server.records.set('auth.mesh', [{ address: '10.0.0.1', ttlSeconds: 1 }]);
  const clock = new VirtualClock();
  const source = createEndpointSource(dns('auth.mesh'), { clock, log: silentLogger, resolver });
  const change = () => new Promise<EndpointSet>((resolve) => source.subscribe(resolve));
  assert.deepEqual(hosts(await change()), ['10.0.0.1']);
  server.records.set('auth.mesh', [{ address: '10.0.0.7', ttlSeconds: 1 }]);
  clock.advance(2_000);
  assert.deepEqual(hosts(await change()), ['10.0.0.7']);
  source.close();
});

test('whatever the resolver says, the set is sorted, unique, and its addresses were once an answer', async () => {
  const address = fc.ipV4();
  const answer = fc.oneof(fc.array(address, { maxLength: 6 }), fc.constant(new Error('SERVFAIL')));
  await fc.assert(
    fc.asyncProperty(fc.array(answer, { maxLength: 12 }), async (answers) => {
      const { clock, resolver, source, pass } = await setUp(dns('auth'), (r) => r.say('auth'));
      const seen = new Set<string>();
      for (const next of answers) {
        resolver.answers.set('auth', next instanceof Error ? next : { addresses: next });
        if (!(next instanceof Error)) for (const a of next) seen.add(a);
        await pass(11_000);
        const found = hosts(source.value);
        assert.deepEqual(found, [...new Set(found)].sort());
        assert.ok(found.every((host) => seen.has(host)));
        if (!(next instanceof Error) && next.length > 0) assert.deepEqual(found, [...new Set(next)].sort());
      }
      source.close();
      assert.equal(clock.pending, 0);
    }),
    { numRuns: 40 },
  );
});
