import { readFileSync } from 'node:fs';

/** Ticks of utime and stime in /proc: USER_HZ is 100 on every Linux that Node runs on. */
const tickMicroseconds = 10_000;

/** CPU time of the process with all its threads since its start. */
export const cpuMicrosecondsOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the name in parentheses and may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tickMicroseconds;
};

export const residentBytesOf = (pid: number): number => {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kilobytes ?? Number.NaN) * 1024;
};

/** Nanoseconds for which the main thread has stood ready without getting its core: what others do on this machine. */
export const waitedNanosecondsOf = (pid: number): number => {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[1]);
  } catch {
    return Number.NaN;
  }
};
