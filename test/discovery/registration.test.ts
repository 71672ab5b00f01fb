import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Clock, JsonLogger, SystemClock, VirtualClock, WatchSource } from '../../src/core/index.ts';
import { ConsulClient, parseConsulAddress, Registration, type RegistrationCheck, type ServiceReport } from '../../src/discovery/index.ts';
import { Registry } from '../../src/registry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { instancesOf } from '../registry/catalogue-agents.ts';
import { ask } from '../registry/consul-api-suite.ts';

checkLeaks();
const consul = await peerProgram('consul');

const service = {
  id: 'echo-1',
  name: 'echo',
  address: '127.0.0.1',
  port: 50051,
  tags: ['protocol=grpc'],
  meta: { version: '1' },
  weight: 1,
};

interface Setup {
  readonly clock?: Clock;
  readonly check?: RegistrationCheck;
  readonly tokenFile?: string;
  readonly scope?: Readonly<Record<string, string>>;
}

/** A registration with `address`, which has begun. */
const register = (
  t: TestContext,
  address: string,
  { clock = new SystemClock(), check = { kind: 'ttl', ttlMs: 12_000 }, tokenFile, scope = {} }: Setup,
) => {
  const parsed = parseConsulAddress(address);
  assert.ok(parsed);
  const lines: Record<string, unknown>[] = [];
  const log = new JsonLogger(clock, (line) => void lines.push(JSON.parse(line)));
  const client = new ConsulClient({ address: parsed, clock, log, ...(tokenFile === undefined ? {} : { tokenFile }) });
  const health = new WatchSource<ServiceReport>({ status: 'passing', output: 'answers SERVING' });
  const registration = new Registration({
    client,
    clock,
    log,
    random: () => 0.5,
    service,
    scope,
    check,
    health,
    deregisterAfterMs: 300_000,
  });
  t.after(() => {
    registration.close();
    client.close();
  });
  registration.start();
  const stats = (): Readonly<Record<string, number>> => {
    const found: Record<string, number> = {};
    const put = (name: string, value: number): void => {
      found[name.replace('registration.', '')] = value;
    };
    registration.collectStats({ counter: put, gauge: put });
    return found;
  };
  return { registration, health, lines, stats };
};

