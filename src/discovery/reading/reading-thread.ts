import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../../core/index.ts';
import type { ReadingJob, ReadingReply, ReadingRequest, ReadingResults } from './reading-jobs.ts';

/** A thread that has nothing to do costs memory. */
const idleThreadMs = 60_000;
/** What may be read at once, its objects included; what needs more ends the thread and not the process. */
const threadMemoryMb = 512;

interface Waiting {
  readonly resolve: (result: ReadingResults[keyof ReadingResults]) => void;
  readonly reject: (error: Error) => void;
}

/** A worker thread that reads long lists of endpoints, so that calls go on meanwhile; it is there only while somebody needs it. */
export class ReadingThread {
  /** Jobs so far. */
  jobs = 0;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #idle: Timer | undefined;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a thread is there now. */
  get running(): boolean {
    return this.#worker !== undefined;
  }

  /** Rejects with what is wrong with it. @param owned memory that is handed over, and is not to be touched any more. */
  async read<J extends ReadingJob>(job: J, owned: readonly ArrayBuffer[] = []): Promise<ReadingResults[J['kind']]> {
    if (this.#closed) throw new Error('closed');
    this.#idle?.cancel();
    const worker = this.#startThread();
    const id = this.jobs++;
    const { promise, resolve, reject } = Promise.withResolvers<ReadingResults[keyof ReadingResults]>();
    this.#waiting.set(id, { resolve, reject });
    const request: ReadingRequest = { id, job };
    worker.postMessage(request, owned);
    return (await promise) as ReadingResults[J['kind']];
  }

  /** Ends the thread; what it was reading is rejected. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#endThread(new Error('closed'));
  }

  #startThread(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    // The tree runs from src/ as well as from dist/.
    const file = import.meta.url.endsWith('.ts') ? './reading-worker.ts' : './reading-worker.js';
    const worker = new Worker(new URL(file, import.meta.url), {
      name: 'endpoint-reader',
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: threadMemoryMb },
    });
    worker.on('message', (reply: ReadingReply) => this.#onReply(reply));
    worker.on('error', (error) => this.#endThread(error instanceof Error ? error : new Error(String(error)), worker));
    worker.on('exit', () => this.#endThread(new Error('the thread that reads lists of endpoints has ended'), worker));
    // Keeps no process alive.
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #onReply(reply: ReadingReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ('result' in reply) waiting?.resolve(reply.result);
    else waiting?.reject(new Error(reply.problem));
    if (this.#waiting.size > 0 || this.#closed) return;
    this.#idle?.cancel();
    this.#idle = this.#clock.setTimer(() => this.#endThread(new Error('idle')), idleThreadMs);
  }

  #endThread(why: Error, which: Worker | undefined = this.#worker): void {
    if (which === undefined || which !== this.#worker) return;
    this.#worker = undefined;
    this.#idle?.cancel();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    void which.terminate();
    for (const { reject } of waiting) reject(why);
  }
}
