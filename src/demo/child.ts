import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Clock, Timer } from '../core/index.ts';

export interface ChildOptions {
  /** What people call it: `sidecar of auth-svc`. */
  readonly name: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Asked again and again instead of waiting for a line, for programs that say nothing of the kind. */
  readonly isReady?: () => Promise<boolean>;
  /** The child ended, and nobody had asked it to. */
  readonly onCrash: (message: string) => void;
}

export type ReadyLine = Readonly<Record<string, unknown>>;

const readyWithinMs = 20_000;
const keptLines = 15;

const pollIntervalMs = 50;

/** A child process that says `{"msg":"ready",...}` once it can be used, or is asked whether it can, and that is ended in order, or killed where it does not end. */
export class Child {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #process: ChildProcess;
  readonly #onCrash: (message: string) => void;
  readonly #lines: string[] = [];
  readonly #ended: Promise<void>;
  readonly #ready: Promise<ReadyLine>;
  #settleReady: { resolve: (line: ReadyLine) => void; reject: (error: Error) => void } | undefined;
  #wanted = true;
  #isReady = false;
  #running = true;

  constructor({ name, command, environment, clock, isReady, onCrash }: ChildOptions) {
    this.#name = name;
    this.#clock = clock;
    this.#onCrash = onCrash;
    this.#ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    // Whoever never asks for readiness must not bring the process down by an unhandled rejection.
    this.#ready.catch(() => {});
    const [file = '', ...parameters] = command;
    // A process group of its own: the terminal's Ctrl-C is for the demo, which then ends its children in the right order.
    this.#process = spawn(file, parameters, { env: environment, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#process.stdin?.on('error', () => {});
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#onLine(line));
    }
    const deadline = clock.setTimer(() => this.#settleReady?.reject(new Error(this.#report('did not become ready'))), readyWithinMs);
    if (isReady !== undefined) void this.#pollReady(isReady);
    this.#ended = new Promise((resolve) => {
      this.#process.on('error', (error) => {
        this.#onEnd(`could not be started: ${error.message}`, deadline);
        resolve();
      });
      // 'close' comes after the last line of output, so that the report has it.
      this.#process.on('close', (code, signal) => {
        this.#onEnd(signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`, deadline);
        resolve();
      });
    });
  }

  get pid(): number | undefined {
    return this.#running ? this.#process.pid : undefined;
  }

  /** Resolves with the fields of the line that said so. Rejects where the child ends before, or takes too long. */
  ready(): Promise<ReadyLine> {
    return this.#ready;
  }

  /** Writes one line to the child's stdin; lost where it has ended. */
  tell(order: object): void {
    if (this.#running) this.#process.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  /** SIGTERM, and SIGKILL where the child is still there after `graceMs`. Resolves when it has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#wanted = false;
    if (!this.#running) return;
    this.#process.kill('SIGTERM');
    const timer = this.#clock.setTimer(() => this.#process.kill('SIGKILL'), graceMs);
    await this.#ended;
    timer.cancel();
  }

  /** SIGKILL at once, as a crash would. Resolves when it has ended. */
  async kill(): Promise<void> {
    this.abandon();
    await this.#ended;
  }

  /** SIGKILL without waiting, for a process that is itself about to end. */
  abandon(): void {
    this.#wanted = false;
    if (this.#running) this.#process.kill('SIGKILL');
  }

  #onLine(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > keptLines) this.#lines.shift();
    if (this.#isReady || !line.includes('"ready"')) return;
    const fields = parseLine(line);
    if (fields?.['msg'] !== 'ready') return;
    this.#becomeReady(fields);
  }

  async #pollReady(isReady: () => Promise<boolean>): Promise<void> {
    while (this.#running && this.#wanted && !(await isReady())) {
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(resolve, pollIntervalMs);
      });
    }
    if (this.#running && this.#wanted) this.#becomeReady({ msg: 'ready' });
  }

  #becomeReady(line: ReadyLine): void {
    this.#isReady = true;
    this.#settleReady?.resolve(line);
  }

  #onEnd(how: string, deadline: Timer): void {
    deadline.cancel();
    if (!this.#running) return;
    this.#running = false;
    if (!this.#wanted) this.#settleReady?.reject(new Error(`the ${this.#name} was stopped`));
    else if (this.#isReady) this.#onCrash(this.#report(how));
    else this.#settleReady?.reject(new Error(this.#report(how)));
  }

  #report(how: string): string {
    const tail = this.#lines.map((line) => `    ${line}`).join('\n');
    return `the ${this.#name} ${how}; its last lines:\n${tail === '' ? '    (none)' : tail}`;
  }
}

const parseLine = (line: string): ReadyLine | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as ReadyLine) : undefined;
  } catch {
    return undefined;
  }
};
