import type { Clock, TimerWheel } from '../core/index.ts';
import { HeaderBlock } from './header-block.ts';
import type { Output } from './output.ts';

const slabBytes = 64 * 1024;
const pooledSlabs = 64;
const pooledBlocks = 1_024;

/**
 * What all connections of a process share: time, pools, the end of the turn, the account of buffered bytes. Handed to each
 * connection, so that ten sidecars in one process share nothing by accident.
 */
export class Engine {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Received DATA that waits for its way out, over all connections. */
  bufferedBytes = 0;
  /** Above it no connection gives its peer further credit. */
  readonly maxBufferedBytes: number;
  readonly #slabs: Buffer[] = [];
  readonly #blocks: HeaderBlock[] = [];
  #dirty: Output[] = [];
  #flushing: Output[] = [];
  #flushScheduled = false;

  constructor(clock: Clock, wheel: TimerWheel, maxBufferedBytes = 64 * 1024 * 1024) {
    this.clock = clock;
    this.wheel = wheel;
    this.maxBufferedBytes = maxBufferedBytes;
  }

  /** A buffer for output, at least `bytes` long. */
  takeSlab(bytes: number): Buffer {
    if (bytes > slabBytes) return Buffer.allocUnsafeSlow(bytes);
    return this.#slabs.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
  }

  /** Takes back what the kernel has accepted. Whoever returns a slab must not touch it again. */
  returnSlab(slab: Buffer): void {
    if (slab.length === slabBytes && this.#slabs.length < pooledSlabs) this.#slabs.push(slab);
  }

  /** An empty header block. Its owner returns it once, or lets it go. */
  takeBlock(): HeaderBlock {
    return this.#blocks.pop() ?? new HeaderBlock();
  }

  returnBlock(block: HeaderBlock): void {
    block.reset();
    if (this.#blocks.length < pooledBlocks) this.#blocks.push(block);
  }

  /** Asks for one write of everything that `output` holds, after all input of this turn has been read. */
  flushLater(output: Output): void {
    this.#dirty.push(output);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    const outputs = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = outputs;
    for (let i = 0; i < outputs.length; i++) (outputs[i] as Output).flush();
    outputs.length = 0;
  };
}
