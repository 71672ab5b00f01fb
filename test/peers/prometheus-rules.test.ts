/** Rules and alerts of deploy/prometheus, as promtool sees them. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { outriderPath, runProgram } from '../harness/program.ts';
import { peerProgram } from './peer-programs.ts';

const folder = new URL('../../deploy/prometheus/', import.meta.url);
const promtool = await peerProgram('promtool');

interface Rule {
  readonly alert?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
interface UnitTests {
  readonly tests: readonly {
    readonly alert_rule_test?: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[];
    readonly promql_expr_test?: readonly { readonly expr: string; readonly exp_samples: readonly unknown[] }[];
  }[];
}

const filesOf = (name: string): readonly string[] =>
  readdirSync(new URL(`${name}/`, folder))
    .filter((file) => file.endsWith('.yml'))
    .map((file) => fileURLToPath(new URL(`${name}/${file}`, folder)));

const alerts = filesOf('rules').flatMap((file) => {
  const { groups } = parse(readFileSync(file, 'utf8')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules.filter(({ alert }) => alert !== undefined));
});

test('promtool finds nothing wrong with the rules', { skip: promtool.skip }, async () => {
  const { code, stdout, stderr } = await runProgram(promtool.path, ['check', 'rules', ...filesOf('rules')]);
  assert.equal(code, 0, stdout + stderr);
});

test('the alerts fire at the numbers at which they shall, and not at others', { skip: promtool.skip }, async () => {
  const { code, stdout, stderr } = await runProgram(promtool.path, ['test', 'rules', ...filesOf('tests')], { patienceMs: 120_000 });
  assert.equal(code, 0, stdout + stderr);
});

test('each alert has numbers at which it fires and others at which it does not', () => {
  const fires = new Set<string>();
  const doesNot = new Set<string>();
  for (const file of filesOf('tests')) {
    for (const { alert_rule_test: rules = [], promql_expr_test: expressions = [] } of (parse(readFileSync(file, 'utf8')) as UnitTests)
      .tests) {
      for (const { alertname, exp_alerts: expected = [] } of rules) (expected.length > 0 ? fires : doesNot).add(alertname);
      for (const { expr, exp_samples: expected } of expressions) {
        const name = /alertname="(\w+)"/.exec(expr)?.[1];
        if (name !== undefined) (expected.length > 0 ? fires : doesNot).add(name);
      }
    }
  }
  const both = alerts.map(({ alert }) => alert as string).filter((name) => fires.has(name) && doesNot.has(name));
  assert.deepEqual(
    both,
    alerts.map(({ alert }) => alert),
  );
  assert.ok(alerts.length >= 20);
});

test('each alert says what is the matter, what it means, and what to type', () => {
  for (const { alert = '', labels, annotations } of alerts) {
    assert.match(labels?.['severity'] ?? '', /^(page|ticket)$/, alert);
    assert.match(annotations?.['summary'] ?? '', /\{\{ \$labels\.\w+ \}\}.*[.?]$/, alert);
    assert.ok((annotations?.['description'] ?? '').length > 40, `${alert} has no description`);
    assert.match(annotations?.['runbook'] ?? '', /^(outrider|curl) .+/, `${alert} names no command`);
  }
});

test('commands of runbooks exist', async () => {
  const commands = new Set(
    alerts.flatMap(({ annotations }) =>
      Array.from(
        (annotations?.['runbook'] ?? '').matchAll(/outrider ((?:breaker reset|clusters uneject|certs \w+|policy \w+|[a-z]+))/g),
        ([, command]) => command as string,
      ),
    ),
  );
  for (const command of commands) {
    const { code, stderr, stdout } = await runProgram(outriderPath, [...command.split(' '), '--help']);
    assert.equal(code, 0, `outrider ${command}: ${stderr}`);
    assert.match(stdout, new RegExp(`Usage: outrider ${command}`));
  }
});
