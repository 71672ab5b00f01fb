import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
  /** Processes that were started by this demo and are still there. */
  readonly leftProcesses: readonly number[];
  readonly leftFiles: readonly string[];
}

/** Processes whose environment has the mark that this test gave to its own; empty where the system has no `/proc`. */
export const processesMarked = (mark: string): readonly number[] => {
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
export const runDemo = (
  t: TestContext,
  parameters: readonly string[],
  onOut?: (out: string, pid: number) => void,
  more: Readonly<Record<string, string>> = {},
): Promise<Ended> => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-demo-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return new Promise((resolve, reject) => {
    const environment = { PATH: process.env['PATH'] ?? '', TMPDIR: folder, ...more };
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

export const assertNothingLeft = ({ leftProcesses, leftFiles }: Ended): void => {
  assert.deepEqual(leftProcesses, []);
  assert.deepEqual(leftFiles, []);
};
