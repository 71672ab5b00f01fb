import assert from 'node:assert/strict';
import { type IncomingMessage, request } from 'node:http';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { until } from '../mesh/upstream.ts';
import { AdminFixture, clusterView, ViewsFixture } from './admin-fixture.ts';

checkLeaks();

interface Told {
  readonly nowMs: number;
  readonly whole: boolean;
  readonly points: readonly (readonly (number | null)[])[];
  // biome-ignore lint/suspicious/noExplicitAny: what an event holds is what the tests are about
  readonly sections: Readonly<Record<string, any>>;
}

/** Somebody who follows `/events`. */
class Follower {
  readonly events: Told[] = [];
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  ended = false;
  readonly #incoming: IncomingMessage;
  #text = '';

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming;
    this.status = incoming.statusCode ?? 0;
    this.headers = incoming.headers;
    incoming.setEncoding('utf8').on('data', (chunk: string) => this.#take(chunk));
    incoming.on('close', () => {
      this.ended = true;
    });
    incoming.on('error', () => {});
  }

  static async start(port: number, headers: Record<string, string> = {}): Promise<Follower> {
    const outgoing = request({ host: '127.0.0.1', port, path: '/events', headers, agent: false });
    outgoing.end();
    const incoming = await new Promise<IncomingMessage>((resolve, reject) => outgoing.on('response', resolve).on('error', reject));
    return new Follower(incoming);
  }

  async event(index: number): Promise<Told> {
    await until(() => this.events.length > index, `event ${index}`);
    return this.events[index] as Told;
  }

  pause(): void {
    this.#incoming.pause();
  }

  resume(): void {
    this.#incoming.resume();
  }

  leave(): void {
    this.#incoming.destroy();
  }

  #take(chunk: string): void {
    this.#text += chunk;
    for (let at = this.#text.indexOf('\n\n'); at >= 0; at = this.#text.indexOf('\n\n')) {
      const event = this.#text.slice(0, at);
      this.#text = this.#text.slice(at + 2);
      if (event.startsWith('data: ')) this.events.push(JSON.parse(event.slice(6)) as Told);
    }
  }
}

const statOf = (views: ViewsFixture, name: string): number | undefined => views.stats.collect().find((stat) => stat.name === name)?.value;

test('whoever follows is told everything once, and from then on what has changed, at most once a second', async () => {
  await using admin = await AdminFixture.start();
  const { views } = admin;
  const follower = await Follower.start(admin.port);
  assert.equal(follower.headers['content-type'], 'text/event-stream');
  assert.equal(follower.headers['cache-control'], 'no-store');
  const first = await follower.event(0);
  assert.equal(first.whole, true);
  assert.deepEqual(Object.keys(first.sections).sort(), [
    'certificates',
    'cluster learner-svc',
    'failures',
    'fates',
    'policies',
    'routes',
    'server',
  ]);
  assert.equal(first.sections['server'].service, 'auth-svc');
  assert.equal(first.sections['cluster learner-svc'].breakers[0].failures, 2);
  views.shownClusters = [clusterView('learner-svc', [{ state: 'OPEN', consecutiveFailures: 5, openedAtMs: views.clock.wallNow() }])];
  views.clock.advance(999);
  views.clock.advance(1);
  const second = await follower.event(1);
  assert.equal(second.whole, false);
  assert.deepEqual(Object.keys(second.sections), ['cluster learner-svc']);
  assert.equal(second.sections['cluster learner-svc'].breakers[0].state, 'OPEN');
  views.shownClusters = [clusterView('other', [])];
  views.clock.advance(1_000);
  const third = await follower.event(2);
  assert.equal(third.sections['cluster learner-svc'], null, 'it is gone');
  assert.equal(third.sections['cluster other'].name, 'other');
  assert.equal(follower.events.length, 3);
  follower.leave();
});

