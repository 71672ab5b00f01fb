interface Chunk {
  readonly buffer: Buffer;
  start: number;
  end: number;
}

const smallestChunkBytes = 4 * 1024;
const largestChunkBytes = 64 * 1024;

/**
 * DATA of one stream that waits for its window. Small pieces share a chunk, so that a stream of one-byte messages costs about
 * its bytes and not an object for each.
 */
export class PendingData {
  /** Bytes that wait. */
  length = 0;
  readonly #chunks: Chunk[] = [];

  append(bytes: Uint8Array, start: number, end: number): void {
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
      const size = Math.min(Math.max(end - from, smallestChunkBytes), largestChunkBytes);
      const taken = Math.min(size, end - from);
      const buffer = Buffer.allocUnsafeSlow(size);
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
      if (first.start === first.end) this.#chunks.shift();
    }
    this.length -= count;
  }

  clear(): void {
    this.#chunks.length = 0;
    this.length = 0;
  }
}
