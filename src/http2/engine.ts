import type { Clock, TimerWheel } from '../core/index.ts';
import { HeaderBlock } from './header-block.ts';
import type { Output } from './output.ts';
import type { ReceiveWindow } from './receive-window.ts';

/** Most turns write little to each of many sockets; what writes more gets large slabs, so that a body is few writes. */
const smallSlabBytes = 16 * 1024;
const largeSlabBytes = 64 * 1024;
const pooledSmallSlabs = 64;
const pooledLargeSlabs = 16;
const pooledBlocks = 1_024;

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
  /** Slabs of the pooled sizes that hold output, or DATA that waits for its window. */
  slabsOut = 0;
  /** When something was first written in this turn of the event loop (monotonic ms); infinite where nothing was yet. */
  turnStartedMs = Number.POSITIVE_INFINITY;
  /** Milliseconds of the longest turn that wrote something; whoever samples it sets it to 0. */
  longestTurnMs = 0;
  /** Above it no connection gives its peer further credit. */
  readonly maxBufferedBytes: number;
  readonly #smallSlabs: Buffer[] = [];
  readonly #largeSlabs: Buffer[] = [];
  readonly #blocks: HeaderBlock[] = [];
  /** Connections whose peers get no credit because too much is buffered elsewhere. */
  readonly #starved = new Set<ReceiveWindow>();
  #dirty: Output[] = [];
  #flushing: Output[] = [];
  #flushScheduled = false;

  constructor(clock: Clock, wheel: TimerWheel, maxBufferedBytes = 64 * 1024 * 1024) {
    this.clock = clock;
    this.wheel = wheel;
    this.nowMs = clock.now();
    this.maxBufferedBytes = maxBufferedBytes;
  }

  /** A new event begins: reads the clock. */
  tick(): number {
    this.nowMs = this.clock.now();
    return this.nowMs;
  }

  /** A buffer for output, at least `bytes` long; `large` where more than one was needed in this turn already. */
  takeSlab(bytes: number, large: boolean): Buffer {
    if (bytes <= largeSlabBytes) this.slabsOut++;
    if (!large && bytes <= smallSlabBytes) return this.#smallSlabs.pop() ?? Buffer.allocUnsafeSlow(smallSlabBytes);
    if (bytes <= largeSlabBytes) return this.#largeSlabs.pop() ?? Buffer.allocUnsafeSlow(largeSlabBytes);
    return Buffer.allocUnsafeSlow(bytes);
  }

  /** Takes back what the kernel has accepted. Whoever returns a slab must not touch it again. */
  returnSlab(slab: Buffer): void {
    if (slab.length === smallSlabBytes) {
      this.slabsOut--;
      if (this.#smallSlabs.length < pooledSmallSlabs) this.#smallSlabs.push(slab);
    } else if (slab.length === largeSlabBytes) {
      this.slabsOut--;
      if (this.#largeSlabs.length < pooledLargeSlabs) this.#largeSlabs.push(slab);
    }
  }

  /** A slab that its owner leaves to the collector, since a socket may still look at it. */
  forgetSlab(slab: Buffer): void {
    if (slab.length === smallSlabBytes || slab.length === largeSlabBytes) this.slabsOut--;
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

  /** Buffered DATA has left, or is dropped. */
  unbuffer(bytes: number): void {
    this.bufferedBytes -= bytes;
    if (this.#starved.size > 0 && this.bufferedBytes < this.maxBufferedBytes) this.#feedStarved();
  }

  #feedStarved(): void {
    for (const window of this.#starved) {
      this.#starved.delete(window);
      window.announce();
    }
  }

  /** Asks for one write of everything that `output` holds, after all input of this turn has been read. */
  flushLater(output: Output): void {
    this.#dirty.push(output);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.turnStartedMs = this.clock.now();
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    const outputs = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = outputs;
    for (let i = 0; i < outputs.length; i++) (outputs[i] as Output).flush();
    outputs.length = 0;
    this.longestTurnMs = Math.max(this.longestTurnMs, this.clock.now() - this.turnStartedMs);
    this.turnStartedMs = Number.POSITIVE_INFINITY;
  };
}
