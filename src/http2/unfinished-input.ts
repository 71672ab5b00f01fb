import { Deadline } from '../core/index.ts';
import type { Http2Counters } from './counters.ts';
import type { Engine } from './engine.ts';
import { ErrorCode } from './frames.ts';

/** From the first bytes of a frame or header block to its last: they are sent together. */
const timeoutMs = 10_000;

/** Nobody is refused less, however much others keep: the headers that a server of gRPC takes by default. */
const guaranteedBytes = 8 * 1024;

/** Whose input it is. */
export interface UnfinishedInputOwner {
  readonly engine: Engine;
  readonly counters: Http2Counters;
  /** Ends the connection. */
  protocolError(code: number, message: string): void;
}

/**
 * What a connection keeps of a frame or header block whose end has not come. DATA never counts: it is handed on as it comes, however slowly.
 *
 * Both have a deadline, one for a block of many frames; and of the memory for all connections each may take as much as the others leave free
 * (a dynamic threshold), so that a thousand halves of the largest block cost no more than a few dozen.
 */
export class UnfinishedInput {
  readonly #deadline = new Deadline(this);
  readonly #owner: UnfinishedInputOwner;
  #frameBytes = 0;
  #blockBytes = 0;
  #insideBlock = false;

  constructor(owner: UnfinishedInputOwner) {
    this.#owner = owner;
  }

  /** So many bytes are allocated for a frame whose end is awaited; 0: no longer. False where the connection has ended by it. */
  keepFrame(bytes: number): boolean {
    const more = bytes - this.#frameBytes;
    this.#frameBytes = bytes;
    return this.#account(more);
  }

  /** So many bytes are kept of a header block that has begun and not ended. False where the connection has ended by it. */
  keepBlock(bytes: number): boolean {
    const more = bytes - this.#blockBytes;
    this.#blockBytes = bytes;
    this.#insideBlock = true;
    return this.#account(more);
  }

  /** The header block is whole. */
  endBlock(): void {
    const bytes = this.#blockBytes;
    this.#blockBytes = 0;
    this.#insideBlock = false;
    this.#account(-bytes);
  }

  /** The connection is gone. */
  clear(): void {
    this.keepFrame(0);
    this.endBlock();
  }

  expire(): void {
    const { counters, engine } = this.#owner;
    engine.tick();
    if (this.#insideBlock) counters.headerTimeout++;
    else counters.frameTimeout++;
    const what = this.#insideBlock ? 'header block' : 'frame';
    this.#owner.protocolError(ErrorCode.enhanceYourCalm, `the end of a ${what} did not come within ${timeoutMs / 1_000} s`);
  }

  #account(bytes: number): boolean {
    const { counters, engine } = this.#owner;
    engine.unfinishedBytes += bytes;
    const kept = this.#frameBytes + this.#blockBytes;
    if (kept === 0 && !this.#insideBlock) engine.wheel.cancel(this.#deadline);
    else if (!this.#deadline.armed) engine.wheel.arm(this.#deadline, engine.nowMs + timeoutMs);
    if (bytes <= 0 || kept <= guaranteedBytes || kept <= engine.maxUnfinishedBytes - engine.unfinishedBytes) return true;
    counters.unfinishedOverflow++;
    const message = `${kept} bytes of a frame or header block wait for its end, beside ${engine.unfinishedBytes - kept} of other connections`;
    this.#owner.protocolError(ErrorCode.enhanceYourCalm, message);
    return false;
  }
}
