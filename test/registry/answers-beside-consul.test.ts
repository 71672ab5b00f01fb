import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { Registry } from '../../src/registry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { type Answer, ask } from './consul-api-suite.ts';

checkLeaks();
const consul = await peerProgram('consul');

type Question = readonly [method: string, path: string, body?: unknown];

const web = { ID: 'web-1', Name: 'web', Port: 8080, Address: '10.0.0.1', Tags: ['a', 'version=1'], Meta: { k: 'v' } };

/** One after another; each answer is compared. */
const questions: readonly Question[] = [
  ['PUT', '/agent/service/register', { ...web, Weights: { Passing: 5, Warning: 2 }, Check: { TTL: '60s', Notes: 'n' } }],
  ['PUT', '/agent/service/register', { name: 'plain', check: { ttl: 60000000000, deregister_critical_service_after: '1m' } }],
  ['PUT', '/agent/service/register', { Name: 'many', Address: '::1', Port: 5, Checks: [{ TTL: '60s' }, { TTL: '60s', CheckID: 'own' }] }],
  ['PUT', '/agent/service/register', { Name: 'named', Address: 'some.host', Port: 5, Weights: { Passing: 10 } }],
  ['PUT', '/agent/service/register', { Name: 'tagged', Address: '10.0.0.2', TaggedAddresses: { lan: { Address: 'x', Port: 1 } } }],
  ['PUT', '/agent/service/register', {}],
  ['PUT', '/agent/service/register', ''],
  ['PUT', '/agent/service/register', 'null'],
  ['PUT', '/agent/service/register', { Name: 'x', Check: { TTL: 'foo' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Check: { Name: 't' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Bogus: 1 }],
  ['PUT', '/agent/service/register', { Name: 'x', Check: { HTTP: 'http://a/' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Check: { HTTP: 'http://a/', Interval: '1s', TTL: '1s' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Check: { TTL: '1s', Status: 'bogus' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Weights: { Passing: -1, Warning: 1 } }],
  ['PUT', '/agent/service/register', { Name: 'x', Weights: { Passing: 70000, Warning: 1 } }],
  ['PUT', '/agent/service/register', { Name: 'x', Address: '0.0.0.0' }],
  ['PUT', '/agent/service/register', { Name: 'x', Port: '8' }],
  ['PUT', '/agent/service/register', { Name: 5 }],
  ['PUT', '/agent/service/register', { Name: 'x', Tags: 'x' }],
  ['PUT', '/agent/service/register', { Name: 'x', Meta: { '': 'x' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Meta: { 'bad key': 'x' } }],
  ['PUT', '/agent/service/register', { Name: 'x', Namespace: 'foo' }],
  ['GET', '/agent/service/register'],
  ['GET', '/agent/services'],
  ['GET', '/agent/services?filter=Service==web'],
  ['GET', '/agent/service/web-1'],
  ['GET', '/agent/service/nope'],
  ['GET', '/agent/checks'],
  ['PUT', '/agent/check/pass/service:web-1?note=fine'],
  ['PUT', '/agent/check/pass/nope'],
  ['PUT', '/agent/check/pass/'],
  ['PUT', '/agent/check/update/service:web-1', { Status: 'foo' }],
  ['PUT', '/agent/check/update/service:web-1', {}],
  ['PUT', '/agent/check/update/nope', { Status: 'passing' }],
  ['PUT', '/agent/check/register', { Name: 'alone', TTL: '30s' }],
  ['PUT', '/agent/check/register', { Name: 'with-service', TTL: '30s', ServiceID: 'web-1' }],
  ['PUT', '/agent/check/register', { Name: 'x', TTL: '30s', ServiceID: 'none' }],
  ['PUT', '/agent/check/register', { TTL: '30s' }],
  ['PUT', '/agent/check/deregister/nope'],
  ['PUT', '/agent/check/deregister/alone'],
  ['PUT', '/agent/service/deregister/nope'],
  ['PUT', '/agent/service/deregister/'],
  ['DELETE', '/agent/service/deregister/web-1'],
  ['GET', '/health/service/web'],
  ['GET', '/health/service/web?passing'],
  ['GET', '/health/service/web?passing=false'],
  ['GET', '/health/service/plain'],
  ['GET', '/health/service/many'],
  ['GET', '/health/service/named'],
  ['GET', '/health/service/tagged'],
  ['GET', '/health/service/nope'],
  ['GET', '/health/service/'],
  ['GET', '/health/service/web?index=foo'],
  ['GET', '/health/service/web?wait=foo'],
  ['GET', '/health/service/web?dc=dc2'],
  ['GET', '/health/service/web?dc=dc1'],
  ['GET', '/health/service/web?stale&consistent'],
  ['GET', '/health/service/web?near=_agent&stale'],
  ['GET', '/health/service/web?ns=foo'],
  ['GET', '/health/service/web?partition=foo'],
  ['GET', '/health/service/web?node-meta=a:b'],
  ['POST', '/health/service/web'],
  ['GET', '/health/checks/web'],
  ['GET', '/health/checks/'],
  ['GET', '/health/state/any'],
  ['GET', '/health/state/passing'],
  ['GET', '/health/state/bogus'],
  ['GET', '/health/state/'],
  ['GET', '/catalog/services'],
  ['GET', '/catalog/service/web'],
  ['GET', '/catalog/service/many'],
  ['GET', '/catalog/service/nope'],
  ['GET', '/catalog/service/'],
  ['GET', '/catalog/nodes'],
  ['GET', '/catalog/node/node'],
  ['GET', '/catalog/node/nowhere'],
  ['GET', '/catalog/datacenters'],
  ['PUT', '/agent/service/maintenance/web-1?enable=true'],
  ['GET', '/agent/checks'],
  ['GET', '/health/checks/web'],
  ['PUT', '/agent/service/maintenance/web-1?enable=false'],
  ['PUT', '/agent/service/maintenance/web-1'],
  ['PUT', '/agent/service/maintenance/web-1?enable=x'],
  ['PUT', '/agent/service/maintenance/nope?enable=true'],
  ['PUT', '/agent/maintenance?enable=true'],
  ['GET', '/health/service/plain'],
  ['PUT', '/agent/maintenance?enable=false'],
  ['PUT', '/agent/maintenance'],
  ['GET', '/kv/a/b'],
  ['PUT', '/kv/a/b', 'hello'],
  ['PUT', '/kv/a/c?flags=42', 'x'],
  ['PUT', '/kv/a/d/e', ''],
  ['GET', '/kv/a/b'],
  ['GET', '/kv/a/d/e'],
  ['GET', '/kv/a/b?raw'],
  ['GET', '/kv/a?recurse'],
  ['GET', '/kv/zz?recurse'],
  ['GET', '/kv/a/?keys'],
  ['GET', '/kv/a/?keys&separator=/'],
  ['GET', '/kv/zz?keys'],
  ['PUT', '/kv/a/b?cas=0', 'no'],
  ['PUT', '/kv/a/new?cas=0', 'yes'],
  ['PUT', '/kv/a/b?cas=foo', 'no'],
  ['PUT', '/kv/', 'no'],
  ['GET', '/kv/'],
  ['GET', '/kv/?recurse'],
  ['DELETE', '/kv/a/b?cas=1'],
  ['DELETE', '/kv/a/b?cas=0'],
  ['DELETE', '/kv/a/nope?cas=0'],
  ['DELETE', '/kv/a/nope?cas=7'],
  ['DELETE', '/kv/a/b'],
  ['DELETE', '/kv/a/nope'],
  ['DELETE', '/kv/a?recurse'],
  ['POST', '/kv/a/b', 'x'],
  ['OPTIONS', '/kv/a/b'],
  ['GET', '/bogus'],
  ['PUT', '/agent/service/deregister/web-1'],
  ['GET', '/health/service/web'],
];

/** What differs between any two agents. */
const private_ = new Set(['CreateIndex', 'ModifyIndex', 'ContentHash']);

const comparable = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([key, entry]) => !private_.has(key) && !(key === 'consul' && isConsulItself(entry)));
  // The id of a node; those of services stand beside `Service`.
  const isNode = Object.hasOwn(value, 'Datacenter') && Object.hasOwn(value, 'Node');
  return Object.fromEntries(entries.map(([key, entry]) => [key, isNode && key === 'ID' ? 'node id' : comparable(entry)]));
};

/** A real server registers itself. */
const isConsulItself = (entry: unknown): boolean =>
  Array.isArray(entry) || (typeof entry === 'object' && entry !== null && 'Service' in entry && entry.Service === 'consul');

/** Words of ours where Consul's would be wrong: what is the same is that there are some, in the same kind of answer. */
const ownWords = /^(Request decode failed: json: cannot unmarshal|Invalid URL path: not a recognized HTTP API endpoint)/;

const told = ({ status, headers, json, text }: Answer) => ({
  status,
  type: headers.get('content-type'),
  allow: headers.get('allow'),
  hasIndex: headers.has('x-consul-index'),
  body: json === undefined ? (ownWords.exec(text)?.[0] ?? text.trim()) : comparable(json),
});

/** A status is the agent's at once, and the catalogue's a moment later. */
const settled = async (question: Question, address: string, expected: unknown): Promise<unknown> => {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const found = told(await ask({ address }, ...question));
    try {
      assert.deepEqual(found, expected);
      return found;
    } catch {
      if (question[0] !== 'GET' || performance.now() > deadline) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
};

test('a registry answers as a real agent does, status, type and JSON', { skip: consul.skip }, async () => {
  await using agent = await ConsulProcess.start({ path: consul.path, configuration: { node_name: 'node' } });
  const registry = new Registry({
    host: '127.0.0.1',
    port: 0,
    nodeName: 'node',
    clock: new SystemClock(),
    log: silentLogger,
    random: Math.random,
  });
  const { port } = await registry.start();
  try {
    for (const question of questions) {
      const ours = told(await ask({ address: `127.0.0.1:${port}` }, ...question));
      assert.deepEqual(ours, await settled(question, agent.address, ours), `the answer to ${question.slice(0, 2).join(' ')}`);
    }
  } finally {
    await registry.close();
  }
});
