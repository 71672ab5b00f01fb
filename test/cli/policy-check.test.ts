import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runProgram } from '../../src/cli/index.ts';

const examples = new URL('../../policies/', import.meta.url).pathname;

/** Runs the command in this process; `text` is written to a file `p.yaml`, whose path `{}` stands for. */
const run = async (t: TestContext, parameters: readonly string[], text = '') => {
  const folder = mkdtempSync(join(tmpdir(), 'policy-check-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'p.yaml');
  writeFileSync(path, text);
  const printed: string[] = [];
  const complained: string[] = [];
  const console = { out: (line: string) => void printed.push(line), error: (line: string) => void complained.push(line) };
  const code = await runProgram(
    parameters.map((parameter) => (parameter === '{}' ? path : parameter)),
    { environment: {}, console },
  );
  return { code, out: printed.join('').replaceAll(path, 'p.yaml'), error: complained.join('') };
};

test('right policies are said to be right, with what they hold', async (t) => {
  const { code, out, error } = await run(t, ['policy', 'check', join(examples, 'mesh.yaml')]);
  assert.deepEqual([code, out, error], [0, 'right: 3 routes, 3 clusters in 1 file, 0 warnings\n', '']);
});

test('warnings are printed, and are no failure', async (t) => {
  const { code, out } = await run(t, ['policy', 'check', '{}'], 'inbound: { routes: [{ match: { prefix: / } }] }\n');
  assert.equal(code, 0);
  assert.match(out, /^p\.yaml:1:21: warning: inbound\.routes\[0\]: no timeout: .*\nright: 1 route, 0 clusters in 1 file, 1 warning\n$/);
});

test('wrong policies are told line by line, and the exit code is 2', async (t) => {
  const { code, out, error } = await run(t, ['policy', 'check', '{}'], 'routs: []\nclusters: 3\n');
  assert.deepEqual(
    [code, out, error],
    [
      2,
      `p.yaml:1:1: routs: unknown key; did you mean routes?
p.yaml:2:11: clusters: is the number 3; write a name of visible characters without blanks as key, a group such as { endpoints: ["10.0.0.4:50051"] } below it
wrong: 2 errors, 0 warnings in 1 file
`,
      '',
    ],
  );
});

test('a path that does not exist is wrong', async (t) => {
  const { code, out } = await run(t, ['policy', 'check', '/nowhere/p.yaml']);
  assert.deepEqual(
    [code, out],
    [2, '/nowhere/p.yaml: does not exist; create it, or correct the path\nwrong: 1 error, 0 warnings in 0 files\n'],
  );
});

test('several paths are checked as one set of policies', async (t) => {
  const { code, out } = await run(
    t,
    ['policy', 'check', '{}', join(examples, 'mesh.yaml')],
    'routes: [{ name: auth, match: { path: /a }, route: { cluster: auth-svc, timeout: 1s } }]\n',
  );
  assert.equal(code, 2);
  assert.match(out, /mesh\.yaml:7:5: routes\[0\]\.name: route "auth" is written twice \(first in p\.yaml:1:12\)/);
});

test('--json tells the same to programs', async (t) => {
  const right = await run(t, ['policy', 'check', '--json', join(examples, 'mesh.yaml')]);
  const { ok, routes, clusters, problems, files } = JSON.parse(right.out);
  assert.deepEqual(
    [right.code, ok, routes, clusters, problems],
    [0, true, { outbound: 3, inbound: 0 }, ['auth-svc', 'learner-svc', 'event-collector-svc'], []],
  );
  assert.match(files[0].sha256, /^[0-9a-f]{64}$/);

  const wrong = await run(t, ['policy', 'check', '--json', '{}'], 'routs: []\n');
  assert.equal(wrong.code, 2);
  const told = JSON.parse(wrong.out);
  assert.equal(told.ok, false);
  assert.deepEqual(told.problems, [
    { severity: 'error', file: 'p.yaml', line: 1, column: 1, path: 'routs', message: 'unknown key', remedy: 'did you mean routes?' },
  ]);
});

test('the JSON Schema is printed as it is published', async (t) => {
  for (const parameters of [
    ['policy', 'schema'],
    ['policy', 'schema', '--json'],
  ]) {
    const { code, out } = await run(t, parameters);
    assert.deepEqual([code, out], [0, readFileSync(join(examples, 'outrider.schema.json'), 'utf8')]);
  }
});

test('unknown options are wrong usage', async (t) => {
  const { code, error } = await run(t, ['policy', 'check', '--jsn']);
  assert.equal(code, 2);
  assert.match(error, /unknown option '--jsn'/);
});

test('a check of nothing says what to name', async (t) => {
  const { code, out, error } = await run(t, ['policy', 'check']);
  assert.deepEqual([code, out], [2, '']);
  assert.match(error, /nothing to check: name a file or a folder, as in "outrider policy check mesh\.yaml", or set POLICY_PATH/);
});

test('a cluster without endpoints is suspicious only where nobody looks up its name', async (t) => {
  const text = 'clusters: { shop: { connect_timeout: 1s } }\n';
  const { out } = await run(t, ['policy', 'check', '{}'], text);
  assert.match(out, /cluster "shop" has no endpoints: unless CONSUL_HTTP_ADDR is set, its calls end with no_endpoint/);
  const beside = await run(t, ['policy', 'check', '--consul', '127.0.0.1:8500', '{}'], text);
  assert.equal(beside.out, 'right: 0 routes, 1 cluster in 1 file, 0 warnings\n');
});
