import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNothingLeft, processesMarked, runDemo } from './demo-process.ts';

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} ends the demo with a summary and leaves nothing behind`, async (t) => {
    let sent = false;
    const ended = await runDemo(t, [], (out, pid) => {
      if (sent || !/^0:01 /m.test(out)) return;
      sent = true;
      process.kill(pid, signal);
    });
    assert.equal(ended.code, 0, ended.error + ended.out);
    assert.match(ended.out, /nothing failed that should not have\n$/);
    assertNothingLeft(ended);
  });
}

test('a signal while the mesh is still coming up leaves nothing behind either', async (t) => {
  let sent = false;
  const ended = await runDemo(t, [], (_out, pid) => {
    if (!sent) process.kill(pid, 'SIGTERM');
    sent = true;
  });
  assert.equal(ended.code, 1);
  assert.match(ended.error, /ended before the mesh was up/);
  assertNothingLeft(ended);
});

test('a sidecar that dies by itself ends the demo with a clear message', async (t) => {
  let killed = false;
  const ended = await runDemo(t, [], (out) => {
    if (killed || !/^0:01 /m.test(out)) return;
    killed = true;
    const folder = /policies +(\S+)\/policies\/mesh\.yaml/.exec(out)?.[1] ?? 'none';
    const [sidecar] = processesMarked(`POLICY_PATH=${folder}`);
    if (sidecar !== undefined) process.kill(sidecar, 'SIGKILL');
  });
  assert.equal(ended.code, 1);
  assert.match(ended.error, /^error: the sidecar of \S+ was killed by SIGKILL; its last lines:/);
  assertNothingLeft(ended);
});
