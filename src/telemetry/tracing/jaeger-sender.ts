import type { Agent } from 'node:http';
import type { SpanExporter } from '@opentelemetry/sdk-trace';
import type { WrittenSpan } from './span-writer.ts';

/** What became of a packet; `problem` is missing where it was sent. */
type PacketEnd = (spans: number, problem?: string) => void;

interface Outcome {
  reset(error: null, value: number): this;
}

/** How the library's Thrift has a type measured and written. */
interface ThriftWriter {
  byteLength(span: WrittenSpan): { readonly err: null; readonly length: number };
  poolByteLength<O extends Outcome>(outcome: O, span: WrittenSpan): O;
  poolWriteInto<O extends Outcome>(outcome: O, span: WrittenSpan, buffer: Buffer, offset: number): O;
}

interface Thrift {
  Span: unknown;
  readonly models: { readonly Span: { rw: ThriftWriter } };
}

/** The library's senders keep packets, their limit and what describes the process. One is by UDP, the other by HTTP. */
interface Sender {
  readonly _jaegerThrift?: Thrift;
  readonly _agentThrift?: { readonly modules: { readonly jaeger?: Thrift } };
  /** By UDP: of all spans of a packet, and of those that wait for theirs. */
  readonly _maxSpanBytes?: number;
  readonly _totalSpanBytes?: number;
  readonly _httpAgent?: Agent;
  append(span: WrittenSpan, onEnd: PacketEnd): void;
  flush(onEnd: PacketEnd): void;
}

type Done = Parameters<SpanExporter['export']>[1];

interface ExporterInternals {
  _sendSpans?(spans: readonly WrittenSpan[], done: Done): Promise<void>;
  _getSender?(span: { readonly tags: readonly { readonly key: string; readonly vStr: string }[] }): Sender;
}

const success = 0;
const failed = 1;

/** A span that is written already, where the library's Thrift would write one field by field. */
const writtenSpan: ThriftWriter = {
  byteLength: ({ length }) => ({ err: null, length }),
  poolByteLength: (outcome, { length }) => outcome.reset(null, length),
  poolWriteInto: (outcome, { chunk, end, start }, buffer, offset) => outcome.reset(null, offset + chunk.copy(buffer, offset, start, end)),
};

/** In the place of the library's record of a span, which its senders make of what they are given. */
function SpanRecord(span: WrittenSpan): WrittenSpan {
  return span;
}
SpanRecord.rw = writtenSpan;

/** Hands `spans` over without waiting in between; `done` is told when the last packet was sent, or why one was not. */
const sendAll = (sender: Sender, spans: readonly WrittenSpan[], done: Done): void => {
  const { _maxSpanBytes: most = Number.POSITIVE_INFINITY } = sender;
  let underWay = 1;
  let why: string | undefined;
  const onEnd: PacketEnd = (_spans, problem) => {
    why ??= problem;
    if (--underWay === 0) done(why === undefined ? { code: success } : { code: failed, error: new Error(why) });
  };
  for (const span of spans) {
    // By itself the sender keeps a span back until the packet before it is gone, and takes others meanwhile without a look at the limit.
    if ((sender._totalSpanBytes ?? 0) + span.length > most) {
      underWay++;
      sender.flush(onEnd);
    }
    underWay++;
    sender.append(span, onEnd);
  }
  sender.flush(onEnd);
};

/**
 * Has the library's exporter send spans that are written already: its senders, their packets and its description of the process stay, and
 * only the way of a span through dozens of objects goes. It offers no place for that: where there is none, it writes spans by itself, and
 * this is `undefined`.
 */
export const sendWritten = (exporter: SpanExporter, serviceName: string): Sender | undefined => {
  const internals = exporter as ExporterInternals & SpanExporter;
  if (internals._getSender === undefined || internals._sendSpans === undefined) return undefined;
  // It would be made of the first span.
  const sender = internals._getSender({ tags: [{ key: 'service.name', vStr: serviceName }] });
  const measured = sender._jaegerThrift;
  // By UDP packets are written by the agent's definitions, in which a span is another type.
  const sent = sender._agentThrift === undefined ? measured : sender._agentThrift.modules.jaeger;
  if (measured === undefined || sent === undefined) return undefined;
  measured.Span = SpanRecord;
  sent.models.Span.rw = writtenSpan;
  internals._sendSpans = async (spans, done) => sendAll(sender, spans, done);
  return sender;
};
