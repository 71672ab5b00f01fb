import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { parseConsulAddress } from '../../src/discovery/consul/consul-address.ts';
import { ConsulDiscovery } from '../../src/discovery/consul/consul-discovery.ts';
import type { EndpointSource } from '../../src/discovery/index.ts';
import { type ConsulEndpointsPolicy, plainConsulPolicy } from '../../src/policy/index.ts';
import { StatRegistry } from '../../src/telemetry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { testEndpointSource } from './source-suite.ts';
import { healthEntry, StandInConsul } from './stand-in-consul.ts';

checkLeaks();

const turn = () => new Promise((resolve) => setTimeout(resolve, 1));

const open = async (policy: Partial<ConsulEndpointsPolicy> = {}) => {
  const consul = await StandInConsul.start();
  const clock = new VirtualClock();
  const address = parseConsulAddress(consul.address);
  assert.ok(address);
  const discovery = new ConsulDiscovery({ address, clock, log: silentLogger, random: () => 0.5, maxConnections: 4 });
  const begin = (more: Partial<ConsulEndpointsPolicy> = {}): EndpointSource =>
    discovery.open({ ...plainConsulPolicy('learner-svc'), ...policy, ...more });
  return {
    consul,
    clock,
    discovery,
    begin,
    /** Until it is so; time of the source's clock passes only where `stepMs` says so. */
    until: async (what: string, isSo: () => boolean, stepMs = 0): Promise<void> => {
      for (let i = 0; !isSo(); i++) {
        assert.ok(i < 5_000, `${what}: it did not come true`);
        clock.advance(stepMs);
        await turn();
      }
    },
    [Symbol.asyncDispose]: async () => {
      discovery.close();
      await consul[Symbol.asyncDispose]();
    },
  };
};

const keys = ({ value }: EndpointSource): string => value.endpoints.map(({ host, port }) => `${host}:${port}`).join(' ');
const at = (last: number, more: object = {}) => healthEntry({ host: `10.0.0.${last}`, port: 50_051, ...more });

testEndpointSource('consul', {
  keepsLast: true,
  open: async (state) => {
    const made = await open({ keepLastMs: 4_000 });
    const { consul, clock } = made;
    const say = (next: typeof state): void => {
      if (next === 'failing') {
        consul.script = (_request, response) => void response.writeHead(500).end('No cluster leader');
        consul.wake();
        return;
      }
      consul.script = undefined;
      consul.say(next.map(healthEntry as never));
    };
    say(state);
    const source = made.begin();
    return {
      source,
      say,
      pass: async () => {
        clock.advance(200);
        await turn();
      },
      pendingTimers: () => clock.pending,
      [Symbol.asyncDispose]: async () => {
        source.close();
        await made[Symbol.asyncDispose]();
      },
    };
  },
});

test('an instance becomes an endpoint with its weight, place, version and tags', async () => {
  await using made = await open({ passingOnly: false });
  const warning = [{ Status: 'passing' }, { Status: 'warning' }];
  made.consul.say([
    at(1, {
      id: 'a',
      service: {
        Weights: { Passing: 7, Warning: 2 },
        Tags: ['v2', 'canary', 'tier=gold'],
        Meta: { region: 'r1', zone: 'z1', sub_zone: 's1' },
      },
    }),
    at(2, { id: 'b', service: { Weights: { Passing: 7, Warning: 2 } }, checks: warning }),
    at(3, { id: 'c', service: { Weights: { Passing: 7, Warning: 0 } }, checks: warning }),
    at(4, { id: 'd', checks: [{ Status: 'critical' }] }),
    healthEntry({ host: '10.0.0.5', port: 1, id: 'e', service: { Address: '', Locality: { Region: 'eu', Zone: 'eu-1' } } }),
  ]);
  const source = made.begin();
  await made.until('an answer', () => source.value.endpoints.length > 0);
  assert.deepEqual(
    source.value.endpoints.map(({ host, weight, instance, locality }) => ({ host, weight, instance, locality })),
    [
      { host: '10.0.0.1', weight: 7, instance: 'a', locality: 'r1/z1/s1' },
      { host: '10.0.0.2', weight: 2, instance: 'b', locality: '/a/' },
      { host: '10.0.0.5', weight: 1, instance: 'e', locality: 'eu/eu-1/' },
    ],
  );
  assert.deepEqual(source.value.endpoints[0]?.metadata, {
    datacenter: 'dc1',
    region: 'r1',
    sub_zone: 's1',
    'tag.canary': 'true',
    'tag.v2': 'true',
    tier: 'gold',
    version: 'v2',
    zone: 'z1',
  });
  assert.equal(source.value.source, 'consul:learner-svc');
});

