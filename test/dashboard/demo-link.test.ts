import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, spawnProgram } from '../harness/program.ts';

checkLeaks();

test('the demo prints addresses of dashboards, which the built program serves with all that is in them', async () => {
  await using demo = spawnProgram(outriderPath, ['demo', '--plain', '--for', '30s']);
  const [, address = ''] = await demo.waitFor(/^ {2}auth-svc +dashboard (http:\S+)$/m);
  const answer = await fetch(address, { headers: { accept: 'text/html', connection: 'close' } });
  assert.equal(answer.status, 200);
  const page = await answer.text();
  assert.match(page, /<title>Outrider<\/title>/);
  assert.match(page, /uPlot/);
  assert.doesNotMatch(page, /\/\* (style|early|library|script) \*\/|<!-- paths -->/);
  assert.equal((await demo.stop()).code, 0);
});
