import type { Duplex } from 'node:stream';
import type { Engine } from './engine.ts';

interface SlabInFlight {
  readonly slab: Buffer;
  readonly length: number;
  readonly controlFrames: number;
  readonly headerBlocks: number;
}

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
  /** Acknowledgements and resets, and header blocks, since the last write. Whoever writes one counts it here. */
  controlFrames = 0;
  headerBlocks = 0;
  /** The same for what the socket was given and the kernel has not accepted: flow control bounds none of them. */
  controlFramesInFlight = 0;
  headerBlocksInFlight = 0;
  readonly #inFlight: SlabInFlight[] = [];
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
      const full = this.length > 0;
      this.#write();
      if (this.bytes.length < bytes) {
        if (this.bytes.length > 0) this.#engine.returnSlab(this.bytes);
        this.bytes = this.#engine.takeSlab(bytes, full);
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
    const { controlFrames, headerBlocks } = this;
    this.controlFrames = 0;
    this.headerBlocks = 0;
    this.inFlightBytes += length;
    this.controlFramesInFlight += controlFrames;
    this.headerBlocksInFlight += headerBlocks;
    this.#inFlight.push({ slab, length, controlFrames, headerBlocks });
    this.#socket.write(slab.length === length ? slab : slab.subarray(0, length), this.#onSlabWritten);
  }

  // Callbacks come in the order of the writes, so one function serves them all.
  readonly #onSlabWritten = (error?: Error | null): void => {
    const written = this.#inFlight.shift();
    if (written === undefined) return;
    this.inFlightBytes -= written.length;
    this.controlFramesInFlight -= written.controlFrames;
    this.headerBlocksInFlight -= written.headerBlocks;
    // After an error the socket may still hold on to the memory: let the collector decide.
    if (error === undefined || error === null) {
      this.#engine.returnSlab(written.slab);
      this.#onWritten();
    } else this.#engine.forgetSlab(written.slab);
  };
}

const noBytes = Buffer.alloc(0);
