import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import { JaegerExporter } from '@opentelemetry/exporter-jaeger';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import fc from 'fast-check';
import { AttemptSpan, CallSpan, type FinishedSpan } from '../../../src/telemetry/tracing/call-span.ts';
import { type AttemptRecord, CallTrace, TraceFlag } from '../../../src/telemetry/tracing/call-trace.ts';
import { FinishedCall } from '../../../src/telemetry/tracing/finished-call.ts';
import { sendWritten } from '../../../src/telemetry/tracing/jaeger-sender.ts';
import { JaegerOutput } from '../../../src/telemetry/tracing/jaeger-spans.ts';
import { SpanResource } from '../../../src/telemetry/tracing/span-resource.ts';
import { SpanWriter, type WrittenSpan } from '../../../src/telemetry/tracing/span-writer.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { until } from '../../mesh/upstream.ts';
import { endedCall } from '../access-log/ended-call.ts';
import { collecting, exporting, jaeger } from './exporting.ts';
import { type PlainSpan, readBatch, readPacket } from './jaeger-thrift.ts';
import { spansOfCalls } from './odd-calls.ts';

checkLeaks();

/** What an agent of Jaeger's reads of a datagram. */
const mostPacketBytes = 65_000;
const described = { 'host.name': 'höst', 'service.version': '1.2.3' };
const resource = new SpanResource({ 'service.name': 'auth-svc' });

interface Agent {
  readonly port: number;
  readonly packets: readonly Buffer[];
}

/** A socket that takes datagrams as an agent does. */
const listening = async (t: TestContext): Promise<Agent> => {
  const packets: Buffer[] = [];
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  socket.on('message', (packet) => packets.push(packet));
  t.after(() => new Promise<void>((resolve) => void socket.close(() => resolve())));
  await once(socket, 'listening');
  return { port: socket.address().port, packets };
};

const spansIn = (agent: Agent): readonly PlainSpan[] => agent.packets.flatMap((packet) => readPacket(packet).spans);
const ordinary = (seed: number, most: number): readonly FinishedSpan[] =>
  fc.sample(spansOfCalls(resource), { numRuns: most, seed }).flat().slice(0, most);

/** A call with so many events that each takes some 20 kB. */
const largeSpan = (events: number, id: number): FinishedSpan => {
  const trace = new CallTrace().begin(1, 2, 3, 4, 5, 6, 7, id, TraceFlag.spanPerAttempt | TraceFlag.sampled);
  for (let i = 0; i < events; i++) trace.event(`e${i}`, i, { text: 'x'.repeat(20_000) });
  return new CallSpan(new FinishedCall(endedCall(), trace, 0, 1, 0), resource);
};

/** Without the times, which the library rounds otherwise, and in an order of their own. */
const untimed = (spans: readonly PlainSpan[]) =>
  spans
    .map(({ logs, startTime: _, ...span }) => JSON.stringify([span, logs.map(({ fields }) => fields)], (_key, value) => String(value)))
    .toSorted();

test('datagrams say the same of process and spans as those of the library', async (t) => {
  const [ours, theirs] = [await listening(t), await listening(t)];
  const spans = ordinary(3, 20);
  const exported = await exporting(t, jaeger({ port: ours.port }), {}, described);
  for (const span of spans) exported.spans.add(span);
  await until(() => exported.stat('spans_exported') === spans.length, 'exported');
  const tags = Object.entries(described).map(([key, value]) => ({ key, value }));
  const library = new JaegerExporter({ host: '127.0.0.1', port: theirs.port, tags });
  await new Promise((resolve) => library.export(spans as unknown as ReadableSpan[], resolve));
  await library.shutdown();
  for (const agent of [ours, theirs]) await until(() => spansIn(agent).length === spans.length, 'arrived');
  assert.deepEqual(untimed(spansIn(ours)), untimed(spansIn(theirs)));
  const { spans: _, ...process } = readPacket(theirs.packets[0] as Buffer);
  for (const packet of ours.packets) {
    const { spans: _ours, ...said } = readPacket(packet);
    assert.deepEqual(said, process);
  }
  assert.deepEqual(process.processTags, [
    ['host.name', 'STRING', 'höst'],
    ['service.version', 'STRING', '1.2.3'],
  ]);
});

test('a collector of Jaeger gets the same by HTTP, with name and password', async (t) => {
  const collector = await collecting(t, (response) => response.writeHead(202).end());
  const spans = ordinary(4, 250);
  const queue = { maxQueueSize: 1_000, maxExportBatchSize: 200 };
  const exported = await exporting(t, jaeger({ endpoint: collector.url, username: 'a', password: 'b' }), queue, described);
  for (const span of spans) exported.spans.add(span);
  await until(() => exported.stat('spans_exported') === spans.length, 'exported');
  const batches = collector.received.map(({ body }) => readBatch(body));
  assert.equal(batches.flatMap((batch) => batch.spans).length, spans.length);
  for (const { processTags, serviceName } of batches) assert.deepEqual([serviceName, processTags.length], ['auth-svc', 2]);
  for (const { request } of collector.received) {
    assert.equal(request.headers['content-type'], 'application/x-thrift');
    assert.equal(request.headers.authorization, `Basic ${Buffer.from('a:b').toString('base64')}`);
  }
});

