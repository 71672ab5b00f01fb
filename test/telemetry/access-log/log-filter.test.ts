import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileFilter } from '../../../src/telemetry/access-log/log-filter.ts';
import { seededRandom } from '../../harness/seeded-random.ts';
import { tableOf } from '../../policy/policy-harness.ts';
import { type CallFields, endedCall } from './ended-call.ts';

/** Whether a filter of a policy file wants a call. */
const filterOf = (filter: string, random: () => number = () => 0.5): ((call?: CallFields) => boolean) => {
  const [policy] = tableOf(`access_log: [{ name: envoy.access_loggers.stdout, filter: ${filter} }]\n`).accessLogs.outbound ?? [];
  assert.ok(policy?.filter);
  const wants = compileFilter(policy.filter, random);
  return (call) => wants(endedCall(call));
};

/** The same of our short form. */
const shortOf = (keys: string, random: () => number = () => 0.5): ((call?: CallFields) => boolean) => {
  const [policy] = tableOf(`access_log: { ${keys} }\n`).accessLogs.outbound ?? [];
  const wants = policy?.filter === undefined ? () => true : compileFilter(policy.filter, random);
  return (call) => wants(endedCall(call));
};

const comparison = (op: string, value: number): string => `{ comparison: { op: ${op}, value: { default_value: ${value} } } }`;

test('a duration is compared in whole milliseconds', () => {
  for (const [op, expected] of [
    ['EQ', [false, true, false]],
    ['NE', [true, false, true]],
    ['GE', [false, true, true]],
    ['LE', [true, true, false]],
  ] as const) {
    const wants = filterOf(`{ duration_filter: ${comparison(op, 500)} }`);
    assert.deepEqual(
      [499.9, 500.4, 501].map((durationMs) => wants({ durationMs })),
      expected,
      op,
    );
  }
});

test('a status of HTTP is that of the answer', () => {
  const wants = filterOf(`{ status_code_filter: ${comparison('GE', 400)} }`);
  assert.deepEqual(
    [0, 200, 415].map((httpStatus) => wants({ httpStatus })),
    [false, false, true],
  );
});

test('statuses of gRPC are chosen, or excluded', () => {
  const wants = filterOf('{ grpc_status_filter: { statuses: [UNAVAILABLE, CANCELED] } }');
  const others = filterOf('{ grpc_status_filter: { statuses: [OK], exclude: true } }');
  assert.deepEqual(
    [0, 1, 14, 5].map((grpcStatus) => [wants({ grpcStatus }), others({ grpcStatus })]),
    [
      [false, false],
      [true, true],
      [true, true],
      [false, true],
    ],
  );
});

test('flags are chosen, or any flag at all', () => {
  const some = filterOf('{ response_flag_filter: { flags: [UH, NR] } }');
  const any = filterOf('{ response_flag_filter: {} }');
  assert.deepEqual(
    (['ok', 'no_route', 'route_timeout'] as const).map((fate) => [some({ fate }), any({ fate })]),
    [
      [false, false],
      [true, true],
      [false, true],
    ],
  );
});

test('a header of the request is asked as in routes', () => {
  const wants = filterOf('{ header_filter: { header: { name: X-Tier, exact_match: gold } } }');
  assert.deepEqual([wants(), wants({ headers: { 'x-tier': 'gold' } }), wants({ headers: { 'x-tier': 'tin' } })], [false, true, false]);
});

test('calls for health, and calls without a recorded trace, can be left out', () => {
  const wants = filterOf('{ not_health_check_filter: {} }');
  assert.deepEqual(
    [wants(), wants({ path: '/grpc.health.v1.Health/Check' }), wants({ path: '/grpc.health.v1.Healthy/Get' })],
    [true, false, true],
  );
  const traced = filterOf('{ traceable_filter: {} }');
  assert.deepEqual([traced(), traced({ sampled: true })], [false, true]);
});

test('filters are joined', () => {
  const filter = (kind: string): string =>
    `{ ${kind}: { filters: [{ traceable_filter: {} }, { and_filter: { filters: [{ not_health_check_filter: {} }, { response_flag_filter: {} }] } }] } }`;
  const calls: CallFields[] = [{}, { sampled: true }, { fate: 'no_route' }, { sampled: true, fate: 'no_route' }];
  assert.deepEqual(calls.map(filterOf(filter('and_filter'))), [false, false, false, true]);
  assert.deepEqual(calls.map(filterOf(filter('or_filter'))), [false, true, true, true]);
});

test('a share of the calls is the same in every sidecar, and the one that Envoy takes', () => {
  const wants = filterOf('{ runtime_filter: { percent_sampled: { numerator: 25, denominator: HUNDRED } } }', () => 1);
  const id = (first: string) => wants({ headers: { 'x-request-id': `${first}-4b53-4b1e-9c9b-9d6f0a4b1e9c` } });
  // 0x18 is 24, 0x19 is 25, 0x7c is 124.
  assert.deepEqual(['00000018', '00000019', '0000007c', '0000007D'].map(id), [true, false, true, false]);
  assert.equal(wants({ headers: { 'x-request-id': 'not hexadecimal' } }), false);
});

test('without an x-request-id, or with independent randomness, chance chooses the share', () => {
  for (const keys of ['', ', use_independent_randomness: true']) {
    const wants = filterOf(
      `{ runtime_filter: { percent_sampled: { numerator: 300, denominator: TEN_THOUSAND }${keys} } }`,
      seededRandom(7),
    );
    const headers = keys === '' ? {} : { 'x-request-id': '00000000-4b53-4b1e-9c9b-9d6f0a4b1e9c' };
    let chosen = 0;
    for (let i = 0; i < 20_000; i++) if (wants({ headers })) chosen++;
    assert.ok(chosen > 450 && chosen < 750, `${chosen} of 20,000`);
  }
});

test('no share at all takes no call, and all of them take every call', () => {
  assert.equal(filterOf('{ runtime_filter: {} }', () => 0)(), false);
  assert.equal(filterOf('{ runtime_filter: { percent_sampled: 100 } }', () => 0.999_999)(), true);
  assert.equal(shortOf('sample: 0%', () => 0)(), false);
  assert.equal(shortOf('sample: 100%', () => 0.999_999)(), true);
});

test('the short form takes a share by chance, every failure, and what is slow', () => {
  const unlucky = () => 0.5;
  const wants = shortOf('sample: 1%, slower_than: 500ms', unlucky);
  assert.deepEqual(
    [{}, { fate: 'cancelled' }, { fate: 'app_error', grpcStatus: 5 }, { fate: 'no_route' }, { durationMs: 500 }].map((call) =>
      wants(call as CallFields),
    ),
    [false, false, true, true, true],
  );
  assert.equal(shortOf('sample: 1%', () => 0.009)(), true);
  assert.equal(shortOf('sample: 1%, always_on_failure: false', unlucky)({ fate: 'no_route' }), false);
  assert.equal(shortOf('{}'.slice(1, -1), () => 1)(), true);
});