test('nobody looks: nothing is read, and no timer is armed', async () => {
  const views = new ViewsFixture();
  let looks = 0;
  const { clusters } = views;
  views.clusters = () => {
    looks++;
    return clusters();
  };
  await using admin = await AdminFixture.start(views);
  views.clock.advance(60_000);
  assert.deepEqual([looks, views.clock.pending], [0, 0]);
  const follower = await Follower.start(admin.port);
  await follower.event(0);
  assert.equal(views.clock.pending, 1);
  follower.leave();
  await until(() => statOf(views, 'admin.event_streams_active') === 0, 'nobody follows');
  views.clock.advance(10_000);
  assert.deepEqual([looks, views.clock.pending], [1, 0]);
});

test('many who follow share one look', async () => {
  const views = new ViewsFixture();
  let looks = 0;
  const { clusters } = views;
  views.clusters = () => {
    looks++;
    return clusters();
  };
  await using admin = await AdminFixture.start(views);
  const followers = [];
  for (let i = 0; i < 8; i++) followers.push(await Follower.start(admin.port));
  for (const follower of followers) assert.equal((await follower.event(0)).whole, true);
  assert.equal(looks, 1);
  views.clock.advance(1_000);
  assert.equal(looks, 2);
  for (const follower of followers) assert.equal((await follower.event(1)).whole, false);
  for (const follower of followers) follower.leave();
});

test('more than sixteen at once are refused with a reason, and counted', async () => {
  await using admin = await AdminFixture.start();
  const followers = [];
  for (let i = 0; i < 16; i++) followers.push(await Follower.start(admin.port));
  const refused = await admin.get('/events');
  assert.equal(refused.status, 503);
  assert.match(refused.json().error, /16 dashboards are open/);
  assert.equal(statOf(admin.views, 'admin.event_streams_refused'), 1);
  followers[3]?.leave();
  await until(() => statOf(admin.views, 'admin.event_streams_active') === 15, 'there is room again');
  const late = await Follower.start(admin.port);
  assert.equal((await late.event(0)).whole, true);
  for (const follower of [...followers, late]) follower.leave();
});

test('who does not read is not sent more and more: it is left out, gets the whole again, or is dropped in the end', async () => {
  const views = new ViewsFixture();
  // More than sockets of loopback take in.
  const many = Array.from({ length: 150 }, (_, i) => clusterView(`cluster-${i}-${'x'.repeat(200)}`, []));
  const hosts = Array.from({ length: 100 }, (_, i) => ({ ...(clusterView('a', []).hosts[0] as object), address: `10.0.1.${i}` }));
  let generation = 0;
  views.clusters = () => {
    generation++;
    return many.map((view) => ({ ...view, hosts: hosts.map((host) => ({ ...host, weight: generation })) as unknown as typeof view.hosts }));
  };
  await using admin = await AdminFixture.start(views);
  const reader = await Follower.start(admin.port);
  const sleeper = await Follower.start(admin.port);
  sleeper.pause();
  await reader.event(0);
  for (let second = 1; second <= 5; second++) {
    views.clock.advance(10_000);
    await reader.event(second);
  }
  assert.equal(statOf(views, 'admin.event_streams_dropped'), 1);
  sleeper.resume();
  await until(() => sleeper.ended, 'the one who slept is dropped');
  // It had what was under way when it stopped reading, and nothing was kept for it beyond one event.
  assert.ok(sleeper.events.length <= 2, `${sleeper.events.length} events`);
  reader.leave();
});

test('a page of another site cannot follow, ours can; HEAD opens nothing', async () => {
  await using admin = await AdminFixture.start();
  const own = `127.0.0.1:${admin.port}`;
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { origin: 'https://evil.example' }, { host: 'evil.example' }]) {
    assert.equal((await admin.get('/events', headers as Record<string, string>)).status, 403, JSON.stringify(headers));
  }
  assert.equal((await admin.ask('HEAD', '/events')).status, 200);
  assert.equal(statOf(admin.views, 'admin.event_streams_active'), 0);
  const follower = await Follower.start(admin.port, { 'sec-fetch-site': 'same-origin', host: own });
  assert.equal((await follower.event(0)).whole, true);
  follower.leave();
});

