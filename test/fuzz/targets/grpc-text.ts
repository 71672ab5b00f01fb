import assert from 'node:assert/strict';
import { formatDurationMs, parseDurationMs } from '../../../src/core/index.ts';
import {
  decodeGrpcMessage,
  encodeGrpcMessage,
  isGrpcContentType,
  isGrpcPath,
  isGrpcPathBytes,
  longestGrpcMessageBytes,
  longestGrpcTimeoutBytes,
  parseGrpcStatus,
  parseGrpcTimeoutMs,
  writeGrpcTimeout,
} from '../../../src/grpc/index.ts';
import { FieldFlag, HeaderBlock, statusOf, Token } from '../../../src/http2/index.ts';
import { requestProblem, responseProblem, trailersProblem } from '../../../src/http2/message-rules.ts';
import { clusterOfAuthority } from '../../../src/proxy/bound-table.ts';
import { headerListBytes, sanitizeRequest } from '../../../src/proxy/headers.ts';
import { parseRetryOn } from '../../../src/resilience/index.ts';
import { mutateWords } from '../mutators/text.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const vocabulary = [
  ...['0', '1', '9', '99999999', '100000000', 'H', 'M', 'S', 'm', 'u', 'n', '-', '+', ' ', '.', '1e3', '10S', '1n', '500m'],
  ...['%', '%2', '%20', '%C3%A9', '%ff', '%zz', '\u00c3\u00a9', '\u00ff', '\u0000', '\r\n', '\u007f'],
  ...['/', '//', '/acme.Echo/Call', '.', '..', '?', '#', ';', '\\', '%2f', '*', 'a', '_', '-'],
  ...['application/grpc', '+proto', ';charset=utf-8', '\t', 'APPLICATION', '-web', 'text/html', ','],
  ...['5xx', 'reset', 'cancelled', 'unavailable', 'constructor', '__proto__', 'echo:80', '[::1]:80', ':', '[', ']', 'user@'],
  ...[
    '\n:method: POST',
    '\n:path: /acme.Echo/Call',
    '\n:scheme: http',
    '\n:authority: echo',
    '\nhost: echo',
    '\n:status: 200',
    '\nte: trailers',
    '\nte: gzip',
  ],
  ...[
    '\ncontent-length: 5',
    '\nconnection: close',
    '\nx-envoy-a: b',
    '\nx-outrider-reason: x',
    '\nx-forwarded-for: y',
    '\nUpper: x',
    '\n: x',
    '\n:odd: x',
    '\nx: ',
  ],
];

/** What is read out of header values and other short texts: each reader against its grammar, written a second time as a regular expression. */
export class GrpcTextTarget implements FuzzTarget {
  readonly name = 'grpc-text';
  readonly longestInputBytes = 3_000;

  seeds(): readonly Buffer[] {
    const headers = ':method: POST\n:scheme: http\n:path: /acme.Echo/Call\n:authority: echo\nte: trailers\ncontent-type: application/grpc';
    return [
      '',
      ...vocabulary,
      headers,
      `${headers}\nx-envoy-retry-on: 5xx\nx-forwarded-proto: https\nx-a: b`,
      ':status: 200\ncontent-type: application/grpc',
    ].map((text) => Buffer.from(text, 'latin1'));
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return mutateWords(random, input, other, vocabulary);
  }

  run(input: Buffer): void {
    const text = input.toString('latin1');
    // In the midst of other digits, so that a reader that leaves its range shows it.
    const around = Buffer.concat([Buffer.from('99'), input, Buffer.from('99')]);
    const [start, end] = [2, 2 + input.length];
    checkTimeout(text, around, start, end);
    checkMessage(text, input);
    checkShapes(text, around, start, end);
    checkDuration(text);
    const { unknown } = parseRetryOn(text);
    assert.ok(unknown.every((word) => text.includes(word)));
    assert.equal(typeof clusterOfAuthority(text), 'string');
    checkHeaders(text);
  }
}

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

const checkTimeout = (text: string, bytes: Buffer, start: number, end: number): void => {
  const parts = /^([0-9]{1,8})([HMSmun])$/.exec(text);
  const ms = parseGrpcTimeoutMs(bytes, start, end);
  if (parts === null || text.endsWith('\n')) {
    assert.equal(ms, -1, 'no timeout');
    return;
  }
  const expectedMs = Number(parts[1]) * (unitMs[parts[2] as string] as number);
  assert.ok(Math.abs(ms - expectedMs) <= expectedMs * 1e-12, `${ms} for ${text}`);
  const out = Buffer.alloc(longestGrpcTimeoutBytes + 2, 0xaa);
  const wroteEnd = writeGrpcTimeout(ms, out, 1);
  assert.ok(wroteEnd - 1 <= longestGrpcTimeoutBytes && out[0] === 0xaa && out[wroteEnd] === 0xaa, 'written within its room');
  const againMs = parseGrpcTimeoutMs(out, 1, wroteEnd);
  // 0 is written as the shortest there is.
  assert.ok(ms === 0 ? againMs === 1e-6 : againMs <= ms && againMs >= ms * (1 - 1e-5), `${ms} became ${againMs}`);
};

