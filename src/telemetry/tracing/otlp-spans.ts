import type { Attributes, HrTime } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';

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
const firstBytes = 16 * 1_024;
const nanosPerSecond = 1_000_000_000n;

/**
 * Writes spans as OTLP has them, in one pass. The library's own way makes a tree of objects first: five times the time, and a heap full of
 * what it leaves behind.
 */
class OtlpWriter {
  #bytes = Buffer.allocUnsafe(firstBytes);
  #at = 0;

  /** A copy of what was written since the last time. */
  take(): Uint8Array {
    const written = Uint8Array.prototype.slice.call(this.#bytes, 0, this.#at);
    this.#at = 0;
    if (this.#bytes.length > 64 * firstBytes) this.#bytes = Buffer.allocUnsafe(firstBytes);
    return written;
  }

  /** Begins a message; `end` takes what this returns. */
  begin(tag: number): number {
    this.#reserve(1 + lengthBytes);
    this.#bytes[this.#at++] = tag;
    this.#at += lengthBytes;
    return this.#at;
  }

  end(start: number): void {
    const length = this.#at - start;
    // A number may be written longer than it has to be.
    for (let i = 0; i < lengthBytes; i++)
      this.#bytes[start - lengthBytes + i] = ((length >>> (7 * i)) & 0x7f) | (i < lengthBytes - 1 ? 0x80 : 0);
  }

  text(tag: number, text: string): void {
    const start = this.begin(tag);
    this.#reserve(3 * text.length);
    this.#at += this.#bytes.write(text, this.#at, 'utf8');
    this.end(start);
  }

  id(tag: number, hex: string): void {
    const length = hex.length / 2;
    this.#reserve(2 + length);
    this.#bytes[this.#at++] = tag;
    this.#bytes[this.#at++] = length;
    this.#at += this.#bytes.write(hex, this.#at, 'hex');
  }

  time(tag: number, [seconds, nanos]: HrTime): void {
    this.#reserve(9);
    this.#bytes[this.#at++] = tag;
    this.#at = this.#bytes.writeBigUInt64LE(BigInt(seconds) * nanosPerSecond + BigInt(nanos), this.#at);
  }

  /** Not negative, and whole. */
  number(tag: number, value: number): void {
    this.#reserve(11);
    this.#bytes[this.#at++] = tag;
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  double(tag: number, value: number): void {
    this.#reserve(9);
    this.#bytes[this.#at++] = tag;
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  attributes(tag: number, attributes: Attributes): void {
    for (const key in attributes) {
      const value = attributes[key];
      const start = this.begin(tag);
      this.text(Tag.key, key);
      const inner = this.begin(Tag.value);
      if (typeof value === 'number') {
        if (Number.isSafeInteger(value) && value >= 0) this.number(Tag.intValue, value);
        else this.double(Tag.doubleValue, value);
      } else if (typeof value === 'boolean') this.number(Tag.boolValue, value ? 1 : 0);
      else this.text(Tag.stringValue, String(value));
      this.end(inner);
      this.end(start);
    }
  }

  span(span: ReadableSpan): void {
    const start = this.begin(Tag.spans);
    const { spanId, traceId } = span.spanContext();
    this.id(Tag.traceId, traceId);
    this.id(Tag.spanId, spanId);
    const parent = span.parentSpanContext?.spanId;
    if (parent !== undefined) this.id(Tag.parentSpanId, parent);
    this.text(Tag.name, span.name);
    // The API counts from 0, OTLP has "unspecified" before that.
    this.number(Tag.kind, span.kind + 1);
    this.time(Tag.start, span.startTime);
    this.time(Tag.end, span.endTime);
    this.attributes(Tag.attributes, span.attributes);
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

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}

/** Serialises requests of spans that are all of one resource and one scope, as ours are. */
export const otlpSpanWriter = (): ((spans: readonly ReadableSpan[]) => Uint8Array) => {
  const out = new OtlpWriter();
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
    for (const span of spans) out.span(span);
    out.end(scopeSpans);
    out.end(resourceSpans);
    return out.take();
  };
};
