import type { Clock, TimerWheel } from '../core/index.ts';
import { HeaderBlock } from './header-block.ts';
import { InputTurns } from './input-turns.ts';
import { LostStreams } from './lost-streams.ts';
import type { Output } from './output.ts';
import type { ReceiveWindow } from './receive-window.ts';
import { Slabs } from './slabs.ts';
import { SlowReaders } from './slow-readers.ts';

/** Most turns write little to each of many sockets; what writes more gets large slabs, so that a body is few writes. */
const smallSlabBytes = 16 * 1024;
const largeSlabBytes = 64 * 1024;
/** DATA that waits for a window comes in pieces of these sizes; smaller ones are made to measure. */
const pieceSlabBytes = 4 * 1024;
const largePieceSlabBytes = 8 * 1024;
const madeToMeasureBytes = 2 * 1024;
const pooledPieceSlabs = 64;
const pooledLargePieceSlabs = 32;
const pooledSmallSlabs = 64;
const pooledLargeSlabs = 16;
const pooledBlocks = 1_024;
const mostFutileFeeds = 8;
const readBytes = 64 * 1024;

/**
 * What all connections of a process share: time, pools, the end of the turn, the account of buffered bytes. Handed to each
 * connection, so that ten sidecars in one process share nothing by accident.
 */
export class Engine {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /**
   * The time of the event that is being handled (monotonic ms): of the input, the timer or the loss of a connection. Reading the
   * clock for each use of it would cost a call more than its balancing and its breaker together. Whoever begins an event calls `tick`.
   */
  nowMs: number;
  /** Received DATA that waits for its way out, over all connections. */
  bufferedBytes = 0;
  /** Header blocks that have an owner now: one for each connection, and those of calls. */
  blocksOut = 0;
  /** When something was first read or written in this turn of the event loop (monotonic ms); infinite where nothing was yet. */
  turnStartedMs = Number.POSITIVE_INFINITY;
  /** Milliseconds of the longest turn that read or wrote something; whoever samples it sets it to 0. */
  longestTurnMs = 0;
  /** Credit of connections above the 64 KiB that each has: DATA that may come at any time. */
  grantedBytes = 0;
  /** Memory of output that kernels have not accepted, over all connections. */
  outputBytes = 0;
  /** Of frames and header blocks whose ends have not come, over all connections. */
  unfinishedBytes = 0;
  /** What is held, together with what may come, is kept below it, apart from 64 KiB for each connection. */
  readonly maxBufferedBytes: number;
  /** The same for output: what does not fit waits in its stream, or ends the connection where flow control does not bound it. */
  readonly maxOutputBytes: number;
  /** Kept of frames and header blocks whose ends have not come, apart from 8 KiB for each connection. */
  readonly maxUnfinishedBytes: number;
  /** Sockets are read into it, one after the other. */
  readonly readBuffer = Buffer.allocUnsafeSlow(readBytes);
  readonly slowReaders: SlowReaders;
  /** Whose input is read when. */
  readonly turns: InputTurns;
  /** Streams whose owners have yet to hear that their connection is lost. */
  readonly losses: LostStreams;
  /** Connections that hold more than three quarters of what they may. */
  readonly shortWindows = new Set<ReceiveWindow>();
  readonly #pieceSlabs = new Slabs(pieceSlabBytes, pooledPieceSlabs);
  readonly #largePieceSlabs = new Slabs(largePieceSlabBytes, pooledLargePieceSlabs);
  readonly #smallSlabs = new Slabs(smallSlabBytes, pooledSmallSlabs);
  readonly #largeSlabs = new Slabs(largeSlabBytes, pooledLargeSlabs);
  readonly #blocks: HeaderBlock[] = [];
  /** Connections whose peers get no credit because too much is buffered elsewhere. */
  readonly #starved = new Set<ReceiveWindow>();
  #dirty: Output[] = [];
  #flushing: Output[] = [];
  #turnBegun = false;

  constructor(clock: Clock, wheel: TimerWheel, maxBufferedBytes = 64 * 1024 * 1024) {
    this.clock = clock;
    this.wheel = wheel;
    this.nowMs = clock.now();
    this.maxBufferedBytes = maxBufferedBytes;
    this.maxOutputBytes = maxBufferedBytes / 2;
    this.maxUnfinishedBytes = maxBufferedBytes / 4;
    this.slowReaders = new SlowReaders(this);
    this.turns = new InputTurns(this);
    this.losses = new LostStreams(this);
  }

  /** What is left of the budget for received DATA; below zero where the 64 KiB of each connection have used up more. */
  get freeBytes(): number {
    return this.maxBufferedBytes - this.bufferedBytes - this.grantedBytes;
  }

  /** More than three quarters of the budget for received DATA wait. */
  get buffersShort(): boolean {
    return this.bufferedBytes * 4 > this.maxBufferedBytes * 3;
  }

  /** More than three quarters of the budget for output wait for kernels. */
  get outputShort(): boolean {
    return this.outputBytes * 4 > this.maxOutputBytes * 3;
  }

