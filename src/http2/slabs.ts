/** So much memory the C library maps by itself, and gives it back to the system when it is freed. */
const regionBytes = 256 * 1024;
/** Regions of which nothing is in use that are kept beside the pool: a load that comes and goes does not map one each time. */
const mostIdleRegions = 2;

/** Memory that is cut into slabs of one size. */
interface Region {
  readonly memory: ArrayBuffer;
  readonly free: Buffer[];
  /** Slabs in use. */
  out: number;
  /** One of its slabs was left to the collector: so is the whole. */
  forgotten: boolean;
}

/**
 * Slabs of one size. A few stay for ever and serve all but peaks; what a peak needs beyond is cut from further regions, which are freed as soon as
 * all their slabs have come back. Slabs that are allocated one by one lie between what lives on, and a process that had a peak keeps its size.
 */
export class Slabs {
  /** Slabs in use. */
  out = 0;
  readonly #slabBytes: number;
  readonly #mostPooled: number;
  /** Those that stay, and how many of them there are, in use or not. */
  readonly #pool: Buffer[] = [];
  #pooled = 0;
  /** Of each slab beyond them. */
  readonly #regions = new Map<Buffer, Region>();
  /** Regions with a slab to give, oldest first: what is newer becomes free sooner. */
  readonly #open = new Set<Region>();
  #idle = 0;

  /** `mostPooled` slabs stay for ever, once they are needed. */
  constructor(slabBytes: number, mostPooled: number) {
    this.#slabBytes = slabBytes;
    this.#mostPooled = mostPooled;
  }

  take(): Buffer {
    this.out++;
    return this.#pool.pop() ?? this.#takeMore();
  }

  /** Whoever gives a slab back must not touch it again. */
  give(slab: Buffer): void {
    this.out--;
    const region = this.#regions.size === 0 ? undefined : this.#regions.get(slab);
    if (region === undefined) {
      this.#pool.push(slab);
      return;
    }
    region.free.push(slab);
    this.#open.add(region);
    this.#leave(region);
  }

  /** A slab that its owner leaves to the collector, since a socket may still look at it. */
  forget(slab: Buffer): void {
    this.out--;
    const region = this.#regions.get(slab);
    if (region === undefined) {
      this.#pooled--;
      return;
    }
    this.#regions.delete(slab);
    region.forgotten = true;
    this.#leave(region);
  }

  #takeMore(): Buffer {
    const each = regionBytes / this.#slabBytes;
    if (this.#pooled + each <= this.#mostPooled) {
      this.#pool.push(...this.#cut(newMemory()));
      this.#pooled += each;
      return this.#pool.pop() as Buffer;
    }
    for (const region of this.#open) return this.#takeFrom(region);
    const memory = newMemory();
    const region: Region = { memory, free: this.#cut(memory), out: 0, forgotten: false };
    for (const slab of region.free) this.#regions.set(slab, region);
    this.#open.add(region);
    this.#idle++;
    return this.#takeFrom(region);
  }

  #takeFrom(region: Region): Buffer {
    if (region.out++ === 0) this.#idle--;
    const slab = region.free.pop() as Buffer;
    if (region.free.length === 0) this.#open.delete(region);
    return slab;
  }

  #leave(region: Region): void {
    if (--region.out > 0) return;
    if (this.#idle < mostIdleRegions && !region.forgotten) {
      this.#idle++;
      return;
    }
    for (const slab of region.free) this.#regions.delete(slab);
    this.#open.delete(region);
    // Detached, its memory is freed now, and not when the collector comes round.
    if (!region.forgotten) region.memory.transfer(0);
  }

  #cut(memory: ArrayBuffer): Buffer[] {
    return Array.from({ length: regionBytes / this.#slabBytes }, (_, i) => Buffer.from(memory, i * this.#slabBytes, this.#slabBytes));
  }
}

/** Not filled: pages that nobody writes to cost nothing. */
const newMemory = (): ArrayBuffer => Buffer.allocUnsafeSlow(regionBytes).buffer as ArrayBuffer;
