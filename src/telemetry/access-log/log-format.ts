import type { AccessLogField, AccessLogFormat, AccessLogOperatorName, AccessLogPart, AccessLogValue } from '../../policy/index.ts';
import type { EndedCall } from '../ended-call.ts';
import type { LineBytes } from './line-bytes.ts';
import { jsonText } from './log-text.ts';
import { type LogContext, type ReadValue, readerOf } from './operators.ts';

/** Adds the line of a call, without a line break. */
export type WriteLine = (call: EndedCall, line: LineBytes) => void;

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
export const compileFormat = (format: AccessLogFormat | undefined, context: LogContext): WriteLine => {
  if (format === undefined) return jsonLine(defaultFields, context);
  if (format.kind === 'text') return textOf(format.parts, context, format.omitEmpty ? '' : '-', (text) => text);
  if (!format.omitEmpty) return jsonLine(format.fields, context);
  const write = objectWithoutEmpty(format.fields, context);
  return (call, line) => void write(call, line);
};

const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'utf8');
const nullBytes = bytesOf('null');

const addValue = (value: string | number | undefined, line: LineBytes): void => {
  if (typeof value === 'string') line.addQuoted(value);
  else if (value === undefined || !Number.isFinite(value)) line.addConstant(nullBytes);
  else line.addAscii(String(value));
};

/** Text with values in it; what a call does not have is `nothing`. @param constantOf how text between the values is written. */
const textOf = (parts: readonly AccessLogPart[], context: LogContext, nothing: string, constantOf: (text: string) => string): WriteLine => {
  const writers = parts.map((part): Uint8Array | ReadValue =>
    typeof part === 'string' ? bytesOf(constantOf(part)) : readerOf(part, context),
  );
  return (call, line) => {
    for (let i = 0; i < writers.length; i++) {
      const part = writers[i] as Uint8Array | ReadValue;
      if (typeof part === 'function') line.addEscaped(String(part(call) ?? nothing));
      else line.addConstant(part);
    }
  };
};

const withoutQuotes = (text: string): string => jsonText(text).slice(1, -1);
const jsonTextOf = (parts: readonly AccessLogPart[], context: LogContext, nothing: string): WriteLine => {
  const text = textOf(parts, context, nothing, withoutQuotes);
  return (call, line) => {
    line.addConstant(quoteBytes);
    text(call, line);
    line.addConstant(quoteBytes);
  };
};
const quoteBytes = bytesOf('"');

/** Pieces between which values of the call stand. */
class JsonPieces {
  readonly constants: string[] = [''];
  readonly values: WriteLine[] = [];

  add(text: string): void {
    this.constants[this.constants.length - 1] += text;
  }

  addValue(value: WriteLine): void {
    this.values.push(value);
    this.constants.push('');
  }
}

const jsonLine = (fields: readonly AccessLogField[], context: LogContext): WriteLine => {
  const pieces = new JsonPieces();
  compileObject(fields, context, pieces);
  const { values } = pieces;
  const constants = pieces.constants.map(bytesOf);
  return (call, line) => {
    line.addConstant(constants[0] as Uint8Array);
    for (let i = 0; i < values.length; i++) {
      (values[i] as WriteLine)(call, line);
      line.addConstant(constants[i + 1] as Uint8Array);
    }
  };
};

const compileObject = (fields: readonly AccessLogField[], context: LogContext, pieces: JsonPieces): void => {
  pieces.add('{');
  for (const [i, { key, value }] of fields.entries()) {
    pieces.add(`${i === 0 ? '' : ','}${jsonText(key)}:`);
    compileValue(value, context, pieces);
  }
  pieces.add('}');
};

const constantText = (value: string | number | boolean | null): string =>
  typeof value === 'string' ? jsonText(value) : JSON.stringify(value);

const compileValue = (value: AccessLogValue, context: LogContext, pieces: JsonPieces): void => {
  switch (value.kind) {
    case 'constant':
      pieces.add(constantText(value.value));
      break;
    case 'operator': {
      const read = readerOf(value.operator, context);
      pieces.addValue((call, line) => addValue(read(call), line));
      break;
    }
    case 'text':
      pieces.addValue(jsonTextOf(value.parts, context, '-'));
      break;
    case 'object':
      compileObject(value.fields, context, pieces);
      break;
    case 'list':
      pieces.add('[');
      for (const [i, item] of value.values.entries()) {
        if (i > 0) pieces.add(',');
        compileValue(item, context, pieces);
      }
      pieces.add(']');
  }
};

/** Adds a value; false where there is none, and nothing was added. */
type WriteValue = (call: EndedCall, line: LineBytes) => boolean;

const braces = [bytesOf('{'), bytesOf('}')] as const;
const brackets = [bytesOf('['), bytesOf(']')] as const;
const comma = bytesOf(',');

/** An object without the fields that have no value; at the top it is there even where it is empty. */
const objectWithoutEmpty = (fields: readonly AccessLogField[], context: LogContext): WriteValue => {
  const writers = fields.map(({ key, value }) => ({ key: bytesOf(`${jsonText(key)}:`), write: valueWithoutEmpty(value, context) }));
  return (call, line) => {
    let any = false;
    line.addConstant(braces[0]);
    for (const { key, write } of writers) {
      const before = line.length;
      if (any) line.addConstant(comma);
      line.addConstant(key);
      if (write(call, line)) any = true;
      else line.length = before;
    }
    line.addConstant(braces[1]);
    return any;
  };
};

const valueWithoutEmpty = (value: AccessLogValue, context: LogContext): WriteValue => {
  switch (value.kind) {
    case 'constant': {
      const constant = bytesOf(constantText(value.value));
      return (_call, line) => {
        line.addConstant(constant);
        return value.value !== null;
      };
    }
    case 'operator': {
      const read = readerOf(value.operator, context);
      return (call, line) => {
        const found = read(call);
        addValue(found, line);
        return found !== undefined;
      };
    }
    case 'text': {
      const write = jsonTextOf(value.parts, context, '');
      return (call, line) => {
        write(call, line);
        return true;
      };
    }
    case 'object':
      return objectWithoutEmpty(value.fields, context);
    case 'list': {
      const items = value.values.map((item) => valueWithoutEmpty(item, context));
      return (call, line) => {
        line.addConstant(brackets[0]);
        for (const [i, write] of items.entries()) {
          if (i > 0) line.addConstant(comma);
          const before = line.length;
          if (write(call, line)) continue;
          line.length = before;
          line.addConstant(nullBytes);
        }
        line.addConstant(brackets[1]);
        return true;
      };
    }
  }
};
