import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CallOutcome, Ledger } from '../../src/demo/ledger.ts';
import { clip, type DemoView, formatSummary, plainLine, renderScreen, summarize, wrap } from '../../src/demo/screen.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
const bare = (line: string): string => line.replaceAll(/\x1b\[[0-9;]*m/g, '');

const outcome = (changes: Partial<CallOutcome> = {}): CallOutcome => ({
  method: 'GetProfile',
  service: 'learner-svc',
  startedMs: 0,
  durationMs: 2,
  result: 'ok',
  reason: '',
  message: '',
  passes: 2,
  ...changes,
});

const ledgerOf = (outcomes: readonly CallOutcome[], isExpected = true): Ledger => {
  const ledger = new Ledger(() => isExpected);
  for (const each of outcomes) ledger.record(each);
  return ledger;
};

const viewOf = (ledger: Ledger, changes: Partial<DemoView> = {}): DemoView => ({
  elapsedMs: 65_000,
  callsPerSecond: 30,
  inFlight: 1,
  retries: 7,
  cpuMs: 30,
  ledger,
  readings: new Map([['demo-client', new Map([['learner-svc', { breaker: 'OPEN', requests: 40, retries: 7, endpoints: 1 }]])]]),
  catalogue: new Map([
    ['auth-svc', 'passing'],
    ['learner-svc', 'critical'],
  ]),
  catalogueName: 'outrider registry at http://127.0.0.1:8500',
  activeFaults: [{ kind: 'kill', service: 'learner-svc' }],
  adminPorts: new Map([
    ['demo-client', 40121],
    ['auth-svc', 39849],
    ['learner-svc', 36591],
    ['event-collector-svc', 38001],
  ]),
  policyFile: '/tmp/outrider-demo-x/policies/mesh.yaml',
  ...changes,
});

test('the screen shows calls, breakers, faults with what one should see, and the latest calls', () => {
  const ledger = ledgerOf([outcome(), outcome({ result: 'failed', reason: 'circuit_open' })]);
  const lines = renderScreen(viewOf(ledger), 80, 40).map(bare);
  assert.match(lines[0] ?? '', /^Outrider demo mesh {2}1:05 +q or Ctrl-C ends$/);
  assert.ok(lines.includes('calls 2  ok 1  without profile 0  failed 1  retried 7  in flight 1'));
  assert.ok(lines.includes('broken by reason: circuit_open 1'));
  assert.ok(lines.includes('demo-client  learner-svc          OPEN             40        7'));
  assert.ok(lines.some((line) => /^\[1\] kill learner-svc +ON$/.test(line)));
  assert.ok(lines.includes('in the catalogue: auth-svc passing  learner-svc critical'));
  assert.match(lines.join(' '), /you should see: retries, then connect_failure; after 5 failures the breaker opens/);
  assert.equal(lines.at(-2), 'learner-svc          GetProfile      2.0 ms  circuit_open');
});

test('no screen is larger than its terminal', () => {
  const ledger = ledgerOf(Array.from({ length: 60 }, () => outcome({ result: 'failed', reason: 'tls_handshake_failed' })));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 60 }), (columns, rows) => {
      const lines = renderScreen(viewOf(ledger), columns, rows);
      assert.ok(lines.length <= rows);
      for (const line of lines) assert.ok(bare(line).length <= columns);
    }),
  );
});

test('clipping keeps colours whole, so that none runs on into the next line', () => {
  assert.equal(clip('\x1b[31mfailed\x1b[39m now', 3), '\x1b[31mfai\x1b[39m');
});

test('wrapping breaks at blanks and loses no word', () => {
  assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,9}$/)), (words) => assert.equal(wrap(words.join(' '), 20).join(' '), words.join(' '))),
  );
});

test('without a terminal one line names the breakers that are not closed, and who is not passing in the catalogue', () => {
  const line = plainLine(viewOf(ledgerOf([outcome()])));
  const totals = '1:05  calls 1  ok 1  without profile 0  failed 0  retried 7  in flight 1';
  assert.equal(line, `${totals}  breakers: demo-client->learner-svc OPEN  catalogue: learner-svc critical`);
  const silent = plainLine(viewOf(ledgerOf([]), { catalogue: new Map() }));
  assert.match(silent, /catalogue: does not answer$/);
});

test('the summary has the figures of the run', () => {
  const durations = Array.from({ length: 100 }, (_, i) => outcome({ durationMs: i + 1 }));
  const ledger = ledgerOf([
    ...durations,
    outcome({ result: 'failed', reason: 'route_timeout' }),
    outcome({ result: 'ended', reason: 'CANCELLED' }),
  ]);
  const summary = summarize(viewOf(ledger, { cpuMs: 51 }));
  assert.deepEqual(summary, {
    seconds: 65,
    calls: 102,
    ok: 100,
    withoutProfile: 0,
    failed: 1,
    ended: 1,
    retried: 7,
    brokenByReason: { route_timeout: 1 },
    p50Ms: 50,
    p99Ms: 99,
    cpuPerCallMs: 0.5,
    cpuPerPassMs: 0.25,
    unexpected: 0,
    firstUnexpected: null,
  });
  assert.match(formatSummary(summary), /nothing failed that should not have\n$/);
});

test('a failure that no fault explains is counted, and the summary says which was the first', () => {
  const ledger = ledgerOf([outcome(), outcome({ result: 'failed', reason: 'connect_failure', message: 'refused' })], false);
  const summary = summarize(viewOf(ledger, { cpuMs: undefined }));
  assert.equal(summary.unexpected, 1);
  assert.equal(summary.cpuPerCallMs, null);
  assert.match(
    formatSummary(summary),
    /1 calls failed that should not have; the first: learner-svc GetProfile: connect_failure refused\n$/,
  );
});
