/** Policies in the KV store of a real Consul: read, changed, refused, and kept while it is away. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { Sidecar } from '../../src/cli/sidecar.ts';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { agentKinds } from '../registry/catalogue-agents.ts';
import { startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const program = await peerProgram('consul');
const route = (name: string): string => `routes: [{ name: ${name}, match: { path: /${name} }, route: { cluster: c, timeout: 1s } }]\n`;
const clusters = 'clusters: { c: { endpoints: ["127.0.0.1:1"] } }\n';

interface Policies {
  readonly routes: readonly string[];
  readonly last: { readonly ok: boolean; readonly problems: readonly string[] };
}

const policiesOf = async (outrider: TestSidecar): Promise<Policies> => {
  const [routes, policies] = await Promise.all([outrider.admin('GET', '/routes'), outrider.admin('GET', '/policies')]);
  const { history = [] } = JSON.parse(policies.text) as { history?: readonly { ok: boolean; problems: readonly unknown[] }[] };
  const last = history.at(-1) ?? history[0];
  return {
    routes: [...routes.text.matchAll(/"name":\s*"([a-z:/0-9]+)"/g)].map(([, name]) => String(name)),
    last: { ok: last?.ok ?? false, problems: (last?.problems ?? []).map((problem) => JSON.stringify(problem)) },
  };
};

type Put = (key: string, text: string) => Promise<void>;

const request = async ({ address }: { readonly address: string }, method: string, path: string, body?: string): Promise<void> => {
  const answer = await fetch(`http://${address}/v1/kv/${path}`, {
    method,
    headers: { connection: 'close' },
    ...(body !== undefined && { body }),
  });
  await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
};
const putInto =
  (agent: { readonly address: string }): Put =>
  (key, text) =>
    request(agent, 'PUT', key, text);

for (const kind of agentKinds)
  describe(`policies in the keys of ${kind.name}`, { skip: kind.skip }, () => {
    const start = async (t: TestContext, prepare: (put: Put) => Promise<void>, policies?: string) => {
      const consul = await kind.start();
      t.after(() => consul[Symbol.asyncDispose]());
      const put = putInto(consul);
      await prepare(put);
      const outrider = await startSidecar(t, {
        environment: { CONSUL_HTTP_ADDR: consul.address, POLICY_CONSUL_KV: 'outrider/policies' },
        ...(policies === undefined ? {} : { policies }),
      });
      const key = (name: string, text: string) => put(`outrider/policies/${name}`, text);
      const remove = (path: string) => request(consul, 'DELETE', path);
      const routesBecome = async (...names: readonly string[]): Promise<void> => {
        let found: readonly string[] = [];
        for (let i = 0; i < 500; i++) {
          found = (await policiesOf(outrider)).routes.filter((name) => names.includes(name) || /^[a-z]$/.test(name));
          if (found.join() === names.join()) return;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        assert.deepEqual(found, names);
      };
      return { consul, outrider, key, remove, routesBecome };
    };

    test('are in force from the first call on, follow their keys, and merge with those of files', async (t) => {
      const { key, routesBecome, remove } = await start(
        t,
        async (put) => {
          await put('outrider/policies/b.yaml', route('b'));
          await put('outrider/policies/team/c.yaml', route('c'));
          // Another prefix that only begins alike.
          await put('outrider/policies-of-others/x.yaml', route('x'));
        },
        route('a') + clusters,
      );
      await routesBecome('a', 'b', 'c');
      await key('b.yaml', route('d'));
      await routesBecome('a', 'd', 'c');
      await remove('outrider/policies/team/c.yaml');
      await routesBecome('a', 'd');
    });

    test('that are wrong, or all gone, leave the last good ones in force, and the record names key and line', async (t) => {
      const { key, routesBecome, outrider, remove } = await start(t, async (put) => {
        await put('outrider/policies/p.yaml', route('a') + clusters);
      });
      await routesBecome('a');
      await key('p.yaml', `${clusters}\nroutes: [{ name: b, mtach: { path: /b } }]\n`);
      await until(() => outrider.log.some(({ msg }) => msg === 'policies not reloaded, the last good ones stay in force'), 'a refusal');
      const refusal = outrider.log.find(({ msg }) => msg === 'policies not reloaded, the last good ones stay in force');
      assert.match(
        String((refusal?.['problems'] as readonly string[] | undefined)?.[0]),
        /^consul:outrider\/policies\/p\.yaml:3:\d+: routes\[0\]/,
      );
      await routesBecome('a');
      await remove('outrider/policies/?recurse');
      await until(
        () => outrider.log.some(({ problems }) => String((problems as readonly string[] | undefined)?.[0]).includes('any more')),
        'told that they are gone',
      );
      await routesBecome('a');
    });

    test('outlive Consul, and are read again when it is back', async (t) => {
      const { consul, outrider, key, routesBecome } = await start(t, async (put) => {
        await put('outrider/policies/p.yaml', route('a') + clusters);
      });
      await routesBecome('a');
      await consul.kill();
      await until(() => outrider.log.some(({ msg }) => String(msg).startsWith('policies in Consul cannot be read')), 'told of the outage');
      await routesBecome('a');
      await consul.begin();
      await key('p.yaml', route('b') + clusters);
      await routesBecome('b');
    });
  });

describe('policies in Consul', { skip: program.skip }, () => {
  test('of config entries are routes and clusters, and follow them', async (t) => {
    const consul = await ConsulProcess.start({ path: String(program.path) });
    t.after(() => consul[Symbol.asyncDispose]());
    const write = (entry: Readonly<Record<string, unknown>>) => consul.ask('PUT', '/config', entry);
    const protocol = (name: string) => write({ Kind: 'service-defaults', Name: name, Protocol: 'grpc' });
    for (const name of ['cart', 'adder']) await protocol(name);
    await write({
      Kind: 'service-resolver',
      Name: 'cart',
      ConnectTimeout: '3s',
      Subsets: { v2: { Filter: 'Service.Meta.version == v2' } },
    });
    await write({ Kind: 'service-splitter', Name: 'cart', Splits: [{ Weight: 75 }, { Weight: 25, ServiceSubset: 'v2' }] });
    const service = await startUpstream(t, (call) => answerOk(call));
    await consul.register({ Name: 'adder', ID: 'adder', Address: '127.0.0.1', Port: Number(service.address.split(':').at(-1)) });
    const outrider = await startSidecar(t, {
      environment: { CONSUL_HTTP_ADDR: consul.address, POLICY_CONSUL_CONFIG_ENTRIES: 'true' },
      policies: 'clusters: { adder: { consul: {}, tls: { mode: disable } } }',
    });
    const translated = async () => (await policiesOf(outrider)).routes.filter((name) => name.startsWith('consul:'));
    assert.deepEqual(await translated(), ['consul:cart']);
    const { text } = await outrider.admin('GET', '/config_dump');
    assert.match(text, /"v2\.cart"/);
    await write({
      Kind: 'service-router',
      Name: 'cart',
      Routes: [{ Match: { HTTP: { PathPrefix: '/acme.' } }, Destination: { Service: 'adder', RequestTimeout: '5s' } }],
    });
    for (let i = 0; i < 500 && (await translated()).length < 2; i++) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(await translated(), ['consul:cart/0', 'consul:cart']);
    const answer = await outrider.caller().call({ authority: 'cart:50051', path: '/acme.Cart/Add' });
    assert.equal(answer.status, 0, JSON.stringify(answer));
    for (const kind of ['service-router', 'service-splitter', 'service-resolver']) await consul.ask('DELETE', `/config/${kind}/cart`);
    for (let i = 0; i < 500 && (await translated()).length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(await translated(), []);
  });

  test('that are wrong at the start end the sidecar with their key and line; a Consul that is away does not', async (t) => {
    const consul = await ConsulProcess.start({ path: String(program.path) });
    t.after(() => consul[Symbol.asyncDispose]());
    await consul.ask('PUT', '/kv/outrider/policies/p.yaml', 'routes: 7');
    const environment = {
      SERVICE_NAME: 'caller',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      INBOUND_TLS: 'off',
      CONSUL_HTTP_ADDR: consul.address,
    };
    using folder = temporaryFolder();
    const configPath = join(folder.path, 'sidecar.yaml');
    writeFileSync(configPath, 'policies: { consul_kv: /outrider/policies/ }\n');
    const configuration = readSidecarConfiguration({ environment, configPath });
    const world = { clock: new SystemClock(), log: silentLogger, random: Math.random };
    await assert.rejects(
      new Sidecar(configuration, world, environment).start(),
      /consul:outrider\/policies\/p\.yaml:1:\d+: routes: is the number 7/,
    );
    await consul.kill();
    const sidecar = new Sidecar(configuration, world, environment);
    await sidecar.start();
    await sidecar.close();
  });
});
