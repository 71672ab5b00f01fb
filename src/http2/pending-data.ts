import type { Engine } from './engine.ts';

interface Chunk {
  readonly buffer: Buffer;
  start: number;
  end: number;
}

const smallestChunkBytes = 256;
/** Room for as much as waits already is made up to this. */
const mostAheadBytes = 8 * 1024;

/**
 * DATA of one stream that waits for its window. Small pieces share a chunk, so that a stream of one-byte messages costs about
 * its bytes and not an object for each.
 */
export class PendingData {
  /** Bytes that wait. */
  length = 0;
  /** Since when something waits, or since the reader was last found to be quick enough (monotonic ms), and what has left since. */
  #sinceMs = 0;
  #takenBytes = 0;
  readonly #chunks: Chunk[] = [];
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  append(bytes: Buffer, start: number, end: number): void {
    if (this.length === 0) {
      this.#sinceMs = this.#engine.nowMs;
      this.#takenBytes = 0;
    }
    this.length += end - start;
    let from = start;
    const last = this.#chunks[this.#chunks.length - 1];
    if (last !== undefined) {
      const room = Math.min(last.buffer.length - last.end, end - from);
      last.buffer.set(bytes.subarray(from, from + room), last.end);
      last.end += room;
      from += room;
    }
    while (from < end) {
      const left = end - from;
      const buffer = this.#engine.takePieceSlab(this.#chunkBytes(left));
      const taken = Math.min(left, buffer.length);
      buffer.set(bytes.subarray(from, from + taken));
      this.#chunks.push({ buffer, start: 0, end: taken });
      from += taken;
    }
  }

  /** Moves `count` bytes, no more than `length`, from the front to `out` at `at`. */
  take(out: Uint8Array, at: number, count: number): void {
    let left = count;
    let to = at;
    while (left > 0) {
      const first = this.#chunks[0] as Chunk;
      const taken = Math.min(left, first.end - first.start);
      out.set(first.buffer.subarray(first.start, first.start + taken), to);
      first.start += taken;
      to += taken;
      left -= taken;
      if (first.start === first.end) {
        this.#chunks.shift();
        this.#engine.returnSlab(first.buffer);
      }
    }
    this.length -= count;
    this.#takenBytes += count;
  }

  /** Whether the reader has taken less than `fewestBytesPerMs` over `patienceMs` or more, on the average. */
  isSlow(nowMs: number, patienceMs: number, fewestBytesPerMs: number): boolean {
    if (this.length === 0) return false;
    const elapsedMs = nowMs - this.#sinceMs;
    if (elapsedMs < patienceMs) return false;
    if (this.#takenBytes < elapsedMs * fewestBytesPerMs) return true;
    this.#sinceMs = nowMs;
    this.#takenBytes = 0;
    return false;
  }

  clear(): void {
    for (const { buffer } of this.#chunks) this.#engine.returnSlab(buffer);
    this.#chunks.length = 0;
    this.length = 0;
  }

  /** As large as what waits already: many small pieces are few chunks. */
  #chunkBytes(left: number): number {
    return Math.max(left, Math.min(this.length, mostAheadBytes), smallestChunkBytes);
  }
}