const checkMessage = (text: string, input: Buffer): void => {
  assert.ok(decodeGrpcMessage(text).isWellFormed());
  const unicode = new TextDecoder('utf-8', { ignoreBOM: true }).decode(input);
  const encoded = encodeGrpcMessage(unicode);
  assert.match(encoded, /^[\u0020-\u007e]*$/);
  assert.ok(encoded.length <= longestGrpcMessageBytes);
  if (encodeGrpcMessage(unicode, 1e9).length <= longestGrpcMessageBytes) assert.equal(decodeGrpcMessage(encoded), unicode);
  else {
    const decoded = decodeGrpcMessage(encoded);
    assert.ok(decoded.endsWith('...') && unicode.startsWith(decoded.slice(0, -3)), 'cut between two characters');
  }
  for (const longest of [0, 1, 3, 4, 9]) assert.ok(encodeGrpcMessage(unicode, longest).length <= longest, `within ${longest} bytes`);
};

const checkShapes = (text: string, bytes: Buffer, start: number, end: number): void => {
  const names = text.split('/');
  const isName = (part: string) => part !== '' && part.split('.').every((name) => /^[A-Za-z0-9_-]+$/.test(name) && !name.endsWith('\n'));
  const isPath = names.length === 3 && names[0] === '' && isName(names[1] as string) && isName(names[2] as string);
  assert.equal(isGrpcPathBytes(bytes, start, end), isPath, 'path');
  assert.equal(isGrpcPath(text), isPath, 'path as text');
  assert.equal(
    isGrpcContentType(bytes, start, end),
    /^application\/grpc(?:\+.*|[ \t]*;.*)?$/is.test(text) && text.trimEnd() !== 'application/grpc\n',
    'content-type',
  );
  assert.equal(parseGrpcStatus(bytes, start, end), /^[0-9]{1,9}$/.test(text) ? Number(text) : -1, 'grpc-status');
};

const checkDuration = (text: string): void => {
  const ms = parseDurationMs(text);
  if (ms === undefined) return;
  assert.ok(Number.isFinite(ms) || text.length > 100, text);
  if (Number.isFinite(ms) && Math.abs(ms) < 1e15 && Math.abs(ms) >= 1)
    assert.ok(Math.abs((parseDurationMs(formatDurationMs(ms)) ?? Number.NaN) - ms) <= 1, text);
};

const proxyOwned = /^(?:x-envoy-.*|x-outrider-.*|x-forwarded-.*)$/s;

/** The text as headers, `name: value` on each line. */
const checkHeaders = (text: string): void => {
  const block = new HeaderBlock();
  const fields: [name: string, value: string][] = [];
  for (const line of text.split('\n').slice(0, 200)) {
    const at = line.indexOf(': ');
    if (at < 0) continue;
    const field: [string, string] = [line.slice(0, at), line.slice(at + 2)];
    block.addNamed(...field);
    // A character that no field may hold is written as `?`.
    fields.push(field.map((part) => part.replaceAll('\u0000', '?').replaceAll('\r', '?')) as [string, string]);
  }
  assert.deepEqual(block.toPairs(), fields);
  assert.equal(
    block.listSizeBytes,
    fields.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0),
  );
  const copy = new HeaderBlock();
  const copied = () => {
    copy.copyFrom(block);
    return copy;
  };
  checkRules(fields, requestProblem(copied()), responseProblem(copied()), trailersProblem(copied()));
  const status = statusOf(copied());
  const written = fields.find(([name]) => name === ':status')?.[1];
  assert.equal(status, written !== undefined && /^[1-9][0-9]{2}$/.test(written) ? Number(written) : -1, ':status');

  sanitizeRequest(block);
  const left = block.toPairs();
  assert.deepEqual(
    left.filter(([name]) => name !== 'te'),
    fields.filter(([name]) => !proxyOwned.test(name) && name !== 'te'),
    'what a sender may say goes on, in order',
  );
  assert.ok(
    left.some(([name]) => name === 'te'),
    'te is there',
  );
  assert.equal(
    headerListBytes(block),
    left.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0),
  );
  for (let i = 0; i < block.count; i++)
    assert.ok((block.flags[i] as number) & FieldFlag.dropped || block.tokens[i] !== Token.xForwardedClientCert);
};

/** RFC 9113 8.2 and 8.3, as far as they forbid without exception: whatever breaks them must be refused. */
const checkRules = (
  fields: readonly (readonly [string, string])[],
  ofRequest: string | undefined,
  ofResponse: string | undefined,
  ofTrailers: string | undefined,
): void => {
  const count = (name: string) => fields.filter(([one]) => one === name).length;
  const firstRegular = fields.findIndex(([name]) => !name.startsWith(':'));
  const bad =
    fields.some(([name]) => !/^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) || name.endsWith('\n')) ||
    fields.some(([, value]) => /^[ \t]|[ \t]$/.test(value)) ||
    ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].some((name) => count(name) > 0) ||
    (firstRegular >= 0 && fields.slice(firstRegular).some(([name]) => name.startsWith(':')));
  const pseudo = fields.filter(([name]) => name.startsWith(':')).map(([name]) => name);
  const requestPseudo = [':method', ':scheme', ':path', ':authority'];
  if (
    bad ||
    pseudo.some((name) => !requestPseudo.includes(name)) ||
    [':method', ':scheme', ':path'].some((name) => count(name) !== 1) ||
    count(':authority') > 1
  )
    assert.notEqual(ofRequest, undefined, 'a malformed request is refused');
  if (bad || pseudo.some((name) => name !== ':status') || count(':status') !== 1)
    assert.notEqual(ofResponse, undefined, 'a malformed response is refused');
  if (bad || pseudo.length > 0) assert.notEqual(ofTrailers, undefined, 'malformed trailers are refused');
  if (fields.length === 0) assert.equal(ofTrailers, undefined, 'empty trailers are none the worse');
};