test('what the policy says is asked', async () => {
  await using made = await open();
  const source = made.begin({
    tags: ['v2', 'eu'],
    filter: 'Service.Port > 1',
    namespace: 'team',
    partition: 'part',
    near: '_agent',
    nearest: 1,
    stale: true,
  });
  made.consul.instances = [at(9), at(1)];
  await made.until('an answer', () => source.value.endpoints.length > 0);
  assert.equal(keys(source), '10.0.0.9:50051', 'the nearest is the first one');
  await made.until('the next question', () => made.consul.waiting === 1);
  const [first, second] = made.consul.asked as [URL, URL];
  assert.equal(first.pathname, '/v1/health/service/learner-svc');
  assert.equal(first.search, '?passing=1&tag=v2&tag=eu&filter=Service.Port%20%3E%201&ns=team&partition=part&near=_agent&stale=');
  assert.equal(second.searchParams.get('index'), '10');
  assert.equal(second.searchParams.get('wait'), '300000ms');
});

test('an index that moves without news tells nobody', async () => {
  await using made = await open();
  made.consul.instances = [at(2), at(1)];
  const source = made.begin();
  await made.until('an answer', () => made.consul.waiting === 1);
  let heard = 0;
  source.subscribe(() => heard++);
  made.consul.say([at(1), at(2, { service: { ModifyIndex: 99 } })]);
  await made.until('the next question', () => made.consul.waiting === 1 && made.consul.asked.length === 3);
  assert.equal(heard, 0);
  assert.equal(made.consul.asked[2]?.searchParams.get('index'), '11');
});

test('an index that goes backwards asks for everything anew, and whom Consul has forgotten stays for a while', async () => {
  await using made = await open();
  made.consul.index = 500;
  made.consul.instances = [at(1), at(2), at(3)];
  const source = made.begin();
  await made.until('an answer', () => made.consul.waiting === 1);
  made.consul.say([at(2)], 7);
  await made.until('the next question', () => made.consul.waiting === 1 && made.consul.asked.length >= 4);
  assert.equal(made.consul.asked[2]?.searchParams.get('index'), null, 'never 0, and never the old one');
  assert.equal(made.consul.asked[3]?.searchParams.get('index'), '7');
  assert.equal(keys(source), '10.0.0.1:50051 10.0.0.2:50051 10.0.0.3:50051');
  assert.match(source.value.error ?? '', /^2 endpoints that Consul has not listed since it was away/);
  made.consul.say([at(2), at(3)]);
  await made.until('an answer', () => /^1 endpoint that .* is kept /.test(source.value.error ?? ''));
  made.clock.advance(75_000);
  assert.equal(keys(source), '10.0.0.2:50051 10.0.0.3:50051');
  assert.equal(source.value.error, undefined);
});

