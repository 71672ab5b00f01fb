import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';

export interface ProgramOptions {
  readonly cwd?: string;
  /** Replaces the environment; without it the child gets this process's. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to stdin, which is then closed. */
  readonly input?: string;
  /** How long `waitFor`, `stop` and `runProgram` wait before they fail with all that the program said. 30 s by default. */
  readonly patienceMs?: number;
}

export interface ProgramExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `bin/outrider` of this tree. */
export const outriderPath = resolve(import.meta.dirname, '../../bin/outrider');

const defaultPatienceMs = 30_000;
const living = new Set<number>();
// A test that throws leaves nothing behind either.
process.on('exit', () => {
  for (const pid of living) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone in this very moment.
    }
  }
});

/** A foreign program or a process of our own, owned by the test: `await using proxy = spawnProgram('haproxy', [...])`. */
export class Program implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #patienceMs: number;
  readonly #name: string;
  readonly #listeners = new Set<() => void>();
  #stdout = '';
  #stderr = '';
  /** Settles when the program has ended and its output is complete; rejects where it could not be started. */
  readonly exited: Promise<ProgramExit>;

  constructor(command: string, args: readonly string[], options: ProgramOptions = {}) {
    this.#name = [command, ...args].join(' ');
    this.#patienceMs = options.patienceMs ?? defaultPatienceMs;
    const { cwd, env, input } = options;
    this.#child = spawn(command, args, { stdio: 'pipe', ...(cwd === undefined ? {} : { cwd }), ...(env === undefined ? {} : { env }) });
    this.#child.stdin.on('error', () => {}); // It need not read its input.
    this.#child.stdin.end(input ?? '');
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#heard(() => (this.#stdout += text)));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => this.#heard(() => (this.#stderr += text)));
    const { promise, resolve, reject } = Promise.withResolvers<ProgramExit>();
    this.exited = promise;
    promise.catch(() => {}); // Whoever waits for something hears of it there.
    if (this.#child.pid !== undefined) living.add(this.#child.pid);
    this.#child.on('exit', () => living.delete(this.pid));
    this.#child.on('error', (error) => reject(new Error(`${this.#name}: ${error.message}`)));
    this.#child.on('close', (code, signal) => resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr }));
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The first match in what stdout or stderr said so far or will say. Rejects when the program ends without saying it. */
  async waitFor(pattern: RegExp): Promise<RegExpMatchArray> {
    const { promise, resolve } = Promise.withResolvers<RegExpMatchArray>();
    const look = () => {
      const match = this.#stdout.match(pattern) ?? this.#stderr.match(pattern);
      if (match !== null) resolve(match);
      return match !== null;
    };
    if (look()) return promise;
    this.#listeners.add(look);
    const ended = this.exited.then(() => {
      if (look()) return promise;
      throw new Error(`${this.#name} ended before it said ${pattern}`);
    });
    try {
      return await this.#patiently(Promise.race([promise, ended]), `saying ${pattern}`);
    } finally {
      this.#listeners.delete(look);
    }
  }

  /** Sends the signal to this one process and waits for its end; a process that has ended already is fine. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ProgramExit> {
    this.#child.kill(signal);
    return await this.#patiently(this.exited, `ending after ${signal}`);
  }

  /** Waits for the end without asking for it. */
  async end(): Promise<ProgramExit> {
    return await this.#patiently(this.exited, 'ending by itself');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.pid === undefined) return;
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  #heard(append: () => void): void {
    append();
    for (const listener of this.#listeners) listener();
  }

  async #patiently<T>(work: Promise<T>, what: string): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`no sign of ${this.#name} ${what} after ${this.#patienceMs} ms`)), this.#patienceMs);
    try {
      return await Promise.race([work, promise]);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n--- stdout\n${this.#stdout.slice(-4000)}\n--- stderr\n${this.#stderr.slice(-4000)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Starts a program; the caller stops it, at the latest by `await using`. */
export const spawnProgram = (command: string, args: readonly string[] = [], options?: ProgramOptions): Program =>
  new Program(command, args, options);

/** Runs a program to its end. The exit code is the caller's to judge. */
export const runProgram = async (command: string, args: readonly string[] = [], options?: ProgramOptions): Promise<ProgramExit> => {
  await using program = new Program(command, args, options);
  return await program.end();
};
