import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type AccessLogFormat, accessLogOperators } from '../../../src/policy/index.ts';
import { LineBytes } from '../../../src/telemetry/access-log/line-bytes.ts';
import { compileFormat } from '../../../src/telemetry/access-log/log-format.ts';
import { cut, decodeHeader, jsonText } from '../../../src/telemetry/access-log/log-text.ts';
import type { LogContext } from '../../../src/telemetry/access-log/operators.ts';
import { tableOf } from '../../policy/policy-harness.ts';
import { type CallFields, endedCall } from './ended-call.ts';

const context: LogContext = { serviceName: 'web', hostname: 'host-1', wallNow: () => Date.UTC(2026, 1, 3, 4, 5, 7) };

const formatted = (format: AccessLogFormat | undefined, call: CallFields): string => {
  const line = new LineBytes();
  compileFormat(format, context)(endedCall(call), line);
  return line.toString();
};

/** The line of a call in the format that a policy file has. */
const lineOf = (logFormat: string, call: CallFields = {}): string => {
  const [policy] =
    tableOf(`access_log: [{ name: envoy.access_loggers.stdout, typed_config: { log_format: ${logFormat} } }]\n`).accessLogs.outbound ?? [];
  return formatted(policy?.format, call);
};
const json = (fields: string, call: CallFields = {}): unknown => JSON.parse(lineOf(`{ json_format: ${fields} }`, call));
const readAs = (text: string, call: CallFields = {}): unknown => (json(`{ v: ${JSON.stringify(text)} }`, call) as { v: unknown }).v;
const defaultLine = (call: CallFields = {}): string => formatted(undefined, call);

