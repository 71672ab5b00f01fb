import type { ReadingThread } from '../reading/reading-thread.ts';
import { type InstanceList, type InstanceSelection, readInstances } from './instance-list.ts';

/** Shorter answers, of some eighty instances, are read at once: in a millisecond, and without a thread. */
const longestReadAtOnceBytes = 128 * 2 ** 10;

/** Reads answers of Consul without stopping calls: long ones in a thread. */
export class InstanceReader {
  /** Answers that were read in the thread. */
  threaded = 0;
  readonly #thread: ReadingThread;

  constructor(thread: ReadingThread) {
    this.#thread = thread;
  }

  /** Rejects where the answer is no list of instances at all. Takes the bytes over. */
  async read(bytes: Buffer, selection: InstanceSelection, known: string): Promise<InstanceList> {
    if (bytes.length <= longestReadAtOnceBytes) return readInstances(bytes.toString('utf8'), selection, known);
    // To take in what has come was long enough for one turn; after what has come from a socket the first immediate belongs to the same one.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    this.threaded++;
    // A body of several chunks has memory of its own, which can be handed over; a slice of Node's pool cannot.
    const owned = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes);
    return await this.#thread.read({ kind: 'consul_answer', bytes: owned, selection, known }, [owned.buffer as ArrayBuffer]);
  }
}
