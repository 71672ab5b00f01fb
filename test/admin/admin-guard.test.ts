import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { AdminServer } from '../../src/admin/index.ts';
import { ConfigurationError } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { AdminFixture, ViewsFixture } from './admin-fixture.ts';

checkLeaks();

/** Sends bytes as they are and gives back all that comes until the end. */
const raw = async (port: number, bytes: string): Promise<string> => {
  const socket = connect(port, '127.0.0.1');
  let received = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    received += chunk;
  });
  socket.on('error', () => {});
  socket.write(bytes, 'latin1');
  // Not `once`, which rejects at the reset that may follow the answer.
  await new Promise<void>((resolve) => socket.on('close', () => resolve()));
  return received;
};

test('the names of this machine are answered, with and without a port', async () => {
  await using admin = await AdminFixture.start();
  const hosts = ['localhost', 'LOCALHOST:9901', '127.0.0.1', '127.9.9.9:1', '[::1]:9901', '[::1]', 'a.localhost', 'auth-svc'];
  for (const host of [...hosts, 'auth-svc:9901', 'own-host', 'admin.example', 'admin.example:443', 'localhost.']) {
    assert.equal((await admin.get('/stats', { host })).status, 200, host);
  }
});

test('a name that was made to point here is refused, with a remedy', async () => {
  await using admin = await AdminFixture.start();
  const hosts = [
    'evil.example',
    'localhost.evil.example',
    '10.1.2.3:9901',
    '127.0.0.1.evil.example',
    'user@localhost',
    'localhost:99:1',
    '[::2]',
    ' ',
  ];
  for (const host of hosts) {
    const answer = await admin.get('/stats', { host });
    assert.equal(answer.status, 403, host);
    assert.match(answer.json().error, /ADMIN_ALLOWED_HOSTS/);
    assert.equal((await admin.post('/drain', { host })).status, 403, host);
  }
  assert.equal(admin.views.drained, 0);
});

