import { type FSWatcher, readdirSync, realpathSync, statSync, watch } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Clock, Timer } from './clock.ts';

/** Long enough to swallow an editor's write-rename-chmod dance, short enough that nobody notices it. */
const debounceMs = 50;
const pollMs = 1_000;
/** A folder with more entries than this is watched, but only these many are compared by the poll. */
const mostEntries = 10_000;

interface WatchedFolder {
  readonly watcher: FSWatcher;
  /** Device and inode at the time of arming: a folder that was deleted and made anew needs a new watcher. */
  readonly identity: string;
}

/**
 * Tells when files or folders may have changed. The events of the operating system make it quick; they are lost on network
 * and container file systems, for files that are replaced through symbolic links (Kubernetes swaps `..data`), and for
 * folders that are deleted and made anew. So each second the stat signatures are compared as well, and events alone are
 * never relied on.
 *
 * `onChange` says "read again", not what happened: it is called once, about 50 ms after the first of a burst of changes,
 * and may be called where the contents are the same. Nothing is thrown for a path that does not exist (yet): its coming is
 * a change. Make the watch before the first reading, so that no change falls between the two. Keeps no process alive.
 */
export class FolderWatch {
  readonly #paths: readonly string[];
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #beside: () => ((name: string) => boolean) | undefined;
  readonly #watched = new Map<string, WatchedFolder>();
  #signature: string;
  #debounce: Timer | undefined;
  #poll: Timer | undefined;
  #forced = false;
  #closed = false;

  /**
   * @param paths files or folders, absolute or relative to the working folder; of a folder, its direct entries count too.
   * @param beside which other names in the folder of a file count; asked each time.
   */
  constructor(
    paths: readonly string[],
    clock: Clock,
    onChange: () => void,
    beside: () => ((name: string) => boolean) | undefined = () => undefined,
  ) {
    this.#paths = paths.map((path) => resolve(path));
    this.#clock = clock;
    this.#onChange = onChange;
    this.#beside = beside;
    this.#arm();
    this.#signature = this.#sign();
    this.#poll = clock.setTimer(this.#onPoll, pollMs);
  }

  /** Idempotent; `onChange` is not called afterwards. */
  close(): void {
    this.#closed = true;
    this.#debounce?.cancel();
    this.#poll?.cancel();
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  readonly #onPoll = (): void => {
    this.#poll = this.#clock.setTimer(this.#onPoll, pollMs);
    this.#arm();
    if (this.#debounce === undefined && this.#sign() !== this.#signature) this.#soon();
  };

  #soon(): void {
    if (this.#closed || this.#debounce !== undefined) return;
    this.#debounce = this.#clock.setTimer(this.#settle, debounceMs);
  }

  readonly #settle = (): void => {
    this.#debounce = undefined;
    this.#arm();
    const signature = this.#sign();
    // An event that names our file counts even where the signature is the same: two writes of equal length within one tick
    // of the file system's clock look alike.
    const changed = this.#forced || signature !== this.#signature;
    this.#forced = false;
    this.#signature = signature;
    if (changed) this.#onChange();
  };

  /** Watches the parents of all paths, the folders among them, and where symbolic links lead. */
  #arm(): void {
    if (this.#closed) return;
    const wanted = new Set<string>();
    for (const path of this.#paths) {
      wanted.add(dirname(path));
      if (isFolder(path)) wanted.add(path);
      const real = realPath(path);
      if (real !== undefined && real !== path) wanted.add(isFolder(real) ? real : dirname(real));
    }
    for (const [folder, { watcher, identity }] of this.#watched) {
      if (wanted.has(folder) && identity === folderIdentity(folder)) continue;
      watcher.close();
      this.#watched.delete(folder);
    }
    for (const folder of wanted) if (!this.#watched.has(folder)) this.#watchFolder(folder);
  }

  #watchFolder(folder: string): void {
    const identity = folderIdentity(folder);
    if (identity === undefined) return;
    try {
      const watcher = watch(folder, { persistent: false }, (_event, name) => this.#onEvent(folder, name));
      watcher.on('error', () => {
        watcher.close();
        this.#watched.delete(folder);
      });
      this.#watched.set(folder, { watcher, identity });
    } catch {
      // No inotify watches left, or the folder vanished in between: the poll sees changes just the same.
    }
  }

  #onEvent(folder: string, name: string | null): void {
    const beside = this.#beside();
    const counts = (path: string): boolean =>
      path === folder || (dirname(path) === folder && (basename(path) === name || (name !== null && beside?.(name) === true)));
    if (name === null || this.#paths.some(counts)) {
      this.#forced = true;
    }
    this.#soon();
  }

  #sign(): string {
    const beside = this.#beside();
    return this.#paths
      .map((path) => {
        if (isFolder(path)) return `${statSignature(path)}{${folderSignature(path)}}`;
        return beside === undefined ? statSignature(path) : `${statSignature(path)}{${folderSignature(dirname(path), beside)}}`;
      })
      .join('\n');
  }
}

const folderSignature = (folder: string, counts: (name: string) => boolean = () => true): string => {
  try {
    return readdirSync(folder)
      .filter(counts)
      .sort()
      .slice(0, mostEntries)
      .map((name) => `${name}=${statSignature(join(folder, name))}`)
      .join(',');
  } catch {
    return 'unreadable';
  }
};

const statSignature = (path: string): string => {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return 'missing';
    // A folder's own times move with every temporary file of an editor; its entries are compared instead.
    const times = stat.isDirectory() ? '' : `${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}:`;
    return `${times}${stat.dev}:${stat.ino}:${realPath(path) ?? ''}`;
  } catch {
    return 'unreadable';
  }
};

const folderIdentity = (folder: string): string | undefined => {
  try {
    const stat = statSync(folder, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
  } catch {
    return undefined;
  }
};

const isFolder = (path: string): boolean => {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false;
  }
};

const realPath = (path: string): string | undefined => {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
};
