import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../../core/index.ts';
import { type InstanceList, type InstanceSelection, readInstances } from './instance-list.ts';
import type { ReadingJob, ReadingResult } from './instance-worker.ts';

/** Shorter answers, of some eighty instances, are read at once: in a millisecond, and without a thread. */
const longestReadAtOnceBytes = 128 * 2 ** 10;
/** A thread that has nothing to do costs memory. */
const idleThreadMs = 60_000;
/** What may be read of one answer, its objects included; one that needs more ends the thread and not the process. */
const threadMemoryMb = 512;

interface Waiting {
  readonly resolve: (list: InstanceList) => void;
  readonly reject: (error: Error) => void;
}

/** Reads answers of Consul without stopping calls: long ones in a worker thread, which is there only while somebody needs it. */
export class InstanceReader {
  /** Answers that were read in the thread. */
  threaded = 0;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #idle: Timer | undefined;
  #jobs = 0;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a thread is there now. */
  get hasThread(): boolean {
    return this.#worker !== undefined;
  }

  /** Rejects where the answer is no list of instances at all. Takes the bytes over. */
  async read(bytes: Buffer, selection: InstanceSelection, known: string): Promise<InstanceList> {
    if (bytes.length <= longestReadAtOnceBytes) return readInstances(bytes.toString('utf8'), selection, known);
    // To take in what has come was long enough for one turn; after what has come from a socket the first immediate belongs to the same one.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    if (this.#closed) throw new Error('closed');
    this.threaded++;
    this.#idle?.cancel();
    const worker = this.#startThread();
    const id = this.#jobs++;
    const { promise, resolve, reject } = Promise.withResolvers<InstanceList>();
    this.#waiting.set(id, { resolve, reject });
    // A body of several chunks has memory of its own, which can be handed over; a slice of Node's pool cannot.
    const owned = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
    const job: ReadingJob = { id, bytes: owned ? bytes : Uint8Array.from(bytes), selection, known };
    worker.postMessage(job, [job.bytes.buffer as ArrayBuffer]);
    return promise;
  }

  /** Ends the thread; what it was reading is rejected. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#endThread(new Error('closed'));
  }

  #startThread(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    // The tree runs from src/ as well as from dist/.
    const file = import.meta.url.endsWith('.ts') ? './instance-worker.ts' : './instance-worker.js';
    const worker = new Worker(new URL(file, import.meta.url), {
      name: 'consul-reader',
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: threadMemoryMb },
    });
    worker.on('message', (result: ReadingResult) => this.#onResult(result));
    worker.on('error', (error) => this.#endThread(error instanceof Error ? error : new Error(String(error)), worker));
    worker.on('exit', () => this.#endThread(new Error('the thread that reads answers has ended'), worker));
    // Keeps no process alive.
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #onResult(result: ReadingResult): void {
    const waiting = this.#waiting.get(result.id);
    this.#waiting.delete(result.id);
    if ('list' in result) waiting?.resolve(result.list);
    else waiting?.reject(new Error(result.problem));
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
