/**
 * Runs the tests and closes with one line for people and scripts: `N passed, N failed`.
 *
 *     node tasks/test.ts [--coverage] [--name <regex>] [file or folder ...]
 *
 * Without paths: everything under test/. The exit code is 1 when a test failed or when there was none.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, statSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { parseArgs } from 'node:util';
import { buildPeerPrograms } from '../test/peers/peer-programs.ts';

const root = resolve(import.meta.dirname, '..');
/** A test that hangs is a failure, not a hung build. */
const longestTestMs = 300_000;

const filesOf = (path: string): readonly string[] => {
  const absolute = resolve(path);
  if (!existsSync(absolute)) throw new Error(`no such file or folder: ${path}`);
  return statSync(absolute).isDirectory() ? globSync('**/*.test.ts', { cwd: absolute }).map((file) => resolve(absolute, file)) : [absolute];
};

const { values, positionals } = parseArgs({
  options: { coverage: { type: 'boolean', default: false }, name: { type: 'string' } },
  allowPositionals: true,
});
const containers = resolve(root, 'test/containers/');
/** Tests in containers take minutes and an engine: part of everything where there is one, and else `npm run test:containers`. */
const hasEngine = (): boolean => spawnSync('docker', ['version'], { stdio: 'ignore' }).status === 0;
const all = (): readonly string[] => {
  const found = filesOf(resolve(root, 'test'));
  return hasEngine() ? found : found.filter((file) => !file.startsWith(containers));
};
const files = (positionals.length > 0 ? positionals.flatMap(filesOf) : [...all()]).sort();

// Foreign programs take minutes to build: before the tests, where one sees it, and not inside the time limit of a test.
if (files.some((file) => file.startsWith(resolve(root, 'test/peers/')))) await buildPeerPrograms((line) => console.error(line));

const stream = run({
  files,
  concurrency: 2,
  timeout: longestTestMs,
  cwd: root,
  coverage: values.coverage,
  coverageIncludeGlobs: ['src/**'],
  ...(values.name === undefined ? {} : { testNamePatterns: [new RegExp(values.name)] }),
});

const skipped: string[] = [];
let counts = { tests: 0, passed: 0, skipped: 0, todo: 0 };
let success = false;
stream.on('test:pass', ({ name, skip, file }) => {
  if (skip !== undefined && skip !== false)
    skipped.push(`${relative(root, file ?? '')}: ${name}${typeof skip === 'string' ? `: ${skip}` : ''}`);
});
stream.on('test:summary', (summary) => {
  if (summary.file !== undefined) return;
  counts = summary.counts;
  success = summary.success;
});
const report = stream.compose(new spec());
report.pipe(process.stdout, { end: false });
report.on('end', () => {
  for (const line of skipped) console.log(`skipped: ${line}`);
  const notRun = counts.skipped + counts.todo;
  const failed = counts.tests - counts.passed - notRun;
  console.log(`${counts.passed} passed, ${failed} failed${notRun > 0 ? `, ${notRun} skipped` : ''}`);
  process.exitCode = success && failed === 0 && counts.passed > 0 ? 0 : 1;
});
