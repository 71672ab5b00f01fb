import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram, spawnProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';

checkLeaks();

const main = `process.on('SIGTERM', () => process.exit(7)); console.log('pid', process.pid, process.argv.slice(2).join('|'), '.');
  if (process.argv[2] !== 'stay') process.exit(); setInterval(() => {}, 1000);`;

/** An installation as a package manager leaves it (no src/, no pinned Node), with `node` of PATH being this or an old one. */
const installation = (node: 'this' | 'old'): TemporaryFolder & { readonly launcher: string; readonly env: Record<string, string> } => {
  const folder = temporaryFolder();
  for (const name of ['bin', 'dist', 'path']) mkdirSync(join(folder.path, name));
  const launcher = join(folder.path, 'bin/outrider');
  copyFileSync(outriderPath, launcher);
  chmodSync(launcher, 0o755);
  writeFileSync(join(folder.path, 'dist/main.js'), main);
  const onPath = join(folder.path, 'path/node');
  if (node === 'this') symlinkSync(process.execPath, onPath);
  else writeFileSync(onPath, '#!/bin/sh\necho v20.11.1\n', { mode: 0o755 });
  return { ...folder, launcher, env: { PATH: `${join(folder.path, 'path')}:/usr/bin:/bin` } };
};

test('the launcher becomes the Node process: one pid, signals arrive, the exit code is its own', async () => {
  using installed = installation('this');
  await using program = spawnProgram(installed.launcher, ['stay', 'two words'], { env: installed.env });
  const [, pid, words] = await program.waitFor(/pid (\d+) (.*) \./);
  assert.equal(Number(pid), program.pid);
  assert.equal(words, 'stay|two words');
  assert.equal((await program.stop('SIGTERM')).code, 7);
});

test('it finds its files through links to it', async () => {
  using installed = installation('this');
  symlinkSync('bin/outrider', join(installed.path, 'relative'));
  symlinkSync(join(installed.path, 'relative'), join(installed.path, 'path/outrider'));
  const { code, stdout } = await runProgram('outrider', ['x'], { env: installed.env });
  assert.equal(code, 0);
  assert.match(stdout, /pid \d+ x/);
});

test('a Node that is too old is refused with what to do', async () => {
  using installed = installation('old');
  const { code, stdout, stderr } = await runProgram(installed.launcher, [], { env: installed.env });
  assert.equal(code, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /needs Node 24 or later, found v20\.11\.1 .*npm ci/);
});

test('in a checkout the pinned Node is taken, whatever PATH has', async () => {
  using old = installation('old');
  const pinned = join(old.path, 'node_modules/node/bin');
  mkdirSync(pinned, { recursive: true });
  symlinkSync(process.execPath, join(pinned, 'node'));
  assert.equal((await runProgram(old.launcher, [], { env: old.env })).code, 0);
});

test('installed packages are stale when the lock file names another version, or one that is not there', async () => {
  using folder = temporaryFolder();
  for (const name of ['tasks', 'node_modules']) mkdirSync(join(folder.path, name));
  copyFileSync(resolve(import.meta.dirname, '../../tasks/installed.js'), join(folder.path, 'tasks/installed.mjs'));
  const isInstalled = async (wanted: object, present?: object): Promise<boolean> => {
    writeFileSync(join(folder.path, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...wanted } }));
    if (present !== undefined) writeFileSync(join(folder.path, 'node_modules/.package-lock.json'), JSON.stringify({ packages: present }));
    return (await runProgram(process.execPath, [join(folder.path, 'tasks/installed.mjs')])).code === 0;
  };
  const a = { 'node_modules/a': { version: '1.0.0', integrity: 'x' } };
  assert.equal(await isInstalled(a), false);
  assert.equal(await isInstalled(a, a), true);
  assert.equal(await isInstalled(a, { 'node_modules/a': { version: '1.0.1', integrity: 'y' } }), false);
  assert.equal(await isInstalled({ ...a, 'node_modules/b': { version: '1.0.0' } }, a), false);
  assert.equal(await isInstalled({ ...a, 'node_modules/for-another-platform': { version: '1.0.0', optional: true } }, a), true);
});
