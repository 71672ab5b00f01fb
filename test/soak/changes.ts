import { copyFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { outriderPath, runProgram } from '../harness/program.ts';
import type { SidecarProcess } from '../peers/sidecar-processes.ts';
import type { Ledger } from './ledger.ts';
import type { SoakMesh } from './soak-mesh.ts';

/** How often the mesh is changed, in milliseconds. */
export interface ChangeIntervals {
  readonly policiesMs: number;
  readonly certificatesMs: number;
  readonly restartMs: number;
}

const patienceMs = 15_000;

const pauseOrStop = async (ms: number, stop: AbortSignal): Promise<void> => {
  await sleep(ms, undefined, { signal: stop }).catch(() => {});
};

/** POST /reload: true where the policies were taken; a certificate that is wrong at this moment is another matter. */
const reloadPolicies = async ({ adminPort }: SidecarProcess): Promise<boolean> => {
  const response = await fetch(`http://127.0.0.1:${adminPort}/reload`, { method: 'POST' });
  const { reloaded } = (await response.json()) as { readonly reloaded: readonly { readonly name: string; readonly ok: boolean }[] };
  return reloaded.some(({ name, ok }) => name === 'policies' && ok);
};

/** In one step, as an editor or a deployment does it: the sidecar never reads half of a file. */
const replaceFile = (path: string, text: string): void => {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
};

const passing = (mesh: SoakMesh, connectTimeoutS: number): string => `clusters:
  passing-svc:
    endpoints: ["127.0.0.1:${mesh.callee('steady-svc').inboundPort}"]
    connect_timeout: ${connectTimeoutS}s
    tls: { match_subject_alt_names: [steady-svc] }
`;

/** A cluster that comes, changes and goes, and in between what must be refused. */
const changePolicies = async (mesh: SoakMesh, ledger: Ledger, intervalMs: number, stop: AbortSignal): Promise<void> => {
  const path = join(mesh.policyFolder, 'changing.yaml');
  const turns: readonly (readonly [text: string | undefined, valid: boolean])[] = [
    [passing(mesh, 2), true],
    [passing(mesh, 3), true],
    ['clusters:\n  passing-svc: { endpoints: nowhere }\n', false],
    [undefined, true],
    [passing(mesh, 2), true],
    ['routes: [\n', false],
  ];
  for (let turn = 0; !stop.aborted; turn++) {
    const [text, valid] = turns[turn % turns.length] as (typeof turns)[number];
    if (text === undefined) rmSync(path, { force: true });
    else replaceFile(path, text);
    const taken = await reloadPolicies(mesh.caller);
    ledger.note(valid ? 'policies: valid' : 'policies: invalid', taken === valid, taken ? 'taken' : 'refused');
    await pauseOrStop(intervalMs, stop);
  }
  rmSync(path, { force: true });
  ledger.note('policies: valid', await reloadPolicies(mesh.caller), 'at the end');
};

const untilStat = async (sidecar: SidecarProcess, name: string, above: number): Promise<boolean> => {
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline) {
    if ((await sidecar.stat(name)) > above) return true;
    await sleep(50);
  }
  return false;
};

/** A new leaf of the same authority for one sidecar after the other; before every other one a certificate that does not belong to its key. */
const rotateCertificates = async (mesh: SoakMesh, ledger: Ledger, intervalMs: number, stop: AbortSignal): Promise<void> => {
  for (let turn = 0; ; turn++) {
    await pauseOrStop(intervalMs, stop);
    if (stop.aborted) return;
    const [name, sidecar] = mesh.sidecars[turn % mesh.sidecars.length] as readonly [string, SidecarProcess];
    const { cert } = mesh.identity(name);
    if (turn % 2 === 0) {
      const failed = await sidecar.stat('certificates.reload_failed');
      copyFileSync(mesh.identity('mesh-client').cert, `${cert}.new`);
      renameSync(`${cert}.new`, cert);
      const refused = await untilStat(sidecar, 'certificates.reload_failed', failed);
      ledger.note('certificates: mismatched pair', refused, refused ? 'refused' : 'not refused');
    }
    const taken = await sidecar.stat('certificates.reload_ok');
    const { code, stderr } = await runProgram(outriderPath, ['certs', 'issue', '--output-dir', mesh.certificateFolder, name]);
    const ok = code === 0 && (await untilStat(sidecar, 'certificates.reload_ok', taken));
    ledger.note('certificates: new leaf', ok, ok ? 'taken' : `not taken: ${stderr}`);
  }
};

const deadMs = 1_000;

const restartService = async (mesh: SoakMesh, ledger: Ledger, intervalMs: number, stop: AbortSignal): Promise<void> => {
  for (;;) {
    await pauseOrStop(intervalMs, stop);
    if (stop.aborted) return;
    await mesh.restartMortal(deadMs);
    ledger.note('service: killed and started', true, 'back');
  }
};

/** All changes, until `stop`; resolves when the last is complete and the policies are as they were. */
export const runChanges = async (mesh: SoakMesh, ledger: Ledger, intervals: ChangeIntervals, stop: AbortSignal): Promise<void> => {
  await Promise.all([
    changePolicies(mesh, ledger, intervals.policiesMs, stop),
    rotateCertificates(mesh, ledger, intervals.certificatesMs, stop),
    restartService(mesh, ledger, intervals.restartMs, stop),
  ]);
};
