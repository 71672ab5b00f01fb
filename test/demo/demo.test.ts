import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNothingLeft, runDemo } from './demo-process.ts';

test('the demo runs a mesh, ends by itself with a summary, and leaves nothing behind', async (t) => {
  const ended = await runDemo(t, ['--for', '3s']);
  assert.equal(ended.code, 0, ended.error + ended.out);
  assert.match(ended.out, /the mesh runs after .*: 3 services, 4 sidecars, mTLS between them/);
  assert.match(ended.out, /^ {2}catalogue {12}outrider registry at http:\/\/127\.0\.0\.1:\d+$/m);
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
