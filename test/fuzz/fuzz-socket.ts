import { Duplex } from 'node:stream';

/** The end of a wire whose other end is the fuzzer: what is written is told at once, what comes in comes at once. */
export class FuzzSocket extends Duplex {
  /** The other side has ended its half: it says nothing more. */
  inputEnded = false;
  /** This side has ended its half. */
  outputEnded = false;
  readonly #onWritten: (bytes: Buffer) => void;
  #held = false;
  #waiting: (() => void) | undefined;

  constructor(onWritten: (bytes: Buffer) => void) {
    super({ allowHalfOpen: false, highWaterMark: 64 * 1024 });
    this.#onWritten = onWritten;
  }

  /** As a kernel whose buffers are full: nothing is accepted until `unhold`. */
  hold(): void {
    this.#held = true;
  }

  unhold(): void {
    this.#held = false;
    const done = this.#waiting;
    this.#waiting = undefined;
    done?.();
  }

  endInput(): void {
    if (this.inputEnded || this.destroyed) return;
    this.inputEnded = true;
    this.push(null);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#onWritten(Buffer.from(chunk));
    if (this.#held) this.#waiting = done;
    else done();
  }

  override _final(done: () => void): void {
    this.outputEnded = true;
    done();
  }
}
