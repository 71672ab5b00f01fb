import { createRequire } from 'node:module';

/** A value of Jaeger's as its library reads it: numbers of 64 bits are bytes, what is missing is null. */
interface ThriftTag {
  readonly key: string;
  readonly vType: 'STRING' | 'DOUBLE' | 'BOOL';
  readonly vStr: string | null;
  readonly vDouble: number | null;
  readonly vBool: boolean | null;
}
interface ThriftSpan {
  readonly traceIdLow: Buffer;
  readonly traceIdHigh: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId: Buffer;
  readonly operationName: string;
  readonly references: readonly unknown[] | null;
  readonly flags: number;
  readonly startTime: Buffer;
  readonly duration: Buffer;
  readonly tags: readonly ThriftTag[] | null;
  readonly logs: readonly { readonly timestamp: Buffer; readonly fields: readonly ThriftTag[] }[] | null;
}
interface ThriftBatch {
  readonly process: { readonly serviceName: string; readonly tags: readonly ThriftTag[] };
  readonly spans: readonly ThriftSpan[];
}

interface Reader<T> {
  fromBuffer(bytes: Buffer): { readonly err: Error | null; readonly offset: number; readonly value: T };
}
interface Definitions {
  readonly Span: {
    new (span: unknown): unknown;
    readonly rw: Reader<ThriftSpan> & { toBuffer(span: unknown): { readonly value: Buffer } };
  };
  readonly Batch: { readonly rw: Reader<ThriftBatch> };
  readonly Agent: { readonly emitBatch: { readonly argumentsMessageRW: Reader<{ readonly body: { readonly batch: ThriftBatch } }> } };
}

// The library's own definitions and its own way of writing, which ours has to agree with.
const require = createRequire(createRequire(import.meta.url).resolve('@opentelemetry/exporter-jaeger'));
const { Thrift } = require('thriftrw') as { readonly Thrift: new (options: object) => Definitions };
const { spanToThrift } = require('./transform') as { readonly spanToThrift: (span: unknown) => unknown };
const { ThriftUtils } = require('./types') as {
  readonly ThriftUtils: { loadJaegerThriftDefinition(): string; buildAgentThriftPath(): string };
};
const jaeger = new Thrift({ source: ThriftUtils.loadJaegerThriftDefinition(), allowOptionalArguments: true });
const agent = new Thrift({ entryPoint: ThriftUtils.buildAgentThriftPath(), allowOptionalArguments: true, allowFilesystemAccess: true });

const read = <T>(reader: Reader<T>, bytes: Buffer): T => {
  const { err, value } = reader.fromBuffer(bytes);
  if (err !== null) throw err;
  return value;
};

const number = (bytes: Buffer): bigint => bytes.readBigInt64BE();
const id = (bytes: Buffer): string => bytes.toString('hex');

/** Each with the value of its type: the library writes an empty one of every other type beside it. */
const tagsOf = (tags: readonly ThriftTag[] | null) =>
  (tags ?? []).map(({ key, vBool, vDouble, vStr, vType }) => [key, vType, { STRING: vStr, DOUBLE: vDouble, BOOL: vBool }[vType]] as const);

const plainSpan = ({ duration, flags, logs, operationName, parentSpanId, references, spanId, startTime, ...span }: ThriftSpan) => ({
  trace: `${id(span.traceIdHigh)}${id(span.traceIdLow)}`,
  spanId: id(spanId),
  parent: id(parentSpanId),
  operationName,
  references: references ?? [],
  flags,
  startTime: number(startTime),
  duration: number(duration),
  // What the library says of a version that there is none of.
  tags: tagsOf(span.tags).filter(([key, , value]) => key !== 'otel.library.version' || value !== 'undefined'),
  logs: (logs ?? []).map(({ fields, timestamp }) => ({ timestamp: number(timestamp), fields: tagsOf(fields) })),
});
export type PlainSpan = ReturnType<typeof plainSpan>;

export interface PlainBatch {
  readonly serviceName: string;
  readonly processTags: ReturnType<typeof tagsOf>;
  readonly spans: readonly PlainSpan[];
}
const plainBatch = ({ process, spans }: ThriftBatch): PlainBatch => ({
  serviceName: process.serviceName,
  processTags: tagsOf(process.tags),
  spans: spans.map(plainSpan),
});

/** What the bytes of one span say. Throws where they are none, or more. */
export const readSpan = (bytes: Buffer): PlainSpan => plainSpan(read(jaeger.Span.rw, bytes));

/** What the library would have written for `span`. */
export const librarySpan = (span: unknown): PlainSpan => readSpan(jaeger.Span.rw.toBuffer(new jaeger.Span(spanToThrift(span))).value);

/** A datagram for an agent. */
export const readPacket = (bytes: Buffer): PlainBatch => plainBatch(read(agent.Agent.emitBatch.argumentsMessageRW, bytes).body.batch);

/** The body of a request for a collector. */
export const readBatch = (bytes: Buffer): PlainBatch => plainBatch(read(jaeger.Batch.rw, bytes));
