import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

checkLeaks();

const node = (script: string) => ['--input-type=module', '-e', script];
/** A test file run by itself; what its runner says. The variable that says "I am a child of a test run" must not be handed on. */
const runTestFile = async (text: string) => {
  using folder = temporaryFolder();
  const file = join(folder.path, 'a.test.ts');
  writeFileSync(file, text);
  return await runProgram(process.execPath, ['--test', file], { env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
};

test('a program is waited for by what it says, on stdout or stderr', async () => {
  await using program = spawnProgram(
    process.execPath,
    node(`console.log('port 4711'); console.error('ready'); setInterval(() => {}, 1000);`),
  );
  assert.equal((await program.waitFor(/port (\d+)/))[1], '4711');
  await program.waitFor(/ready/);
  assert.equal((await program.stop('SIGTERM')).signal, 'SIGTERM');
});

test('a program that ends too early is reported with what it said', async () => {
  await using program = spawnProgram(process.execPath, node(`console.error('no such file'); process.exitCode = 3;`));
  await assert.rejects(program.waitFor(/ready/), /ended before it said \/ready\/[\s\S]*no such file/);
  assert.equal((await program.end()).code, 3);
});

test('a program that cannot be started is an error, not a crash', async () => {
  await assert.rejects(runProgram('/nonexistent/program'), /ENOENT/);
});

test('a temporary folder is gone after its block, with everything in it', () => {
  let path: string;
  {
    using folder = temporaryFolder();
    path = folder.path;
    writeFileSync(join(path, 'file'), '');
  }
  assert.equal(existsSync(path), false);
});

for (const [what, leak] of Object.entries({
  'a server': `import net from 'node:net'; const leak = () => net.createServer().listen(0);`,
  'a timer': 'const leak = () => setInterval(() => {}, 1000);',
  'a child': `import { spawn } from 'node:child_process'; const leak = () => spawn('sleep', ['7']);`,
})) {
  test(`${what} that a test forgot is found`, async () => {
    const text = `import { test } from 'node:test'; import { checkLeaks } from '${import.meta.dirname}/../harness/leak-check.ts';
      ${leak}; checkLeaks({ patienceMs: 100 }); test('forgets', () => { const left = leak(); process.on('exit', () => left.kill?.()); setTimeout(() => process.exit(), 500).unref(); });`;
    const { code, stdout } = await runTestFile(text);
    assert.equal(code, 1);
    assert.match(stdout, /left behind after the last test/);
  });
}

test('a file that cleans up passes', async () => {
  const text = `import { test } from 'node:test'; import net from 'node:net'; import { checkLeaks } from '${import.meta.dirname}/../harness/leak-check.ts';
    checkLeaks(); test('cleans up', async () => { const server = net.createServer().listen(0); await new Promise((resolve) => server.close(resolve)); });`;
  assert.equal((await runTestFile(text)).code, 0);
});
