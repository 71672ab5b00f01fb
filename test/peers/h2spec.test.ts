import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { engineServer, refuseAll } from './engine-server.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const h2spec = await peerProgram('h2spec');

for (const strict of [false, true]) {
  test(`h2spec${strict ? ' --strict' : ''} finds nothing to complain of in the engine`, { skip: h2spec.skip }, async (t) => {
    const server = await engineServer(t, refuseAll);
    const args = ['-h', '127.0.0.1', '-p', String(server.port), '-o', '2', ...(strict ? ['--strict'] : [])];
    const { stdout } = await runProgram(h2spec.path, args);
    const [, passed, skipped, failed] =
      stdout
        .match(/(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/)
        ?.slice(1)
        .map(Number) ?? [];
    assert.equal(failed, 0, stdout.slice(stdout.indexOf('Failures:')));
    assert.equal(skipped, 0, stdout);
    assert.ok((passed ?? 0) >= 145, stdout);
  });
}
