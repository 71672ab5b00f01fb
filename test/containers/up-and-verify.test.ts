import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../harness/ports.ts';
import { outriderPath, runProgram } from '../harness/program.ts';
import { portNames } from './compose-mesh.ts';
import { withoutEngine } from './docker.ts';

const patienceMs = 240_000;
const project = `outrider-up-${process.pid}`;

interface UpResult {
  readonly addresses: readonly { readonly what: string; readonly address: string }[];
  readonly next: readonly { readonly what: string; readonly command: string }[];
}

interface VerifyResult {
  readonly ok: boolean;
  readonly checks: readonly { readonly service: string | null; readonly check: string; readonly result: string; readonly detail: string }[];
}

test('what outrider up has started is found to be well by the command that it names', { skip: withoutEngine }, async () => {
  const ports = await Promise.all(portNames.map(async (name) => [name, String(await freePort())] as const));
  const env = { ...process.env, ...Object.fromEntries(ports) };
  const outrider = (...parameters: readonly string[]) =>
    runProgram(outriderPath, [...parameters, '--project', project], { env, patienceMs });
  try {
    const up = await outrider('up', '--components', 'envoy,consul,jaeger,prometheus', '--no-build', '--json');
    assert.equal(up.code, 0, up.stderr);
    const { addresses, next } = JSON.parse(up.stdout) as UpResult;
    assert.deepEqual(
      addresses.map(({ what }) => what),
      [
        'Consul',
        'Jaeger',
        'Prometheus',
        'auth-svc (mTLS)',
        'dashboard of auth-svc',
        'dashboard of event-collector-svc',
        'dashboard of learner-svc',
      ],
    );
    for (const { what, address } of addresses) {
      if (!address.startsWith('http')) continue;
      // Those that were built of Go modules have no pages.
      const path = { Jaeger: '/api/services', Prometheus: '/-/ready' }[what] ?? '';
      const answer = await fetch(`${address}${path}`, { headers: { connection: 'close' }, signal: AbortSignal.timeout(20_000) });
      await answer.text();
      assert.equal(answer.status, 200, `${what} at ${address}`);
    }
    // As somebody pastes it into a shell; Prometheus scrapes every 15 s, so that it may be asked again.
    const verify = next[0]?.command ?? assert.fail('no command');
    const deadline = performance.now() + patienceMs;
    let verdict: VerifyResult;
    for (;;) {
      const { stdout, stderr } = await runProgram('sh', ['-c', `${verify} --json`], { env, patienceMs });
      assert.ok(stdout.includes('{'), stderr);
      verdict = JSON.parse(stdout.slice(stdout.indexOf('{'))) as VerifyResult;
      if (verdict.ok || performance.now() > deadline) break;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
    const bad = verdict.checks
      .filter(({ result }) => result === 'failed' || result === 'skipped')
      .map(({ service, check, detail }) => `${service} ${check}: ${detail}`);
    assert.deepEqual(bad, []);
    assert.deepEqual([...new Set(verdict.checks.map(({ service }) => service))], [null, 'auth-svc', 'event-collector-svc', 'learner-svc']);
  } finally {
    const down = await outrider('down', '--volumes');
    assert.equal(down.code, 0, down.stderr);
  }
  const left = await runProgram('docker', ['ps', '--all', '--quiet', '--filter', `label=com.docker.compose.project=${project}`]);
  assert.equal(left.stdout, '');
});
