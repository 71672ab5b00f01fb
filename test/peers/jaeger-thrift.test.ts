import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { JaegerExporter } from '@opentelemetry/exporter-jaeger';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import fc from 'fast-check';
import type { FinishedSpan } from '../../src/telemetry/tracing/call-span.ts';
import { JaegerOutput } from '../../src/telemetry/tracing/jaeger-spans.ts';
import { SpanResource } from '../../src/telemetry/tracing/span-resource.ts';
import { SpanWriter } from '../../src/telemetry/tracing/span-writer.ts';
import type { SpanDestination } from '../../src/telemetry/tracing/tracing-options.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { exporting, jaeger, otlp } from '../telemetry/tracing/exporting.ts';
import { spansOfCalls } from '../telemetry/tracing/odd-calls.ts';
import { JaegerProcess, type JaegerSpan, type JaegerTrace } from './jaeger-process.ts';
import { peerProgram } from './peer-programs.ts';

const program = await peerProgram('jaeger');
checkLeaks();

const calls = 40;
const resource = new SpanResource({ 'service.name': 'auth-svc' });
const described = { 'host.name': 'höst', 'service.version': '1.2.3' };

/** Nobody paces datagrams, and a socket's buffer has room for so many; and the library loses a batch by one span that is too large. */
const mostSpanBytes = 4_000;
const writer = new SpanWriter(new JaegerOutput(), mostSpanBytes);

/** The same spans of odd calls each time, in the trace of that number. */
const spansOfTrace = (number: number): readonly FinishedSpan[] => {
  const ids = fc.tuple(fc.integer(), fc.integer()).map(([high, low]) => [7, 0, 0, number, 0x0a, -1, high, low] as const);
  return fc
    .sample(spansOfCalls(resource, ids), { numRuns: calls, seed: 11 })
    .flat()
    .filter((span) => writer.write(span) !== undefined);
};
const traceIdOf = (number: number): string => `${'7'.padStart(8, '0')}${'0'.repeat(16)}${number.toString(16).padStart(8, '0')}`;

/** What no two ways have in common: times are rounded by each, and the library says that it knows no version. */
const shownOf = ({ logs, operationName, references, spanID, tags }: JaegerSpan) =>
  JSON.stringify([
    spanID,
    operationName,
    references.map(({ refType, spanID: parent }) => [refType, parent]),
    tags.filter(({ key }) => key !== 'otel.library.version' && key !== 'internal.span.format'),
    logs.map(({ fields }) => fields),
  ]);
const shown = ({ processes, spans }: JaegerTrace) => ({
  spans: spans.map(shownOf).toSorted(),
  processes: Object.values(processes).map(({ serviceName, tags }) => [serviceName, tags]),
});

const exportTo = async (t: TestContext, destination: SpanDestination, spans: readonly FinishedSpan[]): Promise<void> => {
  const exported = await exporting(t, destination, { maxQueueSize: 1_000, maxExportBatchSize: 64 }, described);
  for (const span of spans) exported.spans.add(span);
  await exported.spans.close(10_000);
  assert.equal(exported.stat('spans_exported'), spans.length);
};

test('Jaeger shows the same of any call, whoever wrote its spans and whichever way they came', { skip: program.skip }, async (t) => {
  await using peer = await JaegerProcess.start(program.path);
  const { binary, collectorHttp } = peer.ports;
  const byLibrary = new JaegerExporter({
    host: '127.0.0.1',
    port: binary,
    tags: Object.entries(described).map(([key, value]) => ({ key, value })),
  });
  const expected = spansOfTrace(1);
  assert.ok(expected.length > calls, 'few spans are left');
  await new Promise((resolve) => byLibrary.export(expected as unknown as ReadableSpan[], resolve));
  await byLibrary.shutdown();
  const library = shown(await peer.trace(traceIdOf(1), expected.length));

  await exportTo(t, jaeger({ port: binary }), spansOfTrace(2));
  assert.deepEqual(shown(await peer.trace(traceIdOf(2), expected.length)), library);
  await exportTo(t, jaeger({ endpoint: `http://127.0.0.1:${collectorHttp}/api/traces` }), spansOfTrace(3));
  assert.deepEqual(shown(await peer.trace(traceIdOf(3), expected.length)), library);

  // OTLP has whole numbers and no tags of Jaeger's own: names, parents and how many of everything are the same.
  await exportTo(t, otlp(`http://127.0.0.1:${peer.ports.otlpHttp}/v1/traces`), spansOfTrace(4));
  const outline = ({ spans }: JaegerTrace) =>
    spans.map(({ logs, operationName, spanID }) => `${spanID} ${operationName} ${logs.length}`).toSorted();
  assert.deepEqual(outline(await peer.trace(traceIdOf(4), expected.length)), outline(await peer.trace(traceIdOf(2), expected.length)));
});
