import { Session } from 'node:inspector';

/**
 * Which blocks of `src/` an input reached, by V8's own block coverage: no instrumentation, no package. Taking stock costs some
 * milliseconds, so it is done for a batch of inputs, and one by one only within a batch that reached something new.
 */
export class BlockCoverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    // With counts: each stock-taking starts at zero.
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Blocks reached so far. */
  get size(): number {
    return this.#seen.size;
  }

  /** How many blocks were reached since the last time and never before; they count as seen from now on. With `peek` they do not. */
  take(peek = false): number {
    let fresh = 0;
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error) throw error;
      for (const { url, functions } of answer.result) {
        const at = url.lastIndexOf('/src/');
        if (at < 0 || url.includes('/node_modules/')) continue;
        const file = url.slice(at);
        for (const { ranges } of functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            if (count === 0) continue;
            const key = `${file} ${startOffset} ${endOffset}`;
            if (this.#seen.has(key)) continue;
            fresh++;
            if (!peek) this.#seen.add(key);
          }
        }
      }
    });
    return fresh;
  }

  close(): void {
    this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.post('Profiler.disable');
    this.#session.disconnect();
  }
}
