import type { AccessLogField, AccessLogFormat, AccessLogOperatorName, AccessLogPart, AccessLogValue } from '../../policy/index.ts';
import type { EndedCall } from '../ended-call.ts';
import { jsonText, plainText } from './log-text.ts';
import { type LogContext, type ReadValue, readerOf } from './operators.ts';

/** The line of a call, without the line break at its end. */
export type FormatLine = (call: EndedCall) => string;

const operator = (name: AccessLogOperatorName, rest: object = {}): AccessLogValue => ({ kind: 'operator', operator: { name, ...rest } });
const header = (name: string): AccessLogValue => operator('REQ', { header: name });

/** What a line has where no policy says otherwise: Envoy's names, and ours for what Envoy does not know. */
export const defaultFields: readonly AccessLogField[] = Object.entries({
  start_time: operator('START_TIME'),
  direction: operator('DIRECTION'),
  method: header(':method'),
  path: header(':path'),
  protocol: operator('PROTOCOL'),
  authority: header(':authority'),
  response_code: operator('RESPONSE_CODE'),
  response_code_details: operator('RESPONSE_CODE_DETAILS'),
  response_flags: operator('RESPONSE_FLAGS'),
  grpc_status: operator('GRPC_STATUS', { form: 'SNAKE_STRING' }),
  fate: operator('FATE'),
  message: operator('MESSAGE'),
  duration: operator('DURATION'),
  bytes_received: operator('BYTES_RECEIVED'),
  bytes_sent: operator('BYTES_SENT'),
  upstream_cluster: operator('UPSTREAM_CLUSTER'),
  upstream_host: operator('UPSTREAM_HOST'),
  upstream_request_attempt_count: operator('UPSTREAM_REQUEST_ATTEMPT_COUNT'),
  upstream_transport_failure_reason: operator('UPSTREAM_TRANSPORT_FAILURE_REASON'),
  route_name: operator('ROUTE_NAME'),
  route: operator('ROUTE_LOCATION'),
  user_agent: header('user-agent'),
  x_request_id: header('x-request-id'),
  trace_id: operator('TRACE_ID'),
  downstream_remote_address: operator('DOWNSTREAM_REMOTE_ADDRESS'),
  downstream_peer_uri_san: operator('DOWNSTREAM_PEER_URI_SAN'),
  requested_server_name: operator('REQUESTED_SERVER_NAME'),
}).map(([key, value]) => ({ key, value }));

/** Makes a program of a format, once: what is the same in every line is put together here. */
export const compileFormat = (format: AccessLogFormat | undefined, context: LogContext): FormatLine => {
  if (format === undefined) return jsonLine(defaultFields, context);
  if (format.kind === 'text') return textOf(format.parts, context, format.omitEmpty ? '' : '-', plainText);
  return format.omitEmpty ? (objectWithoutEmpty(format.fields, context) as FormatLine) : jsonLine(format.fields, context);
};

const jsonValue = (value: string | number | undefined): string => {
  if (typeof value === 'string') return jsonText(value);
  return value === undefined ? 'null' : Number.isFinite(value) ? String(value) : 'null';
};

const same = (text: string): string => text;

/** Text with values in it; what a call does not have is `nothing`. */
const textOf = (
  parts: readonly AccessLogPart[],
  context: LogContext,
  nothing: string,
  escaped: (text: string) => string,
): ((call: EndedCall) => string) => {
  const readers = parts.map((part): string | ReadValue => (typeof part === 'string' ? part : readerOf(part, context)));
  return (call) => {
    let text = '';
    for (let i = 0; i < readers.length; i++) {
      const part = readers[i] as string | ReadValue;
      if (typeof part === 'string') text += part;
      else {
        const value = part(call);
        text += value === undefined ? nothing : escaped(String(value));
      }
    }
    return text;
  };
};

/** Pieces between which values of the call stand. */
class JsonPieces {
  readonly constants: string[] = [''];
  readonly values: ((call: EndedCall) => string)[] = [];

  add(text: string): void {
    this.constants[this.constants.length - 1] += text;
  }

  addValue(value: (call: EndedCall) => string): void {
    this.values.push(value);
    this.constants.push('');
  }
}

const jsonLine = (fields: readonly AccessLogField[], context: LogContext): FormatLine => {
  const pieces = new JsonPieces();
  addObject(fields, context, pieces);
  const { constants, values } = pieces;
  return (call) => {
    let line = constants[0] as string;
    for (let i = 0; i < values.length; i++) line += (values[i] as FormatLine)(call) + (constants[i + 1] as string);
    return line;
  };
};

const addObject = (fields: readonly AccessLogField[], context: LogContext, pieces: JsonPieces): void => {
  pieces.add('{');
  for (const [i, { key, value }] of fields.entries()) {
    pieces.add(`${i === 0 ? '' : ','}${jsonText(key)}:`);
    addValue(value, context, pieces);
  }
  pieces.add('}');
};

const addValue = (value: AccessLogValue, context: LogContext, pieces: JsonPieces): void => {
  switch (value.kind) {
    case 'constant':
      pieces.add(typeof value.value === 'string' ? jsonText(value.value) : JSON.stringify(value.value));
      break;
    case 'operator': {
      const read = readerOf(value.operator, context);
      pieces.addValue((call) => jsonValue(read(call)));
      break;
    }
    case 'text': {
      const text = textOf(value.parts, context, '-', same);
      pieces.addValue((call) => jsonText(text(call)));
      break;
    }
    case 'object':
      addObject(value.fields, context, pieces);
      break;
    case 'list':
      pieces.add('[');
      for (const [i, item] of value.values.entries()) {
        if (i > 0) pieces.add(',');
        addValue(item, context, pieces);
      }
      pieces.add(']');
  }
};

type WriteValue = (call: EndedCall) => string | undefined;

/** An object without the fields that have no value; at the top it is there even where it is empty. */
const objectWithoutEmpty = (fields: readonly AccessLogField[], context: LogContext): WriteValue => {
  const writers = fields.map(({ key, value }) => ({ key: `${jsonText(key)}:`, write: valueWithoutEmpty(value, context) }));
  return (call) => {
    let line = '';
    for (const { key, write } of writers) {
      const value = write(call);
      if (value !== undefined) line += `${line === '' ? '' : ','}${key}${value}`;
    }
    return `{${line}}`;
  };
};

const valueWithoutEmpty = (value: AccessLogValue, context: LogContext): WriteValue => {
  switch (value.kind) {
    case 'constant': {
      const text = value.value === null ? undefined : JSON.stringify(value.value);
      return () => text;
    }
    case 'operator': {
      const read = readerOf(value.operator, context);
      return (call) => {
        const found = read(call);
        return found === undefined ? undefined : jsonValue(found);
      };
    }
    case 'text': {
      const text = textOf(value.parts, context, '', same);
      return (call) => jsonText(text(call));
    }
    case 'object': {
      const write = objectWithoutEmpty(value.fields, context);
      return (call) => {
        const object = write(call);
        return object === '{}' ? undefined : object;
      };
    }
    case 'list': {
      const items = value.values.map((item) => valueWithoutEmpty(item, context));
      return (call) => `[${items.map((write) => write(call) ?? 'null').join(',')}]`;
    }
  }
};
