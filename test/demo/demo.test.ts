import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
  /** Processes that were started by this demo and are still there. */
  readonly leftProcesses: readonly number[];
  readonly leftFiles: readonly string[];
}

/** Processes whose environment has the mark that this test gave to its own; empty where the system has no `/proc`. */
const processesMarked = (mark: string): readonly number[] => {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((name) => {
        try {
          return readFileSync(`/proc/${name}/environ`, 'latin1').includes(mark);
        } catch {
          return false;
        }
      })
      .map(Number);
  } catch {
    return [];
  }
};

/** Runs the demo with a temporary folder of its own, which its children inherit: by that name they are found again. */
const runDemo = (t: TestContext, parameters: readonly string[], onOut?: (out: string, pid: number) => void): Promise<Ended> => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-demo-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return new Promise((resolve, reject) => {
    const environment = { PATH: process.env['PATH'] ?? '', TMPDIR: folder };
    const child = spawn(process.execPath, [main, 'demo', ...parameters], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let error = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk;
      if (child.pid !== undefined) onOut?.(out, child.pid);
    });
    child.stderr.on('data', (chunk: Buffer) => (error += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, error, leftProcesses: processesMarked(folder), leftFiles: readdirSync(folder) }));
  });
};

const assertNothingLeft = ({ leftProcesses, leftFiles }: Ended): void => {
  assert.deepEqual(leftProcesses, []);
  assert.deepEqual(leftFiles, []);
};

test('the demo runs a mesh, ends by itself with a summary, and leaves nothing behind', async (t) => {
  const ended = await runDemo(t, ['--for', '3s']);
  assert.equal(ended.code, 0, ended.error + ended.out);
  assert.match(ended.out, /the mesh runs after .*: 3 services, 4 sidecars, mTLS between them/);
  assert.match(ended.out, /^ {2}failed {12}0$/m);
  assert.match(ended.out, /^ {2}latency {11}p50 .* ms, p99 .* m?s$/m);
  assert.match(ended.out, /nothing failed that should not have\n$/);
  assertNothingLeft(ended);
});

test('the summary is there as JSON, alone on stdout', async (t) => {
  const ended = await runDemo(t, ['--for', '1s', '--json']);
  assert.equal(ended.code, 0, ended.error);
  const summary = JSON.parse(ended.out) as Record<string, unknown>;
  assert.equal(summary['calls'], summary['ok']);
  assert.equal(summary['unexpected'], 0);
  assertNothingLeft(ended);
});

test('a killed service breaks its own calls with a reason, opens the breaker, and is no failure of the demo', async (t) => {
  const ended = await runDemo(t, ['--for', '5s', '--json', '--fault', 'kill:learner-svc@1s']);
  assert.equal(ended.code, 0, ended.error);
  const summary = JSON.parse(ended.out) as {
    failed: number;
    withoutProfile: number;
    retried: number;
    brokenByReason: Record<string, number>;
  };
  assert.ok(summary.failed > 0);
  assert.ok(summary.withoutProfile > 0);
  assert.ok(summary.retried > 0);
  assert.ok((summary.brokenByReason['circuit_open'] ?? 0) > 0, JSON.stringify(summary.brokenByReason));
  assertNothingLeft(ended);
});

test('a sidecar with the certificate of another mesh is refused by its peers', async (t) => {
  const ended = await runDemo(t, ['--for', '5s', '--json', '--fault', 'foreign:auth-svc@1s']);
  assert.equal(ended.code, 0, ended.error);
  const { brokenByReason } = JSON.parse(ended.out) as { brokenByReason: Record<string, number> };
  assert.ok(
    (brokenByReason['tls_handshake_failed'] ?? 0) + (brokenByReason['tls_peer_not_allowed'] ?? 0) > 0,
    JSON.stringify(brokenByReason),
  );
  assertNothingLeft(ended);
});

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
