const smallestBytes = 1_024;
const smallPooledBytes = 16 * 1_024;
const smallPooledBuffers = 256;
/** A few large ones wait as well: a busy route with large messages would otherwise allocate one for each. */
const largePooledBytes = 128 * 1_024;
const largePooledBuffers = 16;

/** What one call has sent so far, so that another attempt can send it again. Comes from `ReplayBuffers`. */
export class ReplayBuffer {
  bytes: Buffer = Buffer.allocUnsafeSlow(smallestBytes);
  length = 0;
  /** The request ended behind these bytes. */
  ended = false;
}

/** All replay buffers of a process: pooled, and bounded together, so that retries can never eat the memory. */
export class ReplayBuffers {
  readonly #maxBytes: number;
  readonly #small: ReplayBuffer[] = [];
  readonly #large: ReplayBuffer[] = [];
  #usedBytes = 0;

  /** @param maxBytes of request bodies kept at once, over all calls. */
  constructor(maxBytes = 32 * 1_024 * 1_024) {
    this.#maxBytes = maxBytes;
  }

  take(): ReplayBuffer {
    return this.#small.pop() ?? new ReplayBuffer();
  }

  /** Appends, or returns false where the call's `limitBytes` or the process's bound would be exceeded: then nothing was appended. */
  append(buffer: ReplayBuffer, bytes: Buffer, start: number, end: number, limitBytes: number): boolean {
    const needed = buffer.length + end - start;
    if (needed > limitBytes || this.#usedBytes + end - start > this.#maxBytes) return false;
    if (needed > buffer.bytes.length) {
      this.#grow(buffer, needed, limitBytes);
    }
    bytes.copy(buffer.bytes, buffer.length, start, end);
    buffer.length = needed;
    this.#usedBytes += end - start;
    return true;
  }

  /** Its owner forgets it with this call. */
  release(buffer: ReplayBuffer): void {
    this.#usedBytes -= buffer.length;
    buffer.length = 0;
    buffer.ended = false;
    const { length } = buffer.bytes;
    if (length <= smallPooledBytes) {
      if (this.#small.length < smallPooledBuffers) this.#small.push(buffer);
    } else if (length <= largePooledBytes && this.#large.length < largePooledBuffers) this.#large.push(buffer);
  }

  #grow(buffer: ReplayBuffer, needed: number, limitBytes: number): void {
    const waiting = needed > smallPooledBytes ? this.#large.pop() : undefined;
    const size = Math.max(needed, Math.min(buffer.bytes.length * 4, limitBytes));
    const grown = waiting !== undefined && waiting.bytes.length >= needed ? waiting.bytes : Buffer.allocUnsafeSlow(size);
    buffer.bytes.copy(grown, 0, 0, buffer.length);
    buffer.bytes = grown;
  }

  /** Bytes kept now: zero when nothing is in flight. */
  get usedBytes(): number {
    return this.#usedBytes;
  }
}
