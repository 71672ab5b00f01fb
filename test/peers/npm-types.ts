/**
 * Types that somebody else publishes on npm for a format in JSON or YAML, and a check of values against them by the TypeScript compiler: an unknown
 * key, a word that is none of theirs, or a missing field is an error with its place.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const compiler = resolve(import.meta.dirname, '../../node_modules/.bin/tsc');

export interface NpmTypes {
  /** `node_modules` with the package. */
  readonly modules: string;
  /** For node:test's `skip`: false, or why it is missing. */
  readonly skip: false | string;
}

/** Installs the package that is pinned in `npm/<name>` once into the user's cache. Without a registry the test is skipped, and with CI=true it fails. */
export const npmTypes = async (name: string): Promise<NpmTypes> => {
  const source = join(import.meta.dirname, 'npm', name);
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'outrider');
  const key = createHash('sha256')
    .update(readFileSync(join(source, 'package-lock.json')))
    .digest('hex')
    .slice(0, 12);
  const folder = join(cache, `npm-${name}-${key}`);
  const modules = join(folder, 'node_modules');
  if (existsSync(modules)) return { modules, skip: false };
  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(join(cache, 'build-'));
  try {
    for (const file of ['package.json', 'package-lock.json']) writeFileSync(join(unfinished, file), readFileSync(join(source, file)));
    const parameters = ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', unfinished];
    const { code, stderr } = await runProgram('npm', parameters, { patienceMs: 120_000 });
    if (code === 0) {
      // Somebody else may have been faster.
      if (!existsSync(modules)) renameSync(unfinished, folder);
      return { modules, skip: false };
    }
    const why = `the package of test/peers/npm/${name} could not be installed: ${stderr.trim().split('\n').at(-1)}`;
    if (process.env['CI'] === 'true') throw new Error(why);
    return { modules, skip: why };
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
};

/** What the compiler says of values that shall be of the type `Value` of the module `typesText`, by name; nothing where all of them are right. */
export const typeErrors = async ({ modules }: NpmTypes, typesText: string, values: Readonly<Record<string, unknown>>): Promise<string> => {
  using folder = temporaryFolder();
  symlinkSync(modules, join(folder.path, 'node_modules'));
  writeFileSync(join(folder.path, 'types.ts'), typesText);
  for (const [name, value] of Object.entries(values)) {
    const text = `import type { Value } from './types';\nexport const value: Value = ${JSON.stringify(value, null, 1)};\n`;
    writeFileSync(join(folder.path, `${name}.ts`), text);
  }
  const compilerOptions = {
    strict: true,
    noEmit: true,
    module: 'esnext',
    moduleResolution: 'bundler',
    target: 'esnext',
    skipLibCheck: true,
    types: [],
  };
  writeFileSync(join(folder.path, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  const { code, stdout, stderr } = await runProgram(compiler, ['-p', folder.path, '--pretty', 'false'], { cwd: folder.path });
  return code === 0 ? '' : stdout + stderr;
};
