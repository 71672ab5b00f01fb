import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import type { EndedCall } from '../../../src/telemetry/index.ts';
import { AttemptSpan, CallSpan } from '../../../src/telemetry/tracing/call-span.ts';
import { type AttemptRecord, CallTrace, TraceFlag } from '../../../src/telemetry/tracing/call-trace.ts';
import { FinishedCall } from '../../../src/telemetry/tracing/finished-call.ts';
import { OtlpOutput, otlpRequestWriter } from '../../../src/telemetry/tracing/otlp-spans.ts';
import { SpanResource } from '../../../src/telemetry/tracing/span-resource.ts';
import { SpanWriter, type WrittenSpan } from '../../../src/telemetry/tracing/span-writer.ts';

// The library's own way of writing, which ours has to agree with.
const exporter = createRequire(import.meta.resolve('@opentelemetry/exporter-trace-otlp-proto'));
const { ProtobufTraceSerializer } = exporter('@opentelemetry/otlp-transformer') as {
  readonly ProtobufTraceSerializer: { serializeRequest(spans: readonly unknown[]): Uint8Array };
};

type Field = readonly [number: number, value: string | number | readonly Field[]];

/** Messages within messages; which bytes are one is known by their field, as the schema has it. */
const messages = new Set([
  '1',
  '1.1',
  '1.1.1',
  '1.1.1.2',
  '1.2',
  '1.2.1',
  '1.2.2',
  '1.2.2.9',
  '1.2.2.9.2',
  '1.2.2.11',
  '1.2.2.11.3',
  '1.2.2.11.3.2',
  '1.2.2.15',
]);
/** What the library adds, and nobody has to: flags of spans and numbers that are 0. */
const left = new Set(['1.2.2.16', '1.2.2.10', '1.2.2.12', '1.2.2.14', '1.2.2.11.4', '1.1.2']);

const parse = (bytes: Buffer, path = ''): readonly Field[] => {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const place = path === '' ? `${number}` : `${path}.${number}`;
    let value: Field[1];
    if (tag % 8 === 0) value = varint();
    else if (tag % 8 === 2) {
      const length = varint();
      const inner = bytes.subarray(at, at + length);
      at += length;
      value = messages.has(place) ? parse(inner, place) : inner.toString('hex');
    } else {
      const length = tag % 8 === 1 ? 8 : 4;
      value = bytes.subarray(at, at + length).toString('hex');
      at += length;
    }
    if (!left.has(place) && !(place === '1.2.2.15' && (value as readonly Field[]).length === 0) && !(place === '1.2.2.15.3' && value === 0))
      fields.push([number, value]);
  }
  return fields.toSorted(([a], [b]) => a - b);
};

const call: Partial<EndedCall> = {
  direction: 'outbound',
  fate: 'route_timeout',
  grpcStatus: 4,
  path: '/acme.Échö/Call',
  authority: '[::1]:50051',
  routeName: 'echo-route',
  routeLocation: 'web.yaml:3',
  cluster: 'echo',
  attempts: 2,
  retriesExhausted: true,
  bytesReceived: 5_000_000_000,
  bytesSent: 300,
  peerAddress: '127.0.0.1:5',
  replyMessage: `too late ${'x'.repeat(2_000)} 漢字`,
};

test('spans are written as the library writes them, with texts of any kind, events, errors and large numbers', () => {
  const trace = new CallTrace().begin(1, -2, 3, 4, 5, 6, 7, 8, TraceFlag.spanPerAttempt | TraceFlag.sampled);
  trace.event('outrider.retry', 3.25, { after_attempt: 1, delay_ms: 2.5, via: 'policy' });
  const attempt: AttemptRecord = {
    number: 1,
    startMs: 1,
    endMs: 3,
    endpoint: '10.0.0.4:50051',
    httpStatus: 503,
    probe: true,
    outcome: 'error',
    grpcStatus: -1,
    failure: { reason: 'missing_status', message: 'what' },
  };
  const finished = new FinishedCall(call as EndedCall, trace, 1.5, 2_000.125, Date.UTC(2026, 0, 1));
  const resource = new SpanResource({ 'service.name': 'auth-svc', 'host.name': 'ö' });
  const writer = new SpanWriter(new OtlpOutput());
  const write = otlpRequestWriter();
  const many = Array.from({ length: 40 }, () => [new CallSpan(finished, resource), new AttemptSpan(finished, attempt, resource)]).flat();
  for (const spans of [many.slice(0, 2), many, many.slice(0, 1)]) {
    const ours = parse(Buffer.from(write(spans.map((span) => writer.write(span) as WrittenSpan))));
    assert.deepEqual(ours, parse(Buffer.from(ProtobufTraceSerializer.serializeRequest(spans))));
    assert.equal(ours.length, 1);
  }
  assert.equal(write([]).length, 0);
});
