import { readUint32 } from '../http2/index.ts';
import type { MaxBytes } from '../policy/index.ts';

const prefixBytes = 5;

/** As many as calls are commonly under way at once. */
const mostPooled = 256;
const pool: CallSizes[] = [];

/** What is left of the most bytes that a call's request and its answer may have, where its route says so. They are used again. */
export class CallSizes {
  #max: MaxBytes;
  #requestBytes = 0;
  #responseBytes = 0;

  private constructor(max: MaxBytes) {
    this.#max = max;
  }

  static take(max: MaxBytes): CallSizes {
    const pooled = pool.pop();
    if (pooled === undefined) return new CallSizes(max);
    pooled.#max = max;
    pooled.#requestBytes = 0;
    pooled.#responseBytes = 0;
    return pooled;
  }

  /** Its owner forgets it with this call. */
  release(): void {
    if (pool.length < mostPooled) pool.push(this);
  }

  get max(): MaxBytes {
    return this.#max;
  }

  /** Whether a request of that `content-length` is too large. */
  refusesLength(bytes: number): boolean {
    return this.#max.request > 0 && bytes > this.#max.request;
  }

  /** Takes DATA of the request; false where it is too large. */
  takeRequest(bytes: Uint8Array, start: number, end: number): boolean {
    const { request } = this.#max;
    if (request === 0) return true;
    const announced = this.#requestBytes === 0 ? announcedBytes(bytes, start, end) : 0;
    this.#requestBytes += end - start;
    return Math.max(this.#requestBytes, announced) <= request;
  }

  /** Takes DATA of the answer; false where it is too large. */
  takeResponse(bytes: Uint8Array, start: number, end: number): boolean {
    const { response } = this.#max;
    if (response === 0) return true;
    const announced = this.#responseBytes === 0 ? announcedBytes(bytes, start, end) : 0;
    this.#responseBytes += end - start;
    return Math.max(this.#responseBytes, announced) <= response;
  }
}

/** The first message says how long it is: nobody has to read it to see that it is too large. */
const announcedBytes = (bytes: Uint8Array, start: number, end: number): number =>
  end - start < prefixBytes ? 0 : prefixBytes + readUint32(bytes, start + 1);
