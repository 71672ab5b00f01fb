import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { checkLeaks } from '../harness/leak-check.ts';
import { AdminFixture } from './admin-fixture.ts';

checkLeaks();

const openMetrics = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** The bytes as they came. */
const fetchBytes = (
  port: number,
  headers: Record<string, string>,
): Promise<{ readonly encoding: string | undefined; readonly body: Buffer }> =>
  new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path: '/metrics', headers, agent: false }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => resolve({ encoding: incoming.headers['content-encoding'], body: Buffer.concat(chunks) }));
    });
    outgoing.on('error', reject).end();
  });

test('/metrics answers in the format that is accepted, or that the parameter names', async () => {
  await using admin = await AdminFixture.start();
  const asked = await admin.get('/metrics', { accept: 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5' });
  assert.equal(asked.headers['content-type'], openMetrics);
  assert.equal(asked.headers['vary'], 'accept, accept-encoding');
  assert.match(asked.body, /\n# EOF\n$/);
  assert.equal((await admin.get('/metrics?format=openmetrics')).headers['content-type'], openMetrics);
  for (const [path, accept] of [
    ['/metrics', '*/*'],
    ['/metrics?format=text', 'application/openmetrics-text'],
    ['/stats?format=prometheus', 'application/openmetrics-text'],
  ] as const)
    assert.equal((await admin.get(path, { accept })).headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8', path);
  const wrong = await admin.get('/metrics?format=json');
  assert.deepEqual([wrong.status, wrong.json().error], [400, 'parameter format is json; allowed are text, openmetrics']);
});

test('/metrics is compressed for whoever reads gzip, and for nobody else', async () => {
  await using admin = await AdminFixture.start();
  for (let i = 0; i < 50; i++) admin.views.calls.method('inbound', 'auth-svc', `/a.A/M${i}`).record(0, 1);
  const plain = await fetchBytes(admin.port, {});
  const refused = await fetchBytes(admin.port, { 'accept-encoding': 'gzip;q=0, br' });
  assert.deepEqual([plain.encoding, refused.encoding], [undefined, undefined]);
  const packed = await fetchBytes(admin.port, { 'accept-encoding': 'gzip, deflate' });
  assert.equal(packed.encoding, 'gzip');
  assert.ok(packed.body.length < plain.body.length / 5);
  const names = (text: string) => text.split('\n').map((line) => line.replace(/ [^ ]*$/, ''));
  assert.deepEqual(names(gunzipSync(packed.body).toString()), names(plain.body.toString()));
});
