import type { Attributes, HrTime } from '@opentelemetry/api';
import type { FinishedSpan } from './call-span.ts';
import { SpanOutput } from './span-output.ts';
import type { WrittenSpan } from './span-writer.ts';

/** Fields of OTLP's messages (opentelemetry/proto/trace/v1/trace.proto), each as the byte before its value. */
const Tag = {
  resourceSpans: 0x0a,
  resource: 0x0a,
  scopeSpans: 0x12,
  resourceAttributes: 0x0a,
  scope: 0x0a,
  scopeName: 0x0a,
  spans: 0x12,
  traceId: 0x0a,
  spanId: 0x12,
  parentSpanId: 0x22,
  name: 0x2a,
  kind: 0x30,
  start: 0x39,
  end: 0x41,
  attributes: 0x4a,
  events: 0x5a,
  status: 0x7a,
  eventTime: 0x09,
  eventName: 0x12,
  eventAttributes: 0x1a,
  statusMessage: 0x12,
  statusCode: 0x18,
  key: 0x0a,
  value: 0x12,
  stringValue: 0x0a,
  boolValue: 0x10,
  intValue: 0x18,
  doubleValue: 0x21,
} as const;

/** Of a length that is not known yet: four bytes, which hold as much as anybody may send. */
const lengthBytes = 4;
const nanosPerSecond = 1e9;
const twoTo16 = 0x1_0000;
const twoTo32 = 0x1_0000_0000;

/** Spans as OTLP has them, in protobuf. */
export class OtlpOutput extends SpanOutput {
  /** Names of attributes with their tag and length. */
  readonly #keys = new Map<string, Buffer>();

  /** Begins a message; `end` takes what this returns. */
  begin(tag: number): number {
    this.reserve(1 + lengthBytes);
    this.bytes[this.at++] = tag;
    this.at += lengthBytes;
    return this.at;
  }

  end(start: number): void {
    const length = this.at - start;
    // A number may be written longer than it has to be.
    for (let i = 0; i < lengthBytes; i++)
      this.bytes[start - lengthBytes + i] = ((length >>> (7 * i)) & 0x7f) | (i < lengthBytes - 1 ? 0x80 : 0);
  }

  text(tag: number, text: string): void {
    this.reserveText(text, 1 + lengthBytes);
    if (this.shortText(text, this.at + 2)) {
      this.bytes[this.at] = tag;
      // Below 128: one byte.
      this.bytes[this.at + 1] = text.length;
      this.at += 2 + text.length;
      return;
    }
    const start = this.begin(tag);
    this.at += this.bytes.write(text, this.at, 'utf8');
    this.end(start);
  }

  /** Of `words`, 32 bits each. */
  words(tag: number, count: 2 | 4, first: number, second: number, third = 0, fourth = 0): void {
    this.reserve(18);
    this.bytes[this.at++] = tag;
    this.bytes[this.at++] = 4 * count;
    this.word(first);
    this.word(second);
    if (count === 2) return;
    this.word(third);
    this.word(fourth);
  }

  time(tag: number, [seconds, nanos]: HrTime): void {
    this.reserve(9);
    this.bytes[this.at++] = tag;
    // More than a number holds: the upper bits of the seconds go by themselves.
    const upper = Math.floor(seconds / twoTo16) * nanosPerSecond;
    const lower = (seconds % twoTo16) * nanosPerSecond + nanos;
    const low = (upper % twoTo16) * twoTo16 + (lower % twoTo32);
    const high = Math.floor(upper / twoTo16) + Math.floor(lower / twoTo32) + Math.floor(low / twoTo32);
    this.at = this.bytes.writeUInt32LE(low % twoTo32, this.at);
    this.at = this.bytes.writeUInt32LE(high, this.at);
  }

  /** Not negative, and whole. */
  number(tag: number, value: number): void {
    this.reserve(11);
    this.bytes[this.at++] = tag;
    let rest = value;
    while (rest >= 128) {
      this.bytes[this.at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.at++] = rest;
  }

  double(tag: number, value: number): void {
    this.reserve(9);
    this.bytes[this.at++] = tag;
    this.at = this.bytes.writeDoubleLE(value, this.at);
  }

  attributes(tag: number, attributes: Attributes): void {
    for (const key in attributes) {
      const start = this.begin(tag);
      this.text(Tag.key, key);
      this.#value(attributes[key]);
      this.end(start);
    }
  }

  /** One of a span. */
  attribute(key: string, value: string | number | boolean): void {
    const start = this.begin(Tag.attributes);
    let name = this.#keys.get(key);
    if (name === undefined) {
      const at = this.at;
      this.text(Tag.key, key);
      name = this.since(at);
      this.#keys.set(key, name);
    } else this.written(name, 0, name.length);
    this.#value(value);
    this.end(start);
  }

  #value(value: Attributes[string]): void {
    const start = this.begin(Tag.value);
    if (typeof value === 'number') {
      if (Number.isSafeInteger(value) && value >= 0) this.number(Tag.intValue, value);
      else this.double(Tag.doubleValue, value);
    } else if (typeof value === 'boolean') this.number(Tag.boolValue, value ? 1 : 0);
    else this.text(Tag.stringValue, String(value));
    this.end(start);
  }

  span(span: FinishedSpan): void {
    const start = this.begin(Tag.spans);
    this.#idsOf(span);
    this.text(Tag.name, span.name);
    // The API counts from 0, OTLP has "unspecified" before that.
    this.number(Tag.kind, span.kind + 1);
    this.time(Tag.start, span.startTime);
    this.time(Tag.end, span.endTime);
    span.tellAttributes(this);
    for (const event of span.events) {
      const inner = this.begin(Tag.events);
      this.time(Tag.eventTime, event.time);
      this.text(Tag.eventName, event.name);
      this.attributes(Tag.eventAttributes, event.attributes ?? {});
      this.end(inner);
    }
    const { code, message } = span.status;
    if (code !== 0) {
      const inner = this.begin(Tag.status);
      if (message !== undefined) this.text(Tag.statusMessage, message);
      this.number(Tag.statusCode, code);
      this.end(inner);
    }
    this.end(start);
  }

  #idsOf({ parentHigh, parentLow, spanLow, trace }: FinishedSpan): void {
    this.words(Tag.traceId, 4, trace.trace0, trace.trace1, trace.trace2, trace.trace3);
    this.words(Tag.spanId, 2, trace.spanHigh, spanLow);
    if ((parentHigh | parentLow) !== 0) this.words(Tag.parentSpanId, 2, parentHigh, parentLow);
  }
}

/** Serialises requests of spans that are all of one resource and one scope, as ours are. */
export const otlpRequestWriter = (): ((spans: readonly WrittenSpan[]) => Uint8Array) => {
  const out = new OtlpOutput();
  return (spans) => {
    const [first] = spans;
    if (first === undefined) return out.take();
    const resourceSpans = out.begin(Tag.resourceSpans);
    const resource = out.begin(Tag.resource);
    out.attributes(Tag.resourceAttributes, first.resource.attributes);
    out.end(resource);
    const scopeSpans = out.begin(Tag.scopeSpans);
    const scope = out.begin(Tag.scope);
    out.text(Tag.scopeName, first.instrumentationScope.name);
    out.end(scope);
    for (const { chunk, start, end } of spans) out.written(chunk, start, end);
    out.end(scopeSpans);
    out.end(resourceSpans);
    return out.take();
  };
};