  /** What one connection may have waiting for its kernel: as much as all of them leave free (a dynamic threshold). */
  get outputShareBytes(): number {
    return Math.max(smallSlabBytes, this.maxOutputBytes - this.outputBytes);
  }

  /** Slabs of the pooled sizes that hold output, or DATA that waits for its window. */
  get slabsOut(): number {
    return this.#pieceSlabs.out + this.#largePieceSlabs.out + this.#smallSlabs.out + this.#largeSlabs.out;
  }

  /** A new event begins: reads the clock. */
  tick(): number {
    this.nowMs = this.clock.now();
    return this.nowMs;
  }

  /** A buffer for output, at least `bytes` long; `large` where more than one was needed in this turn already. */
  takeSlab(bytes: number, large: boolean): Buffer {
    if (!large && bytes <= smallSlabBytes) return this.#smallSlabs.take();
    if (bytes <= largeSlabBytes) return this.#largeSlabs.take();
    return Buffer.allocUnsafeSlow(bytes);
  }

  /** A buffer for DATA that waits, of `bytes` or more up to 16 KiB: what many streams have waiting comes and goes, and as garbage it would be many times as much. */
  takePieceSlab(bytes: number): Buffer {
    if (bytes <= madeToMeasureBytes) return Buffer.allocUnsafeSlow(bytes);
    if (bytes <= pieceSlabBytes) return this.#pieceSlabs.take();
    if (bytes <= largePieceSlabBytes) return this.#largePieceSlabs.take();
    return this.#smallSlabs.take();
  }

  /** Takes back what the kernel has accepted. Whoever returns a slab must not touch it again. */
  returnSlab(slab: Buffer): void {
    if (slab.length === smallSlabBytes) this.#smallSlabs.give(slab);
    else if (slab.length === largeSlabBytes) this.#largeSlabs.give(slab);
    else if (slab.length === pieceSlabBytes) this.#pieceSlabs.give(slab);
    else if (slab.length === largePieceSlabBytes) this.#largePieceSlabs.give(slab);
  }

  /** A slab that its owner leaves to the collector, since a socket may still look at it. */
  forgetSlab(slab: Buffer): void {
    if (slab.length === smallSlabBytes) this.#smallSlabs.forget(slab);
    else if (slab.length === largeSlabBytes) this.#largeSlabs.forget(slab);
  }

  /** An empty header block. Its owner returns it once, or leaves it to the collector with `forgetBlock`. */
  takeBlock(): HeaderBlock {
    this.blocksOut++;
    return this.#blocks.pop() ?? new HeaderBlock();
  }

  returnBlock(block: HeaderBlock): void {
    this.blocksOut--;
    block.reset();
    if (this.#blocks.length < pooledBlocks) this.#blocks.push(block);
  }

  /** The owner of a block that somebody may be reading in this moment is gone. */
  forgetBlock(): void {
    this.blocksOut--;
  }

  /** Gives `window` its credit once less is buffered: nothing on its own connection may ever ask again. */
  waitForBuffer(window: ReceiveWindow): void {
    this.#starved.add(window);
  }

  /** `window` is gone. */
  stopWaiting(window: ReceiveWindow): void {
    this.#starved.delete(window);
    this.shortWindows.delete(window);
  }

  /** Buffered DATA has left, or is dropped. */
  unbuffer(bytes: number): void {
    this.bufferedBytes -= bytes;
    if (this.#starved.size > 0) this.#feedStarved();
  }

  /** Each gets its share in turn. Those that still get none stand at the end again; a few of them are looked at each time. */
  #feedStarved(): void {
    let futile = 0;
    for (const window of this.#starved) {
      this.#starved.delete(window);
      window.announce();
      if (this.#starved.has(window) && ++futile === mostFutileFeeds) return;
    }
  }

  /** Something happens in this turn of the event loop, whose end is to be heard of. Call `tick` before it. */
  beginTurn(): void {
    if (this.#turnBegun) return;
    this.#turnBegun = true;
    this.turnStartedMs = this.nowMs;
    setImmediate(this.#endTurn);
  }

  /** Asks for one write of everything that `output` holds, after all input of this turn has been read. */
  flushLater(output: Output): void {
    this.#dirty.push(output);
    if (this.#turnBegun) return;
    this.tick();
    this.beginTurn();
  }

  /** Writes what there is, before work that others wait for takes its time: who sends little does not wait for the answers of who sends much. */
  flush(): void {
    const outputs = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = outputs;
    for (let i = 0; i < outputs.length; i++) (outputs[i] as Output).onTurnEnd();
    outputs.length = 0;
  }

  /** All input of this turn has been read: what waits has its share, then everything is written. */
  readonly #endTurn = (): void => {
    const inputWaits = this.turns.serve();
    const lossesWait = this.losses.serve();
    this.#turnBegun = false;
    this.flush();
    this.longestTurnMs = Math.max(this.longestTurnMs, this.clock.now() - this.turnStartedMs);
    this.turnStartedMs = Number.POSITIVE_INFINITY;
    if (!inputWaits && !lossesWait) return;
    this.tick();
    this.beginTurn();
  };
}
