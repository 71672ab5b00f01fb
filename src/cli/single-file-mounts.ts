import { readFileSync, statSync } from 'node:fs';
import type { Shortcoming } from '../core/index.ts';

/** A file of the configuration, and the variable that names it. */
export interface NamedFile {
  readonly variable: string;
  readonly path: string;
}

/** Mount points of this process; empty where the system does not say. */
const readMountInfo = (): string => {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return '';
  }
};

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

/** In proc(5) blanks and backslashes are octal. */
const mountPoints = (mountInfo: string): ReadonlySet<string> =>
  new Set(
    mountInfo
      .split('\n')
      .map((line) =>
        (line.split(' ')[4] ?? '').replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
      ),
  );

/**
 * Files that are mounted one by one into a container: whoever puts a new file in the place of such a one, as editors and certificate jobs do, changes
 * nothing there, and nobody hears of it.
 */
export const singleFileMounts = (files: readonly NamedFile[], mountInfo = readMountInfo(), isRegular = isFile): readonly Shortcoming[] => {
  const mounted = mountPoints(mountInfo);
  return files
    .filter(({ path }) => mounted.has(path) && isRegular(path))
    .map(({ variable, path }) => ({
      why: `${variable}: ${path} is mounted as a single file: one that an editor or a job puts in its place is never seen here`,
      remedy: 'mount the folder that holds it',
    }));
};
