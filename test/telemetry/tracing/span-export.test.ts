import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { checkLeaks } from '../../harness/leak-check.ts';
import { freePort } from '../../harness/ports.ts';
import { until } from '../../mesh/upstream.ts';
import { collecting, type Exporting, exporting, jaeger, otlp } from './exporting.ts';

checkLeaks();

const warnings = ({ log }: Exporting) => log.filter(({ level }) => level === 'warning');

test('spans arrive in batches with the headers that were asked for, and are counted', async (t) => {
  const collector = await collecting(t, (response) => response.end());
  const exported = await exporting(t, otlp(collector.url));
  exported.add(25);
  await until(() => exported.stat('spans_exported') === 25, '25 spans exported');
  assert.equal(collector.received.length, 3);
  const [first] = collector.received;
  assert.equal(first?.request.url, '/v1/traces');
  assert.equal(first?.request.headers['x-tenant'], 'shop');
  assert.ok(first?.body.includes('acme.Echo/Call') && first.body.includes('auth-svc'));
  assert.deepEqual([exported.stat('spans_waiting'), exported.stat('spans_failed'), exported.log], [0, 0, []]);
});

test('nobody there: each span is counted, and one line says what can be done', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/v1/traces`;
  const exported = await exporting(t, otlp(url));
  exported.add(25);
  await until(() => exported.stat('spans_failed') === 25, '25 spans failed');
  assert.equal(exported.stat('spans_waiting'), 0);
  assert.equal(exported.stat('export_requests_failed'), 3);
  const [line, ...more] = warnings(exported);
  assert.deepEqual(more, []);
  assert.deepEqual([line?.['msg'], line?.['to']], ['spans could not be sent, and are lost until they can; calls go on', url]);
  assert.match(String(line?.['remedy']), /OTEL_EXPORTER_OTLP_ENDPOINT/);
});

test('nobody there, by gRPC', async (t) => {
  const exported = await exporting(t, otlp(`http://127.0.0.1:${await freePort()}`, { protocol: 'grpc' }));
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'failed');
  assert.equal(warnings(exported).length, 1);
});

test('a collector that hangs holds as many spans as fit, and the others are dropped', async (t) => {
  const collector = await collecting(t, () => {});
  const exported = await exporting(t, otlp(collector.url, { timeoutMs: 60_000 }), { maxQueueSize: 20, exportTimeoutMs: 60_000 });
  assert.equal(exported.spans.hasRoom, true);
  exported.add(50);
  assert.equal(exported.spans.hasRoom, false);
  assert.deepEqual([exported.stat('spans_dropped'), exported.stat('spans_waiting')], [30, 20]);
  await until(() => collector.received.length > 0, 'a request');
  // The end does not wait for it either.
  await exported.spans.close(20);
  assert.deepEqual([exported.stat('spans_failed'), exported.stat('spans_waiting')], [20, 0]);
  assert.match(String(warnings(exported)[0]?.['why']), /the sidecar ends/);
});

test('a request without an answer is given up in its time, and the next one is sent', async (t) => {
  const collector = await collecting(t, (response, i) => (i === 0 ? undefined : response.end()));
  const exported = await exporting(t, otlp(collector.url, { timeoutMs: 60_000 }), { exportTimeoutMs: 500 });
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'given up');
  exported.add(2);
  await until(() => exported.stat('spans_exported') === 2, 'sent');
  const again = exported.log.find(({ msg }) => msg === 'spans are taken again');
  assert.equal(again?.['lost'], 3);
});

for (const [status, headers, body, expected] of [
  [401, {}, 'no such\ntoken', /HTTP 401 Unauthorized: no such token$/],
  [302, { location: '/login' }, '', /HTTP 302 Found$/],
  [503, { 'retry-after': '3600' }, 'busy', /HTTP 429, 502, 503 or 504/],
] as const) {
  test(`why a collector that answers ${status} gets nothing is told in words`, async (t) => {
    const collector = await collecting(t, (response) => response.writeHead(status, headers).end(body));
    const exported = await exporting(t, otlp(collector.url));
    exported.add(3);
    await until(() => exported.stat('spans_failed') === 3, 'failed');
    assert.match(String(warnings(exported)[0]?.['why']), expected);
  });
}

test('the password in the URL of a collector is shown to nobody, and TLS has a remedy of its own', async (t) => {
  const collector = await collecting(t, () => {});
  const exported = await exporting(t, otlp(collector.url.replace('http://', 'https://user:secret@')));
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'failed');
  const [line] = warnings(exported);
  assert.equal(line?.['to'], collector.url.replace('http://', 'https://(hidden)@'));
  assert.match(String(line?.['why']), /^TLS: /);
  assert.match(String(line?.['remedy']), /OTEL_EXPORTER_OTLP_CERTIFICATE/);
});

for (const [what, answer] of Object.entries({
  'says no': (response: ServerResponse) => response.writeHead(400).end('no'),
  'answers nonsense': (response: ServerResponse) => response.writeHead(500, { 'content-type': 'text/html' }).end('<html>'.repeat(1_000)),
  'hangs up': (response: ServerResponse) => response.destroy(),
  redirects: (response: ServerResponse) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
})) {
  test(`a collector that ${what} costs a counter and one line`, async (t) => {
    const collector = await collecting(t, answer);
    const exported = await exporting(t, otlp(collector.url));
    exported.add(5);
    await until(() => exported.stat('spans_failed') === 5, 'failed');
    exported.add(5);
    await until(() => exported.stat('spans_failed') === 10, 'failed again');
    assert.equal(warnings(exported).length, 1);
  });
}

test('a collector that says yes and means nothing by it is believed', async (t) => {
  const collector = await collecting(t, (response) => response.writeHead(200).end(Buffer.from([255, 255, 1, 2, 3])));
  const exported = await exporting(t, otlp(collector.url));
  exported.add(5);
  await until(() => exported.stat('spans_exported') === 5, 'believed');
});

test('a host of Jaeger that does not resolve costs a counter and one line that names the setting', async (t) => {
  const exported = await exporting(t, jaeger({ host: 'nowhere.invalid' }));
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'failed');
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 6, 'failed again');
  assert.equal(warnings(exported).length, 1);
  assert.match(String(warnings(exported)[0]?.['remedy']), /JAEGER_HOST/);
  assert.equal(warnings(exported)[0]?.['to'], 'udp://nowhere.invalid:6832');
});

test('a collector of Jaeger that hangs is given up', async (t) => {
  const collector = await collecting(t, () => {});
  const exported = await exporting(t, jaeger({ endpoint: collector.url }), { exportTimeoutMs: 50 });
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'given up');
});

test('what waits is sent at the end', async (t) => {
  const collector = await collecting(t, (response) => response.end());
  const exported = await exporting(t, otlp(collector.url), { scheduledDelayMs: 60_000 });
  exported.add(3);
  await exported.spans.close(5_000);
  assert.deepEqual([exported.stat('spans_exported'), collector.received.length], [3, 1]);
  exported.add(1);
  assert.equal(exported.spans.hasRoom, false);
});

test('a file that is not there is a configuration error with its path', async (t) => {
  const destination = otlp('https://127.0.0.1:4318/v1/traces', { caPath: '/nowhere/ca.pem' });
  await assert.rejects(exporting(t, destination), { name: 'ConfigurationError', message: /\/nowhere\/ca\.pem/ });
});