/** Whatever ends a line for some reader, or controls a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
const unsafe = /[\0-\x1f\x7f-\x9f\u2028\u2029]/;

const identity = {
  uriSans: ['spiffe://mesh.local/service/web', 'https://web'],
  dnsSans: ['web', 'web.default'],
  ipSans: ['127.0.0.1'],
  subject: 'CN=web',
  fingerprint256: 'ab12',
  notAfterMs: 0,
  serial: '7f',
  issuer: '30',
};

test("without a format a line has Envoy's names, and ours", () => {
  const call = { direction: 'inbound', headers: { 'user-agent': 'grpc-go/1.80', 'x-request-id': 'r-1' }, traceId: 'a'.repeat(32) } as const;
  assert.deepEqual(JSON.parse(defaultLine({ ...call, peerIdentity: identity, requestedServerName: 'cart.mesh' })), {
    start_time: '2026-02-03T04:05:06.789Z',
    direction: 'inbound',
    method: 'POST',
    path: '/shop.Cart/Get',
    protocol: 'HTTP/2',
    authority: 'cart',
    response_code: 200,
    response_code_details: 'via_upstream',
    response_flags: '-',
    grpc_status: 'OK',
    fate: 'ok',
    message: null,
    duration: 12,
    bytes_received: 10,
    bytes_sent: 20,
    upstream_cluster: 'cart',
    upstream_host: '10.0.0.4:50051',
    upstream_request_attempt_count: 1,
    upstream_transport_failure_reason: null,
    route_name: 'cart-route',
    route: 'mesh.yaml:7',
    user_agent: 'grpc-go/1.80',
    x_request_id: 'r-1',
    trace_id: 'a'.repeat(32),
    downstream_remote_address: '127.0.0.1:40312',
    downstream_peer_uri_san: 'spiffe://mesh.local/service/web,https://web',
    requested_server_name: 'cart.mesh',
  });
});

test('a call that failed says why, where, and after how many attempts', () => {
  const line = JSON.parse(
    defaultLine({
      fate: 'connect_failure',
      grpcStatus: 14,
      replyMessage: 'cluster cart: connect ECONNREFUSED',
      attempts: 3,
      retriesExhausted: true,
      bytesSent: 0,
    }),
  );
  const { response_flags, response_code_details, grpc_status, fate, message, upstream_transport_failure_reason } = line;
  assert.deepEqual(
    { response_flags, response_code_details, grpc_status, fate, message, upstream_transport_failure_reason },
    {
      response_flags: 'UF,URX',
      response_code_details: 'upstream_reset_before_response_started{connection_failure}',
      grpc_status: 'UNAVAILABLE',
      fate: 'connect_failure',
      message: 'cluster cart: connect ECONNREFUSED',
      upstream_transport_failure_reason: 'cluster cart: connect ECONNREFUSED',
    },
  );
});

const full: CallFields = {
  peerIdentity: identity,
  requestedServerName: 'cart.mesh',
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  replyMessage: 'why',
  fate: 'tls_handshake_failed',
  grpcStatus: 14,
  headers: { 'x-a': '1' },
};

for (const [text, expected] of [
  ['%START_TIME%', '2026-02-03T04:05:06.789Z'],
  ['%START_TIME(%Y/%m/%dT%H:%M:%S%z)%', '2026/02/03T04:05:06+0000'],
  ['%START_TIME(%s.%3f)%', '1770091506.789'],
  [
    '%START_TIME(%F %T %9f %% %j %a %b %e %I%p %y %D %B %Z)%',
    '2026-02-03 04:05:06 789000000 % 034 Tue Feb  3 04AM 26 02/03/26 February UTC',
  ],
  ['%EMIT_TIME%', '2026-02-03T04:05:07.000Z'],
  ['%REQ(X-A)%', '1'],
  ['%REQUEST_HEADER(X-B?X-A)%', '1'],
  ['%REQ(X-B)%', null],
  ['%REQ(:METHOD)%', 'POST'],
  ['%REQ(:PATH):5%', '/shop'],
  ['%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%', '/shop.Cart/Get'],
  ['%REQ(:AUTHORITY)%', 'cart'],
  ['%RESP(GRPC-STATUS)%', 14],
  ['%RESP(:STATUS)%', 200],
  ['%TRAILER(GRPC-MESSAGE)%', 'why'],
  ['%RESPONSE_TRAILER(X-OUTRIDER-REASON)%', 'tls_handshake_failed'],
  ['%RESPONSE_HEADER(X-OTHER?GRPC-STATUS)%', 14],
  ['%PROTOCOL%', 'HTTP/2'],
  ['%UPSTREAM_PROTOCOL%', 'HTTP/2'],
  ['%RESPONSE_CODE%', 200],
  ['%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%', 'upstream_reset_after_response_started{connection_failure}'],
  ['%RESPONSE_FLAGS%', 'UF'],
  ['%RESPONSE_FLAGS_LONG%', 'UpstreamConnectionFailure'],
  ['%GRPC_STATUS%', 'Unavailable'],
  ['%GRPC_STATUS(SNAKE_STRING)%', 'UNAVAILABLE'],
  ['%GRPC_STATUS(NUMBER)%', 14],
  ['%GRPC_STATUS_NUMBER%', 14],
  ['%BYTES_RECEIVED%', 10],
  ['%BYTES_SENT%', 20],
  ['%DURATION%', 12],
  ['%ROUTE_NAME%', 'cart-route'],
  ['%UPSTREAM_HOST%', '10.0.0.4:50051'],
  ['%UPSTREAM_REMOTE_ADDRESS%', '10.0.0.4:50051'],
  ['%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', '10.0.0.4'],
  ['%UPSTREAM_REMOTE_PORT%', 50_051],
  ['%UPSTREAM_CLUSTER%', 'cart'],
  ['%UPSTREAM_CLUSTER_RAW%', 'cart'],
  ['%UPSTREAM_REQUEST_ATTEMPT_COUNT%', 1],
  ['%UPSTREAM_TRANSPORT_FAILURE_REASON%', 'why'],
  ['%DOWNSTREAM_REMOTE_ADDRESS%', '127.0.0.1:40312'],
  ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', '127.0.0.1'],
  ['%DOWNSTREAM_REMOTE_PORT%', 40_312],
  ['%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%', '127.0.0.1:40312'],
  ['%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%', '127.0.0.1'],
  ['%DOWNSTREAM_DIRECT_REMOTE_PORT%', 40_312],
  ['%DOWNSTREAM_PEER_URI_SAN%', 'spiffe://mesh.local/service/web,https://web'],
  ['%DOWNSTREAM_PEER_DNS_SAN%', 'web,web.default'],
  ['%DOWNSTREAM_PEER_IP_SAN%', '127.0.0.1'],
  ['%DOWNSTREAM_PEER_SUBJECT%', 'CN=web'],
  ['%DOWNSTREAM_PEER_SERIAL%', '7f'],
  ['%DOWNSTREAM_PEER_FINGERPRINT_256%', 'ab12'],
  ['%REQUESTED_SERVER_NAME%', 'cart.mesh'],
  ['%TRACE_ID%', 'a'.repeat(32)],
  ['%SPAN_ID%', 'b'.repeat(16)],
  ['%HOSTNAME%', 'host-1'],
  ['%DIRECTION%', 'outbound'],
  ['%FATE%', 'tls_handshake_failed'],
  ['%MESSAGE%', 'why'],
  ['%ROUTE_LOCATION%', 'mesh.yaml:7'],
  ['%SERVICE_NAME%', 'web'],
] as const) {
  test(`${text} is ${JSON.stringify(expected)}`, () => assert.deepEqual(readAs(text, full), expected));
}

test('a status is called as Envoy calls it', () => {
  const named = (grpcStatus: number) => readAs('%GRPC_STATUS%', { grpcStatus });
  assert.deepEqual([0, 1, 3, 4, 16, 99].map(named), [
    'OK',
    'Canceled',
    'InvalidArgument',
    'DeadlineExceeded',
    'Unauthenticated',
    'Unknown',
  ]);
});

test('every operator has no value, and not a wrong one, where the call has nothing of it', () => {
  const nothing: CallFields = {
    path: '',
    authority: '',
    routeName: undefined,
    routeLocation: undefined,
    cluster: undefined,
    endpoint: undefined,
    fate: 'cancelled',
    httpStatus: 0,
  };
  const argument: Readonly<Record<string, string>> = { headers: '(X-NONE)', time: '', status: '', nothing: '', blanks: '' };
  for (const [name, takes] of Object.entries(accessLogOperators)) {
    const value = readAs(`%${name}${argument[takes]}%`, nothing);
    assert.ok(
      value === null || typeof value === 'number' || (typeof value === 'string' && value !== '' && value !== 'undefined'),
      `${name}: ${value}`,
    );
  }
});

test('one operator alone keeps its type; among text it is text, with - for nothing', () => {
  assert.deepEqual(json('{ a: "%DURATION%", b: "%DURATION% ms", c: "%REQ(X-B)%", d: "<%REQ(X-B)%>", e: "100%%", f: "" }'), {
    a: 12,
    b: '12 ms',
    c: null,
    d: '<->',
    e: '100%',
    f: '',
  });
  assert.deepEqual(json('{ a: { b: ["%FATE%", 1, true, null, { c: "%DURATION%" }] } }'), { a: { b: ['ok', 1, true, null, { c: 12 }] } });
});

test('fields without a value can be left out', () => {
  const line = lineOf(
    '{ omit_empty_values: true, json_format: { a: "%REQ(X-B)%", b: "%DURATION%", c: { d: "%MESSAGE%" }, e: "<%MESSAGE%>", f: ["%MESSAGE%"], g: x } }',
  );
  assert.equal(line, '{"b":12,"e":"<>","f":[null],"g":"x"}');
  assert.equal(lineOf('{ omit_empty_values: true, json_format: { a: "%MESSAGE%" } }'), '{}');
});

test('a line of text has its values in the place of the operators', () => {
  const format = '"[%START_TIME%] \\"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\\" %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%\\n"';
  assert.equal(lineOf(`{ text_format: ${format} }`), '[2026-02-03T04:05:06.789Z] "POST /shop.Cart/Get HTTP/2" 200 - 12');
  assert.equal(lineOf('{ text_format: "<%MESSAGE%>", omit_empty_values: true }'), '<>');
  assert.equal(lineOf('{ text_format_source: { inline_string: "%REQ(X-A)%" } }', { headers: { 'x-a': 'a "b"\\c' } }), 'a \\"b\\"\\\\c');
});

test('whatever a caller sends is one line, and reads as what it sent', () => {
  const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array).toString('latin1'));
  fc.assert(
    fc.property(bytes, fc.string({ unit: 'binary', maxLength: 400 }), (path, message) => {
      const call = { path: `/${path}`, headers: { 'user-agent': path }, replyMessage: message, fate: 'no_route' } as const;
      const line = defaultLine(call);
      assert.doesNotMatch(line, unsafe);
      const parsed = JSON.parse(line);
      assert.equal(parsed.path, decodeHeader(`/${path}`));
      assert.equal(parsed.user_agent, path === '' ? null : decodeHeader(path));
      assert.equal(parsed.message, message === '' ? null : message);
      const text = lineOf('{ text_format: "%REQ(:PATH)% %MESSAGE%" }', call);
      assert.doesNotMatch(text, unsafe);
    }),
    { numRuns: 300 },
  );
});

test('bytes that are no UTF-8, separators of lines and controls that turn text around are escaped', () => {
  assert.equal(jsonText('a\nb\u2028c\u0085d\u202ee\ud800'), '"a\\nb\\u2028c\\u0085d\\u202ee\\ud800"');
  assert.equal(decodeHeader('caf\u00c3\u00a9 \u00ff'), 'café \ufffd');
  assert.equal(readAs('%REQ(X-A)%', { headers: { 'x-a': '","fate":"ok' } }), '","fate":"ok');
});

test('long values are cut, with a mark where nobody asked for that', () => {
  const long = 'x'.repeat(5_000);
  assert.equal(readAs('%REQ(X-A)%', { headers: { 'x-a': long } }), `${'x'.repeat(1_024)}...`);
  assert.equal(readAs('%REQ(X-A):10%', { headers: { 'x-a': long } }), 'x'.repeat(10));
  assert.equal(readAs('%REQ(X-A):2000%', { headers: { 'x-a': long } }), 'x'.repeat(2_000));
  assert.equal(cut(`${'x'.repeat(9)}\u{1f600}`, 10), 'x'.repeat(9));
  assert.ok(defaultLine({ path: `/${long}`, replyMessage: long, fate: 'no_route', headers: { 'user-agent': long } }).length < 5_000);
});

test('credentials are in no line that does not name them', () => {
  const secret = 'Bearer s3cr3t';
  const headers = { authorization: secret, cookie: secret, 'proxy-authorization': secret, 'set-cookie': secret };
  assert.ok(!defaultLine({ headers }).includes('s3cr3t'));
  assert.equal(readAs('%REQ(Authorization)%', { headers }), secret);
});
