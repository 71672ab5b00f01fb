/**
 * What a span of a call costs until it has left: written some dozens at a time and sent in a batch, and the same by the libraries alone,
 * from the call to the datagram. Run: `node bench/micro/spans.ts`. Microseconds of CPU per span, garbage collection included, the best of
 * seven rounds that take turns, and bytes of a span.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { JaegerExporter } from '@opentelemetry/exporter-jaeger';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { AttemptSpan, CallSpan, type FinishedSpan } from '../../src/telemetry/tracing/call-span.ts';
import { type AttemptRecord, CallTrace, TraceFlag } from '../../src/telemetry/tracing/call-trace.ts';
import { FinishedCall } from '../../src/telemetry/tracing/finished-call.ts';
import { sendWritten } from '../../src/telemetry/tracing/jaeger-sender.ts';
import { JaegerOutput } from '../../src/telemetry/tracing/jaeger-spans.ts';
import { OtlpOutput, otlpRequestWriter } from '../../src/telemetry/tracing/otlp-spans.ts';
import { SpanResource } from '../../src/telemetry/tracing/span-resource.ts';
import { SpanWriter, type WrittenSpan } from '../../src/telemetry/tracing/span-writer.ts';
import { endedCall } from '../../test/telemetry/access-log/ended-call.ts';

const rounds = 7;
const batches = 200;
/** As many as are sent at once: 32 calls with one attempt each. */
const callsInBatch = 32;

const resource = new SpanResource({ 'service.name': 'auth-svc' });
const attempt: AttemptRecord = {
  number: 1,
  startMs: 1.5,
  endMs: 13.5,
  endpoint: '10.0.0.4:50051',
  httpStatus: 200,
  probe: false,
  outcome: 'success',
  grpcStatus: 0,
  failure: undefined,
};
const call = endedCall();

const spansOfBatch = (): FinishedSpan[] => {
  const spans: FinishedSpan[] = [];
  for (let i = 0; i < callsInBatch; i++) {
    const trace = new CallTrace().begin(1, 2, 3, i, 0, 0, 4, i, TraceFlag.spanPerAttempt | TraceFlag.sampled);
    const finished = new FinishedCall(call, trace, 1, 14, 1_767_225_600_000);
    spans.push(new CallSpan(finished, resource), new AttemptSpan(finished, attempt, resource));
  }
  return spans;
};

const sink = createSocket('udp4').bind(0, '127.0.0.1').unref();
await once(sink, 'listening');
const jaegerAt = { host: '127.0.0.1', port: sink.address().port };
const exported = (exporter: JaegerExporter, spans: readonly unknown[]): Promise<unknown> =>
  new Promise((resolve) => exporter.export(spans as ReadableSpan[], resolve));

const written = (writer: SpanWriter, spans: readonly FinishedSpan[]): readonly WrittenSpan[] =>
  spans.map((span) => writer.write(span) as WrittenSpan);
const byLibrary = new JaegerExporter(jaegerAt);
const byUs = new JaegerExporter(jaegerAt);
if (sendWritten(byUs, 'auth-svc') === undefined) throw new Error('the library has changed');
const jaegerWriter = new SpanWriter(new JaegerOutput());
const otlpWriter = new SpanWriter(new OtlpOutput());
const otlpRequest = otlpRequestWriter();
const { ProtobufTraceSerializer } = createRequire(import.meta.resolve('@opentelemetry/exporter-trace-otlp-proto'))(
  '@opentelemetry/otlp-transformer',
) as { readonly ProtobufTraceSerializer: { serializeRequest(spans: readonly unknown[]): Uint8Array } };

const ways: Readonly<Record<string, (spans: readonly FinishedSpan[]) => unknown>> = {
  'the spans alone': () => {},
  'Jaeger, written': (spans) => written(jaegerWriter, spans),
  'Jaeger, written and sent': (spans) => exported(byUs, written(jaegerWriter, spans)),
  'Jaeger, by the library': (spans) => exported(byLibrary, spans),
  'OTLP, written and put together': (spans) => otlpRequest(written(otlpWriter, spans)),
  'OTLP, put together by the library': (spans) => ProtobufTraceSerializer.serializeRequest(spans),
};

const best = new Map<string, number>();
for (let round = 0; round < rounds; round++) {
  for (const [name, way] of Object.entries(ways)) {
    const before = process.cpuUsage();
    for (let i = 0; i < batches; i++) await way(spansOfBatch());
    const { system, user } = process.cpuUsage(before);
    best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, (system + user) / (2 * batches * callsInBatch)));
  }
}
for (const [name, micros] of best) process.stdout.write(`${name.padEnd(36)} ${micros.toFixed(2).padStart(8)} us\n`);

const [callBytes, attemptBytes] = written(jaegerWriter, spansOfBatch()).map(({ length }) => length);
process.stdout.write(`Jaeger: ${callBytes} bytes for a call, ${attemptBytes} for an attempt\n`);
for (const exporter of [byLibrary, byUs]) await exporter.shutdown();
