import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonLogger, SystemClock, VirtualClock } from '../../src/core/index.ts';
import { ConsulDiscovery, type EndpointSource, parseConsulAddress } from '../../src/discovery/index.ts';
import { plainConsulPolicy } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { agentKinds } from '../registry/catalogue-agents.ts';
import { ask } from '../registry/consul-api-suite.ts';
import { healthEntry, StandInConsul } from './stand-in-consul.ts';

checkLeaks();

const turn = () => new Promise((resolve) => setTimeout(resolve, 2));

const watch = (address: string, clock: SystemClock | VirtualClock) => {
  const lines: Record<string, unknown>[] = [];
  const log = new JsonLogger(clock, (line) => void lines.push(JSON.parse(line)), 'info');
  const parsed = parseConsulAddress(address);
  assert.ok(parsed);
  const discovery = new ConsulDiscovery({ address: parsed, clock, log, random: () => 0.5 });
  const source: EndpointSource = discovery.open(plainConsulPolicy('learner-svc'));
  const until = async (what: string, isSo: () => boolean, stepMs = 0): Promise<void> => {
    for (let i = 0; !isSo(); i++) {
      assert.ok(i < 4_000, `never came: ${what}, but ${JSON.stringify(source.departures)}`);
      if (clock instanceof VirtualClock) clock.advance(stepMs);
      await turn();
    }
  };
  const whyOf = (instance: string): string | undefined => source.departures?.find((departure) => departure.instance === instance)?.why;
  return { discovery, source, lines, until, whyOf };
};

for (const kind of agentKinds) {
  test(`${kind.name}: why an instance is not listed any more is told, whatever the reason`, { skip: kind.skip }, async () => {
    await using agent = await kind.start();
    const put = (path: string, body?: object) => ask(agent, 'PUT', path, body);
    const ids = ['ill', 'gone', 'maintained', 'warned', 'moved', 'stays'];
    for (const [i, ID] of ids.entries()) {
      const Check = { CheckID: `check-${ID}`, Name: `how ${ID} is`, TTL: '60s', Status: 'passing' };
      await put('/agent/service/register', { Name: 'learner-svc', ID, Address: '127.0.0.1', Port: 5_000 + i, Check });
    }
    const { discovery, source, lines, until, whyOf } = watch(agent.address, new SystemClock());
    try {
      await until('all of them', () => source.value.endpoints.length === ids.length);
      assert.equal(source.departures?.length, 0);
      await put('/agent/check/update/check-ill', { Status: 'critical', Output: 'the database\nis \u001b[31maway' });
      await put('/agent/service/deregister/gone');
      await put('/agent/service/maintenance/maintained?enable=true&reason=new%20disk');
      await until('three that left', () => source.departures?.length === 3);
      assert.equal(whyOf('ill'), 'critical: check "how ill is" says: the database is [31maway');
      assert.equal(whyOf('gone'), 'deregistered');
      assert.equal(whyOf('maintained'), 'in maintenance: new disk');
      assert.equal(source.departures?.find(({ instance }) => instance === 'gone')?.address, '127.0.0.1:5001');
      const told = lines.filter(({ msg }) => msg === 'Consul does not list an instance any more');
      assert.deepEqual(told.map(({ instance }) => instance).sort(), ['gone', 'ill', 'maintained']);
      assert.equal(told.find(({ instance }) => instance === 'gone')?.['service'], 'learner-svc');
      // Whoever comes back, also elsewhere, has not left.
      await put('/agent/check/update/check-ill', { Status: 'passing', Output: 'well' });
      await put('/agent/service/register', { Name: 'learner-svc', ID: 'moved', Address: '127.0.0.1', Port: 4_000 });
      await until('those that came back', () => source.departures?.length === 2);
      assert.equal(whyOf('moved'), undefined);
    } finally {
      discovery.close();
    }
  });
}

test('what flaps all the time is asked for once in a while, and the list of those that left stays short', async () => {
  await using consul = await StandInConsul.start();
  const clock = new VirtualClock();
  const all = Array.from({ length: 200 }, (_, i) => healthEntry({ host: `10.0.0.${i + 1}`, port: 50_051, id: `id-${i}` }));
  consul.say(all);
  const { discovery, source, until } = watch(consul.address, clock);
  await until('all of them', () => source.value.endpoints.length === 200);
  const before = consul.asked.length;
  for (let second = 0; second < 60; second++) {
    consul.say(second % 2 === 0 ? all.slice(0, 100) : all);
    await until('the change', () => source.value.endpoints.length === (second % 2 === 0 ? 100 : 200), 10);
    for (let i = 0; i < 10; i++) {
      clock.advance(100);
      await turn();
    }
  }
  const filters = consul.asked.slice(before).flatMap((url) => url.searchParams.get('filter') ?? []);
  assert.ok(filters.length >= 1 && filters.length <= 14, `${filters.length} questions in a minute`);
  for (const filter of filters) assert.ok(filter.split(' or ').length <= 10);
  assert.ok((source.departures?.length ?? 0) <= 20);
  discovery.close();
});

test('what an agent says of those that left is not believed further than it can be shown', async () => {
  await using consul = await StandInConsul.start();
  const clock = new VirtualClock();
  const at = (id: string, i: number, checks?: readonly unknown[]) =>
    healthEntry({ host: `10.0.0.${i}`, port: 1, id, ...(checks && { checks }) });
  const wrongId = 'a" or Service.ID != "b';
  consul.say([at('stays', 1), at('loud', 2), at(wrongId, 3)]);
  const { discovery, source, until, whyOf } = watch(consul.address, clock);
  await until('all of them', () => source.value.endpoints.length === 3);
  const noise = '\u202e<script>\r\n'.repeat(1_000);
  consul.script = (request, response) => {
    const isAboutLeft = request.url?.includes('filter=') === true;
    if (isAboutLeft) consul.asked.push(new URL(request.url ?? '', 'http://stand-in'));
    response.writeHead(200, { 'x-consul-index': '99' });
    const loud = at('loud', 2, [{ Status: 'critical', CheckID: 7, Name: noise, Output: noise }]);
    response.end(JSON.stringify(isAboutLeft ? [null, { Service: 'odd' }, loud] : [at('stays', 1)]));
  };
  consul.wake();
  await until('the answer', () => source.departures?.length === 1, 10);
  const why = whyOf('loud') ?? '';
  assert.match(why, /^critical: check "<script> <script>/);
  assert.ok(why.length < 500, `${why.length} characters`);
  assert.match(why, /^[\x20-\x7e]+$/);
  const filters = consul.asked.flatMap((url) => url.searchParams.get('filter') ?? []);
  assert.ok(filters.length > 0);
  assert.ok(filters.every((filter) => filter === 'Service.ID == "loud"'), filters.join()); // biome-ignore format: a list
  // Nobody answers any more: endpoints and what is known stay.
  consul.script = (_request, response) => void response.writeHead(500).end('{');
  consul.wake();
  for (let i = 0; i < 50; i++) {
    clock.advance(200);
    await turn();
  }
  assert.equal(source.departures?.length, 1);
  discovery.close();
  assert.equal(clock.pending, 0);
});
