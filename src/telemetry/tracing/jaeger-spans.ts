import type { HrTime } from '@opentelemetry/api';
import type { FinishedSpan } from './call-span.ts';
import { SpanOutput } from './span-output.ts';

/** Types of Thrift's binary protocol, each as the byte before the id of a field. */
const Type = { stop: 0, bool: 2, double: 4, i32: 8, i64: 10, text: 11, struct: 12, list: 15 } as const;

/** Fields of Jaeger's records (jaeger-idl/thrift/jaeger.thrift). */
const SpanField = {
  traceIdLow: 1,
  traceIdHigh: 2,
  spanId: 3,
  parentSpanId: 4,
  operationName: 5,
  flags: 7,
  startTime: 8,
  duration: 9,
  tags: 10,
  logs: 11,
} as const;
const LogField = { timestamp: 1, fields: 2 } as const;
const TagField = { key: 1, type: 2, text: 3, double: 4, bool: 5 } as const;
const TagType = { text: 0, double: 1, bool: 2 } as const;

/** A type and an id. */
const fieldBytes = 3;
const lengthBytes = 4;
const sampled = 1;
const twoTo32 = 0x1_0000_0000;
const microsPerSecond = 1e6;
const nanosPerMicro = 1e3;
/** As the API counts. */
const statusError = 2;
const kinds = ['internal', 'server', 'client', 'producer', 'consumer'] as const;

const micros = ([seconds, nanos]: HrTime): number => seconds * microsPerSecond + Math.floor(nanos / nanosPerMicro);

/**
 * Spans as Jaeger's collectors have them, in Thrift's binary protocol: the same tags and logs that the library makes of a span. A tag has
 * the field of its own type alone, where the library writes all five, and what nobody has said (a version of the scope) is left out.
 */
export class JaegerOutput extends SpanOutput {
  /** What a tag begins with, up to its value, for each type of it. */
  readonly #texts = new Map<string, Buffer>();
  readonly #doubles = new Map<string, Buffer>();
  readonly #bools = new Map<string, Buffer>();
  /** Of the list that is being written: how many it has, and where that is to stand. */
  #tags = 0;
  #countAt = 0;

  span(span: FinishedSpan): void {
    const { parentHigh, parentLow, spanLow, trace } = span;
    this.#long(SpanField.traceIdLow, trace.trace2, trace.trace3);
    this.#long(SpanField.traceIdHigh, trace.trace0, trace.trace1);
    this.#long(SpanField.spanId, trace.spanHigh, spanLow);
    this.#long(SpanField.parentSpanId, parentHigh, parentLow);
    this.reserve(fieldBytes);
    this.#field(Type.text, SpanField.operationName);
    this.#text(span.name);
    this.#int(SpanField.flags, sampled);
    this.#number(SpanField.startTime, micros(span.startTime));
    this.#number(SpanField.duration, micros(span.duration));
    this.#beginTags(SpanField.tags);
    span.tellAttributes(this);
    this.#tellRest(span);
    this.#endTags();
    this.#logs(span.events);
    this.reserve(1);
    this.bytes[this.at++] = Type.stop;
  }

  /** What is no attribute, and a tag at Jaeger's. */
  #tellRest({ instrumentationScope, kind, resource, status: { code, message } }: FinishedSpan): void {
    if (code === statusError) {
      this.attribute('otel.status_code', 'ERROR');
      if (message !== undefined && message !== '') this.attribute('otel.status_description', message);
      this.attribute('error', true);
    }
    this.attribute('span.kind', kinds[kind] as string);
    this.attribute('service.name', String(resource.attributes['service.name']));
    this.attribute('otel.library.name', instrumentationScope.name);
  }

  /** Events of a span. */
  #logs(events: FinishedSpan['events']): void {
    if (events.length === 0) return;
    this.#list(SpanField.logs, events.length);
    for (const { attributes = {}, name, time } of events) {
      this.#number(LogField.timestamp, micros(time));
      this.#beginTags(LogField.fields);
      this.attribute('event', name);
      for (const key in attributes) this.attribute(key, attributes[key] as string | number | boolean);
      this.#endTags();
      this.reserve(1);
      this.bytes[this.at++] = Type.stop;
    }
  }

  attribute(key: string, value: string | number | boolean): void {
    this.#tags++;
    if (typeof value === 'string') {
      this.#beginTag(this.#texts, key, TagType.text, Type.text, TagField.text);
      this.#text(value);
      this.reserve(1);
    } else if (typeof value === 'number') {
      this.#beginTag(this.#doubles, key, TagType.double, Type.double, TagField.double);
      this.reserve(9);
      this.at = this.bytes.writeDoubleBE(value, this.at);
    } else {
      this.#beginTag(this.#bools, key, TagType.bool, Type.bool, TagField.bool);
      this.reserve(2);
      this.bytes[this.at++] = value ? 1 : 0;
    }
    this.bytes[this.at++] = Type.stop;
  }

  #beginTag(known: Map<string, Buffer>, key: string, tagType: number, type: number, field: number): void {
    const head = known.get(key);
    if (head !== undefined) {
      this.written(head, 0, head.length);
      return;
    }
    const start = this.at;
    this.reserve(fieldBytes);
    this.#field(Type.text, TagField.key);
    this.#text(key);
    this.#int(TagField.type, tagType);
    this.reserve(fieldBytes);
    this.#field(type, field);
    known.set(key, this.since(start));
  }

  #beginTags(field: number): void {
    this.#list(field, 0);
    this.#countAt = this.at - lengthBytes;
    this.#tags = 0;
  }

  #endTags(): void {
    this.bytes.writeUInt32BE(this.#tags, this.#countAt);
  }

  #list(field: number, count: number): void {
    this.reserve(fieldBytes + 1 + lengthBytes);
    this.#field(Type.list, field);
    this.bytes[this.at++] = Type.struct;
    this.word(count);
  }

  /** Room is there already. */
  #field(type: number, id: number): void {
    this.bytes[this.at++] = type;
    this.bytes[this.at++] = 0;
    this.bytes[this.at++] = id;
  }

  #text(text: string): void {
    this.reserveText(text, lengthBytes);
    const start = this.at + lengthBytes;
    const length = this.shortText(text, start) ? text.length : this.bytes.write(text, start, 'utf8');
    this.word(length);
    this.at = start + length;
  }

  #int(field: number, value: number): void {
    this.reserve(fieldBytes + 4);
    this.#field(Type.i32, field);
    this.word(value);
  }

  /** Whole and not negative, and more than 32 bits of it. */
  #number(field: number, value: number): void {
    this.#long(field, Math.floor(value / twoTo32), value % twoTo32);
  }

  #long(field: number, high: number, low: number): void {
    this.reserve(fieldBytes + 8);
    this.#field(Type.i64, field);
    this.word(high);
    this.word(low);
  }
}
