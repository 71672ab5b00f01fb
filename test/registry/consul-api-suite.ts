import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { test } from 'node:test';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';

/** Somebody who answers Consul's HTTP API: a real agent, or a registry. */
export interface ConsulApi extends AsyncDisposable {
  /** `127.0.0.1:8500`. */
  readonly address: string;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: answers are judged by their values.
  readonly json: any;
}

/** One question, `path` below `/v1`. */
export const ask = async (
  { address }: Pick<ConsulApi, 'address'>,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(`http://${address}/v1${path}`, {
    method,
    headers: { connection: 'close', ...headers },
    signal: AbortSignal.timeout(20_000),
    ...(body === undefined ? {} : { body: text }),
  });
  const answered = await response.text();
  const isJson = response.headers.get('content-type') === 'application/json';
  return { status: response.status, text: answered, headers: response.headers, json: isJson ? JSON.parse(answered) : undefined };
};

/** Asks until the answer is the one: what Consul is told shows in its catalogue a little later. */
const until = async (what: string, look: () => Promise<boolean>, patienceMs = 15_000): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  while (!(await look())) {
    assert.ok(performance.now() < deadline, `not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const indexOf = ({ headers }: Answer): number => Number(headers.get('x-consul-index'));

/**
 * What sidecars rely on of Consul's HTTP API. The same tests run against a real agent and against `outrider registry`: neither may
 * be asked for anything that the other does not do.
 */
export const consulApiSuite = (label: string, start: () => Promise<ConsulApi>, skip: string | false = false): void => {
  const suiteTest = (name: string, run: (api: ConsulApi) => Promise<void>): void => {
    test(`${label}: ${name}`, { skip }, async () => {
      shared ??= start();
      await run(await shared);
    });
  };
  let shared: Promise<ConsulApi> | undefined;

  const register = async (api: ConsulApi, definition: object): Promise<void> => {
    const { status, text } = await ask(api, 'PUT', '/agent/service/register', definition);
    assert.equal(status, 200, text);
  };
  const statusOf = async (api: ConsulApi, name: string): Promise<string> =>
    (await ask(api, 'GET', `/health/checks/${name}`)).json.map(({ Status }: { Status: string }) => Status).join();
  const passing = async (api: ConsulApi, name: string): Promise<number> =>
    (await ask(api, 'GET', `/health/service/${name}?passing`)).json.length;

  suiteTest('a registered service is found by its name, with all that it said of itself', async (api) => {
    await register(api, {
      ID: 'told-1',
      Name: 'told',
      Address: '10.1.2.3',
      Port: 50051,
      Tags: ['version=2', 'protocol=grpc'],
      Meta: { zone: 'a' },
      Weights: { Passing: 7, Warning: 2 },
      Check: { TTL: '10s', Status: 'passing' },
    });
    await until('found', async () => (await passing(api, 'told')) === 1);
    const [{ Service, Checks, Node }] = (await ask(api, 'GET', '/health/service/told')).json;
    assert.equal(Service.ID, 'told-1');
    assert.equal(Service.Service, 'told');
    assert.equal(Service.Address, '10.1.2.3');
    assert.equal(Service.Port, 50051);
    assert.deepEqual(Service.Tags, ['version=2', 'protocol=grpc']);
    assert.deepEqual(Service.Meta, { zone: 'a' });
    assert.deepEqual(Service.Weights, { Passing: 7, Warning: 2 });
    assert.deepEqual(
      Checks.map(({ CheckID, Status, ServiceID }: Record<string, string>) => [CheckID, Status, ServiceID]),
      [
        ['serfHealth', 'passing', ''],
        ['service:told-1', 'passing', 'told-1'],
      ],
    );
    assert.equal(Node.Datacenter, 'dc1');
    const [catalogued] = (await ask(api, 'GET', '/catalog/service/told')).json;
    assert.equal(catalogued.ServiceAddress, '10.1.2.3');
    assert.equal(catalogued.ServicePort, 50051);
    assert.deepEqual((await ask(api, 'GET', '/catalog/services')).json.told.sort(), ['protocol=grpc', 'version=2']);
    assert.equal((await ask(api, 'GET', '/agent/services')).json['told-1'].Service, 'told');
  });

  suiteTest('tags and filters choose instances', async (api) => {
    await register(api, { ID: 'chosen-1', Name: 'chosen', Port: 1, Tags: ['blue', 'version=1'], Meta: { version: '1' } });
    await register(api, { ID: 'chosen-2', Name: 'chosen', Port: 2, Tags: ['green', 'version=2'], Meta: { version: '2' } });
    await until('both', async () => (await passing(api, 'chosen')) === 2);
    const idsBy = async (query: string): Promise<string> => {
      const { status, json, text } = await ask(api, 'GET', `/health/service/chosen?${query}`);
      assert.equal(status, 200, text);
      return json.map(({ Service }: { Service: { ID: string } }) => Service.ID).join();
    };
    const filtered = (filter: string): Promise<string> => idsBy(`filter=${encodeURIComponent(filter)}`);
    assert.equal(await idsBy('tag=blue'), 'chosen-1');
    assert.equal(await idsBy('tag=BLUE'), 'chosen-1');
    assert.equal(await idsBy('tag=blue&tag=green'), '');
    assert.equal(await idsBy('tag=green&tag=version%3D2'), 'chosen-2');
    assert.equal(await filtered('Service.Meta.version == "2"'), 'chosen-2');
    assert.equal(await filtered('Service.Meta["version"] != "2"'), 'chosen-1');
    assert.equal(await filtered('"blue" in Service.Tags'), 'chosen-1');
    assert.equal(await filtered('"blue" not in Service.Tags'), 'chosen-2');
    assert.equal(await filtered('Service.Tags contains "green"'), 'chosen-2');
    assert.equal(await filtered('Service.Tags is empty'), '');
    assert.equal(await filtered('Service.Meta is not empty and not (Service.Port == 1)'), 'chosen-2');
    assert.equal(await filtered('Service.ID matches "-[12]$" and (Service.Port == 1 or Service.Port == 2)'), 'chosen-1,chosen-2');
    assert.equal(await filtered('Checks.Status == "critical"'), '');
    assert.equal(await filtered('Service.Meta.nowhere == "2"'), '');
    for (const wrong of ['Service.Bogus == "1"', 'Service.ID ==', 'Service.ID is', '(Service.ID == "x"', 'and']) {
      const { status, text } = await ask(api, 'GET', `/health/service/chosen?filter=${encodeURIComponent(wrong)}`);
      assert.equal(status, 500, wrong);
      assert.match(text, /^Failed to create boolean expression evaluator: /, wrong);
    }
  });

  suiteTest('a TTL check follows what it is told, and runs out', async (api) => {
    await register(api, { Name: 'ttl', Port: 1, Check: { TTL: '1s' } });
    await until('critical at first', async () => (await statusOf(api, 'ttl')) === 'critical');
    const tell = async (verb: string): Promise<void> => {
      assert.equal((await ask(api, 'PUT', `/agent/check/${verb}/service:ttl?note=told+so`)).status, 200);
    };
    // Again and again: each of these holds for a second only, and a slow machine must not miss it.
    const shows = (verb: string, status: string): Promise<void> =>
      until(status, async () => {
        await tell(verb);
        return (await statusOf(api, 'ttl')) === status;
      });
    await shows('warn', 'warning');
    assert.equal(await passing(api, 'ttl'), 0);
    await shows('pass', 'passing');
    await shows('fail', 'critical');
    const update = { Status: 'passing', Output: 'x'.repeat(10) };
    await until('update', async () => {
      assert.equal((await ask(api, 'PUT', '/agent/check/update/service:ttl', update)).status, 200);
      return (await statusOf(api, 'ttl')) === 'passing';
    });
    await until('run out', async () => (await statusOf(api, 'ttl')) === 'critical');
    const [check] = (await ask(api, 'GET', '/health/checks/ttl')).json;
    assert.equal(check.Output, 'TTL expired (last output before timeout follows): xxxxxxxxxx');
    assert.equal(check.Type, 'ttl');
  });

  suiteTest('who registers again keeps the status that it had', async (api) => {
    const definition = { Name: 'again', Port: 1, Check: { TTL: '60s' } };
    await register(api, definition);
    await ask(api, 'PUT', '/agent/check/pass/service:again');
    await until('passing', async () => (await passing(api, 'again')) === 1);
    const before = await ask(api, 'GET', '/health/service/again');
    await register(api, definition);
    await register(api, { ...definition, Port: 2 });
    await until('the new port', async () => (await ask(api, 'GET', '/health/service/again')).json[0].Service.Port === 2);
    const after = await ask(api, 'GET', '/health/service/again');
    assert.equal(after.json[0].Service.CreateIndex, before.json[0].Service.CreateIndex);
    assert.equal(await statusOf(api, 'again'), 'passing');
    assert.equal((await ask(api, 'PUT', '/agent/service/register?replace-existing-checks', { Name: 'again', Port: 2 })).status, 200);
    await until('no checks', async () => (await statusOf(api, 'again')) === '');
  });

  suiteTest('a blocking query answers at the change, and only of what it watches', async (api) => {
    await register(api, { Name: 'watched', Port: 1 });
    await until('there', async () => (await passing(api, 'watched')) === 1);
    const index = indexOf(await ask(api, 'GET', '/health/service/watched'));
    assert.ok(index > 0);
    let answered = false;
    const watch = ask(api, 'GET', `/health/service/watched?index=${index}&wait=15s`).then((answer) => {
      answered = true;
      return answer;
    });
    await register(api, { Name: 'somebody-else', Port: 1 });
    await until('the other one', async () => (await passing(api, 'somebody-else')) === 1);
    assert.equal(answered, false, 'a change of somebody else wakes nobody');
    await register(api, { Name: 'watched', Port: 2 });
    const changed = await watch;
    assert.ok(indexOf(changed) > index);
    assert.equal(changed.json[0].Service.Port, 2);
  });

  suiteTest('a blocking query hears of a status, and of the end of the last instance', async (api) => {
    await register(api, { Name: 'leaving', Port: 1, Check: { TTL: '60s', Status: 'passing' } });
    await until('passing', async () => (await passing(api, 'leaving')) === 1);
    const first = await ask(api, 'GET', '/health/service/leaving?passing');
    const critical = ask(api, 'GET', `/health/service/leaving?passing&index=${indexOf(first)}&wait=15s`);
    await ask(api, 'PUT', '/agent/check/fail/service:leaving');
    assert.deepEqual((await critical).json, []);
    const gone = ask(api, 'GET', `/health/service/leaving?index=${indexOf(await critical)}&wait=15s`);
    assert.equal((await ask(api, 'PUT', '/agent/service/deregister/leaving')).status, 200);
    let last = await gone;
    // A real agent takes the check and the service out one after another.
    while (last.json.length > 0) last = await ask(api, 'GET', `/health/service/leaving?index=${indexOf(last)}&wait=15s`);
    const back = ask(api, 'GET', `/health/service/leaving?index=${indexOf(last)}&wait=15s`);
    await register(api, { Name: 'leaving', Port: 3 });
    let found = await back;
    while (found.json.length === 0) found = await ask(api, 'GET', `/health/service/leaving?index=${indexOf(found)}&wait=15s`);
    assert.equal(found.json[0].Service.Port, 3);
  });

  suiteTest('a blocking query ends when its time is up', async (api) => {
    const { headers } = await ask(api, 'GET', '/health/service/never');
    const answer = await ask(api, 'GET', `/health/service/never?index=${headers.get('x-consul-index')}&wait=10ms`);
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json, []);
    assert.equal(answer.headers.get('x-consul-lastcontact'), '0');
    assert.ok(answer.headers.has('x-consul-knownleader'));
  });

  suiteTest('maintenance makes critical without a word to the check', async (api) => {
    await register(api, { ID: 'kept-1', Name: 'kept', Port: 1, Check: { TTL: '60s', Status: 'passing' } });
    await until('passing', async () => (await passing(api, 'kept')) === 1);
    assert.equal((await ask(api, 'PUT', '/agent/service/maintenance/kept-1?enable=true&reason=upgrade')).status, 200);
    await until('out', async () => (await passing(api, 'kept')) === 0);
    const [maintenance, own] = (await ask(api, 'GET', '/health/checks/kept')).json;
    assert.deepEqual([maintenance.CheckID, maintenance.Notes], ['_service_maintenance:kept-1', 'upgrade']);
    assert.equal(own.Status, 'passing');
    assert.equal((await ask(api, 'PUT', '/agent/service/maintenance/kept-1?enable=false')).status, 200);
    await until('back', async () => (await passing(api, 'kept')) === 1);
    assert.equal((await ask(api, 'PUT', '/agent/maintenance?enable=true&reason=all')).status, 200);
    await until('all out', async () => (await passing(api, 'kept')) === 0);
    assert.equal((await ask(api, 'PUT', '/agent/maintenance?enable=false')).status, 200);
    await until('all back', async () => (await passing(api, 'kept')) === 1);
  });

  suiteTest('it checks by HTTP, TCP and gRPC itself', async (api) => {
    let code = 200;
    const web: Server = createServer({}, (_request, response) => {
      response.writeHead(code, { connection: 'close' });
      response.end('the page');
    }).listen(0, '127.0.0.1');
    const tcp = createTcpServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    const grpc = new GrpcServer();
    const health = new HealthImplementation({ '': 'SERVING', acme: 'NOT_SERVING' });
    health.addToServer(grpc);
    const grpcPort = await new Promise<number>((resolve, reject) =>
      grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))),
    );
    const portOf = (server: { address(): unknown }): number => (server.address() as { port: number }).port;
    try {
      const checks = {
        'by-http': { HTTP: `http://127.0.0.1:${portOf(web)}/page`, Interval: '1s', Timeout: '1s' },
        'by-tcp': { TCP: `127.0.0.1:${portOf(tcp)}`, Interval: '1s' },
        'by-grpc': { GRPC: `127.0.0.1:${grpcPort}`, Interval: '1s' },
        'by-grpc-service': { GRPC: `127.0.0.1:${grpcPort}/acme`, Interval: '1s' },
      };
      for (const [Name, Check] of Object.entries(checks)) await register(api, { Name, Port: 1, Check });
      for (const name of ['by-http', 'by-tcp', 'by-grpc']) await until(name, async () => (await statusOf(api, name)) === 'passing');
      const [page] = (await ask(api, 'GET', '/health/checks/by-http')).json;
      assert.equal(page.Output, `HTTP GET http://127.0.0.1:${portOf(web)}/page: 200 OK Output: the page`);
      assert.equal((await ask(api, 'GET', '/health/checks/by-tcp')).json[0].Output, `TCP connect 127.0.0.1:${portOf(tcp)}: Success`);
      code = 429;
      await until('429 is a warning', async () => (await statusOf(api, 'by-http')) === 'warning');
      code = 500;
      health.setStatus('', 'NOT_SERVING');
      health.setStatus('acme', 'SERVING');
      await new Promise((resolve) => tcp.close(resolve));
      for (const name of ['by-http', 'by-tcp', 'by-grpc']) await until(name, async () => (await statusOf(api, name)) === 'critical');
      await until('its own status', async () => (await statusOf(api, 'by-grpc-service')) === 'passing');
    } finally {
      for (const name of ['by-http', 'by-tcp', 'by-grpc', 'by-grpc-service']) await ask(api, 'PUT', `/agent/service/deregister/${name}`);
      await new Promise((resolve) => web.close(resolve));
      if (tcp.listening) await new Promise((resolve) => tcp.close(resolve));
      grpc.forceShutdown();
    }
  });

  suiteTest('checks come and go by themselves', async (api) => {
    await register(api, { ID: 'single-1', Name: 'single', Port: 1 });
    const check = { ID: 'single-extra', Name: 'extra', ServiceID: 'single-1', TTL: '60s' };
    assert.equal((await ask(api, 'PUT', '/agent/check/register', check)).status, 200);
    await until('it counts', async () => (await statusOf(api, 'single')) === 'critical');
    assert.equal((await ask(api, 'PUT', '/agent/check/pass/single-extra')).status, 200);
    await until('passing', async () => (await passing(api, 'single')) === 1);
    assert.equal((await ask(api, 'PUT', '/agent/check/deregister/single-extra')).status, 200);
    await until('gone', async () => (await statusOf(api, 'single')) === '');
    const { status, text } = await ask(api, 'PUT', '/agent/check/pass/single-extra');
    assert.equal(status, 404);
    assert.match(text, /Unknown check ID "single-extra"/);
  });

  suiteTest('keys are stored, listed, watched, and changed only from the state that one knows', async (api) => {
    const at = (key: string): string => `/kv/suite/${key}`;
    assert.equal((await ask(api, 'GET', at('a'))).status, 404);
    assert.equal((await ask(api, 'PUT', at('a?flags=42'), 'hello')).text.trim(), 'true');
    await ask(api, 'PUT', at('b/c'), 'deep');
    const first = await ask(api, 'GET', at('a'));
    assert.equal(Buffer.from(first.json[0].Value, 'base64').toString(), 'hello');
    assert.equal(first.json[0].Flags, 42);
    assert.equal((await ask(api, 'GET', at('a?raw'))).text, 'hello');
    assert.deepEqual((await ask(api, 'GET', '/kv/suite/?keys')).json, ['suite/a', 'suite/b/c']);
    assert.deepEqual((await ask(api, 'GET', '/kv/suite/?keys&separator=/')).json, ['suite/a', 'suite/b/']);
    assert.equal((await ask(api, 'GET', '/kv/suite/?recurse')).json.length, 2);
    const { ModifyIndex } = first.json[0];
    assert.equal((await ask(api, 'PUT', at('a?cas=0'), 'no')).text.trim(), 'false');
    assert.equal((await ask(api, 'PUT', at(`a?cas=${ModifyIndex + 1}`), 'no')).text.trim(), 'false');
    const changed = ask(api, 'GET', at(`a?index=${indexOf(first)}&wait=15s`));
    assert.equal((await ask(api, 'PUT', at(`a?cas=${ModifyIndex}`), 'again')).text.trim(), 'true');
    assert.equal(Buffer.from((await changed).json[0].Value, 'base64').toString(), 'again');
    const before = await ask(api, 'GET', '/kv/suite/?recurse');
    const below = ask(api, 'GET', `/kv/suite/?recurse&index=${indexOf(before)}&wait=15s`);
    assert.equal((await ask(api, 'DELETE', at('b/c'))).text.trim(), 'true');
    assert.equal((await below).json.length, 1);
    assert.equal((await ask(api, 'DELETE', at(`a?cas=${ModifyIndex}`))).text.trim(), 'false');
    assert.equal((await ask(api, 'DELETE', '/kv/suite/?recurse')).text.trim(), 'true');
    assert.equal((await ask(api, 'GET', '/kv/suite/?recurse')).status, 404);
  });

  suiteTest('the end of the suite gives everything back', async (api) => {
    await api[Symbol.asyncDispose]();
  });
};