test('probes and scrapers may use any name', async () => {
  await using admin = await AdminFixture.start();
  for (const path of ['/ready', '/healthz', '/metrics']) assert.equal((await admin.get(path, { host: '10.1.2.3:9901' })).status, 200, path);
  assert.match(await raw(admin.port, 'GET /ready HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
});

test('a page of another site changes nothing, a page of our own and curl do', async () => {
  await using admin = await AdminFixture.start();
  const own = `127.0.0.1:${admin.port}`;
  const refused: readonly Record<string, string>[] = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:1' },
    { origin: `http://${own}.evil.example` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: `http://${own}`, 'sec-fetch-site': 'cross-site' },
  ];
  for (const headers of refused) assert.equal((await admin.post('/drain', headers)).status, 403, JSON.stringify(headers));
  assert.equal(admin.views.drained, 0);
  const accepted: readonly Record<string, string>[] = [
    {},
    { origin: `http://${own}`, 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'none' },
    { 'content-type': 'application/x-www-form-urlencoded' },
  ];
  for (const headers of accepted) assert.equal((await admin.post('/drain', headers)).status, 200, JSON.stringify(headers));
});

test('no page of another site may read an answer', async () => {
  await using admin = await AdminFixture.start();
  const { headers } = await admin.get('/config_dump', { origin: 'https://evil.example' });
  assert.deepEqual(
    Object.keys(headers).filter((name) => name.startsWith('access-control')),
    [],
  );
});

test('a body is not needed: a small one is dropped, a big one refused', async () => {
  await using admin = await AdminFixture.start();
  assert.equal((await admin.ask('POST', '/drain', {}, '{}')).status, 200);
  assert.match(await raw(admin.port, 'POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n'), /^HTTP\/1\.1 413 /);
  assert.equal(admin.views.drained, 1);
});

test('garbage and oversized headers are 400 and 431, and the server lives', async () => {
  await using admin = await AdminFixture.start();
  assert.match(await raw(admin.port, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.match(await raw(admin.port, '\x16\x03\x01\x02\x00\x01\x00'), /^HTTP\/1\.1 400 /);
  assert.match(await raw(admin.port, `GET /stats HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  assert.match(
    await raw(admin.port, 'GET http://evil.example/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
    /^HTTP\/1\.1 404 /,
  );
  assert.equal((await admin.get('/healthz')).status, 200);
});

test('whatever the path and the query, the answer is a page or JSON with an error', async () => {
  await using admin = await AdminFixture.start();
  const piece = fc.stringMatching(/^[!-~]{0,12}$/).filter((text) => !text.includes('#'));
  const known = fc.constantFrom('stats', 'clusters', 'ready', 'routes', 'circuit_breakers', 'reset', '..', '%2F', '');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(known, piece), { maxLength: 5 }),
      fc.constantFrom('GET', 'POST', 'PATCH'),
      piece,
      async (parts, method, query) => {
        const answer = await admin.ask(method, `/${parts.join('/')}?${query}`);
        assert.ok([200, 400, 404, 405].includes(answer.status), `${answer.status}`);
        if (answer.status !== 200) assert.equal(typeof answer.json().error, 'string');
      },
    ),
    { numRuns: 150 },
  );
});

test('a fault in a view is a 500 with an error and a log line, not the end', async () => {
  const views = new ViewsFixture();
  await using admin = await AdminFixture.start(views);
  views.clusters = () => {
    throw new Error('broken view');
  };
  const answer = await admin.get('/clusters');
  assert.equal(answer.status, 500);
  assert.match(answer.json().error, /broken view/);
  assert.match(views.logged.join(''), /admin request failed/);
  assert.equal((await admin.get('/healthz')).status, 200);
});

test('a port in use is a configuration error with a remedy', async () => {
  await using admin = await AdminFixture.start();
  const second = new AdminServer(admin.views, { address: '127.0.0.1', port: admin.port, allowedHosts: [], clock: admin.views.clock });
  await assert.rejects(second.start(), (error) => {
    assert.ok(error instanceof ConfigurationError);
    assert.match(error.message, /is in use/);
    assert.match(error.remedy ?? '', /ADMIN_PORT/);
    return true;
  });
  await second.close();
});

test('an address that is not of this machine is a configuration error too', async () => {
  const views = new ViewsFixture();
  const server = new AdminServer(views, { address: '192.0.2.1', port: 0, allowedHosts: [], clock: views.clock });
  await assert.rejects(server.start(), (error) => error instanceof ConfigurationError && /ADMIN_ADDRESS/.test(error.remedy ?? ''));
});

test('closing ends idle connections and may be said twice', async () => {
  const admin = await AdminFixture.start();
  const socket = connect(admin.port, '127.0.0.1');
  socket.write('GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  const gone = once(socket, 'close');
  await admin.close();
  await gone;
  await admin.close();
  assert.equal(admin.views.clock.pending, 0);
});

test('a connection that never asks does not hold up the end for more than a second', async () => {
  const admin = await AdminFixture.start();
  const socket = connect(admin.port, '127.0.0.1').on('error', () => {});
  socket.write('GET /ready HTT');
  await once(socket, 'connect');
  await admin.get('/healthz');
  const closing = admin.close();
  admin.views.clock.advance(1_000);
  await closing;
  socket.destroy();
});

test('those who send their requests slowly lose their place to those who come later', async () => {
  const views = new ViewsFixture();
  const server = new AdminServer(views, { address: '127.0.0.1', port: 0, allowedHosts: [], connectionsAtMost: 4, clock: views.clock });
  const { port } = await server.start();
  const closed: number[] = [];
  const slow = await Promise.all(
    Array.from({ length: 6 }, async (_, i) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.on('close', () => closed.push(i));
      socket.resume();
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.write('GET /healthz HTTP/1.1\r\nHost: loc');
      return socket;
    }),
  );
  for (let i = 0; i < 5; i++)
    assert.match(await raw(port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /);
  assert.ok(closed.length >= 2, `${closed.length} of the slow ones are gone`);
  for (const socket of slow) socket.destroy();
  await server.close();
});
