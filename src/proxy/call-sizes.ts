import { readUint32 } from '../http2/index.ts';
import type { MaxBytes } from '../policy/index.ts';

const prefixBytes = 5;

/** What is left of the most bytes that a call's request and its answer may have, where its route says so. */
export class CallSizes {
  readonly max: MaxBytes;
  #requestBytes = 0;
  #responseBytes = 0;

  constructor(max: MaxBytes) {
    this.max = max;
  }

  /** Whether a request of that `content-length` is too large. */
  refusesLength(bytes: number): boolean {
    return this.max.request > 0 && bytes > this.max.request;
  }

  /** Takes DATA of the request; false where it is too large. */
  takeRequest(bytes: Uint8Array, start: number, end: number): boolean {
    const { request } = this.max;
    if (request === 0) return true;
    const announced = this.#requestBytes === 0 ? announcedBytes(bytes, start, end) : 0;
    this.#requestBytes += end - start;
    return Math.max(this.#requestBytes, announced) <= request;
  }

  /** Takes DATA of the answer; false where it is too large. */
  takeResponse(bytes: Uint8Array, start: number, end: number): boolean {
    const { response } = this.max;
    if (response === 0) return true;
    const announced = this.#responseBytes === 0 ? announcedBytes(bytes, start, end) : 0;
    this.#responseBytes += end - start;
    return Math.max(this.#responseBytes, announced) <= response;
  }
}

/** The first message says how long it is: nobody has to read it to see that it is too large. */
const announcedBytes = (bytes: Uint8Array, start: number, end: number): number =>
  end - start < prefixBytes ? 0 : prefixBytes + readUint32(bytes, start + 1);
