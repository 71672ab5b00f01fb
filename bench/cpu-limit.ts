import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';

const periodMicroseconds = 10_000;
const root = '/sys/fs/cgroup';

/**
 * Lets a process use only a part of one core, as a container's CPU limit does: in slices of 10 ms. Needs a control group that it may make.
 * @param share of one core, from 0 to 1.
 */
export const limitCpu = (pid: number, share: number): Disposable => {
  if (share >= 1) return { [Symbol.dispose]() {} };
  if (share >= 1) return { [Symbol.dispose]() {} };
  const unified = existsSync(`${root}/cgroup.controllers`);
  const folder = `${unified ? root : `${root}/cpu`}/outrider-bench-${pid}`;
  const quota = Math.round(share * periodMicroseconds);
  try {
    mkdirSync(folder);
    if (unified) writeFileSync(`${folder}/cpu.max`, `${quota} ${periodMicroseconds}`);
    else {
      writeFileSync(`${folder}/cpu.cfs_period_us`, String(periodMicroseconds));
      writeFileSync(`${folder}/cpu.cfs_quota_us`, String(quota));
    }
    writeFileSync(`${folder}/cgroup.procs`, String(pid));
  } catch (error) {
    throw new Error(`cannot limit the CPU of process ${pid}: ${(error as Error).message}; run as root, or with --cpu 1`);
  }
  return {
    [Symbol.dispose]() {
      // Its process may be a zombie for a moment yet; an empty group that stays behind costs nothing.
      try {
        rmdirSync(folder);
      } catch {}
    },
  };
};