test('what does not fit into one packet goes in several, and no packet is larger than an agent reads', async (t) => {
  const agent = await listening(t);
  const exported = await exporting(t, jaeger({ port: agent.port }), { scheduledDelayMs: 60_000 });
  for (let id = 0; id < 5; id++) exported.spans.add(largeSpan(1, id));
  await exported.spans.close(5_000);
  await until(() => spansIn(agent).length === 5, 'all of them');
  assert.deepEqual(
    agent.packets.map((packet) => readPacket(packet).spans.length),
    [3, 2],
  );
  for (const { length } of agent.packets) assert.ok(length <= mostPacketBytes, `${length} bytes`);
  assert.equal(exported.stat('spans_exported'), 5);
});

test('a span that no packet has room for is dropped and counted by itself, and those beside it are sent', async (t) => {
  const agent = await listening(t);
  const exported = await exporting(t, jaeger({ port: agent.port }));
  for (const span of [largeSpan(0, 1), largeSpan(4, 2), largeSpan(0, 3)]) exported.spans.add(span);
  await until(() => spansIn(agent).length === 2, 'the two others');
  await until(() => exported.stat('spans_exported') === 2, 'counted');
  assert.deepEqual(
    spansIn(agent).map(({ spanId }) => spanId),
    ['0000000700000001', '0000000700000003'],
  );
  const stats = ['spans_too_large', 'spans_dropped', 'spans_failed', 'spans_waiting'].map((name) => exported.stat(name));
  assert.deepEqual([stats, exported.log], [[1, 0, 0, 0], []]);
});

test('what a call says of itself at most fits into a packet', () => {
  const longest = '漢'.repeat(5_000);
  const trace = new CallTrace().begin(1, 2, 3, 4, 5, 6, 7, 8, TraceFlag.sampled);
  const attempt: AttemptRecord = {
    number: 1,
    startMs: 1,
    endMs: 3,
    endpoint: '[2001:db8:1111:2222:3333:4444:5555:6666]:50051',
    httpStatus: 503,
    probe: true,
    outcome: 'timeout',
    grpcStatus: 14,
    failure: { reason: 'unsupported_content_type', message: longest },
  };
  for (let i = 0; i < 100; i++) {
    trace.event('outrider.retry', i, { after_attempt: i, delay_ms: 2.5, via: 'retriable_headers' });
    trace.attemptEnded(attempt);
  }
  const [path, authority, routeName, cluster, replyMessage] = [`/${longest}`, longest, longest, longest, longest];
  const call = endedCall({
    direction: 'inbound',
    fate: 'unsupported_content_type',
    path,
    authority,
    routeName,
    cluster,
    replyMessage,
    attempts: 100,
  });
  const finished = new FinishedCall(call, trace, 0, 1, 0);
  const writer = new SpanWriter(new JaegerOutput());
  for (const span of [new CallSpan(finished, resource), new AttemptSpan(finished, attempt, resource)]) {
    const { length } = writer.write(span) as WrittenSpan;
    assert.ok(length < mostPacketBytes / 2, `${span.name}: ${length} bytes`);
  }
});

test('a collector of Jaeger that is silent has its connections closed', async (t) => {
  const collector = await collecting(t, () => {});
  const exported = await exporting(t, jaeger({ endpoint: collector.url }), { exportTimeoutMs: 50 });
  exported.add(3);
  await until(() => exported.stat('spans_failed') === 3, 'given up');
  await until(() => collector.received.length === 1 && collector.connections === 0, 'closed');
});

test('a request under way ends with the sidecar', async (t) => {
  const collector = await collecting(t, () => {});
  const exported = await exporting(t, jaeger({ endpoint: collector.url }), { exportTimeoutMs: 60_000 });
  exported.add(3);
  await until(() => collector.received.length === 1, 'a request');
  await exported.spans.close(20);
  await until(() => collector.connections === 0, 'closed');
  assert.equal(exported.stat('spans_failed'), 3);
});

test('a batch that is under way when the sidecar ends is waited for', async (t) => {
  const answers: ServerResponse[] = [];
  const collector = await collecting(t, (response) => answers.push(response));
  const queue = { maxExportBatchSize: 3, scheduledDelayMs: 60_000, exportTimeoutMs: 60_000 };
  const exported = await exporting(t, jaeger({ endpoint: collector.url }), queue);
  exported.add(3);
  await until(() => answers.length === 1, 'the batch');
  exported.add(2);
  const closed = exported.spans.close(10_000);
  await until(() => answers.length === 2, 'the rest');
  for (const response of answers.toReversed()) response.end();
  await closed;
  assert.deepEqual([exported.stat('spans_exported'), exported.stat('spans_failed')], [5, 0]);
});

test('a library that has no place for written spans gets spans as they are', () => {
  for (const [what, other] of Object.entries({
    'other steps': {},
    'another sender': { _getSender: () => ({ append() {}, flush() {} }), _sendSpans() {} },
  }))
    assert.equal(sendWritten(other as unknown as SpanExporter, 'auth-svc'), undefined, what);
});
