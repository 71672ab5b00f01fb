export interface PeakLatencyOptions {
  /** After this long an old answer counts for a third. */
  readonly decayTimeMs: number;
  /** What an endpoint is taken for before its first answer. */
  readonly defaultRttMs: number;
}

/** Linkerd's. */
export const defaultPeakLatency: PeakLatencyOptions = { decayTimeMs: 10_000, defaultRttMs: 30 };

/**
 * How long an endpoint takes to answer: an average that forgets with time, and that a slow answer raises at once (Finagle's peak
 * EWMA): caution comes fast, trust slowly.
 */
export class PeakLatency {
  decayTimeMs: number;
  #averageMs: number;
  /** Of the last observation; infinite before the first, so that the default does not decay. */
  #atMs = Number.POSITIVE_INFINITY;

  constructor({ decayTimeMs, defaultRttMs }: PeakLatencyOptions) {
    this.decayTimeMs = decayTimeMs;
    this.#averageMs = defaultRttMs;
  }

  /** An answer began after `rttMs`. */
  observe(rttMs: number, nowMs: number): void {
    // Answers come many at once, and within one event nothing is forgotten.
    if (nowMs === this.#atMs) {
      if (rttMs > this.#averageMs) this.#averageMs = rttMs;
      return;
    }
    const known = this.#atMs !== Number.POSITIVE_INFINITY;
    const kept = known ? Math.exp((this.#atMs - nowMs) / this.decayTimeMs) : 0;
    const average = this.#averageMs;
    this.#averageMs = rttMs > average ? rttMs : average * kept + rttMs * (1 - kept);
    this.#atMs = nowMs;
  }

  /** A failed attempt says nothing good: one that fails fast must not draw calls. */
  observeFailure(rttMs: number, nowMs: number): void {
    if (rttMs > this.at(nowMs)) this.observe(rttMs, nowMs);
  }

  /** The average now. It decays to nothing without answers, so that an endpoint which was slow once is tried again. */
  at(nowMs: number): number {
    return nowMs <= this.#atMs ? this.#averageMs : this.#averageMs * Math.exp((this.#atMs - nowMs) / this.decayTimeMs);
  }
}