test('the end of the server ends every stream at once', async () => {
  const admin = await AdminFixture.start();
  const follower = await Follower.start(admin.port);
  await follower.event(0);
  await admin.close();
  await until(() => follower.ended, 'the stream ended');
  assert.equal(admin.views.clock.pending, 0);
});

test('a view that fails is logged, and told again when it works', async () => {
  await using admin = await AdminFixture.start();
  const { views } = admin;
  const follower = await Follower.start(admin.port);
  await follower.event(0);
  const { clusters } = views;
  views.clusters = () => {
    throw new Error('broken view');
  };
  views.clock.advance(1_000);
  assert.match(views.logged.join(''), /dashboard cannot be shown.*broken view/);
  views.clusters = clusters;
  views.ready = { ready: false, state: 'DRAINING' };
  views.clock.advance(1_000);
  assert.equal((await follower.event(1)).sections['server'].state, 'DRAINING');
  follower.leave();
});

test('points come every two seconds with what each direction did in them', async () => {
  await using admin = await AdminFixture.start();
  const { views } = admin;
  const follower = await Follower.start(admin.port);
  await follower.event(0);
  const metrics = views.calls.method('outbound', 'learner-svc', '/learner.LearnerService/');
  for (let i = 0; i < 98; i++) metrics.record(0, 3);
  metrics.record(1, 4);
  metrics.record(14, 400);
  views.clock.advance(1_000);
  views.clock.advance(1_000);
  await until(() => follower.events.some(({ points }) => points.length > 0), 'a point');
  const [point] = follower.events.flatMap(({ points }) => points);
  assert.deepEqual(point?.slice(1, 8), [2_000, 0, 0, 0, null, null, null]);
  const [calls, ok, cancelled, p50, p95, p99] = (point?.slice(8) ?? []) as number[];
  assert.deepEqual([calls, ok, cancelled], [100, 98, 1]);
  assert.ok((p50 as number) > 2.5 && (p50 as number) < 5 && (p95 as number) <= 5 && (p99 as number) <= 5, `${p50} ${p95} ${p99}`);
  const late = await Follower.start(admin.port);
  assert.deepEqual((await late.event(0)).points, [point], 'who comes later gets the points that were');
  follower.leave();
  late.leave();
});

test('the page is one document whose policy allows nothing but itself; curl and scripts get the list of paths', async () => {
  await using admin = await AdminFixture.start();
  const page = await admin.get('/', { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' });
  assert.match(page.body, /<title>Outrider<\/title>/);
  assert.equal(page.headers['vary'], 'accept');
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /default-src 'none'; script-src 'sha256-[^;]*; style-src 'sha256-[^;]*; connect-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.doesNotMatch(page.body, /<(script|link|img|iframe)[^>]*\s(src|href)=["']?(https?:)?\/\//);
  assert.doesNotMatch(page.body, /\sstyle="|\son[a-z]+="/, 'what the policy forbids is not there');
  for (const path of ['/stats', '/failures', '/clusters/{name}/circuit_breakers/reset']) assert.ok(page.body.includes(path), path);
  assert.ok(page.body.length < 200_000, `${page.body.length} characters`);
  for (const headers of [{}, { accept: '*/*' }, { accept: 'application/json' }]) {
    assert.doesNotMatch((await admin.get('/', headers as Record<string, string>)).body, /<script/);
  }
});

test('where a look takes long, the next one waits until looking is one percent of the time', async () => {
  const views = new ViewsFixture();
  const { clusters } = views;
  views.clusters = () => {
    views.clock.advance(50);
    return clusters();
  };
  await using admin = await AdminFixture.start(views);
  const follower = await Follower.start(admin.port);
  await follower.event(0);
  views.clusters = clusters;
  views.clock.advance(4_999);
  views.ready = { ready: false, state: 'DRAINING' };
  views.clock.advance(1);
  const { sections, points } = await follower.event(1);
  assert.deepEqual(Object.keys(sections), ['server']);
  assert.equal(points.length, 1, 'there was no look in between');
  follower.leave();
});
