import type { Duplex } from 'node:stream';
import type { Engine } from './engine.ts';

/** A socket that takes what it is given has one or two. */
const mostSlabsInFlight = 4;

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
  /** Those of both kinds that stand in a slab which waits until the socket has taken an earlier one: counted as in flight. */
  #heldControlFrames = 0;
  #heldHeaderBlocks = 0;
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

  /**
   * The turn is over: writes what there is. Where the socket has not taken the last few slabs, this one waits for them and is filled further:
   * a peer that does not read, and makes us answer, costs what the answers are long and not a slab for each.
   */
  onTurnEnd(): void {
    if (this.#inFlight.length < mostSlabsInFlight || this.#closed) this.flush();
    else this.#holdBack();
  }

  #holdBack(): void {
    this.#dirty = false;
    this.#heldControlFrames += this.controlFrames;
    this.controlFramesInFlight += this.controlFrames;
    this.controlFrames = 0;
    this.#heldHeaderBlocks += this.headerBlocks;
    this.headerBlocksInFlight += this.headerBlocks;
    this.headerBlocks = 0;
  }

  /** More frames of a kind that flow control does not bound than `most`, or than an eighth of it while all sockets together have too many. */
  floods(framesInFlight: number, most: number): boolean {
    return framesInFlight > most || (framesInFlight > most >> 3 && this.#engine.outputShort);
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
    if (this.bytes.length > 0 && !this.#dirty) this.flush();
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
    this.#engine.outputBytes += slab.length;
    this.controlFramesInFlight += controlFrames;
    this.headerBlocksInFlight += headerBlocks;
    this.#inFlight.push({
      slab,
      length,
      controlFrames: controlFrames + this.#heldControlFrames,
      headerBlocks: headerBlocks + this.#heldHeaderBlocks,
    });
    this.#heldControlFrames = 0;
    this.#heldHeaderBlocks = 0;
    this.#socket.write(slab.length === length ? slab : slab.subarray(0, length), this.#onSlabWritten);
  }

  // Callbacks come in the order of the writes, so one function serves them all.
  readonly #onSlabWritten = (error?: Error | null): void => {
    const written = this.#inFlight.shift();
    if (written === undefined) return;
    this.inFlightBytes -= written.length;
    this.#engine.outputBytes -= written.slab.length;
    this.controlFramesInFlight -= written.controlFrames;
    this.headerBlocksInFlight -= written.headerBlocks;
    // After an error the socket may still hold on to the memory: let the collector decide.
    if (error === undefined || error === null) {
      this.#engine.returnSlab(written.slab);
      if (this.length > 0 && !this.#dirty) this.flush();
      this.#onWritten();
    } else this.#engine.forgetSlab(written.slab);
  };
}

const noBytes = Buffer.alloc(0);
