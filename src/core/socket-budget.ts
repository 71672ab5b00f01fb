import { readFileSync } from 'node:fs';

/** Where the system does not tell: what every system of today grants. */
const usualOpenFiles = 1_024;

/** How many files and sockets the process may have open (RLIMIT_NOFILE). Node has raised the soft limit to the hard one by then. */
export const openFilesLimit = (): number => {
  try {
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    if (limit === 'unlimited') return Number.POSITIVE_INFINITY;
    return limit === undefined ? usualOpenFiles : Number(limit);
  } catch {
    return usualOpenFiles;
  }
};

/**
 * Sockets that a sidecar may have open at once. The account ends before the descriptors do, so that the admin port and the files
 * of policies and certificates always find one: the kernel's own answer to the last descriptor (EMFILE) hits whoever asks next.
 */
export class SocketBudget {
  readonly limit: number;
  inUse = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Takes room for one socket. False, with nothing taken, where there is none. */
  take(): boolean {
    if (this.inUse >= this.limit) return false;
    this.inUse++;
    return true;
  }

  /** Gives back what one `take` took; once for each. */
  give(): void {
    this.inUse--;
  }
}
