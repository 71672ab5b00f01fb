import type { Duplex } from 'node:stream';
import type { Engine } from './engine.ts';

/**
 * Bytes on their way to one socket. Frames are written behind each other into one slab, and the slab goes out in one write at
 * the end of the turn: fewer system calls and TLS records are the larger part of what makes the engine cheap.
 *
 * A slab belongs to the socket until its callback, since TLS reads it later.
 */
export class Output {
  /** Where frames are written: `reserve` first, then write at `length` and move it. */
  bytes: Buffer;
  length = 0;
  /** Handed to the socket and not yet accepted by the kernel. */
  inFlightBytes = 0;
  readonly #engine: Engine;
  readonly #socket: Duplex;
  readonly #onWritten: () => void;
  readonly #inFlight: Buffer[] = [];
  readonly #inFlightLengths: number[] = [];
  #dirty = false;
  #closed = false;

  /** `onWritten` is called after each write that the kernel has accepted. */
  constructor(engine: Engine, socket: Duplex, onWritten: () => void) {
    this.#engine = engine;
    this.#socket = socket;
    this.#onWritten = onWritten;
    this.bytes = noBytes;
  }

  /** Makes room for `bytes` more. What does not fit behind the earlier frames starts a new slab. */
  reserve(bytes: number): void {
    if (this.length + bytes > this.bytes.length) {
      this.#write();
      if (this.bytes.length < bytes) {
        if (this.bytes.length > 0) this.#engine.returnSlab(this.bytes);
        this.bytes = this.#engine.takeSlab(bytes);
      }
    }
    if (!this.#dirty) {
      this.#dirty = true;
      this.#engine.flushLater(this);
    }
  }

  /** Writes everything now. */
  flush(): void {
    this.#dirty = false;
    this.#write();
    if (this.bytes.length > 0) {
      this.#engine.returnSlab(this.bytes);
      this.bytes = noBytes;
    }
  }

  /** Bytes that have not reached the kernel. */
  get pendingBytes(): number {
    return this.length + this.inFlightBytes;
  }

  /** Nothing is written any more; what waits is dropped. */
  close(): void {
    this.#closed = true;
    this.length = 0;
  }

  #write(): void {
    if (this.length === 0) return;
    if (this.#closed || !this.#socket.writable) {
      this.length = 0;
      return;
    }
    const slab = this.bytes;
    const length = this.length;
    this.bytes = noBytes;
    this.length = 0;
    this.inFlightBytes += length;
    this.#inFlight.push(slab);
    this.#inFlightLengths.push(length);
    this.#socket.write(slab.length === length ? slab : slab.subarray(0, length), this.#onSlabWritten);
  }

  // Callbacks come in the order of the writes, so one function serves them all.
  readonly #onSlabWritten = (error?: Error | null): void => {
    const slab = this.#inFlight.shift();
    const length = this.#inFlightLengths.shift();
    if (slab === undefined || length === undefined) return;
    this.inFlightBytes -= length;
    // After an error the socket may still hold on to the memory: let the collector decide.
    if (error === undefined || error === null) {
      this.#engine.returnSlab(slab);
      this.#onWritten();
    }
  };
}

const noBytes = Buffer.alloc(0);
