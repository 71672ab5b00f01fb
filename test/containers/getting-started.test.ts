import assert from 'node:assert/strict';
import { chmodSync, cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isListening } from '../harness/ports.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { withoutEngine } from './docker.ts';
import { root } from './images.ts';

const page = readFileSync(join(root, 'docs/getting-started.md'), 'utf8');
const grpcurl = await peerProgram('grpcurl');

/** The commands of the page in its order, in one shell; those of a block that is to fail are expected to. */
const script = (): string => {
  const lines = ['set -eu', 'export PS4="+ "'];
  for (const [, kind = '', commands = ''] of page.matchAll(/^```sh( fails)?\n(.*?)^```$/gms)) {
    const runnable = commands
      // The image is there, and the engine of the tests reaches no registry.
      .replace('--build ', '--no-build --pull never ')
      .replaceAll('compose exec ', 'compose exec -T ')
      .replace('--profile observability up ', '--profile observability up --pull never ');
    lines.push(kind === '' ? `set -x\n${runnable}{ set +x; } 2>/dev/null` : `if (\n${runnable}); then echo "NOT REFUSED"; exit 1; fi`);
  }
  return lines.join('\n');
};

// Those of the page, which somebody's own mesh may have.
const ports = [50_051, 9_901, 9_902, 9_903, 8_500, 16_686, 9_090, 3_000];
const taken = (await Promise.all(ports.map(async (port) => ((await isListening(port)()) ? [port] : [])))).flat();
const busy = taken.length > 0 && `the ports ${taken.join(', ')} of this machine are taken`;

test('every command of docs/getting-started.md does what the page says', { skip: withoutEngine || grpcurl.skip || busy }, async (t) => {
  using folder = temporaryFolder();
  chmodSync(folder.path, 0o755);
  for (const part of ['deploy', 'proto']) cpSync(join(root, part), join(folder.path, part), { recursive: true });
  const project = `outrider-started-${process.pid}`;
  const env = { ...process.env, COMPOSE_PROJECT_NAME: project, PATH: `${join(grpcurl.path, '..')}:${process.env['PATH']}` };
  try {
    const { code, stdout, stderr } = await runProgram('bash', ['-c', script()], { cwd: folder.path, env, patienceMs: 280_000 });
    assert.equal(code, 0, `${stdout.slice(-4_000)}\n${stderr.slice(-6_000)}`);
    const said = (pattern: RegExp): void => assert.match(stdout, pattern);
    assert.equal(stdout.match(/"displayName": "Learner ada"/g)?.length, 14);
    said(/the mesh is well/);
    said(/auth +prefix \/auth\.AuthService\/ +auth-svc +5s +4 /);
    said(/mesh\.yaml:15:9: [^"]*unknown key; did you mean num_retries\?/);
    said(/right: 3 routes, 3 clusters/);
    said(/"reason": "connect_failure"[\s\S]*"reason": "circuit_open"/);
    said(/cluster\.learner-svc\.circuit_breaker\.state: 1\n/);
    said(/"msg":"certificates reloaded"/);
    t.diagnostic(`${stdout.split('\n').length} lines`);
  } finally {
    const compose = ['compose', '-p', project, '-f', join(folder.path, 'deploy/compose/compose.yaml'), '--profile', '*'];
    await runProgram('docker', [...compose, 'down', '--volumes', '--timeout', '1'], { patienceMs: 120_000 });
  }
});
