import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

checkLeaks();

const script = resolve(import.meta.dirname, '../../certs-scripts/generate-certs.sh');

/** Every command of this machine but openssl. */
const withoutOpenssl = (folder: string): string => {
  const path = join(folder, 'path');
  mkdirSync(path);
  for (const from of ['/usr/local/bin', '/usr/bin', '/bin']) {
    for (const name of existsSync(from) ? readdirSync(from) : []) {
      if (name !== 'openssl' && !existsSync(join(path, name))) symlinkSync(join(from, name), join(path, name), 'file');
    }
  }
  return path;
};

const commands = temporaryFolder();
after(() => commands[Symbol.dispose]());
const PATH = withoutOpenssl(commands.path);

/** As somebody at a shell in `cwd` would call it, on a machine without the openssl command. */
const generate = (cwd: string, ...words: string[]): Promise<ProgramExit> => runProgram(script, words, { cwd, env: { PATH } });

const servicesIn = (...path: string[]): readonly string[] =>
  readdirSync(join(...path, 'services'))
    .filter((file) => file.endsWith('.crt'))
    .sort();

test('without a word it makes the default services in ./certs of the folder one stands in', async () => {
  using folder = temporaryFolder();
  const { code, stderr } = await generate(folder.path);
  assert.equal(code, 0, stderr);
  assert.deepEqual(servicesIn(folder.path, 'certs'), ['auth-svc.crt', 'event-collector-svc.crt', 'learner-svc.crt']);
  assert.ok(existsSync(join(folder.path, 'certs/mesh-client.crt')));
});

test('it takes the options and names of the contract, and a folder alone, also with a blank in it', async () => {
  using folder = temporaryFolder();
  const cases: readonly (readonly [words: readonly string[], folder: string, services: readonly string[]])[] = [
    [['--output-dir', './one', '--valid-days', '30'], 'one', ['auth-svc.crt', 'event-collector-svc.crt', 'learner-svc.crt']],
    [['--valid-days=30', '--output-dir=two', 'a-svc', 'b-svc'], 'two', ['a-svc.crt', 'b-svc.crt']],
    [['./three'], 'three', ['auth-svc.crt', 'event-collector-svc.crt', 'learner-svc.crt']],
    [[`${folder.path}/four five`], 'four five', ['auth-svc.crt', 'event-collector-svc.crt', 'learner-svc.crt']],
    [['./six', 'a-svc'], 'six', ['a-svc.crt']],
    [['a-svc', '--output-dir', './seven'], 'seven', ['a-svc.crt']],
    [['.eight'], '.eight', ['auth-svc.crt', 'event-collector-svc.crt', 'learner-svc.crt']],
  ];
  const results = await Promise.all(cases.map(([words]) => generate(folder.path, ...words)));
  for (const [i, [words, name, services]] of cases.entries()) {
    assert.equal(results[i]?.code, 0, `${words.join(' ')}: ${results[i]?.stderr}`);
    assert.deepEqual(servicesIn(folder.path, name), services);
  }
});

test('it works through a link to it', async () => {
  using folder = temporaryFolder();
  symlinkSync(script, join(folder.path, 'gen'));
  const { code, stderr } = await runProgram('./gen', ['./out', 'a-svc'], { cwd: folder.path, env: { PATH } });
  assert.equal(code, 0, stderr);
  assert.deepEqual(servicesIn(folder.path, 'out'), ['a-svc.crt']);
});

test('help is help, and a mistake is an error with exit code 2', async () => {
  using folder = temporaryFolder();
  const help = await generate(folder.path, '--help');
  assert.equal(help.code, 0);
  assert.match(help.stdout, /^Usage: generate-certs\.sh \[--output-dir <folder>\]/);
  for (const [words, message] of [
    [['--output-dir'], /option '--output-dir <folder>' argument missing/],
    [['--valid-days', 'many'], /--valid-days many: expected whole days/],
    [['--outputdir', 'x'], /unknown option '--outputdir'\n\(Did you mean --output-dir\?\)/],
    [['a-svc', './x'], /"\.\/x" cannot be the name of a service/],
    [['--output-dir', './out', 'a/../b'], /"a\/\.\.\/b" cannot be the name of a service/],
    [['--output-dir=out', './x'], /"\.\/x" cannot be the name of a service/],
  ] as const) {
    const { code, stderr } = await generate(folder.path, ...words);
    assert.equal(code, 2, words.join(' '));
    assert.match(stderr, message);
  }
  assert.deepEqual(readdirSync(folder.path), []);
});
