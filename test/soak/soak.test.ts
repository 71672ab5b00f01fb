import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { judgeMemory } from './memory.ts';
import { runSoak } from './run-soak.ts';

checkLeaks();

test('a short soak: no call fails that should not, each has one fate, and nothing is left of the load', async () => {
  const report = await runSoak({
    durationMs: 4_000,
    callsPerSecond: 100,
    changes: { policiesMs: 400, certificatesMs: 1_000, restartMs: 1_500 },
    wirePauseMs: 100,
    quietMs: 20_000,
    progress: () => {},
  });
  assert.deepEqual([...report.examples, ...report.problems], [], `limits met: ${JSON.stringify(report.limitsMet)}`);
  // It did what it is for.
  for (const kind of [
    'policies: invalid',
    'certificates: mismatched pair',
    'service: killed and started',
    'wire abort',
    'cancelled mid-stream',
  ])
    assert.ok((report.kinds.get(kind)?.ended ?? 0) > 0, kind);
  assert.ok(report.gauges > 100, `${report.gauges} gauges`);
  assert.ok(report.fates.every(({ sum }) => sum > 0));
});

describe('memory', () => {
  const mib = 1024 * 1024;
  /** A saw-tooth of eight seconds between `base` and `base` + 10 MiB, with a rise on top. */
  const sawTooth = (seconds: number, risePerMinute: number, base = 80 * mib): number[] =>
    Array.from({ length: seconds }, (_, second) => base + ((second % 8) / 8) * 10 * mib + (second / 60) * risePerMinute);

  test('that goes up and down is flat', () => {
    const verdict = judgeMemory(sawTooth(240, 0));
    assert.ok(verdict.flat && !verdict.tooShort);
  });

  test('that rises beneath its ups and downs is not', () => {
    const { flat, slopeBytesPerMinute, growthBytes } = judgeMemory(sawTooth(240, mib));
    assert.equal(flat, false);
    assert.ok(Math.abs(slopeBytesPerMinute - mib) < 0.1 * mib, `${slopeBytesPerMinute}`);
    assert.ok(growthBytes > 3 * mib);
  });

  test('that takes one step is flat: a heap has found its size', () => {
    const samples = sawTooth(240, 0).map((bytes, second) => bytes + (second < 130 ? 0 : 6 * mib));
    const { flat, growthBytes } = judgeMemory(samples);
    assert.ok(flat && growthBytes > 3 * mib, `${growthBytes}`);
  });

  test('of a minute says nothing', () => assert.ok(judgeMemory(sawTooth(60, 10 * mib)).tooShort));
});
