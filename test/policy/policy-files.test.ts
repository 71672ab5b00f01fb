import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigurationError, JsonLogger, SystemClock, VirtualClock } from '../../src/core/index.ts';
import { formatProblem, PolicyFiles, type PolicyTable } from '../../src/policy/index.ts';

const policies = (...names: readonly string[]): string =>
  `routes:\n${names.map((name) => `  - { name: ${name}, match: { path: /${name} }, route: { cluster: c, timeout: 1s } }\n`).join('')}`;
const clusters = 'clusters: { c: { endpoints: ["10.0.0.1:1"] } }\n';

/** A folder of its own; `prepare` fills it and says what to watch. Time is virtual: only the poll is at work. */
const watching = (t: TestContext, prepare: (folder: string) => string) => {
  const folder = mkdtempSync(join(tmpdir(), 'policy-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const clock = new VirtualClock();
  const lines: string[] = [];
  const files = new PolicyFiles(prepare(folder), { clock, log: new JsonLogger(clock, (line) => lines.push(line)) });
  t.after(() => {
    files.close();
    files.close();
    assert.equal(clock.pending, 0);
  });
  const tables: PolicyTable[] = [];
  files.subscribe((table) => tables.push(table));
  return {
    folder,
    files,
    lines,
    tables,
    write: (name: string, text: string) => writeFileSync(join(folder, name), text),
    /** One look of the watch, and the time that it waits for a change to settle. */
    look: () => clock.advance(1_100),
    routes: () => files.value.outbound.routes.map(({ name }) => name),
    counts: () => [files.reloadOk, files.reloadFailed],
    /** What the last attempt complained of, without the folder. */
    errors: () =>
      (files.history.at(-1)?.problems ?? [])
        .filter(({ severity }) => severity === 'error')
        .map((problem) => formatProblem(problem).replaceAll(`${folder}/`, '')),
  };
};

const oneFile = (folder: string): string => {
  writeFileSync(join(folder, 'p.yaml'), policies('a') + clusters);
  return join(folder, 'p.yaml');
};
const wholeFolder = (folder: string): string => {
  oneFile(folder);
  return folder;
};

test('a change swaps the whole table, and says so', (t) => {
  const { files, write, look, routes, counts, tables, lines } = watching(t, oneFile);
  const before = files.value;
  write('p.yaml', policies('a', 'b') + clusters);
  look();
  assert.deepEqual(
    [routes(), counts()],
    [
      ['a', 'b'],
      [1, 0],
    ],
  );
  assert.deepEqual(
    before.outbound.routes.map(({ name }) => name),
    ['a'],
  );
  assert.deepEqual(tables, [files.value]);
  assert.match(lines.at(-1) ?? '', /"msg":"policies reloaded".*"routes":2/);
});

test('a mistake leaves the last good table, is counted and told, and mending it is enough', (t) => {
  const { files, write, look, routes, counts, errors, lines, tables } = watching(t, oneFile);
  const { version } = files.value;
  write('p.yaml', `${policies('a', 'b')}clutsers: {}\n`);
  look();
  assert.deepEqual([routes(), counts(), tables], [['a'], [0, 1], []]);
  assert.deepEqual(errors(), ['p.yaml:4:1: clutsers: unknown key; did you mean clusters?']);
  assert.deepEqual([files.history.at(-1)?.ok, files.history.at(-1)?.version], [false, version]);
  assert.match(lines.at(-1) ?? '', /"level":"error","msg":"policies not reloaded.*did you mean clusters/);
  look();
  assert.deepEqual(counts(), [0, 1], 'told once');
  write('p.yaml', policies('a', 'b') + clusters);
  look();
  assert.deepEqual(
    [routes(), counts()],
    [
      ['a', 'b'],
      [1, 1],
    ],
  );
  assert.deepEqual(
    files.history.map(({ ok }) => ok),
    [true, false, true],
  );
});

test('going back to what is in force counts as mended', (t) => {
  const { files, write, look, counts } = watching(t, oneFile);
  write('p.yaml', 'nonsense: [\n');
  look();
  write('p.yaml', policies('a') + clusters);
  look();
  assert.deepEqual([counts(), files.history.at(-1)?.ok], [[1, 1], true]);
});

test('a file that is written piece by piece is in force when it is whole', (t) => {
  const { write, look, routes } = watching(t, oneFile);
  const text = policies('a', 'b', 'c').replaceAll('{ cluster: c, timeout: 1s }', '\n      { cluster: c,\n        timeout: 1s }') + clusters;
  for (const end of [0, 20, 60, 77, 90]) {
    write('p.yaml', text.slice(0, end));
    look();
    assert.deepEqual(routes(), ['a'], JSON.stringify(text.slice(0, end)));
  }
  write('p.yaml', text);
  look();
  assert.deepEqual(routes(), ['a', 'b', 'c']);
});

test('a deleted file leaves the last good table, and its return is taken', (t) => {
  const { folder, write, look, routes, counts, errors } = watching(t, oneFile);
  unlinkSync(join(folder, 'p.yaml'));
  look();
  assert.deepEqual([routes(), counts(), errors()], [['a'], [0, 1], ['p.yaml: does not exist; create it, or correct the path']]);
  write('p.yaml', policies('back') + clusters);
  look();
  assert.deepEqual([routes(), counts()], [['back'], [1, 1]]);
});

test('the last file of a folder that goes leaves the last good table; one of several takes its policies with it', (t) => {
  const { folder, write, look, routes, errors } = watching(t, wholeFolder);
  write('q.yaml', policies('b'));
  look();
  assert.deepEqual(routes(), ['a', 'b']);
  unlinkSync(join(folder, 'q.yaml'));
  look();
  assert.deepEqual(routes(), ['a']);
  unlinkSync(join(folder, 'p.yaml'));
  look();
  assert.deepEqual(routes(), ['a']);
  assert.match(errors()[0] ?? '', /holds no policy files any more; write "routes: \[\]" where no policies are wanted$/);
});

test('the folder itself may go and come again', (t) => {
  const { folder, write, look, routes, counts } = watching(t, (folder) => {
    mkdirSync(join(folder, 'sub'));
    return oneFile(join(folder, 'sub')).replace('/p.yaml', '');
  });
  rmSync(join(folder, 'sub'), { recursive: true });
  look();
  assert.deepEqual([routes(), counts()], [['a'], [0, 1]]);
  mkdirSync(join(folder, 'sub'));
  write('sub/p.yaml', policies('back') + clusters);
  look();
  assert.deepEqual(routes(), ['back']);
});

test('an emptied file is not taken for the wish to have no policies, which is written in words', (t) => {
  const { write, look, routes, errors } = watching(t, oneFile);
  write('p.yaml', '');
  look();
  assert.deepEqual([routes(), errors()], [['a'], ['p.yaml: has become empty; write "routes: []" where no policies are wanted']]);
  write('p.yaml', 'routes: []\n');
  look();
  assert.deepEqual([routes(), errors()], [[], []]);
});

test("an editor's dance (write beside, rename over) is one reload", (t) => {
  const { folder, write, look, routes, counts } = watching(t, wholeFolder);
  write('.p.yaml.swp', 'x');
  write('p.yaml~', policies('a') + clusters);
  write('4913', '');
  unlinkSync(join(folder, '4913'));
  write('p.yaml.new', policies('a', 'b') + clusters);
  renameSync(join(folder, 'p.yaml.new'), join(folder, 'p.yaml'));
  unlinkSync(join(folder, '.p.yaml.swp'));
  look();
  assert.deepEqual(
    [routes(), counts()],
    [
      ['a', 'b'],
      [1, 0],
    ],
  );
});

test("Kubernetes' swap of ..data is seen", (t) => {
  const { folder, look, routes } = watching(t, (folder) => {
    mkdirSync(join(folder, '..v1'));
    writeFileSync(join(folder, '..v1', 'p.yaml'), policies('a') + clusters);
    symlinkSync('..v1', join(folder, '..data'));
    symlinkSync(join('..data', 'p.yaml'), join(folder, 'p.yaml'));
    return folder;
  });
  assert.deepEqual(routes(), ['a']);
  mkdirSync(join(folder, '..v2'));
  writeFileSync(join(folder, '..v2', 'p.yaml'), policies('b') + clusters);
  symlinkSync('..v2', join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  look();
  assert.deepEqual(routes(), ['b']);
});

test('a file that is only touched is not reloaded; by hand it is', (t) => {
  const { folder, files, look, counts, tables } = watching(t, oneFile);
  utimesSync(join(folder, 'p.yaml'), 1, 1);
  look();
  assert.deepEqual(counts(), [0, 0]);
  assert.equal(files.reload(), true);
  assert.deepEqual([counts(), tables.length], [[1, 0], 1]);
});

test('a reload by hand tells whether it succeeded', (t) => {
  const { files, write, errors } = watching(t, oneFile);
  write('p.yaml', 'routes: 3\n');
  assert.equal(files.reload(), false);
  assert.deepEqual(errors(), ['p.yaml:1:9: routes: is the number 3; write a list, each a group with "match:" and "route:"']);
});

test('what is written twice in two files is told with both places, and the former table stays', (t) => {
  const { write, look, routes, errors } = watching(t, wholeFolder);
  write('q.yaml', policies('a'));
  look();
  assert.deepEqual(routes(), ['a']);
  assert.match(errors()[0] ?? '', /^q\.yaml:2:7: routes\[0\]\.name: route "a" is written twice \(first in .*p\.yaml:2:7\)/);
});

test('the history keeps the last fifty attempts', (t) => {
  const { files } = watching(t, oneFile);
  for (let i = 0; i < 60; i++) files.reload();
  assert.equal(files.history.length, 50);
});

test('a folder without policies is a warning at the start', (t) => {
  const { files, lines } = watching(t, (folder) => {
    writeFileSync(join(folder, 'outrider.schema.json'), '{}');
    return folder;
  });
  assert.equal(files.value.outbound.routes.length, 0);
  assert.match(lines[0] ?? '', /"level":"warning".*holds no policy files; put files that end with \.yaml or \.yml into it/);
});

for (const [what, text] of [
  ['a mistake', 'routes: 3\n'],
  ['a path that does not exist', undefined],
] as const) {
  test(`at the start, ${what} is an error of configuration that names the place`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'policy-files-'));
    const path = join(folder, 'p.yaml');
    if (text !== undefined) writeFileSync(path, text);
    const clock = new VirtualClock();
    assert.throws(
      () => new PolicyFiles(path, { clock, log: new JsonLogger(clock, () => {}) }),
      (error: unknown) =>
        error instanceof ConfigurationError &&
        error.message.includes(`${path}:`) &&
        (error.remedy?.includes('outrider policy check') ?? false),
    );
    assert.equal(clock.pending, 0);
    rmSync(folder, { recursive: true });
  });
}

test('in real time, a change on the disk arrives by itself', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'policy-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const clock = new SystemClock();
  const files = new PolicyFiles(wholeFolder(folder), { clock, log: new JsonLogger(clock, () => {}) });
  t.after(() => files.close());
  const arrived = new Promise<PolicyTable>((resolve) => files.subscribe(resolve));
  // The timers of the clock keep no process alive.
  const alive = setInterval(() => {}, 1_000);
  writeFileSync(join(folder, 'p.yaml'), policies('b') + clusters);
  const table = await arrived;
  clearInterval(alive);
  assert.equal(table, files.value);
  assert.deepEqual(
    table.outbound.routes.map(({ name }) => name),
    ['b'],
  );
});

test('whether a cluster without endpoints is a mistake depends on who looks up its name', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'policy-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'p.yaml');
  writeFileSync(path, 'clusters: { c: { connect_timeout: 1s } }\n');
  const warnings = (looksUpNames: boolean): readonly string[] => {
    const clock = new VirtualClock();
    const files = new PolicyFiles(path, { clock, log: new JsonLogger(clock, () => {}), looksUpNames });
    files.close();
    return files.value.warnings.map(({ message }) => message);
  };
  assert.deepEqual(warnings(false), ['cluster "c" has no endpoints: its calls end with no_endpoint']);
  assert.deepEqual(warnings(true), []);
});
