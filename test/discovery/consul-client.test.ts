import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { formatConsulAddress, parseConsulAddress } from '../../src/discovery/consul/consul-address.ts';
import { ConsulClient, type ConsulClientOptions } from '../../src/discovery/consul/consul-client.ts';
import type { ConsulError } from '../../src/discovery/consul/consul-error.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';

checkLeaks();
const consulProgram = await peerProgram('consul');

const clientOf = (address: string, options: Partial<ConsulClientOptions> = {}) => {
  const parsed = parseConsulAddress(address);
  assert.ok(parsed);
  const client = new ConsulClient({ address: parsed, clock: new SystemClock(), log: silentLogger, ...options });
  return { client, [Symbol.dispose]: () => client.close() };
};

/** A scripted HTTP server in the place of an agent. */
const standInAgent = async (answer: Parameters<typeof createServer>[1]) => {
  const server: Server = createServer({}, answer as never).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

const failure = async (work: Promise<unknown>): Promise<ConsulError> => {
  try {
    await work;
  } catch (error) {
    return error as ConsulError;
  }
  throw new assert.AssertionError({ message: 'it did not fail' });
};

test('addresses are read in the forms that Consul takes', () => {
  const read = (text: string, ssl?: boolean) => {
    const address = parseConsulAddress(text, ssl);
    return address === undefined ? undefined : formatConsulAddress(address);
  };
  assert.equal(read('consul.internal:8501'), 'http://consul.internal:8501');
  assert.equal(read('127.0.0.1'), 'http://127.0.0.1:8500');
  assert.equal(read('consul:8501', true), 'https://consul:8501');
  assert.equal(read('http://consul:8501', true), 'http://consul:8501');
  assert.equal(read('https://[::1]:8501/behind/'), 'https://[::1]:8501/behind');
  assert.equal(read('unix:///run/consul.sock'), 'unix:///run/consul.sock');
  for (const wrong of [
    '',
    'ftp://consul',
    'consul:0',
    'consul:99999',
    'unix://relative',
    'http://user@consul',
    '[consul]:1',
    'a b',
    'http://',
  ])
    assert.equal(read(wrong), undefined, wrong);
});

test('a real agent answers, with its own words where something is wrong', { skip: consulProgram.skip }, async () => {
  await using consul = await ConsulProcess.start({ path: consulProgram.path });
  using open = clientOf(consul.address);
  const { client } = open;
  await client.call((api, ctx) => api.agent.service.register({ name: 'auth-svc', id: 'auth-1', port: 50_051, ctx }));
  const { status, headers, body } = await client.call((api, ctx) => api.health.service({ service: 'auth-svc', ctx }));
  assert.equal(status, 200);
  assert.match(String(headers['x-consul-index']), /^[1-9]\d*$/);
  assert.equal(body[0].Service.ID, 'auth-1');
  const raw = await client.callRaw((api, ctx) => api.health.service({ service: 'auth-svc', ctx }), {
    query: { filter: 'Service.Port == 1' },
  });
  assert.equal(raw.body.toString(), '[]');

  const refused = await failure(
    client.call((api, ctx) => api.health.service({ service: 'auth-svc', ctx }), { query: { filter: 'nonsense' } }),
  );
  assert.equal(refused.kind, 'status');
  assert.equal(refused.status, 500);
  assert.match(refused.message, /Consul at http:\/\/127\.0\.0\.1:\d+ answered 500 \(Failed to create boolean expression evaluator/);
  await consul.kill();
  const gone = await failure(client.call((api, ctx) => api.status.leader({ ctx })));
  assert.equal(gone.kind, 'unreachable');
});

test('an agent on a Unix socket answers', { skip: consulProgram.skip }, async () => {
  using folder = temporaryFolder();
  const socket = join(folder.path, 'consul.sock');
  await using consul = await ConsulProcess.start({
    path: consulProgram.path,
    configuration: { addresses: { http: `127.0.0.1 unix://${socket}` } },
  });
  using open = clientOf(`unix://${socket}`);
  const { body } = await open.client.call((api, ctx) => api.status.leader({ ctx }));
  assert.match(body, new RegExp(`:${consul.ports.server}$`));
});

test('an answer that is too large is refused while it arrives, whether it says so before or not', async () => {
  let sentBytes = 0;
  await using agent = await standInAgent((request, response) => {
    if (request.url?.includes('announced')) {
      response.writeHead(200, { 'content-length': 50 * 2 ** 20 }).write('[');
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    const chunk = Buffer.alloc(65_536, ' ');
    const write = (): void => {
      while (sentBytes < 50 * 2 ** 20 && !response.destroyed) {
        sentBytes += chunk.length;
        if (!response.write(chunk)) {
          response.once('drain', write);
          return;
        }
      }
    };
    write();
  });
  using open = clientOf(agent.address, { answerLimitBytes: 2 ** 20 });
  for (const service of ['announced', 'endless']) {
    const error = await failure(open.client.callRaw((api, ctx) => api.health.service({ service, ctx })));
    assert.equal(error.kind, 'too_large', service);
    assert.match(error.message, /larger than 1048576 bytes/);
  }
  assert.ok(sentBytes < 40 * 2 ** 20, `${sentBytes} bytes were taken`);
});

test('garbage, an answer that breaks off, silence and giving up each fail in their own way', async () => {
  await using agent = await standInAgent((request, response) => {
    if (request.url?.includes('garbage')) response.writeHead(200, { 'content-type': 'application/json' }).end('<html>');
    else if (request.url?.includes('broken')) {
      response.writeHead(200, { 'content-length': 1_000 }).write('[{');
      setImmediate(() => response.destroy());
    }
  });
  using open = clientOf(agent.address, { timeoutMs: 100 });
  const ask = (service: string, signal?: AbortSignal) =>
    open.client.call((api, ctx) => api.health.service({ service, ctx }), signal === undefined ? {} : { signal });
  assert.equal((await failure(ask('garbage'))).kind, 'malformed');
  assert.equal((await failure(ask('broken'))).kind, 'unreachable');
  assert.equal((await failure(ask('silent'))).kind, 'timeout');
  const giving = new AbortController();
  const given = failure(ask('given-up', giving.signal));
  giving.abort();
  assert.equal((await given).kind, 'aborted');
});

test('the token comes from its file, and changes with it', async () => {
  using folder = temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  writeFileSync(tokenFile, 'first\n');
  await using agent = await standInAgent((request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(request.headers['x-consul-token'] ?? 'none'));
  });
  using open = clientOf(agent.address, { tokenFile });
  const { client } = open;
  const ask = async () => (await client.call((api, ctx) => api.status.leader({ ctx }))).body;
  assert.equal(await ask(), 'first');
  const changed = new Promise<void>((resolve) => void client.credentials.onChange(resolve));
  writeFileSync(tokenFile, 'second');
  await changed;
  assert.equal(await ask(), 'second');
});
