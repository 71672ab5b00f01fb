/** Envoy's `GradientControllerConfig`. */
export interface GradientOptions {
  /** From 0 to 1: which of the latencies of an interval, and of a measurement, stands for all. */
  readonly percentile: number;
  readonly maxLimit: number;
  readonly updateIntervalMs: number;
  readonly minRtt: {
    /** Time between measurements; not looked at where `fixedMs` is above 0. */
    readonly intervalMs: number;
    /** Above 0: nothing is measured. */
    readonly fixedMs: number;
    readonly requestCount: number;
    /** From 0 to 1: by how much an interval is longer, at most. */
    readonly jitter: number;
    /** The limit while it is measured, and the least one. */
    readonly minConcurrency: number;
    /** From 0 to 1: how much slower than the best is still as good. */
    readonly buffer: number;
  };
}

const steepest = 2;
const mostSamples = 4_096;
/** So many updates at the least limit in a row mean that the measurement is out of date. */
const stuckUpdates = 5;

/**
 * Envoy's gradient controller: as many calls at once as a service answers without being slower than at its best. Its best is measured now and
 * then, under a small limit; from there on each interval's latency moves the limit. Pure: whoever asks brings the time, and no timer runs.
 */
export class GradientController {
  #options: GradientOptions;
  readonly #random: () => number;
  #limit: number;
  #active = 0;
  #blocked = 0;
  #minRttMs = 0;
  #sampleRttMs = 0;
  #gradient = 1;
  #nextUpdateMs: number;
  #nextMeasurementMs = Number.POSITIVE_INFINITY;
  /** Infinite while nothing is measured; else calls that began before it do not count. */
  #measuringSinceMs = Number.POSITIVE_INFINITY;
  #limitBefore: number;
  #atLeast = 0;
  readonly #samples = new Float64Array(mostSamples);
  #sampleCount = 0;

  constructor(options: GradientOptions, random: () => number, nowMs: number) {
    this.#options = options;
    this.#random = random;
    this.#limit = options.minRtt.minConcurrency;
    this.#limitBefore = this.#limit;
    this.#nextUpdateMs = nowMs + options.updateIntervalMs;
    if (options.minRtt.fixedMs > 0) this.#minRttMs = options.minRtt.fixedMs;
    else this.#measure(nowMs);
  }

  /** Takes over other numbers; the limit goes on from where it is. */
  update(options: GradientOptions, nowMs: number): void {
    this.#options = options;
    const { fixedMs, minConcurrency } = options.minRtt;
    this.#limit = clamp(this.#limit, minConcurrency, options.maxLimit);
    if (fixedMs === 0) {
      if (this.#nextMeasurementMs === Number.POSITIVE_INFINITY && !this.measuring) this.#measure(nowMs);
      return;
    }
    if (this.measuring) this.#endMeasurement(nowMs);
    this.#minRttMs = fixedMs;
    this.#nextMeasurementMs = Number.POSITIVE_INFINITY;
  }

  /** Lets a call in, which owes one `sample` or `cancel`; false where there are as many as the service takes. */
  tryEnter(nowMs: number): boolean {
    this.#advance(nowMs);
    if (this.#active >= this.#limit) {
      this.#blocked++;
      return false;
    }
    this.#active++;
    return true;
  }

  /** A call has ended that began at `startMs`; what it took says how the service does. */
  sample(startMs: number, nowMs: number): void {
    this.#active--;
    if (this.measuring && startMs < this.#measuringSinceMs) return;
    this.#samples[this.#sampleCount % mostSamples] = nowMs - startMs;
    this.#sampleCount++;
    if (this.measuring && this.#sampleCount >= this.#options.minRtt.requestCount) this.#endMeasurement(nowMs);
    this.#advance(nowMs);
  }

  /** A call has ended whose time says nothing. */
  cancel(): void {
    this.#active--;
  }

  get limit(): number {
    return this.#limit;
  }
  get active(): number {
    return this.#active;
  }
  get blockedTotal(): number {
    return this.#blocked;
  }
  get measuring(): boolean {
    return this.#measuringSinceMs !== Number.POSITIVE_INFINITY;
  }
  get minRttMs(): number {
    return this.#minRttMs;
  }
  get sampleRttMs(): number {
    return this.#sampleRttMs;
  }
  get gradient(): number {
    return this.#gradient;
  }
  /** What the limit has above the one that the gradient asks for, so that it can grow. */
  get burstQueueSize(): number {
    return Math.floor(Math.sqrt(this.#limit));
  }

  #advance(nowMs: number): void {
    if (this.measuring) return;
    if (nowMs >= this.#nextMeasurementMs) {
      this.#measure(nowMs);
      return;
    }
    if (nowMs < this.#nextUpdateMs) return;
    this.#nextUpdateMs = nowMs + this.#options.updateIntervalMs;
    if (this.#sampleCount === 0) return;
    this.#sampleRttMs = this.#takePercentile();
    this.#move();
    if (this.#atLeast >= stuckUpdates && this.#options.minRtt.fixedMs === 0) this.#measure(nowMs);
  }

  #move(): void {
    const { maxLimit, minRtt } = this.#options;
    const wanted = this.#minRttMs * (1 + minRtt.buffer);
    const raw = this.#sampleRttMs > 0 ? wanted / this.#sampleRttMs : steepest;
    this.#gradient = clamp(raw, 1 / steepest, steepest);
    const moved = this.#limit * this.#gradient;
    this.#limit = Math.floor(clamp(moved + Math.sqrt(moved), minRtt.minConcurrency, maxLimit));
    this.#atLeast = this.#limit === minRtt.minConcurrency ? this.#atLeast + 1 : 0;
  }

  #measure(nowMs: number): void {
    this.#measuringSinceMs = nowMs;
    this.#limitBefore = this.#limit;
    this.#limit = Math.min(this.#options.minRtt.minConcurrency, this.#options.maxLimit);
    this.#sampleCount = 0;
    this.#atLeast = 0;
  }

  #endMeasurement(nowMs: number): void {
    const { intervalMs, jitter } = this.#options.minRtt;
    if (this.#sampleCount > 0) this.#minRttMs = this.#takePercentile();
    this.#measuringSinceMs = Number.POSITIVE_INFINITY;
    this.#limit = clamp(this.#limitBefore, this.#options.minRtt.minConcurrency, this.#options.maxLimit);
    this.#nextMeasurementMs = nowMs + intervalMs * (1 + jitter * this.#random());
    this.#nextUpdateMs = nowMs + this.#options.updateIntervalMs;
  }

  /** Forgets the samples. */
  #takePercentile(): number {
    const count = Math.min(this.#sampleCount, mostSamples);
    this.#sampleCount = 0;
    const sorted = this.#samples.subarray(0, count).sort();
    return sorted[Math.min(count - 1, Math.floor(this.#options.percentile * count))] as number;
  }
}

const clamp = (value: number, least: number, most: number): number => Math.max(Math.min(value, most), Math.min(least, most));
