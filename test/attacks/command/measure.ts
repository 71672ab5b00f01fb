import { cpuMicrosecondsOf, residentBytesOf, waitedNanosecondsOf } from '../../../bench/process-usage.ts';
import type { Program } from '../../harness/program.ts';
import type { NeighbourCall } from './neighbour.ts';

/** What the neighbour lived through between two moments. */
export interface Quality {
  readonly calls: number;
  readonly failed: number;
  /** Why the first one failed. */
  readonly why: string | undefined;
  readonly p99Ms: number;
  /** Of the calls that went straight to the service: what generator and core add. */
  readonly directP99Ms: number;
}

const p99 = (all: readonly number[]): number => {
  const sorted = [...all].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? Number.NaN;
};

/** Reads what the neighbour's process prints. */
export class NeighbourLog {
  readonly #program: Program;
  #read = 0;
  #calls: NeighbourCall[] = [];

  constructor(program: Program) {
    this.#program = program;
  }

  /** Calls that began within [fromMs, toMs) of the epoch; earlier ones are forgotten. */
  between(fromMs: number, toMs: number): Quality {
    this.#take();
    this.#calls = this.#calls.filter(({ at }) => at >= fromMs);
    const calls = this.#calls.filter(({ at }) => at < toMs);
    const through = calls.filter(({ direct }) => !direct);
    const failed = through.filter(({ ok }) => !ok);
    return {
      calls: through.length,
      failed: failed.length,
      why: failed[0]?.why,
      p99Ms: p99(through.filter(({ ok }) => ok).map(({ ms }) => ms)),
      directP99Ms: p99(calls.filter(({ direct, ok }) => direct && ok).map(({ ms }) => ms)),
    };
  }

  #take(): void {
    const text = this.#program.stdout;
    const end = text.lastIndexOf('\n') + 1;
    for (const line of text.slice(this.#read, end).split('\n')) {
      if (line.startsWith('[')) this.#calls.push(...(JSON.parse(line) as NeighbourCall[]));
    }
    this.#read = end;
  }
}

/** Memory of a process over time, and its CPU. */
export class ProcessWatch {
  peakBytes: number;
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  readonly #cpuAtStart: number;
  readonly #waitedAtStart: number;
  readonly #startedAt = performance.now();

  constructor(pid: number) {
    this.#pid = pid;
    this.peakBytes = residentBytesOf(pid);
    this.#cpuAtStart = cpuMicrosecondsOf(pid);
    this.#waitedAtStart = waitedNanosecondsOf(pid);
    this.#timer = setInterval(() => this.#look(), 50);
  }

  /** Milliseconds for which the process stood ready and did not run, since the start. */
  get waitedMs(): number {
    return (waitedNanosecondsOf(this.#pid) - this.#waitedAtStart) / 1e6;
  }

  /** Microseconds of CPU since the start, and the time since then. */
  stop(): { readonly cpuMicroseconds: number; readonly elapsedMs: number } {
    clearInterval(this.#timer);
    this.#look();
    return { cpuMicroseconds: cpuMicrosecondsOf(this.#pid) - this.#cpuAtStart, elapsedMs: performance.now() - this.#startedAt };
  }

  #look(): void {
    try {
      this.peakBytes = Math.max(this.peakBytes, residentBytesOf(this.#pid));
    } catch {
      // Gone: whoever asks for its CPU learns of it.
    }
  }
}