test('who was listed again after a loss and then is not has left, while those that were not listed yet stay', async () => {
  await using made = await open();
  made.consul.index = 500;
  made.consul.instances = [at(1), at(2), at(3)];
  const source = made.begin();
  await made.until('an answer', () => made.consul.waiting === 1);
  made.consul.say([], 7);
  await made.until('the next question', () => made.consul.waiting === 1 && made.consul.asked.length >= 4);
  made.consul.say([at(2), at(3)]);
  await made.until('two of them', () => /^1 endpoint that .* is kept /.test(source.value.error ?? ''));
  assert.equal(keys(source), '10.0.0.1:50051 10.0.0.2:50051 10.0.0.3:50051');
  // In maintenance, killed, or deregistered: that is news of the service, not of the agent.
  made.consul.say([at(3)]);
  await made.until('one that has left', () => source.value.endpoints.length === 2);
  assert.equal(keys(source), '10.0.0.1:50051 10.0.0.3:50051');
  made.clock.advance(75_000);
  assert.equal(keys(source), '10.0.0.3:50051');
});

for (const index of ['0', '', 'garbage', '-3']) {
  test(`an index of "${index}" becomes 1, and does not make questions spin`, async () => {
    await using made = await open();
    made.consul.impatient = true;
    made.consul.headers = { 'x-consul-index': index };
    made.consul.instances = [at(1)];
    const source = made.begin();
    await made.until('questions', () => made.consul.asked.length >= 10);
    for (let i = 0; i < 50; i++) await turn();
    assert.ok(made.consul.asked.length <= 11, `${made.consul.asked.length} questions without a moment having passed`);
    assert.equal(made.consul.asked[1]?.searchParams.get('index'), '1');
    assert.equal(keys(source), '10.0.0.1:50051');
    const before = made.consul.asked.length;
    await made.until('two seconds', () => made.clock.now() > 2_000, 10);
    assert.ok(made.consul.asked.length - before <= 21, `${made.consul.asked.length - before} questions in two seconds`);
  });
}

test('a stale answer that is too old is not used, and the leader is asked instead', async () => {
  await using made = await open({ stale: true, maxAgeMs: 1_000 });
  made.consul.instances = [at(1)];
  made.consul.headers = { 'x-consul-lastcontact': '5000' };
  const source = made.begin();
  await made.until('an answer', () => keys(source) === '10.0.0.1:50051');
  const [first, second] = made.consul.asked as [URL, URL];
  assert.equal(first.searchParams.has('stale'), true);
  assert.equal(second.searchParams.has('stale'), false);
});

const lies: Readonly<Record<string, { readonly body: string | Buffer; readonly says: RegExp }>> = {
  garbage: { body: '<html>', says: /not valid JSON/ },
  'another shape': { body: '{"Nodes": 7}', says: /no list of instances/ },
  'instances without anything': { body: '[{}, 1, null, []]', says: /an instance without Service; 4 in all/ },
  'addresses that are none': {
    body: JSON.stringify([at(1, { service: { Address: 'a b' } }), at(2, { service: { Port: 99_999 } })]),
    says: /instance "10.0.0.1:50051" has no usable address; 2 in all/,
  },
  'a check of no known status': { body: JSON.stringify([at(1, { checks: [{ Status: 'fine' }] })]), says: /no status that Consul knows/ },
  'too much': { body: Buffer.alloc(40 * 2 ** 20, ' '), says: /larger than/ },
};

for (const [name, { body, says }] of Object.entries(lies)) {
  test(`an answer of ${name} keeps the endpoints, and says why`, async () => {
    await using made = await open();
    made.consul.instances = [at(1), at(2)];
    const source = made.begin();
    await made.until('an answer', () => made.consul.waiting === 1);
    made.consul.script = (_request, response) => {
      response.on('error', () => {});
      response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': '99' }).end(body);
    };
    made.consul.wake();
    await made.until('an error', () => source.value.error !== undefined);
    assert.match(source.value.error ?? '', says);
    assert.equal(keys(source), '10.0.0.1:50051 10.0.0.2:50051');
    made.consul.script = undefined;
    await made.until('no error', () => source.value.error === undefined, 100);
  });
}

test('instances that cannot be read are left out beside those that can', async () => {
  await using made = await open();
  made.consul.instances = [at(1), { Service: { ID: 'x', Address: '10.0.0.7', Port: '50051' } }];
  const source = made.begin();
  await made.until('an answer', () => source.value.endpoints.length === 1);
  assert.match(source.value.error ?? '', /^1 instances were left out: instance "x" has no usable port$/);
});