const until = async (what: string, look: () => boolean | Promise<boolean>, patienceMs = 15_000): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  while (!(await look())) {
    assert.ok(performance.now() < deadline, `not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** A registry on a clock of its own, so that what is tested is the registration. */
const startRegistry = async (t: TestContext) => {
  const log = new JsonLogger(new SystemClock(), () => {});
  const registry = new Registry({ host: '127.0.0.1', port: 0, clock: new SystemClock(), log, random: Math.random });
  const { port } = await registry.start();
  t.after(() => registry.close());
  return { address: `127.0.0.1:${port}` };
};

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly response: ServerResponse;
}

/** A scripted HTTP server in the place of an agent; 200 unless `answer` has ended the response, or keeps it. */
const startScript = async (t: TestContext, answer: (asked: Asked) => 'kept' | undefined = () => undefined) => {
  const asked: Asked[] = [];
  const server = createServer({}, (request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const one = { method: request.method ?? '', path: request.url ?? '', body, response };
      asked.push(one);
      if (answer(one) !== 'kept' && !response.writableEnded) response.end();
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    paths: () => asked.map(({ path }) => path.split('?')[0]),
  };
};

const fail = ({ response }: Asked, status: number, text: string): undefined => {
  response.statusCode = status;
  response.end(text);
};

test('what was registered is told anew every minute, and maintenance survives it', async (t) => {
  const agent = await startRegistry(t);
  const clock = new VirtualClock();
  const { stats } = register(t, agent.address, { clock });
  await until('registered', () => stats()['registered'] === 1);
  await ask(agent, 'PUT', '/agent/service/maintenance/echo-1?enable=true');
  // Somebody else has written over what we said.
  await ask(agent, 'PUT', '/agent/service/register', { ID: 'echo-1', Name: 'echo', Port: 1, Address: '10.0.0.1' });
  await until('told anew', async () => {
    clock.advance(500);
    return (await instancesOf(agent, 'echo'))[0]?.port === 50051;
  });
  assert.equal(stats()['lost'], 0);
  assert.ok(clock.now() >= 54_000, 'a minute, with jitter');
  const [instance] = await instancesOf(agent, 'echo');
  assert.equal(instance?.status, 'critical', 'maintenance is not ours to end');
  await ask(agent, 'PUT', '/agent/service/maintenance/echo-1?enable=false');
  assert.equal((await instancesOf(agent, 'echo'))[0]?.status, 'passing');
});

test('an agent that does not know the check any more is registered with at once, whichever way it says so', async (t) => {
  for (const [status, text] of [
    [404, 'Unknown check ID "service:echo-1". Ensure that the check ID is passed, not the check name.'],
    [500, 'CheckID "service:echo-1" does not have associated TTL'],
  ] as const) {
    let forgotten = false;
    const agent = await startScript(t, (asked) => {
      if (asked.path.includes('/register')) forgotten = false;
      if (asked.path.includes('/check/') && forgotten) return fail(asked, status, text);
      return undefined;
    });
    const { stats, health, lines } = register(t, agent.address, {});
    await until('registered', () => stats()['registered'] === 1);
    forgotten = true;
    health.set({ status: 'passing', output: 'still' });
    await until('again', () => stats()['success'] === 2);
    assert.equal(stats()['lost'], 1);
    assert.equal(stats()['failure'], 0);
    assert.ok(lines.some(({ msg }) => msg === 'Consul has lost the registration'));
  }
});

test('a status is told as soon as it changes, one request at a time', async (t) => {
  let underWay = 0;
  let most = 0;
  const agent = await startScript(t, ({ response }) => {
    most = Math.max(most, ++underWay);
    setImmediate(() => {
      underWay--;
      response.end();
    });
    return 'kept';
  });
  const { health, stats } = register(t, agent.address, {});
  health.set({ status: 'critical', output: 'refused' });
  await until('registered', () => stats()['registered'] === 1);
  for (let i = 0; i < 20; i++) health.set({ status: i % 2 === 0 ? 'warning' : 'critical', output: `number ${i}` });
  await until('the last word', () => agent.asked.at(-1)?.path.includes('/fail/service%3Aecho-1?note=number%2019') === true);
  assert.equal(most, 1);
  assert.equal(agent.paths().filter((path) => path === '/v1/agent/service/register').length, 1);
  assert.ok(agent.asked.length < 10, 'twenty changes at once are not twenty requests');
});

test('a registration that is under way does not arrive after the end of it', async (t) => {
  const held: ServerResponse[] = [];
  const agent = await startScript(t, ({ path, response }) => {
    if (!path.includes('/register')) return undefined;
    held.push(response);
    return 'kept';
  });
  const { registration, health } = register(t, agent.address, {});
  await until('under way', () => held.length === 1);
  let ended = false;
  const end = registration.deregister().then(() => (ended = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ended, false);
  held[0]?.end();
  await end;
  assert.equal(agent.asked.at(-1)?.path, '/v1/agent/service/deregister/echo-1');
  assert.equal(registration.view.state, 'deregistered');
  const count = agent.asked.length;
  health.set({ status: 'critical', output: 'the service ends, too' });
  await registration.deregister();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(agent.asked.length, count, 'nothing is said afterwards');
});

test('an agent that never answers delays the end by seconds at most, and is told of', async (t) => {
  const clock = new VirtualClock();
  let silent = false;
  const agent = await startScript(t, () => (silent ? 'kept' : undefined));
  const { registration, lines, stats, health } = register(t, agent.address, { clock });
  await until('registered', () => stats()['registered'] === 1);
  silent = true;
  health.set({ status: 'critical', output: 'a report that nobody answers' });
  await until('reported', () => agent.asked.at(-1)?.path.includes('/fail/') === true);
  const end = registration.deregister();
  await until('asked', () => agent.asked.at(-1)?.path.includes('/deregister') === true);
  clock.advance(2_000);
  await end;
  assert.ok(lines.some(({ msg }) => msg === 'the service could not be taken out of the catalogue'));
});

test('back-off grows with jitter while nobody answers, and stays short enough for an agent that comes back', async (t) => {
  const clock = new VirtualClock();
  const { stats, lines, registration } = register(t, '127.0.0.1:1', { clock });
  const failures = (): number => stats()['failure'] ?? 0;
  await until('refused', () => failures() === 1);
  const delays: number[] = [];
  for (let attempt = 1; attempt <= 6; attempt++) {
    let waitedMs = 0;
    while (failures() === attempt) {
      clock.advance(50);
      waitedMs += 50;
      await new Promise((resolve) => setTimeout(resolve, 3));
      assert.ok(waitedMs < 60_000);
    }
    delays.push(waitedMs);
  }
  assert.ok((delays[0] as number) < (delays[3] as number), delays.join());
  assert.equal(lines.filter(({ msg }) => msg === 'not registered, trying again').length, 1);
  assert.equal(registration.view.state, 'registering');
  registration.close();
  assert.equal(clock.pending, 0);
});

test('where Consul checks by itself it is asked whether it still knows the service', async (t) => {
  let known = true;
  const agent = await startScript(t, ({ path, response }) => {
    if (path.includes('/register')) known = true;
    if (path.startsWith('/v1/agent/services')) {
      response.setHeader('content-type', 'application/json');
      response.end(known ? '{"echo-1":{}}' : '{}');
    }
    return undefined;
  });
  const check: RegistrationCheck = { kind: 'grpc', target: '127.0.0.1:8080', tls: true, intervalMs: 5_000 };
  const { stats, health } = register(t, agent.address, { check });
  await until('registered', () => stats()['registered'] === 1);
  const body = JSON.parse(agent.asked[0]?.body ?? '{}') as { Checks: unknown };
  assert.deepEqual(body.Checks, [
    {
      CheckID: 'service:echo-1',
      Name: 'echo by grpc',
      GRPC: '127.0.0.1:8080',
      GRPCUseTLS: true,
      TLSServerName: 'echo',
      Interval: '5000ms',
      Timeout: '5000ms',
      DeregisterCriticalServiceAfter: '300000ms',
    },
    {
      CheckID: 'service:echo-1:sidecar',
      Name: 'sidecar of echo',
      TCP: '127.0.0.1:50051',
      Interval: '5000ms',
      Timeout: '5000ms',
      DeregisterCriticalServiceAfter: '300000ms',
    },
  ]);
  known = false;
  health.set({ status: 'critical', output: 'a reason to look' });
  await until('again', () => stats()['success'] === 2);
  assert.equal(stats()['report'], 0);
});

test('namespace and partition go with every request', async (t) => {
  const agent = await startScript(t);
  const { registration, stats } = register(t, agent.address, { scope: { ns: 'team', partition: 'east' } });
  await until('registered', () => stats()['registered'] === 1);
  await registration.deregister();
  assert.deepEqual(
    agent.asked.map(({ path }) => path.replace('&note=answers%20SERVING', '').replace('note=answers%20SERVING&', '')),
    [
      '/v1/agent/service/register?ns=team&partition=east',
      '/v1/agent/check/pass/service%3Aecho-1?ns=team&partition=east',
      '/v1/agent/service/deregister/echo-1?ns=team&partition=east',
    ],
  );
});

test('a token without the rights is said with what it needs, and its successor is used at once', { skip: consul.skip }, async (t) => {
  const management = '11111111-2222-3333-4444-555555555555';
  await using agent = await ConsulProcess.start({
    path: consul.path,
    token: management,
    configuration: {
      acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: management, agent: management } },
    },
  });
  using folder = temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  const tokenWith = async (name: string, Rules: string): Promise<string> => {
    await agent.ask('PUT', '/acl/policy', { Name: name, Rules });
    const { SecretID } = (await agent.ask('PUT', '/acl/token', { Policies: [{ Name: name }] })) as { SecretID: string };
    return SecretID;
  };
  writeFileSync(tokenFile, await tokenWith('readers', 'service_prefix "" { policy = "read" }'));
  const { stats, lines, registration } = register(t, agent.address, { tokenFile });
  await until('refused', () => (stats()['refused'] ?? 0) > 0);
  assert.equal(registration.view.state, 'registering');
  assert.match(registration.view.error ?? '', /answered 403/);
  const told = lines.filter(({ msg }) => msg === 'not registered, trying again');
  assert.equal(told.length, 1);
  assert.match(String(told[0]?.['remedy']), /service "echo" \{ policy = "write" \}/);
  writeFileSync(`${tokenFile}.new`, await tokenWith('writers', 'service "echo" { policy = "write" }'));
  renameSync(`${tokenFile}.new`, tokenFile);
  await until('registered', () => stats()['registered'] === 1);
  await until('in the catalogue', async () => ((await agent.ask('GET', '/health/service/echo')) as unknown[]).length === 1);
  await registration.deregister();
});
