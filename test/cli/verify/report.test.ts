import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { Bounded } from '../../../src/cli/verify/bounded.ts';
import { type CheckGroup, failed, ok, skipped, warning } from '../../../src/cli/verify/check-result.ts';
import { checkClock, leastSkewMs } from '../../../src/cli/verify/clock-checks.ts';
import { formatReport, reportJson } from '../../../src/cli/verify/report.ts';

const groups: readonly CheckGroup[] = [
  { service: undefined, instance: undefined, address: undefined, results: [ok('consul', 'answers')] },
  {
    service: 'auth-svc',
    instance: 'auth-1',
    address: '10.0.0.4:50051',
    results: [
      failed('certificate.dates', 'expired on 2026-01-01', 'outrider certs issue auth-svc'),
      warning('discovery', 'no endpoints: learner-svc', 'outrider clusters'),
      skipped('trace', 'name a Jaeger with --jaeger URL'),
    ],
  },
];

test('lines are aligned, remedies stand below what they are for, and the last line sums up', () => {
  assert.equal(
    formatReport(groups, 1_234, { colours: false, columns: 0 }),
    `mesh
  ✓ consul             answers

auth-svc  10.0.0.4:50051  auth-1
  ✗ certificate.dates  expired on 2026-01-01
                     → outrider certs issue auth-svc
  ! discovery          no endpoints: learner-svc
                     → outrider clusters
  - trace              name a Jaeger with --jaeger URL

something is wrong: 1 ok, 1 warning, 1 failed, 1 skipped in 1.2 s
`,
  );
});

test('a terminal gets colours, and lines that fit it; what is to be copied stays in one piece', () => {
  const long = `${'word '.repeat(20)}end`;
  const remedy = `outrider stats --filter ${'x'.repeat(80)}`;
  const group = { service: 'a', instance: undefined, address: undefined, results: [failed('port', long, remedy)] };
  const text = formatReport([group], 0, { colours: true, columns: 60 });
  assert.ok(text.includes('\u001b[31m✗\u001b[0m port'));
  assert.ok(text.includes(`→\u001b[0m ${remedy}\n`));
  const bare = stripVTControlCharacters(text);
  const lines = bare.split('\n').filter((line) => line.includes('word'));
  assert.ok(lines.length > 1);
  for (const line of lines) assert.ok(line.length <= 60, line);
  assert.ok(lines.slice(1).every((line) => line.startsWith(`${' '.repeat(10)}word`)));
});

test('JSON has a line for each check, and null for what there is not', () => {
  const report = JSON.parse(reportJson(groups)) as { ok: boolean; summary: object; checks: object[] };
  assert.equal(report.ok, false);
  assert.deepEqual(report.summary, { ok: 1, warning: 1, failed: 1, skipped: 1 });
  assert.deepEqual(report.checks[0], {
    service: null,
    instance: null,
    address: null,
    check: 'consul',
    result: 'ok',
    detail: 'answers',
    remedy: null,
  });
  assert.deepEqual(report.checks[1], {
    service: 'auth-svc',
    instance: 'auth-1',
    address: '10.0.0.4:50051',
    check: 'certificate.dates',
    result: 'failed',
    detail: 'expired on 2026-01-01',
    remedy: 'outrider certs issue auth-svc',
  });
});

test('a Date header of whole seconds says at least how far a clock is off', () => {
  const at = (dateMs: number, askedAtMs: number, answeredAtMs: number) => leastSkewMs({ dateMs, askedAtMs, answeredAtMs });
  // Made at 10.4 s by our clock, and by theirs at some time within the second that it names.
  assert.equal(at(10_000, 10_350, 10_450), 0);
  assert.equal(at(9_000, 10_350, 10_450), -351);
  assert.equal(at(11_000, 10_350, 10_450), 550);
  // A question of three seconds says little.
  assert.equal(at(12_000, 10_000, 13_000), 0);
  const reading = { dateMs: 5_000, askedAtMs: 10_000, answeredAtMs: 10_010 };
  assert.equal(checkClock('clock', 'x', reading, 5_000).outcome, 'ok');
  assert.match(checkClock('clock', 'x', reading, 2_000).detail, /^that of x is 4s behind ours/);
});

test('no more than the limit is under way at a time, and everything is done', async () => {
  const bounded = new Bounded(3);
  let underWay = 0;
  let most = 0;
  const done = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      bounded.run(async () => {
        most = Math.max(most, ++underWay);
        await new Promise((resolve) => setImmediate(resolve));
        underWay--;
        return i;
      }),
    ),
  );
  assert.equal(most, 3);
  assert.deepEqual(
    done,
    Array.from({ length: 20 }, (_, i) => i),
  );
  await assert.rejects(
    bounded.run(() => Promise.reject(new Error('its own'))),
    /its own/,
  );
  assert.equal(await bounded.run(async () => 'goes on'), 'goes on');
});