test('an empty answer for want of rights is an error, and no news of the service', async () => {
  await using made = await open({ keepLastMs: 1_000 });
  made.consul.instances = [at(1)];
  const source = made.begin();
  await made.until('an answer', () => made.consul.waiting === 1);
  made.consul.headers = { 'x-consul-results-filtered-by-acls': 'true' };
  made.consul.say([]);
  await made.until('an error', () => source.value.error !== undefined);
  assert.match(source.value.error ?? '', /token may not read/);
  await made.until('a minute', () => made.clock.now() > 60_000, 1_000);
  assert.equal(keys(source), '10.0.0.1:50051');
});

test('datacenters take over from each other in their order', async () => {
  await using made = await open({ datacenters: ['dc1', 'dc2'] });
  const here = { dc1: [at(1)], dc2: [at(2)] } as Record<string, readonly unknown[]>;
  made.consul.script = (request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://x');
    if (searchParams.has('index')) return;
    const instances = here[searchParams.get('dc') ?? ''];
    if (instances === undefined) response.writeHead(500).end('No path to datacenter');
    else response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': '3' }).end(JSON.stringify(instances));
  };
  const source = made.begin();
  await made.until('both', () => source.value.endpoints.length === 2);
  assert.deepEqual(
    source.value.endpoints.map(({ host, priority = 0 }) => ({ host, priority })),
    [
      { host: '10.0.0.1', priority: 0 },
      { host: '10.0.0.2', priority: 1 },
    ],
  );
  delete here['dc1'];
  made.consul.cut();
  await made.until('an error', () => /^dc1: Consul at .* answered 500 \(No path to datacenter\)$/.test(source.value.error ?? ''), 50);
  assert.equal(source.value.endpoints.length, 2);
});

test('with more services than connections they take turns, and each hears of its changes', async () => {
  await using made = await open();
  made.consul.instances = [at(1)];
  const sources = Array.from({ length: 12 }, (_, i) => made.begin({ service: `service-${i}` }));
  await made.until('first answers', () => sources.every((source) => source.value.endpoints.length === 1), 10);
  assert.ok(made.consul.waiting <= 4);
  made.consul.say([at(1), at(2)]);
  // The stand-in holds a question for ever; a real agent would answer it after its wait.
  await made.until(
    'the change',
    () => {
      made.consul.wake();
      return sources.every((source) => source.value.endpoints.length === 2);
    },
    20,
  );
  assert.ok(made.consul.asked.some(({ searchParams }) => searchParams.get('wait') === '2000ms'));
});

test('a back-off grows to three seconds and no further', async () => {
  await using made = await open();
  made.consul.script = (_request, response) => void response.writeHead(403).end('ACL not found');
  const source = made.begin();
  await made.until('an error', () => source.value.error !== undefined);
  assert.match(source.value.error ?? '', /answered 403 \(ACL not found\)/);
  await made.until('a minute', () => made.clock.now() > 60_000, 50);
  const asked = made.consul.asked.length;
  assert.ok(asked >= 20 && asked <= 35, `${asked} questions in a minute`);
});

test('a long answer is read in a thread, and a short one never starts it', async () => {
  await using made = await open();
  made.consul.instances = Array.from({ length: 300 }, (_, i) => healthEntry({ host: `10.1.${i >> 8}.${i & 255}`, port: 50_051 }));
  const source = made.begin();
  await made.until('an answer', () => source.value.endpoints.length === 300);
  const stats = new StatRegistry();
  stats.add(made.discovery);
  const threaded = () => stats.collect().find(({ name }) => name === 'consul.answers_read_in_thread')?.value;
  assert.equal(threaded(), 1);
  made.consul.say([at(1)]);
  await made.until('another answer', () => source.value.endpoints.length === 1);
  assert.equal(threaded(), 1);
});
