import type { Clock, ConfigurationError, LimitedLog, Timer } from '../../core/index.ts';
import { asConfigurationError, type LogFile, openLogFile, type WriteResult } from './log-file.ts';
import { type LinePiece, LogLines } from './log-lines.ts';

/** Lines wait so long for others to be written with. */
const flushMs = 100;
/** A pipe that is full is asked again after this long. */
const fullPipeMs = 20;
const firstRetryMs = 1_000;
const longestRetryMs = 30_000;
/** Beyond this lines are dropped: some 5,000 of them. */
export const mostWaitingBytes = 4 * 1_048_576;

/** Of all logs of a sidecar together, since it started. */
export class AccessLogStats {
  written = 0;
  /** Lines that were left out: nobody took the ones before them. */
  dropped = 0;
  /** Attempts to open a log or to write to it that failed. */
  writeFailed = 0;
  reopened = 0;
}

export interface LogWriterWorld {
  readonly clock: Clock;
  readonly log: LimitedLog;
  readonly stats: AccessLogStats;
  /** Opens a path; by default what the system has there. */
  readonly open?: (path: string) => LogFile;
}

/**
 * Appends lines to one file or stream without ever making anybody wait: lines are gathered and written ten times a second or when 64 KiB
 * are full, one write at a time. What fails is tried again, later each time; what does not fit into the bounded backlog is dropped and counted.
 */
export class LogWriter {
  readonly path: string;
  readonly #world: LogWriterWorld;
  readonly #lines = new LogLines();
  #file: LogFile | undefined;
  /** Of the file that was written to last. */
  #identity = '';
  /** A write is with the system. */
  #writing = false;
  /** Replaced once that write is done. */
  #reopenSoon = false;
  #timer: Timer | undefined;
  #soon = false;
  /** It failed, or a pipe is full: the timer says when it is tried again. */
  #waitsToRetry = false;
  #retryMs = firstRetryMs;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(path: string, world: LogWriterWorld) {
    this.path = path;
    this.#world = world;
  }

  /** Opens it before there is anything to write. What is wrong is tried again later, also where only a person can help: that is the result. */
  openNow(): ConfigurationError | undefined {
    try {
      this.#open();
      return undefined;
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException);
      return asConfigurationError(this.path, error as NodeJS.ErrnoException);
    }
  }

  get waitingBytes(): number {
    return this.#lines.bytes;
  }

  /** Whether a line would be taken; where not, it counts as dropped. */
  hasRoom(): boolean {
    if (this.#lines.bytes < mostWaitingBytes && !this.#closed) return true;
    this.#world.stats.dropped++;
    return false;
  }

  /** Takes the first `length` bytes as a line, without its line break. Costs no system call. */
  add(line: Buffer, length: number): void {
    if (this.#lines.add(line, length) && !this.#soon) {
      this.#soon = true;
      setImmediate(() => {
        this.#soon = false;
        this.#pump();
      });
    }
    this.#timer ??= this.#world.clock.setTimer(this.#onTimer, flushMs);
  }

  /** Another file may stand under its name from here on: what waits goes to that one. */
  reopen(): void {
    if (this.#closed) return;
    this.#world.stats.reopened++;
    this.#retryMs = firstRetryMs;
    if (this.#writing) this.#reopenSoon = true;
    else this.#renew();
  }

  /** Writes what waits, for `limitMs` at most, and closes. Lines that nobody takes in that time are dropped. */
  async close(limitMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    const { clock, log, stats } = this.#world;
    const limit = clock.setTimer(resolve, limitMs);
    this.#waitsToRetry = false;
    this.#pump();
    await promise;
    limit.cancel();
    this.#cancelTimer();
    const lost = this.#lines.clear();
    if (lost > 0) {
      stats.dropped += lost;
      log.warning('lines of the access log were not written', () => ({ path: this.path, lines: lost }));
    }
    // A write that the system still has goes on without us.
    if (!this.#writing) this.#file?.close();
    this.#file = undefined;
  }

  /** Writes what waits now, for the end of the process. What is with the system already is left to it. */
  flushSync(): void {
    if (this.#writing || this.#file === undefined) return;
    for (let piece = this.#lines.first; piece !== undefined; piece = this.#lines.first) {
      const result = this.#file.writeSync(rest(piece));
      if (result === 'again' || 'error' in result) return;
      this.#world.stats.written += this.#lines.written(result.bytes);
    }
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#waitsToRetry = false;
    this.#pump();
  };

  #open(): void {
    const file = (this.#world.open ?? openLogFile)(this.path);
    if (file.identity !== this.#identity && this.#lines.dropHalfLine()) this.#world.stats.dropped++;
    this.#identity = file.identity;
    this.#file = file;
  }

  #renew(): void {
    this.#reopenSoon = false;
    this.#waitsToRetry = false;
    this.#cancelTimer();
    this.#file?.close();
    this.#file = undefined;
    try {
      this.#open();
      this.#pump();
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException);
    }
  }

  /** Hands the first piece to the system, and what follows it, until nothing waits or it takes no more. */
  #pump(): void {
    while (!this.#writing && !this.#waitsToRetry) {
      const piece = this.#lines.first;
      if (piece === undefined) {
        this.#onIdle?.();
        return;
      }
      try {
        if (this.#file === undefined) this.#open();
      } catch (error) {
        this.#fail(error as NodeJS.ErrnoException);
        return;
      }
      const file = this.#file as LogFile;
      let atOnce = true;
      this.#writing = true;
      file.write(rest(piece), (result) => {
        this.#writing = false;
        // Closed meanwhile, since it took too long.
        if (this.#file !== file) file.close();
        else this.#onWritten(result);
        if (!atOnce) this.#pump();
      });
      atOnce = false;
    }
  }

  #onWritten(result: WriteResult): void {
    if (result === 'again') this.#retryIn(fullPipeMs);
    else if ('error' in result) this.#fail(result.error);
    else {
      this.#world.stats.written += this.#lines.written(result.bytes);
      this.#retryMs = firstRetryMs;
    }
    if (this.#reopenSoon) this.#renew();
  }

  #fail(error: NodeJS.ErrnoException): void {
    const { log, stats } = this.#world;
    stats.writeFailed++;
    log.warning('access log cannot be written', () => ({ path: this.path, why: error.message, retry_ms: this.#retryMs }));
    this.#file?.close();
    this.#file = undefined;
    if (this.#closed) {
      this.#onIdle?.();
      this.#waitsToRetry = true;
      return;
    }
    this.#retryIn(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs);
  }

  #cancelTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #retryIn(delayMs: number): void {
    this.#waitsToRetry = true;
    this.#cancelTimer();
    this.#timer = this.#world.clock.setTimer(this.#onTimer, delayMs);
  }
}

const rest = ({ bytes, written, filled }: LinePiece): Buffer => bytes.subarray(written, filled);
