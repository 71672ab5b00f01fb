import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fates, reasons } from '../../src/core/index.ts';
import {
  applicationOnlyStatuses,
  GrpcStatus,
  parseGrpcStatus,
  reasonTable,
  statusFromHttp,
  statusFromReset,
  statusName,
  statusOfName,
  statusOfReason,
} from '../../src/grpc/index.ts';

const parse = (text: string): number => {
  const bytes = new TextEncoder().encode(`<${text}>`);
  return parseGrpcStatus(bytes, 1, bytes.length - 1);
};

test('a status is read from its digits, also one that nobody knows', () => {
  fc.assert(fc.property(fc.nat(999_999_999), (code) => assert.equal(parse(String(code)), code)));
  assert.equal(parse('00'), 0);
});

test('a malformed status is never OK', () => {
  for (const text of ['', ' 0', '0 ', '-0', '+0', 'OK', '0x0', '1e1', '9999999999', '\u0000']) assert.equal(parse(text), -1, text);
});

test('names and codes belong together, and a code that nobody knows mints no new name', () => {
  for (const [name, code] of Object.entries(GrpcStatus)) {
    assert.equal(statusName(code), name);
    assert.equal(statusOfName(name.toLowerCase().replaceAll('_', '-')), code);
  }
  for (const code of [17, -1, 1e9, 0.5, Number.NaN]) assert.equal(statusName(code), 'UNKNOWN');
  assert.equal(statusOfName('nonsense'), undefined);
});

test('an answer without status is read by its HTTP status, as the specification maps it', () => {
  const table = new Map<number, number>([
    [400, GrpcStatus.INTERNAL],
    [431, GrpcStatus.INTERNAL],
    [401, GrpcStatus.UNAUTHENTICATED],
    [403, GrpcStatus.PERMISSION_DENIED],
    [404, GrpcStatus.UNIMPLEMENTED],
    [429, GrpcStatus.UNAVAILABLE],
    [502, GrpcStatus.UNAVAILABLE],
    [503, GrpcStatus.UNAVAILABLE],
    [504, GrpcStatus.UNAVAILABLE],
  ]);
  for (let http = 100; http < 600; http++) assert.equal(statusFromHttp(http), table.get(http) ?? GrpcStatus.UNKNOWN, String(http));
});

test('a reset is read by its error code, as the specification maps it', () => {
  const table = new Map<number, number>([
    [0x7, GrpcStatus.UNAVAILABLE],
    [0x8, GrpcStatus.CANCELLED],
    [0xb, GrpcStatus.RESOURCE_EXHAUSTED],
    [0xc, GrpcStatus.PERMISSION_DENIED],
  ]);
  for (let code = 0; code <= 0x20; code++) assert.equal(statusFromReset(code), table.get(code) ?? GrpcStatus.INTERNAL, String(code));
});

test('nothing that Outrider says by itself is a status that only an application can know', () => {
  for (const reason of reasons) assert.ok(!applicationOnlyStatuses.has(statusOfReason(reason)), reason);
  for (let http = 0; http < 1_000; http++) assert.ok(!applicationOnlyStatuses.has(statusFromHttp(http)));
  for (let code = 0; code < 256; code++) assert.ok(!applicationOnlyStatuses.has(statusFromReset(code)));
});

test('each reason has the status that the contract gives it', () => {
  const contract: Readonly<Record<string, string>> = {
    no_route: 'UNIMPLEMENTED',
    ...group(
      'UNAVAILABLE',
      'no_cluster no_endpoint connect_failure connection_lost tls_handshake_failed tls_peer_not_allowed circuit_open draining',
    ),
    ...group('DEADLINE_EXCEEDED', 'caller_deadline route_timeout per_try_timeout idle_timeout max_stream_duration'),
    ...group(
      'RESOURCE_EXHAUSTED',
      'too_many_requests too_many_pending rate_limited all_instances_busy message_too_large headers_too_large overloaded',
    ),
    flush_timeout: 'CANCELLED',
    unauthenticated: 'UNAUTHENTICATED',
    denied: 'PERMISSION_DENIED',
    malformed_request: 'INTERNAL',
  };
  for (const [reason, name] of Object.entries(contract))
    assert.equal(statusName(statusOfReason(reason as (typeof reasons)[number])), name, reason);
  const others = reasons.filter((reason) => !(reason in contract));
  assert.deepEqual(others, ['fault_injected', 'missing_status', 'unsupported_content_type', 'upstream_reset']);
  for (const reason of others) assert.ok(reasonTable[reason].varies === true || reasonTable[reason].httpStatus === 415, reason);
  assert.equal(new Set(fates).size, fates.length);
});

function group(status: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(' ').map((name) => [name, status]));
}
