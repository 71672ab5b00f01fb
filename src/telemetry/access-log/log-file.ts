import { closeSync, constants, fstatSync, openSync, write as writeSoon, writeSync } from 'node:fs';
import { ConfigurationError } from '../../core/index.ts';

/** Owner and group may read it: callers' addresses and names stand in it. */
const fileMode = 0o640;
const streamNumbers: Readonly<Record<string, number>> = { stdout: 1, stderr: 2 };
/** `O_NONBLOCK` so that neither a pipe without a reader nor one that is full holds anybody up; regular files do not know it. */
const openFlags = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK;

/** Bytes that were written, or why none were; `again`: it takes no more for now. */
export type WriteResult = { readonly bytes: number } | { readonly error: NodeJS.ErrnoException } | 'again';

/** A file, a pipe or a terminal that lines are appended to. No write ever waits for whoever reads. */
export interface LogFile {
  /** Device and inode: what another process sees under the same name may be another file. */
  readonly identity: string;
  /** The result comes at once for pipes and terminals, later for files on a disk. */
  write(bytes: Uint8Array, onWritten: (result: WriteResult) => void): void;
  /** Writes at once, for the end of the process. */
  writeSync(bytes: Uint8Array): WriteResult;
  close(): void;
}

const remedies: Readonly<Record<string, string>> = {
  ENOENT: 'make its folder, or name another file',
  ENOTDIR: 'name a file in a folder',
  EISDIR: 'name a file in that folder',
  EACCES: 'let the user of this process write there, or name another file',
  EPERM: 'let the user of this process write there, or name another file',
  EROFS: 'mount a volume that can be written to, or write stdout',
  ELOOP: 'name the file itself',
  ENAMETOOLONG: 'name it shorter',
};

/** What nobody but a person can mend, as an error for the start; `undefined` for what passes by itself. */
export const asConfigurationError = (path: string, error: NodeJS.ErrnoException): ConfigurationError | undefined => {
  const remedy = Object.hasOwn(remedies, error.code ?? '') ? remedies[error.code ?? ''] : undefined;
  return remedy === undefined
    ? undefined
    : new ConfigurationError(`the access log ${path} cannot be written: ${error.message}`, { remedy });
};

/** Opens `stdout`, `stderr` or a path, which is created where it is missing. Throws what the system says. */
export const openLogFile = (path: string): LogFile => {
  const stream = Object.hasOwn(streamNumbers, path) ? streamNumbers[path] : undefined;
  if (stream !== undefined) return openStream(stream);
  return new OpenFile(openSync(path, openFlags | constants.O_CREAT, fileMode), true);
};

/**
 * A pipe or a terminal is opened anew, so that it does not wait while others who share it may. Into a file both would write at places of
 * their own; that one is shared, and so is a socket, which cannot be opened.
 */
const openStream = (stream: number): LogFile => {
  const stats = fstatSync(stream);
  if (stats.isFile()) return new OpenFile(stream, false);
  try {
    return new OpenFile(openSync(`/proc/self/fd/${stream}`, openFlags), true);
  } catch {
    // Node's own stream makes it one that does not wait.
    void (stream === 1 ? process.stdout : process.stderr);
    return new OpenFile(stream, false);
  }
};

const isFull = ({ code }: NodeJS.ErrnoException): boolean => code === 'EAGAIN';

class OpenFile implements LogFile {
  readonly identity: string;
  readonly #number: number;
  readonly #ours: boolean;
  readonly #onDisk: boolean;

  constructor(number: number, ours: boolean) {
    const stats = fstatSync(number);
    this.identity = `${stats.dev}:${stats.ino}`;
    this.#number = number;
    this.#ours = ours;
    this.#onDisk = stats.isFile();
  }

  write(bytes: Uint8Array, onWritten: (result: WriteResult) => void): void {
    if (!this.#onDisk) {
      onWritten(this.writeSync(bytes));
      return;
    }
    // A disk may take its time, so a thread of Node's waits for it.
    writeSoon(this.#number, bytes, 0, bytes.length, null, (error, written) => onWritten(error === null ? { bytes: written } : { error }));
  }

  writeSync(bytes: Uint8Array): WriteResult {
    try {
      return { bytes: writeSync(this.#number, bytes, 0, bytes.length, null) };
    } catch (error) {
      return isFull(error as NodeJS.ErrnoException) ? 'again' : { error: error as NodeJS.ErrnoException };
    }
  }

  close(): void {
    if (!this.#ours) return;
    try {
      closeSync(this.#number);
    } catch {
      // A file system that is gone has nothing to close.
    }
  }
}
