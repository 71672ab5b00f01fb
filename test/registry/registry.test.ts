import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Clock, SystemClock, silentLogger, VirtualClock } from '../../src/core/index.ts';
import { ChangeIndex } from '../../src/registry/change-index.ts';
import { Registry, type RegistryOptions } from '../../src/registry/index.ts';
import { WaitingQueries } from '../../src/registry/waiting-queries.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ask } from './consul-api-suite.ts';

checkLeaks();

interface Running {
  readonly address: string;
  readonly port: number;
  readonly registry: Registry;
}

const start = async (t: TestContext, options: Partial<RegistryOptions> = {}): Promise<Running> => {
  const clock: Clock = options.clock ?? new SystemClock();
  const registry = new Registry({ host: '127.0.0.1', port: 0, log: silentLogger, random: () => 0.5, ...options, clock });
  const { port } = await registry.start();
  t.after(() => registry.close());
  return { address: `127.0.0.1:${port}`, port, registry };
};

const idsOf = async (api: Running, name: string): Promise<readonly string[]> =>
  (await ask(api, 'GET', `/health/service/${name}`)).json.map(({ Service }: { Service: { ID: string } }) => Service.ID);

const statusOf = async (api: Running, name: string): Promise<string> => (await ask(api, 'GET', `/health/checks/${name}`)).json[0]?.Status;

/** A request as a browser or a stranger would write it. */
const raw = (
  { port }: Running,
  path: string,
  options: http.RequestOptions,
  body?: string | Buffer,
): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path, agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(body);
  });

test('what was critical for as long as its registration says is taken out, and nothing else', async (t) => {
  const clock = new VirtualClock();
  const api = await start(t, { clock });
  const Check = { TTL: '10s', Status: 'passing', DeregisterCriticalServiceAfter: '90s' };
  await ask(api, 'PUT', '/agent/service/register', { Name: 'leaves', Port: 1, Check });
  await ask(api, 'PUT', '/agent/service/register', { Name: 'stays', Port: 1, Check: { TTL: '10s', Status: 'passing' } });
  // Consul waits a minute at least.
  const hasty = { ...Check, DeregisterCriticalServiceAfter: '1s' };
  await ask(api, 'PUT', '/agent/service/register', { Name: 'hasty', Port: 1, Check: hasty });
  clock.advance(9_999);
  assert.equal(await statusOf(api, 'leaves'), 'passing');
  clock.advance(1);
  assert.equal(await statusOf(api, 'leaves'), 'critical');
  clock.advance(40_000);
  assert.deepEqual(await idsOf(api, 'hasty'), ['hasty']);
  clock.advance(40_000);
  assert.deepEqual(await idsOf(api, 'hasty'), []);
  assert.deepEqual(await idsOf(api, 'leaves'), ['leaves']);
  clock.advance(40_000);
  assert.deepEqual(await idsOf(api, 'leaves'), []);
  assert.deepEqual(await idsOf(api, 'stays'), ['stays']);
});

test('an index of another life is answered at once: there is nothing to wait for', async (t) => {
  const api = await start(t);
  await ask(api, 'PUT', '/agent/service/register', { Name: 'echo', Port: 1 });
  const index = (await ask(api, 'GET', '/health/service/echo')).headers.get('x-consul-index');
  const later = await ask(api, 'GET', '/health/service/echo?index=1000000&wait=10m');
  assert.equal(later.headers.get('x-consul-index'), index);
});

test('blocking queries are bounded in time and number', async () => {
  const clock = new VirtualClock();
  const index = new ChangeIndex(7);
  const waiting = new WaitingQueries({ clock, index, atMost: 2, random: () => 1 });
  const wait = (waitMs: number, gone = new AbortController().signal) => {
    const query = { ended: false, done: Promise.resolve() };
    query.done = waiting.wait({ since: 7, waitMs, indexNow: () => index.current, gone }).then(() => {
      query.ended = true;
    });
    return query;
  };
  const gone = new AbortController();
  const [usual, longest] = [wait(0, gone.signal), wait(3_600_000)];
  await assert.rejects(wait(1).done, /at most 2 waiting queries; production wants Consul/);
  clock.advance((600_000 * 17) / 16 - 1);
  await usual.done;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(longest.ended, false, 'ten minutes and a sixteenth');
  clock.advance(1);
  await longest.done;
  const leaves = wait(0, gone.signal);
  gone.abort();
  await leaves.done;
  assert.equal(waiting.count, 0);
  const woken = [wait(0), wait(0)];
  index.next();
  await Promise.all(woken.map(({ done }) => done));
  const closed = wait(0);
  waiting.close();
  await closed.done;
  assert.equal(clock.pending, 0);
});

test('it is one of bounded size in every direction', async (t) => {
  const api = await start(t, { limits: { services: 2, checks: 3, keys: 2, valueBytes: 10 } });
  const register = async (definition: object) => ask(api, 'PUT', '/agent/service/register', definition);
  assert.equal((await register({ Name: 'a', Check: { TTL: '1s' } })).status, 200);
  const tooMany = await register({ Name: 'b', Checks: [{ TTL: '1s' }, { TTL: '1s' }] });
  assert.equal(tooMany.status, 429);
  assert.match(tooMany.text, /at most 3 checks/);
  assert.equal((await register({ Name: 'b' })).status, 200);
  assert.match((await register({ Name: 'c' })).text, /at most 2 services; production wants Consul/);
  assert.equal((await register({ Name: 'b', Port: 5 })).status, 200, 'who is there may change');
  assert.equal((await ask(api, 'PUT', '/kv/a', '12345678')).status, 200);
  assert.equal((await ask(api, 'PUT', '/kv/b', '12345678')).status, 429);
  assert.equal((await ask(api, 'PUT', '/kv/a', '1')).status, 200);
  assert.equal((await ask(api, 'PUT', '/kv/b', '1')).status, 200);
  assert.match((await ask(api, 'PUT', '/kv/c', '1')).text, /at most 2 keys/);
  const long = 'x'.repeat(600 * 1_024);
  assert.equal((await ask(api, 'PUT', '/kv/a', long)).status, 413);
  assert.equal((await register({ Name: long })).status, 413);
  assert.equal((await register({ Name: 'x'.repeat(1_000) })).status, 400);
  const chunked = await raw(api, '/v1/agent/service/register', { method: 'PUT', headers: { 'transfer-encoding': 'chunked' } }, long);
  assert.equal(chunked.status, 413);
  assert.equal((await ask(api, 'GET', `/health/service/a?filter=${'('.repeat(40)}`)).status, 500);
});

test('pages of other sites and names that point here change and learn nothing', async (t) => {
  const api = await start(t, { allowedHosts: ['registry.internal'] });
  const asks = (headers: http.OutgoingHttpHeaders, method = 'GET') =>
    raw(api, '/v1/kv/secret', { method, headers: { 'content-length': 1, ...headers } }, 'x');
  const rebound = await asks({ host: 'evil.example' });
  assert.equal(rebound.status, 403);
  assert.match(rebound.text, /"evil.example" is not a name of this registry; add it to the names of --allow-host/);
  assert.equal((await asks({ host: 'registry.internal:8500' })).status, 404);
  assert.equal((await asks({ origin: 'https://evil.example' }, 'PUT')).status, 403);
  assert.equal((await asks({ 'sec-fetch-site': 'cross-site' }, 'DELETE')).status, 403);
  assert.equal((await asks({}, 'PUT')).status, 200);
});

test('requests that are none do no harm', async (t) => {
  const api = await start(t);
  for (const path of ['/v1/kv/%zz', '/v1/agent/service/%ff']) assert.equal((await raw(api, path, {})).status, 400, path);
  for (const body of ['{', '[[[[', '"x"', '5', 'null', '{"__proto__":{"Name":"x"}}', '{"Name":{"a":1}}', '{"Name":"x","Checks":{}}']) {
    assert.equal((await ask(api, 'PUT', '/agent/service/register', body)).status, 400, body);
    assert.equal((await ask(api, 'PUT', '/agent/check/register', body)).status, 400, body);
  }
  const scripts = await ask(api, 'PUT', '/agent/service/register', { Name: 'x', Check: { Args: ['true'], Interval: '1s' } });
  assert.match(scripts.text, /"outrider registry" runs none/);
  assert.match((await ask(api, 'PUT', '/agent/service/register', { Name: 'x', Connect: { Native: true } })).text, /no part in Connect/);
  const typo = await ask(api, 'GET', '/agent/service');
  assert.equal(typo.status, 404);
  assert.match(typo.text, /did you mean \/v1\/agent\/services\?/);
  const socket = net.connect(api.port, '127.0.0.1');
  socket.end('PUT /v1/kv/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf');
  await new Promise((resolve) => socket.resume().on('close', resolve));
  assert.equal((await ask(api, 'GET', '/kv/x')).status, 404);
});

test('what is in the file is there again, with higher indexes than before', async (t) => {
  using folder = temporaryFolder();
  const dataPath = join(folder.path, 'registry.json');
  const first = await start(t, { dataPath });
  const Check = { TTL: '60s', DeregisterCriticalServiceAfter: '2m' };
  await ask(first, 'PUT', '/agent/service/register', { ID: 'e-1', Name: 'echo', Port: 5, Tags: ['a'], Meta: { k: 'v' }, Check });
  await ask(first, 'PUT', '/agent/check/pass/service:e-1?note=well');
  await ask(first, 'PUT', '/agent/service/maintenance/e-1?enable=true&reason=upgrade');
  await ask(first, 'PUT', '/kv/a/b?flags=3', 'value');
  const before = await ask(first, 'GET', '/health/service/echo');
  const self = (await ask(first, 'GET', '/agent/self')).json.Config.NodeID;
  await first.registry.close();
  assert.equal(statSync(dataPath).mode & 0o777, 0o600);

  const second = await start(t, { dataPath });
  const after = await ask(second, 'GET', '/health/service/echo');
  assert.ok(Number(after.headers.get('x-consul-index')) > Number(before.headers.get('x-consul-index')));
  const told = ({ json }: typeof after) =>
    json[0].Checks.map(({ CheckID, Status, Output }: object & Record<string, string>) => [CheckID, Status, Output]);
  assert.deepEqual(told(after), told(before));
  const { CreateIndex: _created, ModifyIndex: _modified, ...service } = after.json[0].Service;
  const { CreateIndex: _oldCreated, ModifyIndex: _oldModified, ...formerService } = before.json[0].Service;
  assert.deepEqual(service, formerService);
  assert.equal((await ask(second, 'GET', '/kv/a/b?raw')).text, 'value');
  assert.equal((await ask(second, 'GET', '/kv/a/b')).json[0].Flags, 3);
  assert.equal((await ask(second, 'GET', '/agent/self')).json.Config.NodeID, self);
  assert.equal((await ask(second, 'PUT', '/agent/check/warn/service:e-1')).status, 200);
  await second.registry.close();
  assert.match(readFileSync(dataPath, 'utf8'), /"status":"warning"/);

  writeFileSync(dataPath, '{"something":"else"}');
  assert.throws(
    () => new Registry({ host: '127.0.0.1', port: 0, dataPath, clock: new SystemClock(), log: silentLogger, random: Math.random }),
    {
      message: `--data ${dataPath}: no file of "outrider registry"`,
    },
  );
});

test('the command says what it is, serves, and ends with 0', async () => {
  using folder = temporaryFolder();
  const data = join(folder.path, 'registry.json');
  await using program = spawnProgram(outriderPath, ['registry', '--listen', '127.0.0.1:0', '--data', data]);
  const [line] = await program.waitFor(/^.*"msg":"ready".*$/m);
  assert.match(program.stderr, /production wants Consul/);
  const { port } = JSON.parse(line) as { port: number };
  const address = `127.0.0.1:${port}`;
  assert.equal((await ask({ address }, 'PUT', '/agent/service/register', { Name: 'echo', Port: 1 })).status, 200);
  assert.equal((await ask({ address }, 'GET', '/status/leader')).json, address);
  const taken = await runProgram(outriderPath, ['registry', '--listen', address]);
  assert.equal(taken.code, 2);
  assert.match(taken.stderr, /cannot be listened on: .*EADDRINUSE/);
  assert.equal((await program.stop()).code, 0);
  assert.match(readFileSync(data, 'utf8'), /"name":"echo"/);
  for (const [parameters, problem] of [
    [['--listen', 'nowhere'], /--listen nowhere: expected host:port/],
    [['--datacenter', 'DC 1'], /--datacenter DC 1: expected lower case/],
    [['--data', '/nowhere/at/all.json', '--listen', '127.0.0.1:0'], /--data \/nowhere\/at\/all\.json: cannot be written/],
  ] as const) {
    const { code, stderr } = await runProgram(outriderPath, ['registry', ...parameters]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, problem);
  }
});
